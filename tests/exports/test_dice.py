"""The DICE file: schema, golden files, what each type becomes, statistics, guards."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import msgspec
import orjson
import pytest

from exports.canonical import ContentHash, digest
from exports.errors import ExportError
from exports.rows import AnnotationRow, Dataset, ImageRow, LabelClass, Unread
from tests.exports.builders import (
    CAT,
    CONTRACT,
    DOG,
    GOLDEN,
    TASKS,
    a_box,
    a_dataset,
    a_row,
    an_image,
    codes,
    dice,
    written,
)

TOP_ORDER = [
    "format_version", "dataset_id", "dataset_name", "project_id", "task_type", "version", "version_type",
    "include_draft", "created_at", "last_modified_at", "storage_info", "classes", "images", "splits",
    "statistics", "content_hash",
]  # fmt: skip
CLIENT_ID = "5f0c1b5e-7a0e-4d4f-9a56-0d1c6e6f1a11"
PUBLISHED_EXAMPLES = ["classification", "detection", "geometry", "keypoints", "line", "segmentation"]


def all_types(task: str, kind: str) -> tuple[Dataset, list[ImageRow]]:
    """A dataset of one task with every type it allows, a marker, an empty image and a long name."""
    rows = [a_row(index, type_, confidence=87.5) for index, type_ in enumerate(TASKS[task], start=1)]
    marker = a_row(90, "no_object", attributes={"task_type": task})
    more = {"notes": "둥글다", "client_id": CLIENT_ID, "version": 3} if kind == "working" else {}
    images = [
        an_image(1, *rows, labeled_by="u-1", labeled_at="2026-01-12T08:30:11.000000Z"),
        an_image(2, marker, split="test"),
        an_image(3, reviewed_by="u-2", reviewed_at="2026-01-12T09:00:00.000000Z", depth=1),
        an_image(4, a_row(95, TASKS[task][0], class_key=DOG.key, **more), file_name="고양이/0004.png"),
    ]
    return a_dataset(task, kind, has_background=True, has_rotated=task == "detection"), images


# Golden files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["published", "working", "export"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_and_kind_is_written_byte_for_byte_as_before(task, kind):
    content, _ = written("dice", *all_types(task, kind))
    golden = GOLDEN / "dice" / f"{task}_{kind}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(content)
    assert content == golden.read_bytes()


@pytest.mark.parametrize("kind", ["published", "working", "export"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_and_kind_fits_the_schema(task, kind):
    dataset, images = all_types(task, kind)
    assert dice(dataset, *images)["statistics"]["total_images"] == 4


# A person's own splits, and the flat mirror --------------------------------------------------------


def test_a_split_a_person_chose_is_told_beside_the_counts():
    images = [an_image(1, a_row(1), split="val"), an_image(2, a_row(2))]
    said = dice(a_dataset(), *images)
    assert list(said)[list(said).index("splits") + 1] == "split_config"
    assert said["split_config"] == {
        "method": "partial", "default_ratio": [0.7, 0.2, 0.1], "seed": 0, "created_at": "2026-01-12T11:00:00.000000Z",
        "splits": {"1": "val"},
    }  # fmt: skip
    both = dice(a_dataset(), an_image(1, a_row(1), split="val"), an_image(2, a_row(2), split="test"))
    assert (both["split_config"]["method"], both["split_config"]["splits"]) == ("manual", {"1": "val", "2": "test"})
    assert "split_config" not in dice(a_dataset(), an_image(1, a_row(1)))


def test_the_flat_mirror_repeats_what_has_a_box_and_changes_no_hash():
    dataset, images = all_types("detection", "published")
    plain, mirrored = dice(dataset, *images), dice(replace(dataset, flat_mirror=True), *images)
    flat = mirrored.pop("annotations")
    assert mirrored.pop("categories") == [entry for entry in plain["classes"] if entry["name"] != "__background__"]
    assert mirrored == plain
    assert flat == [row for image in plain["images"] for row in image["annotations"] if "bbox" in row] and flat
    empty = dice(a_dataset(flat_mirror=True))
    assert (empty["annotations"], len(empty["categories"])) == ([], 2)


# The contract's examples, rebuilt from rows --------------------------------------------------------


def pairs(values: list, size: int) -> list:
    return [values[at : at + size] for at in range(0, len(values), size)]


def geometry_of(entry: dict) -> dict:
    """The stored shape an example's annotation came from."""
    kind = entry["type"]
    if kind == "rotated_bbox":
        cx, cy, w, h, angle = entry["rotated_bbox"]
        return {"bbox": [cx - w / 2, cy - h / 2, w, h, angle]}
    if kind == "polygon":
        return {"rings": [pairs(ring, 2) for ring in entry["segmentation"]]}
    if kind == "mask":
        return {"rle": entry["segmentation"]}
    if kind in ("polyline", "line"):
        return {"points": pairs(entry["polyline"], 2)}
    if kind == "keypoints":
        return {"keypoints": pairs(entry["keypoints"], 3)}
    return entry.get("circle") or {"bbox": entry.get("bbox")}


