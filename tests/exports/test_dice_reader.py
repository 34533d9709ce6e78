"""Reading annotation files: every form of dice-format.md section 8, our own files back, and hostile ones."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labeler
from exports.dice_reader import MAX_DEPTH, open_file
from exports.errors import BrokenFile
from exports.rows import AnnotationRow, FileAnnotation, FileHeader, FileImage, ImageRow, Problem
from tests.cases import made_up
from tests.exports.builders import (
    CONTRACT,
    TASKS,
    a_dataset,
    a_row,
    an_image,
    many_images,
    written,
)
from tests.exports.test_dice import CLIENT_ID

DEMO = Path(labeler.__file__).parent / "demo" / "blood-cells" / "annotations.json"
NOON = "2026-01-12T12:00:00.000000Z"


@dataclass
class Contents:
    """All that a file yields, sorted by kind."""

    header: FileHeader
    images: list[FileImage]
    annotations: list[FileAnnotation]
    problems: list[Problem]

    @property
    def skipped(self) -> list[str]:
        return [problem.where for problem in self.problems if problem.skipped]


def read(content: bytes | str | dict) -> Contents:
    if isinstance(content, dict):
        content = json.dumps(content)
    if isinstance(content, str):
        content = content.encode()
    opened = open_file(io.BytesIO(content))
    found = Contents(opened.header, [], [], [])
    lists = {FileImage: found.images, FileAnnotation: found.annotations, Problem: found.problems}
    for entry in opened.entries():
        lists[type(entry)].append(entry)
    return found


def nested(*annotations: Any, **fields: Any) -> dict[str, Any]:
    """A file with the classes car and lane and one image holding the annotations."""
    classes = [{"id": 0, "name": "car"}, {"id": 1, "name": "lane"}]
    image = {"id": 1, "file_name": "a.jpg", "width": 640, "height": 480, "annotations": list(annotations)}
    return {"format_version": "1.0", "classes": classes, "images": [image], **fields}


def only(annotation: dict[str, Any], **fields: Any) -> FileAnnotation:
    """The one annotation of a file, read without any problem."""
    found = read(nested({"class_id": 0, **annotation}, **fields))
    assert found.problems == []
    (entry,) = found.annotations
    return entry


def reason(annotation: Any) -> str:
    """Why the one annotation of a file is skipped."""
    found = read(nested(annotation))
    assert found.annotations == []
    (problem,) = found.problems
    assert problem.where == "images[0].annotations[0]"
    return problem.reason


# The contract's examples ----------------------------------------------------------------------


def example(name: str) -> Contents:
    return read((CONTRACT / "reader" / name).read_bytes())


def test_flat_coco_is_joined_by_image_and_its_categories_keep_their_ids():
    found = example("flat-coco.json")
    assert [(entry.id, entry.type, entry.file_image_id) for entry in found.annotations] == [
        (1, "bbox", 1), (2, "polygon", 1), (3, "no_object", 2), (4, "bbox", 99),
    ]  # fmt: skip
    assert [(entry.ref, entry.name) for entry in found.header.classes] == [(4, "weld"), (9, "pore")]
    assert found.annotations[1].geometry == {"type": "polygon", "rings": [[[30, 30], [50, 30], [40, 45]]]}
    assert [(image.file_name, image.width) for image in found.images] == [
        ("images/w1.png", 320), ("w2.png", 320), ("w3.png", None),
    ]  # fmt: skip
    assert (found.header.form, found.header.image_root) == ("flat", "datasets/ds_flat/images/")
    # Annotation 4 points to an image the file does not list: whoever matches images skips it.
    assert 99 not in [image.file_id for image in found.images]


def test_a_single_label_is_a_classification_and_its_confidence_a_share_or_a_percentage():
    found = example("classification-singular.json")
    labels = [(entry.type, entry.class_ref, entry.class_name, entry.confidence) for entry in found.annotations]
    assert labels == [("classification", 0, "ok", 100), ("classification", 1, "ng", 90)]
    assert [image.status for image in found.images] == ["in-progress", "in-progress", None]
    assert found.header.version == "3"


def test_legacy_geometry_is_brought_into_the_form_of_today():
    found = example("legacy-geometry.json")
    assert [(entry.id, entry.type, entry.class_name) for entry in found.annotations] == [
        (11, "bbox", "car"), (12, "bbox", "car"), (13, "polygon", "lane"), (14, "no_object", None), (15, "bbox", "car"),
    ]  # fmt: skip
    assert [entry.geometry.get("bbox") for entry in found.annotations] == [
        [10, 20, 100, 50], [5, 6, 20, 30], None, None, [1, 2, 3, 4],
    ]  # fmt: skip
    assert found.annotations[2].geometry["rings"] == [[[0, 0], [10, 0], [10, 10]]]
    assert found.header.last_modified_at == "2025-11-16T18:00:00+09:00"
    assert found.problems == []


def test_the_sample_dataset_comes_in_whole():
    found = read(DEMO.read_bytes())
    names = Counter(entry.class_name for entry in found.annotations)
    assert names == {"RBC": 204, "WBC": 14, "Platelets": 24}
    assert {(entry.type, entry.state) for entry in found.annotations} == {("bbox", "confirmed")}
    assert Counter(image.status for image in found.images) == {"in-progress": 16, None: 24}
    assert len({entry.id for entry in found.annotations}) == 242
    assert found.problems == []


@pytest.mark.parametrize("path", sorted(CONTRACT.glob("*[!a].json")), ids=lambda path: path.stem)
def test_every_example_of_the_format_reads_without_a_problem(path):
    if path.name == "dice-1.0.schema.json":
        path = CONTRACT / "working.json"
    told = json.loads(path.read_text())
    found = read(path.read_bytes())
    assert len(found.annotations) == told["statistics"]["total_annotations"]
    assert len(found.images) == told["statistics"]["total_images"]
    assert found.problems == []


# Our own files ----------------------------------------------------------------------------------


def busy_rows(task: str) -> list[AnnotationRow]:
    """Every type of a task in every state, with all that a row can hold."""
    return [
        a_row(
            10 * at + step,
            kind,
            state=state,
            confidence=[None, 0.5, 33.3, 100][step],
            attributes={"task_type": task, "näme": ["x", {"deep": 1.5}], "iscrowd": 1},
            notes="둥글다 \U0001f600",
            version=7,
            client_id=CLIENT_ID,
            updated_by="u-2",
            updated_at="2026-01-12T08:31:00.123456Z",
            confirmed_by=None if state == "draft" else "u-3",
            confirmed_at=None if state == "draft" else NOON,
        )
        for at, kind in enumerate((*TASKS[task], "no_object"), start=1)
        for step, state in enumerate(("draft", "confirmed", "verified"))
    ]


def images_of(task: str) -> list[ImageRow]:
    rows = busy_rows(task)
    told = {
        "split": "val",
        "reviewed_by": "u-3",
        "reviewed_at": NOON,
        "first_modified_at": NOON,
        "last_modified_at": NOON,
    }
    objects = [row for row in rows if row.type != "no_object"]
    markers = [row for row in rows if row.type == "no_object"]
    return [an_image(1, *objects, **told), an_image(2, *markers, depth=1, status="in-progress"), an_image(3)]


WHOLE = (
    "id", "type", "geometry", "state", "attributes", "confidence", "notes", "version", "client_id", "created_by",
    "created_at", "updated_by", "updated_at", "confirmed_by", "confirmed_at",
)  # fmt: skip
PUBLIC = ("id", "type", "state", "attributes", "confidence")


def keys_of(found: Contents) -> list[str | None]:
    """The labeler's class key of every annotation."""
    keys = {entry.ref: entry.key for entry in found.header.classes}
    return [keys.get(entry.class_ref) for entry in found.annotations]


