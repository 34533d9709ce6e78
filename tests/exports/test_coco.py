"""The COCO file, read by pycocotools as a trainer reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy
import pytest
from pycocotools.coco import COCO

from exports.errors import ExportError
from tests.exports.builders import (
    CAT,
    DOG,
    GOLDEN,
    TASKS,
    a_box,
    a_dataset,
    a_row,
    an_image,
    coco,
    codes,
    written,
)
from tests.exports.test_dice import all_types


def loaded(tmp_path: Path, dataset, *images) -> COCO:
    path = tmp_path / "coco.json"
    path.write_bytes(written("coco", dataset, images)[0])
    return COCO(str(path))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_written_byte_for_byte_as_before(task):
    content, _ = written("coco", *all_types(task, "published"))
    golden = GOLDEN / "coco" / f"{task}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(content)
    assert content == golden.read_bytes()


def test_pycocotools_finds_the_boxes_areas_and_images(tmp_path):
    images = [
        an_image(5, a_box(1, [10, 20, 30, 40.5]), a_box(2, [0, 0, 5, 5], class_key=DOG.key)),
        an_image(9),
    ]
    read = loaded(tmp_path, a_dataset(), *images)
    assert read.getImgIds() == [5, 9]
    assert [cat["name"] for cat in read.loadCats(read.getCatIds())] == ["cat", "dog"]
    boxes = [(entry["bbox"], entry["area"], entry["category_id"]) for entry in read.loadAnns(read.getAnnIds(5))]
    assert boxes == [([10, 20, 30, 40.5], 1215, 1), ([0, 0, 5, 5], 25, 2)]
    assert read.getAnnIds(9) == []


def test_pycocotools_draws_the_same_polygon(tmp_path):
    rings = [[[0, 0], [40, 0], [40, 30], [0, 30]], [[100, 100], [110, 100], [110, 110], [100, 110]]]
    row = a_row(1, "polygon", geometry={"type": "polygon", "rings": rings}, bbox=[0, 0, 110, 110], area=1300)
    read = loaded(tmp_path, a_dataset("segmentation"), an_image(1, row))
    mask = read.annToMask(read.loadAnns([1])[0])
    assert mask.shape == (480, 640)
    assert mask.sum() == 1300


@pytest.mark.parametrize("counts", [[961, 3, 306236], None], ids=["list", "string"])
def test_pycocotools_draws_the_same_mask(tmp_path, counts):
    if counts is None:
        from pycocotools import mask as codec

        drawn = numpy.zeros((480, 640), dtype=numpy.uint8, order="F")
        drawn[1:4, 2] = 1
        counts = codec.encode(drawn)["counts"].decode()
    row = a_row(1, "mask", geometry={"type": "mask", "rle": {"size": [480, 640], "counts": counts}})
    read = loaded(tmp_path, a_dataset("segmentation"), an_image(1, row))
    mask = read.annToMask(read.loadAnns([1])[0])
    assert numpy.argwhere(mask).tolist() == [[1, 2], [2, 2], [3, 2]]


def test_turned_boxes_become_polygons_and_circles_boxes():
    (turned,) = coco(a_dataset(), an_image(1, a_row(1, "rotated_bbox")))["annotations"]
    assert turned["segmentation"][0] == pytest.approx([140, 80, 140, 140, 120, 140, 120, 80])
    assert (turned["bbox"], turned["area"]) == ([120, 80, 20, 60], 1200)
    file = coco(a_dataset("geometry"), an_image(1, a_row(1, "circle")))
    (circle,) = file["annotations"]
    assert (circle["bbox"], circle["segmentation"]) == ([40, 50, 20, 20], [])
    assert file["info"]["skipped"] == {"circle_as_box": 1}


def test_keypoints_come_with_their_names_and_skeleton():
    parsed = coco(a_dataset("keypoint"), an_image(1, a_row(1, "keypoints")))
    assert parsed["annotations"][0]["num_keypoints"] == 2
    assert parsed["categories"][0]["keypoints"] == ["nose", "tail", "ear"]
    assert parsed["categories"][0]["skeleton"] == [[1, 2]]


def test_labels_and_lines_are_left_out_counted_and_listed():
    content, summary = written("coco", a_dataset("line"), [an_image(1, a_row(1, "line"), a_row(2, "line"))])
    assert json.loads(content)["info"]["skipped"] == {"line": 2}
    assert codes(summary) == {"coco_left_out_line": [1, 2]}
    parsed = coco(a_dataset("classification"), an_image(1, a_row(1, "classification")))
    assert (parsed["annotations"], parsed["info"]["skipped"]) == ([], {"classification": 1})


def test_markers_are_counted_but_lose_nothing():
    content, summary = written("coco", a_dataset(has_background=True), [an_image(1, a_row(1, "no_object"))])
    parsed = json.loads(content)
    assert parsed["info"]["skipped"] == {"no_object": 1}
    assert [category["name"] for category in parsed["categories"]] == ["cat", "dog"]
    assert [image["id"] for image in parsed["images"]] == [1]
    assert summary.warnings == []


def test_drafts_without_a_class_are_counted_and_listed():
    dataset = a_dataset(kind="export", include_draft=True)
    content, summary = written("coco", dataset, [an_image(1, a_row(3, class_key=None, state="draft"))])
    assert json.loads(content)["info"]["skipped"] == {"no_class": 1}
    assert codes(summary) == {"coco_left_out_no_class": [3]}


def test_an_unknown_class_is_refused():
    with pytest.raises(ExportError, match="'gone', which is not listed"):
        coco(a_dataset(), an_image(1, a_row(1, class_key="gone")))


def test_an_image_of_unknown_size_is_listed():
    _, summary = written("coco", a_dataset(kind="export"), [an_image(1, width=None)])
    assert codes(summary) == {"image_size_unknown": ["a/0001.jpg"]}


def test_crowds_are_marked():
    parsed = coco(a_dataset(), an_image(1, a_row(1, attributes={"iscrowd": 1}), a_row(2)))
    assert [entry["iscrowd"] for entry in parsed["annotations"]] == [1, 0]


def test_version_and_storage_are_copied():
    parsed = coco(a_dataset(classes=(CAT,)), an_image(1, a_row()))
    assert parsed["info"]["version"] == "v1.0"
    assert parsed["storage_info"] == {
        "storage_type": "s3",
        "bucket": "b",
        "image_root": "datasets/ds_1/images/",
    }


def test_a_file_without_images_is_whole():
    parsed = coco(a_dataset())
    assert (parsed["images"], parsed["annotations"]) == ([], [])
