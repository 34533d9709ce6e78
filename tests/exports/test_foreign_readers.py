"""YOLO zips, CVAT XML and Label Studio JSON: what is read, and what is refused by name."""

from __future__ import annotations

import io
import json
import zipfile
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from exports import cvat_reader, readers, yolo_reader
from exports.errors import BrokenFile
from exports.rows import FileAnnotation, FileImage, Problem
from exports.yolo_reader import Known
from tests.cases import made_up
from tests.exports.builders import a_box, a_dataset, a_row, an_image, written

IMAGES = {"a/0001": [Known("a/0001.jpg", 640, 480)], "a/0002": [Known("a/0002.jpg", 640, 480)],
          "two": [Known("two.jpg", 9, 9), Known("two.png", 9, 9)], "odd": [Known("odd.jpg", None, None)]}  # fmt: skip


def opened(content: bytes, name: str | None = None, task: str = "detection") -> Any:
    return readers.open_file(
        io.BytesIO(content),
        name,
        lookup=lambda stems: {stem: IMAGES[stem] for stem in stems if stem in IMAGES},
        task=task,
    )


def read(content: bytes, name: str | None = None, task: str = "detection") -> tuple[list, list, list]:
    """Images, annotations and problems of a file."""
    entries = list(opened(content, name, task).entries())
    return tuple([each for each in entries if isinstance(each, kind)] for kind in (FileImage, FileAnnotation, Problem))  # type: ignore[return-value]


def packed(**members: str | bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_yaml", ".yaml"), content)
    return out.getvalue()


def yolo(labels: dict[str, str], data: str = "names: [cat, dog]\n") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data.yaml", data)
        for name, content in labels.items():
            archive.writestr(f"labels/{name}.txt", content)
    return out.getvalue()


# YOLO ----------------------------------------------------------------------------------------------


def test_a_box_of_shares_is_a_box_of_pixels_and_an_empty_file_says_nothing_is_there():
    images, (box,), problems = read(yolo({"a/0001": "1 0.5 0.5 0.25 0.5\n", "a/0002": ""}))
    assert (box.type, box.geometry["bbox"], box.class_name) == ("bbox", [240, 120, 160, 240], "dog")
    assert [(image.file_name, image.status) for image in images] == [("a/0001.jpg", None), ("a/0002.jpg", "completed")]
    assert problems == []


def test_every_row_that_cannot_be_read_is_named_with_its_line():
    rows = "0 0.5 0.5 0.1 0.1\nx 1 1 1 1\n9 0.5 0.5 0.1 0.1\n0 0.1 nan 0.1 0.1\n0 0.1 0.2 0.3\n"
    _, good, problems = read(yolo({"a/0001": rows, "two": "0 0 0 1 1", "odd": "0 0 0 1 1", "none": "0 0 0 1 1"}))
    assert len(good) == 1
    assert [problem.where for problem in problems] == [
        *(f"labels/a/0001.txt:{line}" for line in (2, 3, 4, 5)),
        "labels/two.txt", "labels/odd.txt:1", "labels/none.txt",
    ]  # fmt: skip


def test_a_label_file_of_another_encoding_is_named_and_the_others_are_read():
    content = packed(
        **{
            "data_yaml": "names: {0: cat}\n",
            "labels__a__0001.txt": b"\xff\xfe0",
            "labels__a__0002.txt": "0 .5 .5 .1 .1",
        }
    )
    _, good, (problem,) = read(content)
    assert len(good) == 1 and "UTF-8" in problem.reason


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"../labels/x.txt": "0"}, "leaves its folder"),
        ({"/labels/x.txt": "0"}, "leaves its folder"),
        ({"labels\\x.txt": "0"}, "labels"),
        ({"C:/labels/x.txt": "0"}, "leaves its folder"),
        ({"notes.txt": "0"}, "no folder labels"),
        ({"labels/x.txt": "0"}, "class names"),
        ({"labels/x.txt": "0", "data.yaml": "names: {0: a, 2: b}"}, "without gaps"),
        ({"labels/x.txt": "0", "data.yaml": "names: [a"}, "cannot be read"),
        ({"labels/x.txt": "0", "data.yaml": "names: [a]\nkpt_shape: 5"}, "kpt_shape"),
        ({"labels/x.txt": "0", "data.yaml": "!!python/object/apply:os.system ['true']"}, "cannot be read"),
        ({"labels/x.txt": "0" * 3_000_000, "data.yaml": "names: [a]"}, "unpacks to"),
    ],
)  # fmt: skip
def test_a_zip_that_cannot_be_trusted_is_refused(members, word):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(BrokenFile, match=word):
        opened(out.getvalue(), "yolo")