@pytest.mark.parametrize("task", TASKS)
def test_a_working_file_comes_back_exactly(task):
    rows, images = busy_rows(task), images_of(task)
    found = read(written("dice", a_dataset(task, "working", has_background=True), images)[0])
    assert found.problems == []
    for field in WHOLE:
        assert [getattr(entry, field) for entry in found.annotations] == [getattr(row, field) for row in rows], field
    assert keys_of(found) == [row.class_key for row in rows]
    same = (
        "file_name",
        "width",
        "height",
        "depth",
        "status",
        "reviewed_by",
        "reviewed_at",
        "first_modified_at",
        "last_modified_at",
    )
    for field in same:
        assert [getattr(image, field) for image in found.images] == [getattr(image, field) for image in images], field
    assert found.images[0].split == "val"


@pytest.mark.parametrize("task", TASKS)
def test_a_published_file_comes_back_with_ids_states_and_shapes(task):
    rows = [row for row in busy_rows(task) if row.state != "draft"]
    groups = [[row for row in rows if (row.type == "no_object") == marks] for marks in (False, True)]
    images = [an_image(at, *group) for at, group in enumerate(groups, start=1)]
    found = read(written("dice", a_dataset(task, has_background=True), images)[0])
    assert found.problems == []
    for field in PUBLIC:
        assert [getattr(entry, field) for entry in found.annotations] == [getattr(row, field) for row in rows], field
    assert [without_box(entry.geometry) for entry in found.annotations] == [without_box(row.geometry) for row in rows]
    assert keys_of(found) == [row.class_key for row in rows]


