"""The YOLO zip: names, lists, rows, and what it cannot carry."""

from __future__ import annotations

import io
import os
import zipfile

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exports.rows import LabelClass
from exports.yolo import Names, data_yaml, label_name
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


@pytest.mark.parametrize("kind", ["rotated_bbox", "mask", "keypoints", "line", "polyline", "circle"])
def test_what_yolo_does_not_carry_is_counted(kind):
    task = next(task for task, kinds in TASKS.items() if kind in kinds)
    _, summary = written("yolo", a_dataset(task), [an_image(1, a_row(4, kind))])
    assert codes(summary) == {f"yolo_left_out_{kind}": [4]}
    assert (summary.annotation_count, summary.image_count) == (0, 1)


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
        "train.txt", "val.txt", "test.txt",
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
    assert all(names.add(f"labels/{number}.txt") for number in range(5000))
    assert not any(names.add(f"labels/{number}.txt") for number in range(5000))


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
    assert yaml.safe_load(data_yaml(["first", name]))["names"] == {0: "first", 1: name}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=5))
def test_the_yaml_gives_back_whatever_it_was_given(names):
    parsed = yaml.safe_load(data_yaml(names))
    assert (parsed["nc"], parsed["names"]) == (len(names), dict(enumerate(names)))


def test_the_yaml_leads_to_the_lists_from_where_it_lies():
    parsed = yaml.safe_load(data_yaml(["a"]))
    assert "path" not in parsed
    assert [parsed[split] for split in ("train", "val", "test")] == ["train.txt", "val.txt", "test.txt"]


def test_classes_are_listed_by_id():
    classes = (LabelClass(0, "k0", "zebra"), LabelClass(1, "k1", "ant", retired=True))
    assert members(a_dataset(classes=classes))["classes.txt"] == "zebra\nant\n"


def test_a_class_name_of_two_lines_takes_one_line():
    texts = members(a_dataset(classes=(LabelClass(0, "k0", "a\nb\u2028c"), LabelClass(1, "k1", "d"))))
    assert texts["classes.txt"].splitlines() == ["a b c", "d"]
    assert yaml.safe_load(texts["data.yaml"])["names"] == {0: "a\nb\u2028c", 1: "d"}