@pytest.mark.parametrize(("limit", "most", "word"), [("MOST_MEMBERS", 2, "members"), ("MOST_BYTES", 1000, "GiB")])
def test_a_zip_of_more_than_is_read_is_refused(monkeypatch, limit, most, word):
    monkeypatch.setattr(yolo_reader, limit, most)
    members = {
        "data_yaml": "names: [a]",
        "labels__x.txt": "0 .5 .5 .1 .1\n" * 50,
        "labels__y.txt": "0 .5 .5 .1 .1\n" * 50,
    }
    with pytest.raises(BrokenFile, match=word):
        opened(packed(**members))


def test_a_link_in_a_zip_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("labels/x.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BrokenFile, match="link"):
        opened(out.getvalue())


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"data.yaml": "names: [~, b]"}, "class names"),
        ({"data.yaml": "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]"}, "class names"),
        ({"data.yaml": "names: {0: a, '0': b}"}, "without gaps"),
        ({"data.yaml": "names: [a]\nx: " + "9" * 5000}, "cannot be read"),
        ({"data.yaml": "names: [a]\nx: 2024-99-99"}, "cannot be read"),
        ({"data.yaml": "names: ['']"}, "empty name"),
        ({"classes.txt": "ä\n".encode("latin-1")}, "UTF-8"),
    ],
)
def test_names_that_cannot_be_read_are_refused(members, word):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {"labels/a/0001.txt": "0 .5 .5 .1 .1", **members}.items():
            archive.writestr(name, content)
    with pytest.raises(BrokenFile, match=word):
        opened(out.getvalue())


def test_names_may_have_numbers_as_text_and_classes_a_mark_of_their_encoding():
    labels = {"a/0001": "1 .5 .5 .1 .1"}
    assert [each.class_name for each in read(yolo(labels, "names: {'0': a, '1': b}"))[1]] == ["b"]
    content = packed(**{"classes.txt": "\ufeffa\nb\n\n", "labels__a__0001.txt": "0 .5 .5 .1 .1"})
    assert [each.class_name for each in read(content)[1]] == ["a"]