def without_box(geometry: dict[str, Any]) -> dict[str, Any]:
    """Keypoints come back with the envelope every published shape carries."""
    return {name: value for name, value in geometry.items() if geometry["type"] != "keypoints" or name != "bbox"}


@pytest.mark.parametrize("kind", ["bbox", "polygon", "mask", "keypoints"])
def test_our_coco_reads_as_flat_coco(kind):
    task = next(task for task, kinds in TASKS.items() if kind in kinds)
    row = a_row(4, kind, class_key="k-dog")
    found = read(written("coco", a_dataset(task), [an_image(1, row), an_image(2)])[0])
    (entry,) = found.annotations
    assert (entry.id, entry.type, without_box(entry.geometry)) == (4, kind, row.geometry)
    assert [(each.ref, each.name) for each in found.header.classes] == [(1, "cat"), (2, "dog")]
    assert entry.class_ref == 2


def test_a_draft_without_class_stays_without_in_a_working_file():
    dataset = a_dataset(kind="working")
    found = read(written("dice", dataset, [an_image(1, a_row(1, class_key=None, state="draft"))])[0])
    assert (found.annotations[0].class_ref, found.annotations[0].class_name) == (None, None)


@given(confidence=st.decimals(0, 100, places=6))
def test_any_confidence_comes_back(confidence):
    row = a_row(1, confidence=float(confidence))
    found = read(written("dice", a_dataset(), [an_image(1, row)])[0])
    assert found.annotations[0].confidence == pytest.approx(float(confidence), abs=1e-8)


def test_numbers_beyond_64_bits_in_attributes_come_back():
    row = a_row(1, attributes={"large": 1e300, "next": 2**63, "edge": 2**63 - 1, "text": "NaN 1e999"})
    found = read(written("dice", a_dataset(), [an_image(1, row)])[0])
    assert found.annotations[0].attributes == row.attributes


# Forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", " \n", "\ufeff", "{}", '{"images": []}', '{"images": null}', " " * 70_000])
def test_nothing_is_zero_imported_and_no_error(content):
    found = read(content)
    assert (found.images, found.annotations, found.problems) == ([], [], [])


def test_much_white_space_hides_no_file():
    assert len(read(" " * 70_000 + json.dumps(nested({"class_id": 0, "bbox": [1, 2, 3, 4]}))).annotations) == 1


def test_a_byte_order_mark_is_no_part_of_the_file():
    assert len(read("\ufeff" + json.dumps(nested({"class_id": 0, "bbox": [1, 2, 3, 4]}))).annotations) == 1


def test_nested_lists_are_found_though_the_first_image_has_none():
    file = nested({"class_id": 0, "bbox": [1, 2, 3, 4]})
    file["images"].insert(0, {"id": 9, "file_name": "b.jpg"})
    assert [entry.file_image_id for entry in read(file).annotations] == [1]


def test_flat_annotations_count_only_for_images_without_a_list_of_their_own():
    flat = [{"id": 7, "image_id": 1, "category_id": 0, "bbox": [9, 9, 9, 9]}]
    flat.append({"id": 8, "image_id": 2, "category_id": 0, "bbox": [8, 8, 8, 8]})
    file = nested({"id": 5, "class_id": 0, "bbox": [1, 2, 3, 4]}, annotations=flat)
    file["images"].append({"id": 2, "file_name": "b.jpg"})
    assert [entry.id for entry in read(file).annotations] == [5, 8]


def test_a_single_label_beside_a_list_is_ignored():
    file = nested()
    file["images"][0]["annotation"] = {"class_id": 0}
    assert read(file).annotations == []


@pytest.mark.parametrize("said", ["1.0", "1.7", "1", 1, 1.0, None])
def test_versions_1_of_the_format_are_read(said):
    assert len(read(nested(format_version=said)).images) == 1


@pytest.mark.parametrize("said", ["2.0", 2, "0.9", "x", [], True])
def test_other_versions_of_the_format_are_refused(said):
    with pytest.raises(BrokenFile, match="format_version"):
        read(nested(format_version=said))


def test_unknown_keys_are_ignored():
    file = nested({"class_id": 0, "bbox": [1, 2, 3, 4], "vqa_pairs": [1]}, migration_info={"a": [1]}, legacy_v09=1)
    assert len(read(file).annotations) == 1