def row_of(entry: dict, keys: list[str]) -> AnnotationRow:
    marker, confidence = entry["type"] == "no_object", entry.get("confidence")
    return AnnotationRow(
        id=entry["id"],
        type=entry["type"],
        geometry={"type": entry["type"], **geometry_of(entry)},
        bbox=entry.get("bbox"),
        area=entry.get("area"),
        class_key=None if marker else keys[entry["class_id"]],
        state=entry["state"],
        attributes=entry["attributes"],
        confidence=None if confidence is None else confidence * 100,
    )


def image_of(image: dict, keys: list[str]) -> ImageRow:
    fields = ("id", "file_name", "width", "height", "depth", "split")
    people = ("labeled_by", "labeled_at", "reviewed_by", "reviewed_at", "status")
    return ImageRow(
        **{name: image[name] for name in fields},
        **{name: image["metadata"][name] for name in people},
        annotations=[row_of(entry, keys) for entry in image["annotations"]],
    )


def class_of(entry: dict) -> LabelClass:
    lists = {name: tuple(map(tuple_or_text, entry[name])) for name in ("keypoints", "skeleton") if name in entry}
    plain = {name: entry[name] for name in ("name", "color", "supercategory", "key")}
    return LabelClass(index=entry["id"], **plain, **lists)


def tuple_or_text(value: str | list) -> str | tuple:
    return value if isinstance(value, str) else tuple(value)


def rebuilt(example: dict) -> dict:
    keys = [entry["key"] for entry in example["classes"]]
    top = ("dataset_id", "dataset_name", "project_id", "version", "version_type", "include_draft",
           "created_at", "last_modified_at", "storage_info")  # fmt: skip
    tasks = {
        "object_detection": "detection",
        "image_classification": "classification",
        "instance_segmentation": "segmentation",
        "keypoint_detection": "keypoint",
        "line_detection": "line",
        "geometry_detection": "geometry",
    }
    dataset = Dataset(
        **{name: example[name] for name in top},
        task_type=tasks[example["task_type"]],
        classes=tuple(class_of(entry) for entry in example["classes"] if entry["key"] != "__background__"),
        has_background="__background__" in keys,
    )
    return dice(dataset, *[image_of(image, keys) for image in example["images"]])


def as_the_example_writes(entry: dict, example: dict) -> dict:
    """Ours with the example's liberties: rounded corners, and confidence left out where it is null."""
    same = dict(entry)
    if "confidence" not in example:
        assert same.pop("confidence") is None
    if entry["type"] == "rotated_bbox":
        same["segmentation"] = [[round(value, 2) for value in ring] for ring in entry["segmentation"]]
    return same


@pytest.mark.parametrize("name", PUBLISHED_EXAMPLES)
def test_the_contract_examples_come_out_of_their_rows(name):
    example = json.loads((CONTRACT / f"{name}.json").read_text())
    ours = rebuilt(example)
    for mine, theirs in zip(ours["images"], example["images"], strict=True):
        entries = zip(mine["annotations"], theirs["annotations"], strict=True)
        mine["annotations"] = [as_the_example_writes(entry, other) for entry, other in entries]
        assert mine == theirs
    assert ours["classes"] == example["classes"]
    assert ours["splits"] == example["splits"]
    assert {**ours["statistics"], **example["statistics"]} == ours["statistics"]


# Layout -----------------------------------------------------------------------------------------


def test_top_level_keys_come_in_the_order_of_the_contract():
    assert list(dice(a_dataset(), an_image(1, a_row()))) == TOP_ORDER


def test_each_image_has_a_line_of_its_own():
    lines = written("dice", a_dataset(), [an_image(1, a_row()), an_image(2)])[0].splitlines()
    assert [json.loads(line.rstrip(b","))["id"] for line in lines[1:3]] == [1, 2]
    assert len(lines) == 4


def test_a_file_without_images_is_whole():
    parsed = dice(a_dataset())
    assert parsed["images"] == []
    assert parsed["statistics"]["avg_annotations_per_image"] == 0


def test_the_content_hash_is_that_of_the_written_images():
    parsed = dice(a_dataset(), an_image(1, a_row(confidence=33.3)), an_image(2))
    content = ContentHash(parsed["dataset_id"], parsed["task_type"], parsed["classes"])
    content.add(bytes.fromhex("".join(digest(image) for image in parsed["images"])))
    assert parsed["content_hash"] == content.value()


