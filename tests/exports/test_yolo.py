"""The YOLO zip: names, lists, rows, and what it cannot carry."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exports.rows import LabelClass
from exports.yolo import Names, data_yaml, digest_of, flips, label_name
from tests.exports.builders import DOG, GOLDEN, TASKS, a_box, a_dataset, a_row, an_image, codes, written
from tests.exports.test_dice import all_types


def members(dataset, *images) -> dict[str, str]:
    content = written("yolo", dataset, images)[0]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def rows(text: str) -> list[list[float]]:
    return [[float(value) for value in line.split()] for line in text.splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_written_as_before(task):
    # The texts, not the bytes: these depend on the version of zlib.
    texts = "".join(f"== {name}\n{text}" for name, text in members(*split_up(all_types(task, "published"))).items())
    golden = GOLDEN / "yolo" / f"{task}.txt"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(texts, encoding="utf-8")
    assert texts == golden.read_text(encoding="utf-8")


def split_up(built):
    dataset, images = built
    return dataset, *images


# Rows -----------------------------------------------------------------------------------------


def test_a_box_is_its_centre_and_size_as_shares():
    texts = members(a_dataset(), an_image(1, a_box(1, [64, 48, 128, 96], class_key=DOG.key)))
    assert texts["labels/a/0001.txt"] == "1 0.200000 0.200000 0.200000 0.200000\n"


def test_a_box_is_clipped_before_centre_and_size_are_taken():
    texts = members(a_dataset(), an_image(1, a_box(1, [-64, -48, 128, 96])))
    assert rows(texts["labels/a/0001.txt"]) == [[0, 0.05, 0.05, 0.1, 0.1]]


def test_a_box_outside_the_image_is_counted():
    image = an_image(1, a_box(1, [700, 10, 20, 20]), a_box(2, [1, 1, 2, 2]))
    texts = members(a_dataset(), image)
    _, summary = written("yolo", a_dataset(), [image])
    assert len(rows(texts["labels/a/0001.txt"])) == 1
    assert codes(summary) == {"nothing_inside_the_image": [1]}
    assert summary.annotation_count == 1


def test_the_smallest_box_keeps_a_size():
    texts = members(a_dataset(), an_image(1, a_box(1, [1, 1, 0.0001, 0.0001])))
    assert rows(texts["labels/a/0001.txt"])[0][3:] == [0.000001, 0.000001]


sides = st.floats(0.5, 4000, allow_nan=False)


@given(x=st.floats(0, 3000), y=st.floats(0, 3000), w=sides, h=sides)
def test_boxes_agree_with_their_pixels_to_a_millionth(x, y, w, h):
    image = an_image(1, a_box(1, [x, y, w, h]), width=7001, height=7003)
    ((_, cx, cy, width, height),) = rows(members(a_dataset(), image)["labels/a/0001.txt"])
    edges = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
    expected = [x / 7001, y / 7003, (x + w) / 7001, (y + h) / 7003]
    assert edges == pytest.approx(expected, abs=1e-6)


def polygon(row_id: int, *rings) -> object:
    return a_row(row_id, "polygon", geometry={"type": "polygon", "rings": list(rings)})


SQUARE = [[0, 0], [64, 0], [64, 48], [0, 48]]
BEYOND = [[900, 0], [910, 0], [910, 10]]


def test_a_polygon_is_its_points_as_shares():
    texts = members(a_dataset("segmentation"), an_image(1, polygon(1, SQUARE)))
    assert rows(texts["labels/a/0001.txt"]) == [[0, 0, 0, 0.1, 0, 0.1, 0.1, 0, 0.1]]


def test_a_polygon_of_two_parts_is_two_rows_and_counted():
    image = an_image(1, polygon(1, SQUARE, [[100, 100], [200, 100], [200, 200]]))
    texts = members(a_dataset("segmentation"), image)
    _, summary = written("yolo", a_dataset("segmentation"), [image])
    assert len(rows(texts["labels/a/0001.txt"])) == 2
    assert codes(summary) == {"polygon_parts_apart": [1]}
    assert summary.annotation_count == 1


def test_parts_outside_the_image_are_counted():
    images = [an_image(1, polygon(1, SQUARE, BEYOND)), an_image(2, polygon(2, BEYOND))]
    texts = members(a_dataset("segmentation"), *images)
    _, summary = written("yolo", a_dataset("segmentation"), images)
    assert len(rows(texts["labels/a/0001.txt"])) == 1
    assert texts["labels/a/0002.txt"] == ""
    assert codes(summary) == {"polygon_parts_outside_the_image": [1], "nothing_inside_the_image": [2]}


def test_a_label_is_a_box_of_the_whole_image_whatever_its_size():
    texts = members(a_dataset("classification"), an_image(1, a_row(1, "classification"), width=None))
    assert texts["labels/a/0001.txt"] == "0 0.500000 0.500000 1.000000 1.000000\n"


@pytest.mark.parametrize("kind", ["line", "polyline"])
def test_what_yolo_does_not_carry_is_counted_in_the_warnings_and_in_the_zip(kind):
    task = next(task for task, kinds in TASKS.items() if kind in kinds)
    _, summary = written("yolo", a_dataset(task), [an_image(1, a_row(4, kind))])
    assert codes(summary) == {f"yolo_left_out_{kind}": [4]}
    assert (summary.annotation_count, summary.image_count) == (0, 1)
    texts = members(a_dataset(task), an_image(1, a_row(4, kind)))
    assert json.loads(texts["left_out.json"]) == {f"yolo_left_out_{kind}": 1}


def test_a_circle_is_its_box_and_counted():
    circle = a_row(4, "circle", geometry={"type": "circle", "center": [320, 240], "radius": 32}, bbox=None)
    texts = members(a_dataset("geometry"), an_image(1, circle))
    assert texts["labels/a/0001.txt"] == "0 0.500000 0.500000 0.100000 0.133333\n"
    assert json.loads(texts["left_out.json"]) == {"yolo_circle_as_box": 1}


def test_points_in_one_line_are_written_though_their_box_has_no_area():
    row = a_row(4, "keypoints", geometry={"type": "keypoints", "keypoints": [[64, 48, 2], [128, 48, 1]]}, bbox=None)
    texts = members(a_dataset("keypoint"), an_image(1, row))
    assert rows(texts["labels/a/0001.txt"])[0][1:8] == [0.15, 0.1, 0.1, 0.000001, 0.1, 0.1, 2]


def test_points_that_no_class_names_are_counted():
    row = a_row(4, "keypoints", geometry={"type": "keypoints", "keypoints": [[64, 48, 2]] * 99}, bbox=[9, 9, 99, 99])
    _, summary = written("yolo", a_dataset("keypoint"), [an_image(1, row)])
    assert codes(summary) == {"yolo_points_no_class_names": [4]}


def test_where_a_box_is_rotated_every_box_is_four_corners():
    turned = a_row(1, "rotated_bbox", geometry={"type": "rotated_bbox", "bbox": [64, 48, 128, 96, 90]})
    dataset = a_dataset(has_rotated=True)
    texts = members(dataset, an_image(1, turned, a_box(2, [64, 48, 128, 96])), an_image(2, a_box(3, [700, 1, 9, 9])))
    first, second = rows(texts["labels/a/0001.txt"])
    # Turned by 90 degrees about (128, 96): 96 wide and 128 high, beginning at the top right.
    assert first == pytest.approx(
        [0, 176 / 640, 32 / 480, 176 / 640, 160 / 480, 80 / 640, 160 / 480, 80 / 640, 32 / 480], abs=1e-6
    )
    assert second == pytest.approx([0, 0.1, 0.1, 0.3, 0.1, 0.3, 0.3, 0.1, 0.3], abs=1e-6)
    assert texts["labels/a/0002.txt"] == "" and "nothing_inside_the_image" in texts["left_out.json"]
    assert yaml.safe_load(texts["data.yaml"])["task"] == "obb"


def test_a_mask_is_its_outline_and_holes_are_counted():
    ring = {"size": [480, 640], "counts": [480 * 10 + 10, 20, 460, 20, 460, 20, 480 * 640 - 480 * 10 - 990]}
    texts = members(
        a_dataset("segmentation"),
        an_image(1, a_row(1, "mask", geometry={"type": "mask", "rle": ring}, bbox=[10, 10, 3, 20], area=60)),
    )
    ((index, *values),) = rows(texts["labels/a/0001.txt"])
    corners = sorted(zip(values[::2], values[1::2], strict=True))
    expected = sorted((x / 640, y / 480) for x, y in ((10, 10), (13, 10), (13, 30), (10, 30)))
    assert [each for pair in corners for each in pair] == pytest.approx(
        [each for pair in expected for each in pair], abs=1e-6
    )
    assert index == 0 and json.loads(texts["left_out.json"]) == {}
    holed = {"size": [3, 3], "counts": [0, 4, 1, 4]}
    small = an_image(
        1, a_row(1, "mask", geometry={"type": "mask", "rle": holed}, bbox=[0, 0, 3, 3], area=8), width=3, height=3
    )
    assert json.loads(members(a_dataset("segmentation"), small)["left_out.json"]) == {"mask_holes_filled": 1}


FACE = LabelClass(0, "face", "face", keypoints=("nose", "left_eye", "right_eye", "L ear", "R ear"))
HAND = LabelClass(1, "hand", "hand", keypoints=("wrist", "left_eye"))


def test_points_follow_the_box_and_what_a_class_lacks_is_zero():
    points = [[320, 240, 2], [0, 0, 0], [64, 48, 1]]
    shape = {"type": "keypoints", "keypoints": points, "bbox": [64, 48, 128, 96]}
    image = an_image(1, a_row(1, "keypoints", class_key="face", geometry=shape, bbox=[64, 48, 128, 96]))
    texts = members(a_dataset("keypoint", classes=(FACE, HAND)), image)
    assert rows(texts["labels/a/0001.txt"]) == [
        [0, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 2, 0, 0, 0, 0.1, 0.1, 1, 0, 0, 0, 0, 0, 0]
    ]
    said = yaml.safe_load(texts["data.yaml"])
    assert (said["task"], said["kpt_shape"], said["flip_idx"]) == ("pose", [5, 3], [0, 1, 2, 4, 3])


def test_left_and_right_points_take_each_others_place_when_mirrored():
    assert flips([FACE], 5) == [0, 2, 1, 4, 3]
    # Another class has something else at these places: they keep theirs.
    assert flips([FACE, HAND], 5) == [0, 1, 2, 4, 3]
    assert flips([LabelClass(0, "k", "k", keypoints=("left knee", "ball", "Right Knee", "upright"))], 4) == [2, 1, 0, 3]
    assert flips([], 0) == []


def test_labels_of_images_are_listed_by_split():
    classes = (LabelClass(0, "k0", 'a "b", c'), LabelClass(1, "k1", "d"))
    first = an_image(
        1, a_row(1, "classification", class_key="k0"), a_row(2, "classification", class_key="k1"), split="val"
    )
    texts = members(a_dataset("classification", classes=classes), first, an_image(2, split="train"))
    assert list(csv.reader(texts["classification.csv"].splitlines())) == [
        ["split", "path", "class_id", "class_name"],
        ["val", "a/0001.jpg", "0", 'a "b", c'],
        ["val", "a/0001.jpg", "1", "d"],
    ]
    assert len(rows(texts["labels/a/0001.txt"])) == 2


def test_drafts_without_class_and_images_without_size_are_counted():
    images = [an_image(1, a_row(1, class_key=None)), an_image(2, a_row(2), width=None)]
    _, summary = written("yolo", a_dataset(kind="export"), images)
    assert codes(summary) == {"image_size_unknown": [2], "yolo_left_out_no_class": [1]}


# Files ----------------------------------------------------------------------------------------


def test_every_listed_image_has_a_label_file_and_a_place_in_a_split():
    images = [
        an_image(1, a_row(1), split="train"),
        an_image(2, split="val"),
        an_image(3, a_row(3, "no_object"), split="test"),
    ]
    texts = members(a_dataset(has_background=True), *images)
    assert list(texts) == [
        "classes.txt", "data.yaml", "labels/a/0001.txt", "labels/a/0002.txt", "labels/a/0003.txt",
        "train.txt", "val.txt", "test.txt", "left_out.json",
    ]  # fmt: skip
    assert texts["labels/a/0002.txt"] == texts["labels/a/0003.txt"] == ""
    assert [texts[f"{split}.txt"] for split in ("train", "val", "test")] == [
        "./images/a/0001.jpg\n",
        "./images/a/0002.jpg\n",
        "./images/a/0003.jpg\n",
    ]


def test_the_second_image_of_a_stem_is_listed_and_not_written():
    images = [an_image(1, a_row(1), file_name="a/x.jpg"), an_image(2, a_row(2), file_name="a/x.png")]
    texts = members(a_dataset(), *images)
    _, summary = written("yolo", a_dataset(), images)
    assert codes(summary) == {"label_name_collision": ["a/x.png"]}
    assert (summary.annotation_count, summary.image_count) == (1, 1)
    assert sum(text.count("./images/") for text in texts.values()) == 1


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a//x.jpg", "a/./x.jpg", "a\\x.jpg", "a\nb.jpg"])
def test_no_file_name_leaves_the_folder_of_labels(name):
    assert label_name(name) is None
    images = [an_image(1, a_row(1), file_name=name)]
    assert not [member for member in members(a_dataset(), *images) if member.startswith("labels")]
    assert codes(written("yolo", a_dataset(), images)[1]) == {"unsafe_file_name": [name]}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("x.jpg", "labels/x.txt"),
        ("a.b/x.y.JPEG", "labels/a.b/x.y.txt"),
        ("a.b/plain", "labels/a.b/plain.txt"),
        ("사진/é.png", "labels/사진/é.txt"),
    ],
)
def test_a_label_file_is_named_like_its_image(image, label):
    assert label_name(image) == label


def test_a_million_names_would_fit_and_each_is_known_once():
    names = Names()
    digests = [digest_of(f"labels/{number}.txt") for number in range(5000)]
    assert not any(names.again([digest]) for digest in digests)
    assert names.again(digests) == set(range(5000))


# Class names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a: b",
        "'",
        '"',
        "- x",
        "#1",
        "yes",
        "1",
        "null",
        "고양이",
        "a\\b",
        "é\u2028",
        "\x85",
        "😀",
        "\U000e0001",
        "{x}",
    ],
)
def test_any_class_name_comes_back_from_the_yaml(name):
    assert parsed("first", name)["names"] == {0: "first", 1: name}


def parsed(*names: str) -> dict:
    classes = tuple(LabelClass(index, str(index), name) for index, name in enumerate(names))
    return yaml.safe_load(data_yaml(a_dataset(classes=classes), "detect", 0))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=5))
def test_the_yaml_gives_back_whatever_it_was_given(names):
    said = parsed(*names)
    assert (said["nc"], said["names"]) == (len(names), dict(enumerate(names)))


def test_the_yaml_leads_to_the_lists_from_where_it_lies():
    said = parsed("a")
    assert "path" not in said
    assert [said[split] for split in ("train", "val", "test")] == ["train.txt", "val.txt", "test.txt"]


def test_classes_are_listed_by_id():
    classes = (LabelClass(0, "k0", "zebra"), LabelClass(1, "k1", "ant", retired=True))
    assert members(a_dataset(classes=classes))["classes.txt"] == "zebra\nant\n"


def test_a_class_name_of_two_lines_takes_one_line():
    texts = members(a_dataset(classes=(LabelClass(0, "k0", "a\nb\u2028c"), LabelClass(1, "k1", "d"))))
    assert texts["classes.txt"].splitlines() == ["a b c", "d"]
    assert yaml.safe_load(texts["data.yaml"])["names"] == {0: "a\nb\u2028c", 1: "d"}