# Classes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reference", "name"),
    [
        ({"class_id": 1}, 1, None),
        ({"class_id": "1"}, "1", None),
        ({"class_id": "lane"}, "lane", "lane"),
        ({"class_name": "lane"}, None, "lane"),
        ({"class_id": 0, "category_id": 1}, 1, None),
        ({"class_id": None, "class_name": "bus"}, None, "bus"),
    ],
)
def test_a_class_is_named_by_id_or_by_name(said, reference, name):
    (entry,) = read(nested({"bbox": [1, 2, 3, 4], **said})).annotations
    assert (entry.class_ref, entry.class_name) == (reference, name)


@pytest.mark.parametrize(
    "said",
    [{"class_id": -1}, {"class_id": "-1"}, {"is_background": True}, {"class_name": "__background__"}, {"class_id": 2}],
)
def test_the_background_is_a_marker(said):
    file = nested({"class_name": "x", **said})
    file["classes"].append({"id": 2, "name": "__background__"})
    (entry,) = read(file).annotations
    assert (entry.type, entry.class_ref, entry.class_name) == ("no_object", None, None)
    assert [each.name for each in read(file).header.classes] == ["car", "lane"]


def test_classes_may_be_plain_names():
    assert [(each.ref, each.name) for each in read(nested(classes=["a", "b"])).header.classes] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"0": "car"}, "classes must be a list"),
        ([{"id": 0}], r"classes\[0\] has no name"),
        ([7], r"classes\[0\] has no name"),
        ([{"id": 0, "name": "a"}, {"id": 0, "name": "b"}], "the id 0 to both a and b"),
        ([{"id": 0, "name": "a\0b"}], "NUL"),
    ],
)
def test_a_class_list_that_cannot_be_trusted_breaks_the_file(classes, message):
    with pytest.raises(BrokenFile, match=message):
        read(nested(classes=classes))


def test_a_class_brings_only_what_is_sound():
    wild = {"id": True, "name": "a", "color": "red", "keypoints": 5, "skeleton": [[1, 2], [0, 1], 3, ["a", "b"], [1]]}
    (entry,) = read(nested(classes=[wild])).header.classes
    assert (entry.ref, entry.color, entry.keypoints, entry.skeleton) == (0, None, (), ((1, 2),))


# Types and geometry -----------------------------------------------------------------------------

SQUARE = [[0, 0], [9, 0], [9, 9]]
FLAT = [0, 0, 9, 0, 9, 9]
RLE = {"size": [480, 640], "counts": "abc"}
BOX = {"type": "bbox", "bbox": [1, 2, 3, 4]}
POLYGON = {"type": "polygon", "rings": [SQUARE]}
CIRCLE = {"type": "circle", "center": [5, 5], "radius": 2}
KEYPOINTS = {"type": "keypoints", "keypoints": [[1, 2, 2], [3, 4, 0]]}
LINE = {"type": "polyline", "points": SQUARE}
ROTATED = {"type": "rotated_bbox", "bbox": [8, 9, 4, 2, 30]}


@pytest.mark.parametrize(
    ("said", "geometry"),
    [
        ({"bbox": [1, 2, 3, 4]}, BOX),
        ({"bbox": [1, 2, 4, 6], "bbox_format": "xyxy"}, BOX),
        ({"x": 1, "y": 2, "width": 3, "height": 4}, BOX),
        ({"geometry": {"x": 1, "y": 2, "width": 3, "height": 4}}, BOX),
        ({"geometry": {"bbox": [1, 2, 3, 4]}, "bbox": [9, 9, 9, 9], "type": "bbox"}, BOX),
        ({"geometry": {"type": "bbox", "bbox": [1, 2, 3, 4]}}, BOX),
        ({"bbox": [1, 2, 3, 4], "segmentation": []}, BOX),
        ({"bbox": [0, 0, 9, 9], "segmentation": [FLAT]}, POLYGON),
        ({"segmentation": FLAT}, POLYGON),
        ({"segmentation": SQUARE}, POLYGON),
        ({"polygon": SQUARE}, POLYGON),
        ({"points": SQUARE, "type": "polygon"}, POLYGON),
        ({"points": [{"x": x, "y": y} for x, y in SQUARE]}, POLYGON),
        ({"geometry": {"rings": [SQUARE]}}, POLYGON),
        ({"bbox": [0, 0, 9, 9], "segmentation": RLE}, {"type": "mask", "rle": RLE}),
        ({"geometry": {"rle": RLE}}, {"type": "mask", "rle": RLE}),
        ({"segmentation": RLE, "type": "rle"}, {"type": "mask", "rle": RLE}),
        ({"circle": {"center": [5, 5], "radius": 2}, "bbox": [3, 3, 4, 4]}, CIRCLE),
        ({"geometry": {"center": [5, 5], "radius": 2}}, CIRCLE),
        ({"center": [5, 5], "radius": 2}, CIRCLE),
        ({"keypoints": [1, 2, 2, 3, 4, 0]}, KEYPOINTS),
        ({"geometry": {"keypoints": [[1, 2, 2], [3, 4, 0]]}, "type": "keypoint"}, KEYPOINTS),
        ({"polyline": FLAT, "bbox": [0, 0, 9, 9]}, LINE),
        ({"geometry": {"line": SQUARE}}, LINE),
        ({"rotated_bbox": [10, 10, 4, 2, 30], "segmentation": [FLAT], "bbox": [8, 8, 4, 4]}, ROTATED),
        ({}, {"type": "classification"}),
    ],
)
def test_every_spelling_of_a_shape_is_understood(said, geometry):
    entry = only(said)
    assert (entry.type, entry.geometry) == (geometry["type"], geometry)