def test_a_label_file_that_is_there_twice_is_named_and_not_read():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("data.yaml", "labels/a/0001.txt", "labels/a/0002.txt"):
            archive.writestr(name, "names: [a]" if name == "data.yaml" else "0 .5 .5 .1 .1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("labels/a/0001.txt", "0 .2 .2 .1 .1")
    _, found, problems = read(out.getvalue())
    assert [each.file_image_id for each in found] == ["a/0002.jpg"]
    assert {problem.where for problem in problems} == {"labels/a/0001.txt"} and len(problems) == 2


def test_a_member_packed_in_a_way_nobody_knows_is_named():
    content = bytearray(yolo({"a/0001": "0 .5 .5 .1 .1", "a/0002": "0 .5 .5 .1 .1"}))
    content[content.rfind(b"PK\x01\x02") + 10] = 99
    _, found, (problem,) = read(bytes(content))
    assert len(found) == 1 and problem.where == "labels/a/0002.txt"


def test_a_sixth_number_is_the_confidence():
    _, found, (problem,) = read(yolo({"a/0001": "0 .5 .5 .1 .1 0.875\n0 .5 .5 .1 .1 7"}))
    assert [each.confidence for each in found] == [87.5] and "confidence" in problem.reason


def test_labels_below_a_split_are_of_the_image_without_it():
    images, found, problems = read(yolo({"train/a/0001": "0 .5 .5 .1 .1", "other/a/0002": "0 .5 .5 .1 .1"}))
    assert [image.file_name for image in images] == ["a/0001.jpg"] and len(found) == 1
    assert [problem.where for problem in problems] == ["labels/other/a/0002.txt"]


def test_what_only_looks_like_a_number_is_none():
    rows = "0 1_0 .5 .1 .1\n0 .5 .5 .1 .1"
    _, found, (problem,) = read(yolo({"a/0001": rows}))
    assert len(found) == 1 and "1_0" in problem.reason
    _, found, problems = read(yolo({"a/0001": "0 .5 .5 .1 .1 .5 .5 1.5"}, "names: [a]\nkpt_shape: [1, 3]"))
    assert [each.geometry["keypoints"][0][2] for each in found] == [1.5] and problems == []


def test_what_is_no_zip_is_refused():
    with pytest.raises(BrokenFile, match="no zip"):
        opened(b"PK\x03\x04 and nothing", "yolo")


shares = st.floats(0.05, 0.45)


@made_up(100)
@given(
    st.lists(st.tuples(shares, shares, shares, shares, st.floats(-179.9, 179.9)), min_size=1, max_size=4),
    st.sampled_from(["detect", "obb", "segment", "pose"]),
)
def test_what_yolo_carries_comes_back_within_its_decimals(shapes, form):
    """Generated projects through our writer and this reader."""
    task = {"detect": "detection", "obb": "detection", "segment": "segmentation", "pose": "keypoint"}[form]
    rows = [_row(number, form, shape) for number, shape in enumerate(shapes, 1)]
    content, summary = written("yolo", a_dataset(task, has_rotated=form == "obb"), [an_image(1, *rows)])
    _, found, problems = read(content, task=task)
    assert problems == [] and len(found) == len(rows) and summary.warnings == []
    for row, back in zip(rows, found, strict=True):
        assert back.class_name == "cat"
        assert _flat(back.geometry, form) == pytest.approx(_flat(row.geometry, form), abs=0.01)


def _row(number: int, form: str, shape: tuple[float, ...]) -> Any:
    x, y, w, h = (round(value * side, 3) for value, side in zip(shape[:4], (640, 480, 640, 480), strict=True))
    if form == "detect":
        return a_box(number, [x, y, w, h])
    if form == "obb":
        # Small and in the middle, so that no corner is cut off.
        return a_row(
            number,
            "rotated_bbox",
            geometry={"type": "rotated_bbox", "bbox": [250 + x / 9, 200 + y / 9, 20 + w / 9, 9 + h / 9, shape[4]]},
            bbox=None,
        )
    if form == "segment":
        return a_row(number, "polygon", geometry={"type": "polygon", "rings": [[[x, y], [x + w, y], [x + w, y + h]]]})
    points = [[x + 1, y + 1, 2], [0, 0, 0], [x + w, y + h, 1]]
    return a_row(
        number,
        "keypoints",
        geometry={"type": "keypoints", "keypoints": points, "bbox": [x, y, w, h]},
        bbox=[x, y, w, h],
    )


def _flat(geometry: dict, form: str) -> list[float]:
    if form == "segment":
        (ring,) = geometry.get("rings") or [geometry["points"]]
        return [value for point in ring for value in point]
    if form == "pose":
        return [*geometry["bbox"], *(value for point in geometry["keypoints"] for value in point)]
    if form == "obb":
        # The angle is as exact as the corners: of a box 9 high, a hundredth of a pixel is some hundredths of a degree.
        x, y, w, h, angle = [*geometry["bbox"], 0][:5]
        return [x + w / 2, y + h / 2, w, h, (angle % 360) / 1000 if 0.5 < angle % 360 < 359.5 else 0]
    return geometry["bbox"]


# CVAT ----------------------------------------------------------------------------------------------

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels>
<label><name>car</name><color>#aa0000</color><type>any</type></label>
<label><name>person</name><color>#00aa00</color><type>skeleton</type></label>
<label><name>head</name><type>points</type><parent>person</parent></label>
<label><name>foot</name><type>points</type><parent>person</parent></label>
</labels></task></meta>
<image id="0" name="a/0001.jpg" width="640" height="480" subset="Train">
<box label="car" source="manual" occluded="1" xtl="10.5" ytl="20" xbr="110.5" ybr="70" z_order="0">
<attribute name="make">여과</attribute></box>
<box label="car" xtl="10" ytl="20" xbr="110" ybr="70" rotation="350.0"/>
<polygon label="car" points="1,2;30,2;30,40"/>
<polyline label="car" points="1,2;30,2"/>
<ellipse label="car" cx="50" cy="60" rx="10" ry="10"/>
<ellipse label="car" cx="50" cy="60" rx="10" ry="30"/>
<skeleton label="person"><points label="foot" outside="0" occluded="1" points="5,6"/>
<points label="head" outside="0" occluded="0" points="3,4"/></skeleton>
<skeleton label="person"><points label="tail" points="5,6"/></skeleton>
<points label="car" points="5,6"/>
<tag label="car"/>
<polygon label="car" points="1,x"/>
</image>
<image id="1" name="a/0002.jpg" width="none" height="480"><tag label="car"/></image>
<image id="2" name="a/0003.jpg" width="4" height="3">
<mask label="car" rle="1, 2, 1" left="1" top="1" width="2" height="2"/>
<mask label="car" rle="1, 2" left="1" top="1" width="2" height="2"/></image>
</annotations>"""


def test_cvat_shapes_are_read_as_ours():
    images, found, problems = read(CVAT.encode())
    assert [(image.file_name, image.width, image.split) for image in images] == [
        ("a/0001.jpg", 640, "train"),
        ("a/0003.jpg", 4, None),
    ]
    assert [(each.type, each.class_name) for each in found] == [
        ("bbox", "car"), ("rotated_bbox", "car"), ("polygon", "car"), ("polyline", "car"), ("circle", "car"),
        ("keypoints", "person"), ("classification", "car"), ("mask", "car"),
    ]  # fmt: skip
    assert (found[0].geometry["bbox"], found[0].attributes) == ([10.5, 20, 100, 50], {"make": "여과", "occluded": True})
    assert found[1].geometry["bbox"] == [10, 20, 100, 50, -10]
    assert found[5].geometry["keypoints"] == [[3, 4, 2], [5, 6, 1]]
    mask = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=np.uint8)
    assert (coco.decode(coco.frPyObjects(found[7].geometry["rle"], 3, 4)) == mask).all()
    assert len(problems) == 6 and all("image" in problem.where for problem in problems)
    header = opened(CVAT.encode()).header
    assert [(entry.name, entry.keypoints) for entry in header.classes] == [("car", ()), ("person", ("head", "foot"))]


@made_up(60)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.randoms(),
)
def test_any_cvat_mask_marks_the_same_pixels(w, h, left, top, right, bottom, chance):
    pixels = np.array([[chance.randint(0, 1) for _ in range(w)] for _ in range(h)], dtype=np.uint8)
    runs, value, run = [], 0, 0
    for pixel in pixels.flatten():
        if pixel != value:
            runs.append(run)
            value, run = pixel, 0
        run += 1
    whole = np.pad(pixels, ((top, bottom), (left, right)))
    lengths = ", ".join(map(str, [*runs, run]))
    shape = f'<mask label="c" rle="{lengths}" left="{left}" top="{top}" width="{w}" height="{h}"/>'
    image = f'<image id="1" name="x.png" width="{whole.shape[1]}" height="{whole.shape[0]}">{shape}</image>'
    text = f"<annotations>{image}</annotations>"
    _, (mask,), _ = read(text.encode())
    rle = mask.geometry["rle"]
    assert sum(rle["counts"]) == whole.size
    assert (coco.decode(coco.frPyObjects(rle, *rle["size"])) == whole).all()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "DTD"),
        (b"<annotations><image", "not XML"),
        (b"<html></html>", "CVAT"),
        ("<annotations/>".encode("utf-16"), "UTF-8"),
        (b"<annotations>" + b" " * 2_000_000 + b"<!DOCTYPE x></annotations>", "DTD"),
    ],
)
def test_xml_that_cannot_be_trusted_is_refused(content, word):
    with pytest.raises(BrokenFile, match=word):
        list(opened(content, "cvat").entries())


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'<image name="' + b"x" * 300_000 + b'"/>', "MiB"),
        (b"<image>" + b"x" * 300_000 + b"</image>", "MiB"),
        (b"<image>" + b"<box/>" * 1001 + b"</image>", "elements"),
        (b"<image>" * 70 + b"</image>" * 70, "deeper"),
    ],
)
def test_one_image_of_a_file_holds_no_more_than_fits_into_memory(monkeypatch, content, word):
    for name, most in {"BITE": 10_000, "MOST_BYTES": 100_000, "MOST_PARTS": 1000}.items():
        monkeypatch.setattr(cvat_reader, name, most)
    with pytest.raises(BrokenFile, match=word):
        list(opened(b"<annotations>" + content + b"</annotations>", "cvat").entries())
    several = b'<image name="a" width="9" height="9">' + b"<box/>" * 600 + b"</image>" + b" " * 90_000
    list(opened(b"<annotations>" + several * 5 + b"</annotations>", "cvat").entries())


@pytest.mark.parametrize("encoding", ["foo-9", "utf-7", "shift_jis", "rot13", "idna"])
def test_xml_of_an_encoding_that_is_not_read_is_refused(encoding):
    content = f'<?xml version="1.0" encoding="{encoding}"?><annotations/>'.encode()
    with pytest.raises(BrokenFile, match="encoding"):
        list(opened(content, "cvat").entries())


def test_cvat_tracks_strange_shapes_and_sizes_beyond_measure_are_listed():
    labels = (
        "<meta><labels><label><name>p</name></label><label><name>l</name><parent>p</parent></label></labels></meta>"
    )
    images = "".join(
        f'<image id="1" name="x.png" width="{width}" height="9"/>' for width in ("-5", "1.5", "99999999999")
    )
    good = (
        '<image id="2" name="y.png" width="9" height="9"><blob label="p"/><skeleton label="p">'
        '<points label="l" points="1,2;3,4"/></skeleton></image>'
    )
    track = '<track id="7" label="p"><box frame="0" xtl="1" ytl="1" xbr="2" ybr="2"/></track>'
    found, shapes, problems = read(f"<annotations>{labels}{images}{good}{track}</annotations>".encode())
    assert [image.file_name for image in found] == ["y.png"] and shapes == []
    assert [problem.where for problem in problems] == [
        *["image 1 x.png"] * 3, "image 2 y.png, blob 1", "image 2 y.png, skeleton 2", "track 7 p",
    ]  # fmt: skip


# Label Studio ----------------------------------------------------------------------------------------


def task(*result: dict, image: str = "/data/upload/1/0a1b2c3d-0001.jpg", **fields: Any) -> dict:
    annotation = {
        "id": 1,
        "completed_by": {"id": 3, "email": "ann@example.org"},
        "result": list(result),
        "created_at": "2026-01-01",
    }
    return {"id": 9, "data": {"image": image}, "annotations": [annotation], "predictions": [{"result": [{}]}], **fields}


def region(kind: str, **value: Any) -> dict:
    return {"type": kind, "original_width": 200, "original_height": 100, "value": value}


def test_label_studio_percents_are_pixels_and_its_turn_about_the_corner_is_one_about_the_centre():
    plain = region("rectanglelabels", x=10, y=20, width=50, height=40, rotation=0, rectanglelabels=["car"])
    turned = region("rectanglelabels", x=50, y=20, width=20, height=20, rotation=90, rectanglelabels=["car"])
    polygon = region("polygonlabels", points=[[0, 0], [50, 0], [50, 50]], polygonlabels=["road"])
    round_one = region("ellipselabels", x=50, y=50, radiusX=10, radiusY=20, ellipselabels=["hole"])
    choice = {"type": "choices", "value": {"choices": ["dark"]}}
    (image,), found, problems = read(json.dumps([task(plain, turned, polygon, round_one, choice)]).encode())
    assert (image.file_name, image.width, image.height) == ("0001.jpg", 200, 100) and problems == []
    assert [(each.type, each.class_name) for each in found] == [
        ("bbox", "car"), ("rotated_bbox", "car"), ("polygon", "road"), ("circle", "hole"), ("classification", "dark"),
    ]  # fmt: skip
    assert found[0].geometry["bbox"] == [20, 20, 100, 40] and found[0].created_by == "label_studio:3"
    # 40 x 20 pixels from (100, 20), turned by 90 degrees: the middle is 20 below and 10 to the left.
    assert found[1].geometry["bbox"] == pytest.approx([70, 30, 40, 20, 90])
    assert found[2].geometry["points"] == [[0, 0], [100, 0], [100, 50]]
    assert found[3].geometry["radius"] == 20


def test_each_of_several_choices_is_a_label_and_people_are_told_apart_from_ours():
    _, found, problems = read(json.dumps([task({"type": "choices", "value": {"choices": ["dark", "wet"]}})]).encode())
    assert [(each.class_name, each.created_by) for each in found] == [
        ("dark", "label_studio:3"),
        ("wet", "label_studio:3"),
    ]
    assert problems == []


def test_what_no_parser_takes_costs_its_entry_only():
    box = region("rectanglelabels", x=1, y=1, width=5, height=5, rectanglelabels=["a"])
    marks = ("NaN", "1e999", "1" + "0" * 400, "true", '"\\ud800"', "null")
    odd = [json.dumps({**box, "value": {**box["value"], "x": "?"}}).replace('"?"', mark) for mark in marks]
    broken = {**box, "value": {**box["value"], "rectanglelabels": ["a\0"]}}
    wide = {**box, "original_width": 10**12}
    kind = {**box, "type": ["a"]}
    text = json.dumps([task(box, broken, wide, kind), task(box, image="a\0.png"), task(box, image="http://[/a.png")])
    text = text.replace('"result": [', '"result": [' + "".join(f"{each}, " for each in odd), 1)
    _, found, problems = read(text.encode())
    assert len(found) == 1
    assert [problem.where for problem in problems] == [
        *(f"[0].annotations.result[{position}]" for position in (0, 1, 2, 3, 4, 5, 7, 8, 9)), "[1]", "[2]",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"[" * 100_000, b'[{"data":' + b'{"a":' * 50_000])
def test_what_is_nested_too_deep_is_refused_before_it_fills_the_memory(content):
    with pytest.raises(BrokenFile, match="nested deeper"):
        opened(content)


def brush(values: list[int], *, same: bool) -> list[int]:
    """Values packed as the format's converter does, each run told in one way."""
    bits = f"{len(values):032b}{7:05b}" + f"{2:04b}{7:04b}{10:04b}{15:04b}"
    for value, run in groupby(values):
        left = len(list(run))
        while left:
            length = min(left, 8 if not same else 256)
            width = "00" if length <= 8 else "01"
            bits += f"{int(same)}{width}" + (f"{length - 1:03b}" if width == "00" else f"{length - 1:08b}")
            bits += f"{value:08b}" * (1 if same else length)
            left -= length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@pytest.mark.parametrize("same", [True, False])
@made_up(30)
@given(st.integers(1, 40), st.integers(1, 9), st.randoms())
def test_a_brush_marks_the_same_pixels_as_a_mask(same, width, height, chance):
    pixels = np.array([[chance.choice((0, 0, 0, 255)) for _ in range(width)] for _ in range(height)], dtype=np.uint8)
    values = [each for pixel in pixels.flatten().tolist() for each in (9, 8, 7, pixel)]
    entry = {**region("brushlabels", format="rle", rle=brush(values, same=same), brushlabels=["rust"]),
             "original_width": width, "original_height": height}  # fmt: skip
    _, (mask,), problems = read(json.dumps([task(entry)]).encode())
    rle = mask.geometry["rle"]
    assert problems == [] and mask.class_name == "rust" and sum(rle["counts"]) == width * height
    assert (coco.decode(coco.frPyObjects(rle, *rle["size"])) == (pixels > 0)).all()


@pytest.mark.parametrize("rle", [None, [1], [256] * 9, brush([1] * 40, same=True), brush([0] * 80_000, same=True)[:20]])
def test_a_brush_that_is_not_whole_is_listed(rle):
    _, found, (problem,) = read(json.dumps([task(region("brushlabels", rle=rle, brushlabels=["x"]))]).encode())
    assert found == [] and "rle" in problem.reason


def test_what_label_studio_says_that_we_cannot_hold_is_listed():
    odd = [region("brushlabels", rle=[1], brushlabels=["x"]), region("rectanglelabels", x=1, y=1, width=5, height=5),
           region("rectanglelabels", x="?", y=1, width=5, height=5, rectanglelabels=["a"]), 5]  # fmt: skip
    _, found, problems = read(json.dumps([task(*odd), 7, {"data": {}}]).encode())
    assert found == [] and [problem.where for problem in problems] == [
        *(f"[0].annotations.result[{position}]" for position in range(4)), "[1]", "[2]",
    ]  # fmt: skip


def test_the_newest_annotation_counts_and_an_empty_one_says_nothing_is_there():
    old, new = (
        {"result": [region("choices", choices=["old"])], "created_at": "2026-01-01"},
        {"result": [], "created_at": "2026-02-01"},
    )
    cancelled = {"result": [region("choices", choices=["x"])], "created_at": "2026-03-01", "was_cancelled": True}
    (image,), found, (left,) = read(json.dumps([{**task(), "annotations": [old, new, cancelled]}]).encode())
    assert found == [] and image.status == "completed"
    assert not left.skipped and left.reason.startswith("1 older")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=line-a/0001.jpg", "line-a/0001.jpg"),
        ("s3://bucket/datasets/x/0001%20b.jpg", "datasets/x/0001 b.jpg"),
        ("https://example.org/a/0001.jpg?token=1", "a/0001.jpg"),
    ],
)
def test_an_image_is_named_by_its_address(address, name):
    (image,), _, _ = read(json.dumps([task(image=address)]).encode())
    assert image.file_name == name


# By content ------------------------------------------------------------------------------------------------


def test_a_format_is_known_by_its_first_bytes():
    assert opened(yolo({"a/0001": ""})).header.form == "yolo"
    assert opened(b"\xef\xbb\xbf<annotations></annotations>").header.form == "cvat"
    assert opened(b" [ ]").header.form == "label_studio"
    assert opened(b"").header.form == "empty"
    with pytest.raises(BrokenFile, match="paint"):
        opened(b"{}", "paint")


@made_up(100)
@given(
    st.sampled_from(["yolo", "cvat", "label_studio", "dice", None]),
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
)
def test_no_bytes_break_a_reader(name, content):
    try:
        list(opened(content, name).entries())
    except BrokenFile as error:
        assert str(error)