def test_the_summary_says_what_the_file_says():
    content, summary = written("dice", a_dataset(), [an_image(1, a_row(1), a_row(2)), an_image(2)])
    parsed = json.loads(content)
    assert (summary.annotation_count, summary.image_count, summary.content_hash) == (
        2,
        2,
        parsed["content_hash"],
    )


# Annotations and classes ---------------------------------------------------------------------------


def first(parsed: dict) -> dict:
    return parsed["images"][0]["annotations"][0]


def test_a_turned_box_has_its_corners_in_order():
    entry = first(dice(a_dataset(), an_image(1, a_row(1, "rotated_bbox"))))
    assert entry["rotated_bbox"] == [130, 110, 60, 20, 90]
    assert entry["segmentation"][0] == pytest.approx([140, 80, 140, 140, 120, 140, 120, 80])


def test_keypoints_count_those_that_are_labeled():
    entry = first(dice(a_dataset("keypoint"), an_image(1, a_row(1, "keypoints"))))
    assert entry["keypoints"] == [10, 10, 2, 20, 30, 1, 0, 0, 0]
    assert entry["num_keypoints"] == 2


@pytest.mark.parametrize("kind", ["bbox", "rotated_bbox", "polygon", "polyline", "line", "circle", "keypoints"])
def test_a_row_without_box_and_area_gets_those_of_its_shape(kind):
    task = next(task for task, kinds in TASKS.items() if kind in kinds)
    full, bare = a_row(1, kind), a_row(1, kind, bbox=None, area=None)
    expected = first(dice(a_dataset(task), an_image(1, full)))
    derived = first(dice(a_dataset(task), an_image(1, bare)))
    assert derived["bbox"] == pytest.approx(expected["bbox"])
    assert derived["area"] == pytest.approx(expected["area"])


def test_a_mask_without_a_box_is_an_error_that_names_it():
    with pytest.raises(ExportError, match=r"Annotation 7 \(mask\) brings no box"):
        dice(a_dataset("segmentation"), an_image(1, a_row(7, "mask", bbox=None, area=None)))


def test_confidence_is_written_as_a_share():
    assert first(dice(a_dataset(), an_image(1, a_row(confidence=92.3))))["confidence"] == 0.923
    assert first(dice(a_dataset(), an_image(1, a_row(confidence=100))))["confidence"] == 1


def test_attributes_of_any_size_do_not_stop_a_save():
    huge = {"big": 1e30, "far": 10**25, "text": '"\u2028한'}
    assert first(dice(a_dataset(), an_image(1, a_row(attributes=huge))))["attributes"] == huge


def test_the_single_label_of_an_image_is_copied():
    image = dice(a_dataset("classification"), an_image(1, a_row(1, "classification")))["images"][0]
    assert image["annotation"] == {"class_id": 0, "class_name": "cat", "confidence": None}


def test_two_labels_of_an_image_are_not_copied():
    rows = a_row(1, "classification"), a_row(2, "classification", class_key=DOG.key)
    assert "annotation" not in dice(a_dataset("classification"), an_image(1, *rows))["images"][0]


def test_the_background_class_comes_last_and_is_the_class_of_markers():
    parsed = dice(a_dataset(has_background=True), an_image(1, a_row(1, "no_object")))
    assert [entry["name"] for entry in parsed["classes"]] == ["cat", "dog", "__background__"]
    assert (first(parsed)["class_id"], first(parsed)["is_background"]) == (2, True)


def test_retired_classes_stay_in_their_place():
    retired = LabelClass(1, "k-old", "old", retired=True)
    parsed = dice(a_dataset(classes=(CAT, retired)), an_image(1, a_row()))
    assert parsed["classes"][1]["name"] == "old"
    assert parsed["statistics"]["class_distribution"] == {"cat": 1, "old": 0}


def test_file_format_is_the_extension_in_lower_case():
    names = ["a.JPG", "b.tar.Png", "folder.d/no_extension", "c.j-p"]
    parsed = dice(a_dataset(), *[an_image(at, file_name=name) for at, name in enumerate(names, start=1)])
    assert [image["file_format"] for image in parsed["images"]] == ["jpg", "png", "bin", "bin"]


# Working files ------------------------------------------------------------------------------------