@pytest.mark.parametrize("task", ["line", "line_detection"])
def test_two_points_are_a_line_only_where_the_task_is_lines(task):
    assert only({"polyline": [0, 0, 9, 9]}, task_type=task).type == "line"
    assert only({"polyline": [0, 0, 9, 9]}, task_type="geometry").type == "polyline"
    assert only({"polyline": FLAT}, task_type=task).type == "polyline"


def test_the_image_size_a_geometry_tells_is_kept_where_it_is_one():
    geometry = {"bbox": [1, 2, 3, 4], "image_width": 640.0, "image_height": "480"}
    assert only({"type": "bbox", "geometry": geometry}).geometry == {**BOX, "image_width": 640}


# Values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [(0, 0), (0.5, 50), (1, 100), (1.0, 100), (1.5, 1.5), (90, 90), (100, 100), (None, None), (0.333, 33.3)],
)
def test_confidence_above_one_is_a_percentage(said, expected):
    assert only({"confidence": said}).confidence == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2026-01-12T12:00:00Z", NOON),
        ("2026-01-12T21:00:00+09:00", NOON),
        ("2026-01-12T12:00:00", NOON),
        ("2026-01-12 12:00", NOON),
        ("2026-01-12T12:00:00.000000999Z", NOON),
        ("0099-01-01T00:00:00Z", "0099-01-01T00:00:00.000000Z"),
    ],
)
def test_times_with_any_offset_become_utc(said, expected):
    assert only({"meta": {"created_at": said}}).created_at == expected


@pytest.mark.parametrize("said", [None, "missing"])
def test_a_state_that_is_not_said_is_confirmed(said):
    assert only({} if said == "missing" else {"state": said}).state == "confirmed"


@pytest.mark.parametrize(
    ("metadata", "states", "status"),
    [
        ({"status": "completed"}, ["draft"], "completed"),
        ({"reviewed_at": NOON}, ["confirmed", "verified"], "completed"),
        ({"reviewed_at": NOON}, [], "completed"),
        ({"reviewed_at": NOON}, ["confirmed", "draft"], "in-progress"),
        ({"reviewed_at": None}, ["confirmed"], "in-progress"),
        ({"status": "unheard of"}, ["confirmed"], "in-progress"),
        ({}, [], None),
        ("none", ["confirmed"], "in-progress"),
    ],
)
def test_an_image_status_is_told_or_worked_out(metadata, states, status):
    file = nested(*[{"class_id": 0, "state": state, "bbox": [1, 2, 3, 4]} for state in states])
    file["images"][0]["metadata"] = metadata
    assert read(file).images[0].status == status


@pytest.mark.parametrize("size", [0, -5, None, "640", 640.5, True, 2_000_000, [640]])
def test_a_size_that_is_none_is_unknown(size):
    file = nested()
    file["images"][0]["width"] = size
    assert (read(file).images[0].width, read(file).images[0].height) == (None, 480)


def test_versions_no_row_can_hold_are_left_to_the_database():
    said = [0, -1, 2**31, True, "3", 3]
    found = read(nested(*[{"class_id": 0, "meta": {"version": version}} for version in said]))
    assert [entry.version for entry in found.annotations] == [None, None, None, None, None, 3]


