"""What is written comes back: made-up projects through DICE and COCO, a thousand and more in a soak."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given

from exports import dice_reader
from exports.rows import FileAnnotation, FileImage, Problem
from exports.splits import split_of
from tests.cases import made_up
from tests.exports.builders import check_schema, written
from tests.exports.generated import projects

ANNOTATION = (
    "id", "type", "geometry", "state", "attributes", "confidence", "notes", "version", "client_id", "created_by",
    "created_at", "updated_by", "updated_at", "confirmed_by", "confirmed_at",
)  # fmt: skip
IMAGE = (
    "file_name", "width", "height", "depth", "status", "split", "reviewed_by", "reviewed_at", "first_modified_at",
    "last_modified_at",
)  # fmt: skip


def read(content: bytes) -> tuple[Any, list, list]:
    """The classes by the id the file uses, its images and its annotations; a problem fails the test."""
    opened = dice_reader.open_file(io.BytesIO(content))
    entries = list(opened.entries())
    assert [each for each in entries if isinstance(each, Problem)] == []
    names = {entry.ref: entry.name for entry in opened.header.classes}
    images, annotations = ([each for each in entries if isinstance(each, kind)] for kind in (FileImage, FileAnnotation))
    return names, images, annotations


@made_up(80)
@given(projects())
def test_everything_of_a_project_comes_back_through_dice(project):
    dataset, images = project
    content, summary = written("dice", dataset, images)
    names, found_images, found = read(content)
    rows = [row for image in images for row in image.annotations]
    assert [told(entry, ANNOTATION) for entry in found] == [told(row, ANNOTATION) for row in rows]
    # A file always says a split; whether a person chose it stands in its split_config.
    assert [told(image, IMAGE) for image in found_images] == [
        told(image, IMAGE) | {"split": split_of(image.file_name, image.split)} for image in images
    ]
    config = json.loads(content).get("split_config", {"splits": {}})
    assert config["splits"] == {str(image.id): image.split for image in images if image.split}
    by_key = dataset.class_by_key
    assert [names[entry.class_ref] for entry in found] == [by_key[row.class_key].name for row in rows]
    assert summary.annotation_count == len(rows)
    assert written("dice", dataset, images)[0] == content


@made_up(20)
@given(projects())
def test_what_is_written_always_fits_the_schema(project):
    dataset, images = project
    check_schema(json.loads(written("dice", dataset, images)[0]))


CARRIED = ("bbox", "polygon", "mask", "keypoints")


@made_up(60)
@given(projects(tasks=("detection", "segmentation", "keypoint")))
def test_shapes_and_classes_come_back_through_coco(project):
    dataset, images = project
    names, found_images, found = read(written("coco", dataset, images)[0])
    rows = [row for image in images for row in image.annotations]
    assert [entry.id for entry in found] == [row.id for row in rows]
    by_key = dataset.class_by_key
    assert [names[entry.class_ref] for entry in found] == [by_key[row.class_key].name for row in rows]
    paths = {image.file_id: image.file_name for image in found_images}
    assert [paths[entry.file_image_id] for entry in found] == [
        image.file_name for image in images for _ in image.annotations
    ]
    for row, entry in zip(rows, found, strict=True):
        if row.type in CARRIED:
            assert (entry.type, near(entry.geometry)) == (row.type, near(row.geometry))
        else:
            assert entry.type == "polygon" and len(entry.geometry["rings"][0]) == 4


def told(thing: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in fields}


def near(geometry: dict[str, Any]) -> Any:
    """The shape within what a file of six decimals can tell."""
    kept = {name: value for name, value in geometry.items() if geometry["type"] != "keypoints" or name != "bbox"}
    return _near(kept)


def _near(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _near(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_near(each) for each in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, int | float) else value