def test_a_working_file_brings_back_everything():
    row = a_row(
        state="draft",
        notes="n",
        version=4,
        client_id="c-1",
        updated_by="u-2",
        updated_at="2026-01-12T08:31:00Z",
    )
    image = an_image(1, row, first_modified_at="2026-01-12T08:30:00Z", status="in-progress")
    parsed = dice(a_dataset(kind="working"), image)
    entry = first(parsed)
    assert entry["geometry"] == row.geometry
    assert entry["x_client_id"] == "c-1"
    assert (entry["meta"]["version"], entry["meta"]["notes"], entry["meta"]["updated_by"]) == (4, "n", "u-2")
    assert parsed["images"][0]["x_first_modified_at"] == "2026-01-12T08:30:00Z"
    assert parsed["images"][0]["x_last_modified_at"] is None


def test_a_working_file_holds_drafts_without_class_and_images_without_size():
    image = an_image(1, a_row(class_key=None, state="draft"), width=None, height=None, status="in-progress")
    parsed = dice(a_dataset(kind="working"), image)
    assert (first(parsed)["class_id"], first(parsed)["class_name"]) == (None, "(no class)")
    assert parsed["statistics"]["class_distribution"] == {"cat": 0, "dog": 0, "(no class)": 1}


@pytest.mark.parametrize("kind", ["published", "export"])
def test_other_files_hold_nothing_of_that(kind):
    row = a_row(notes="n", client_id="c-1")
    parsed = dice(a_dataset(kind=kind), an_image(1, row))
    assert not {"geometry", "meta", "x_client_id"} & set(first(parsed))
    assert not [name for name in parsed["images"][0] if name.startswith("x_")]


# Statistics, warnings, guards ------------------------------------------------------------------------


def test_statistics_count_classes_states_splits_sizes_and_negatives():
    images = [
        an_image(1, a_box(1, [0, 0, 31, 33]), a_box(2, [0, 0, 32, 32], state="verified"), split="train"),
        an_image(2, a_box(3, [0, 0, 96, 96], class_key=DOG.key), split="val"),
        an_image(3, a_row(4, "no_object"), split="val"),
        an_image(4, split="test"),
    ]
    statistics = dice(a_dataset(has_background=True), *images)["statistics"]
    assert statistics == {
        "total_images": 4,
        "total_annotations": 4,
        "avg_annotations_per_image": 1,
        "class_distribution": {"cat": 2, "dog": 1, "__background__": 1},
        "split_distribution": {"train": 1, "val": 2, "test": 1},
        "state_distribution": {"draft": 0, "confirmed": 3, "verified": 1},
        "negative_images": 2,
        "bbox_size_stats": {"small": 1, "medium": 1, "large": 1},
    }


def test_a_marker_beside_objects_is_dropped_with_a_warning():
    image = an_image(1, a_row(1), a_row(2, "no_object"))
    content, summary = written("dice", a_dataset(has_background=True), [image])
    assert [entry["id"] for entry in json.loads(content)["images"][0]["annotations"]] == [1]
    assert codes(summary) == {"no_object_beside_objects": [2]}


def test_a_folder_named_images_is_warned_about():
    images = [an_image(1, file_name="x/images/1.jpg"), an_image(2, file_name="images.jpg")]
    _, summary = written("dice", a_dataset(), images)
    assert codes(summary) == {"path_segment_images": ["x/images/1.jpg"]}


def test_a_warning_counts_all_and_names_ten():
    images = [an_image(number, file_name=f"images/{number}.jpg") for number in range(1, 26)]
    (warning,) = written("dice", a_dataset(), images)[1].warnings
    assert (warning["count"], len(warning["sample"])) == (25, 10)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (an_image(1, a_row(8, class_key=None)), "Annotation 8 has no class"),
        (an_image(1, a_row(8, class_key="gone")), "Annotation 8 has class 'gone', which is not listed"),
        (an_image(1, width=None), "a/0001.jpg has no known size"),
        (an_image(1, height=0), "a/0001.jpg has no known size"),
        (an_image(1, a_row(8, "no_object")), "Annotation 8 is a no_object marker"),
    ],
)
def test_a_published_file_is_refused_rather_than_guessed(image, reason):
    with pytest.raises(ExportError, match=reason):
        written("dice", a_dataset(), [image])


def test_gaps_between_class_ids_are_refused():
    with pytest.raises(ExportError, match=r"must be 0 to 0 in order, not \[1\]"):
        written("dice", a_dataset(classes=(DOG,)), [])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_json_does_not_know_never_reach_a_file(number):
    text = orjson.dumps(msgspec.to_builtins(a_row(attributes={"x": 1}))).decode()
    assert Unread(f"{text},{text}")[1].attributes == {"x": 1}
    unread = Unread(text.replace('{"x":1}', f'{{"x":{number}}}'))
    with pytest.raises(msgspec.DecodeError):
        written("dice", a_dataset(), [msgspec.structs.replace(an_image(), annotations=unread)])