# Bad entries: skipped one by one --------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "must be an object"),
        (None, "must be an object"),
        ([], "must be an object"),
        ({"class_id": [0]}, "class_id must be a number or a text"),
        ({"class_id": True}, "class_id must be a number or a text"),
        ({"class_id": 1.5}, "class_id must be a number or a text"),
        ({"class_name": 7}, "class_name must be a text"),
        ({"class_id": 0, "type": "blob"}, "type 'blob' is not known"),
        ({"class_id": 0, "type": ["bbox"]}, "is not known"),
        ({"class_id": 0, "type": "bbox"}, "its bbox cannot be read"),
        ({"class_id": 0, "bbox": 5}, "its bbox cannot be read"),
        ({"class_id": 0, "bbox": ["a", 2, 3, 4], "bbox_format": "xyxy"}, "its bbox cannot be read"),
        ({"class_id": 0, "polyline": 5}, "its polyline cannot be read"),
        ({"class_id": 0, "polyline": [1, 2, 3]}, "its polyline cannot be read"),
        ({"class_id": 0, "segmentation": 5}, "its polygon cannot be read"),
        ({"class_id": 0, "segmentation": [5]}, "its polygon cannot be read"),
        ({"class_id": 0, "rotated_bbox": [1, 2]}, "its rotated_bbox cannot be read"),
        ({"class_id": 0, "circle": 5}, "its circle cannot be read"),
        ({"class_id": 0, "keypoints": 5}, "its keypoints cannot be read"),
        ({"class_id": 0, "keypoints": {"x": 1}}, "its keypoints cannot be read"),
        ({"class_id": 0, "state": "perhaps"}, "state 'perhaps' is not one of"),
        ({"class_id": 0, "state": []}, "is not one of"),
        ({"class_id": 0, "attributes": [1]}, "attributes must be an object"),
        ({"class_id": 0, "confidence": -1}, "confidence must be a number"),
        ({"class_id": 0, "confidence": 101}, "confidence must be a number"),
        ({"class_id": 0, "confidence": "high"}, "confidence must be a number"),
        ({"class_id": 0, "confidence": True}, "confidence must be a number"),
        ({"class_id": 0, "meta": {"notes": []}}, "meta.notes must be a text"),
        ({"class_id": 0, "meta": {"created_by": {}}}, "meta.created_by must be a text"),
        ({"class_id": 0, "meta": {"created_by": "u" * 151}}, "longer than 150"),
        ({"class_id": 0, "meta": {"created_at": "soon"}}, "meta.created_at is not a time"),
        ({"class_id": 0, "meta": {"created_at": 7}}, "meta.created_at is not a time"),
        ({"class_id": 0, "meta": {"created_at": "0001-01-01T00:00:00+14:00"}}, "out of range"),
        ({"class_id": 0, "x_client_id": "5f0c"}, "x_client_id is not a UUID"),
        ({"class_id": 0, "attributes": {"a": ["x\0"]}}, "NUL"),
        ({"class_id": 0, "attributes": {"a\0": 1}}, "NUL"),
        ({"class_id": 0, "attributes": {"a": "\ud83d"}}, "half of a surrogate pair"),
        ({"class_id": 0, "attributes": {"a": "\udc00x"}}, "half of a surrogate pair"),
    ],
)
def test_a_bad_annotation_is_skipped_with_its_place_and_reason(entry, message):
    assert message in reason(entry)


def test_a_bad_annotation_does_not_take_its_neighbours_along():
    good = {"class_id": 0, "bbox": [1, 2, 3, 4]}
    found = read(nested(good, {"class_id": 0, "state": "perhaps"}, good))
    assert len(found.annotations) == 2
    assert found.skipped == ["images[0].annotations[1]"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (7, "must be an object"),
        ({"id": 1}, "has no file_name"),
        ({"id": 1, "file_name": ""}, "has no file_name"),
        ({"id": 1, "file_name": ["a"]}, "has no file_name"),
        ({"id": True, "file_name": "a.jpg"}, "id must be a number or a text"),
        ({"id": {}, "file_name": "a.jpg"}, "id must be a number or a text"),
        ({"id": 1, "file_name": "a\0.jpg"}, "NUL"),
        ({"id": 1, "file_name": "\ud800.jpg"}, "half of a surrogate pair"),
    ],
)
def test_a_bad_image_is_skipped_with_its_place_and_reason(image, message):
    file = nested({"class_id": 0, "bbox": [1, 2, 3, 4]})
    file["images"].insert(0, image)
    found = read(file)
    assert [(problem.where, message in problem.reason) for problem in found.problems] == [("images[0]", True)]
    assert len(found.annotations) == 1


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"reviewed_at": "soon"}, "metadata.reviewed_at is not a time"),
        ({"reviewed_by": ["u"]}, "metadata.reviewed_by must be a text"),
        ({"reviewed_by": "u" * 151}, "longer than 150"),
    ],
)
def test_an_image_is_read_without_a_history_that_makes_no_sense(metadata, message):
    file = nested({"class_id": 0, "bbox": [1, 2, 3, 4]})
    file["images"][0]["metadata"] = metadata
    found = read(file)
    assert (len(found.images), len(found.annotations), found.skipped) == (1, 1, [])
    assert message in found.problems[0].reason


def test_an_annotation_list_that_is_none_is_a_problem():
    file = nested()
    file["images"][0]["annotations"] = {"0": 1}
    assert read(file).problems == [Problem("images[0].annotations", "must be a list")]


@pytest.mark.parametrize("image_id", [None, True, 1.5, [1]])
def test_a_flat_annotation_without_image_is_a_problem(image_id):
    file = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": image_id, "bbox": [1, 2, 3, 4]}]}
    assert read(file).problems == [Problem("annotations[0]", "names no image_id")]


# Hostile bytes ----------------------------------------------------------------------------------

GOOD = '{"class_id": 0, "bbox": [1, 2, 3, 4]}'


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1" + "0" * 400, "9" * 5000])
def test_a_number_no_parser_takes_costs_only_its_annotation(token):
    text = json.dumps(nested("HERE")).replace('"HERE"', f'{{"class_id": 0, "confidence": {token}}}, {GOOD}')
    found = read(text)
    assert found.skipped == ["images[0].annotations[0]"]
    assert [entry.geometry for entry in found.annotations] == [BOX]


def test_beside_such_a_number_everything_else_is_read_as_it_is():
    attributes = {
        "text": 'NaN, 1e999 and "Infinity" \\ [ { , \U0001f600',
        "decimals": "DECIMALS",
        "edge": 2**63 - 1,
        "least": -(2**63) + 1,
        "tiny": 1e-300,
        "huge": 1e300,
    }
    text = json.dumps(nested({"class_id": 0, "attributes": attributes}, {"confidence": float("nan")}))
    found = read(text.replace('"DECIMALS"', "0.12345678901234567890123456789"))
    assert found.annotations[0].attributes == {**attributes, "decimals": 0.12345678901234568}
    assert found.skipped == ["images[0].annotations[1]"]


def test_texts_longer_than_any_buffer_are_read_beside_such_a_number():
    long = 'x\\"[,' * 700_000
    found = read(nested({"class_id": 0, "attributes": {"long": long}}, {"confidence": float("nan")}))
    assert found.annotations[0].attributes == {"long": long}


def test_pairs_of_escaped_surrogates_are_characters():
    name = "\U0001f600 \\ud83d \U0001d11e"
    found = read(nested({"class_id": 0, "attributes": {name: name}}))
    assert found.annotations[0].attributes == {name: name}


def test_a_pair_across_a_border_of_buffers_is_found():
    for shift in range(12):
        text = " " * (64 * 1024 - 100 - shift) + json.dumps({"images": [{"id": 1, "file_name": "x" * 70 + "\ud83d"}]})
        assert read(text).skipped == ["images[0]"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "must hold a JSON object"),
        (b"7", "must hold a JSON object"),
        (b'"x"', "must hold a JSON object"),
        (b"{]", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"images": []} x', "not JSON"),
        (b'{"a": "\xff\xfe"}', "not"),
        (b'{"a": "\xed\xa0\x80"}', "not"),
        ('{"images": []}'.encode("utf-16"), "not"),
        (b"\x00" * 100, "not JSON"),
        (b'{"images": [], "images": []}', "images twice"),
        (b'{"classes": [], "classes": []}', "classes twice"),
        (b'{"images": {"1": {}}}', "images must be a list"),
        (b'{"images": "x"}', "images must be a list"),
        (b'{"annotations": 7}', "annotations must be a list"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested deeper than 64"),
        (b'{"images": ' + b"[" * 100_000, "nested deeper than 64"),
        (b'{"a":' * 100_000, "nested deeper than 64"),
        (b'{"project_id": "a\\u0000"}', "project_id holds a NUL"),
        (b'{"storage_info": {"image_root": "\\ud800"}}', "storage_info holds a NUL"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_says_why(content, message):
    with pytest.raises(BrokenFile, match=message):
        read(content)


def test_a_text_that_never_ends_breaks_the_file(monkeypatch):
    monkeypatch.setattr("exports.json_source.MAX_VALUE", 3_000_000)
    with pytest.raises(BrokenFile, match="a single value of more than"):
        read(b'{"a": NaN, "b": "' + b"x" * 5_000_000)


def test_keys_with_dots_are_not_taken_for_places():
    file = nested({"class_id": 0, "bbox": [1, 2, 3, 4]}, **{"annotations.item": {"image_id": 1}})
    assert len(read(file).annotations) == 1


def cut_offs(content: bytes) -> Iterator[bytes]:
    return (content[:length] for length in range(1, len(content.rstrip()), 97))


@pytest.mark.parametrize("path", ["working.json", "segmentation.json", "reader/flat-coco.json"])
def test_a_truncated_file_is_broken_wherever_it_ends(path):
    for part in cut_offs((CONTRACT / path).read_bytes()):
        with pytest.raises(BrokenFile):
            read(part)


WRONG = [None, True, -1, 0.5, 2**62, "", "x", [], [[]], [None], {}, {"a": 1}]


def variations(value: Any) -> Iterator[Any]:
    """The value with each place in it, in turn, holding something of each wrong type."""
    yield from WRONG
    if isinstance(value, dict):
        for key, each in value.items():
            yield from ({**value, key: other} for other in variations(each))
            yield {name: kept for name, kept in value.items() if name != key}
    elif isinstance(value, list) and value:
        yield from ([other, *value[1:]] for other in variations(value[0]))


@pytest.mark.parametrize("path", sorted(CONTRACT.glob("[!d]*.json")), ids=lambda path: path.stem)
def test_a_wrong_type_anywhere_is_a_broken_file_or_a_problem(path):
    for varied in variations(json.loads(path.read_text())):
        try:
            read(json.dumps(varied))
        except BrokenFile as error:
            assert str(error)


# Made-up files ----------------------------------------------------------------------------------

TEXTS = st.text(max_size=6) | st.sampled_from(["bbox", "polygon", "\0", "\ud800", "NaN", "-1", "working", "1.0", NOON])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each, max_size=3), max_leaves=8
)
FIELDS = (
    "id", "image_id", "class_id", "category_id", "class_name", "type", "state", "attributes", "confidence", "bbox",
    "bbox_format", "segmentation", "geometry", "polyline", "keypoints", "rotated_bbox", "circle", "meta",
    "x_client_id", "is_background", "points", "rle", "center", "radius",
)  # fmt: skip
ANNOTATIONS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES
IMAGE_FIELDS = dict.fromkeys(("width", "height", "split", "metadata", "annotation", "x_first_modified_at"), VALUES)
IMAGES = VALUES | st.fixed_dictionaries(
    {"id": st.integers() | VALUES, "file_name": TEXTS | VALUES},
    optional={**IMAGE_FIELDS, "annotations": st.lists(ANNOTATIONS, max_size=3)},
)
FILES = VALUES | st.fixed_dictionaries(
    {"images": st.lists(IMAGES, max_size=3) | VALUES},
    optional={
        "annotations": st.lists(ANNOTATIONS, max_size=3) | VALUES,
        **dict.fromkeys(("classes", "categories", "format_version", "task_type", "storage_info"), VALUES),
    },
)


@made_up(50)
@given(FILES)
def test_whatever_a_file_holds_it_is_read_or_refused(file):
    try:
        found = read(json.dumps(file))
    except BrokenFile as error:
        assert str(error)
    else:
        assert all(problem.where and problem.reason for problem in found.problems)
        json.dumps([entry.attributes for entry in found.annotations], allow_nan=False)


@made_up(50)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_whatever_the_bytes_are_they_are_read_or_refused(noise, place):
    content = (CONTRACT / "reader" / "legacy-geometry.json").read_bytes()
    try:
        read(content[:place] + noise + content[place + len(noise) :])
    except BrokenFile as error:
        assert str(error)


# Memory -----------------------------------------------------------------------------------------


def peak_of(path: Path) -> int:
    """The most bytes held while a file is read to its end."""
    tracemalloc.start()
    with path.open("rb") as file:
        count = sum(isinstance(entry, FileAnnotation) for entry in open_file(file).entries())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count
    return peak


@pytest.mark.parametrize("file_format", ["dice", "coco"])
def test_memory_does_not_grow_with_the_images(tmp_path, file_format):
    paths = [tmp_path / name for name in ("warm", "few", "many")]
    for path, count in zip(paths, (10, 1_000, 8_000), strict=True):
        path.write_bytes(written(file_format, a_dataset(), many_images(count, boxes=1))[0])
    _, few, many = [peak_of(path) for path in paths]
    # Less than six bytes for each further image: nothing is kept of it.
    assert many < few + 40_000
