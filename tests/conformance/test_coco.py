"""COCO files as pycocotools, Datumaro and supervision load them, annotation by annotation."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import supervision
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset as Datumaro
from pycocotools.coco import COCO

from exports.shapes import rotated
from tests.conformance.projects import CLASSES, a_project

KINDS = ["detection", "obb", "segmentation", "keypoint"]
NAMES = {entry.key: entry.name for entry in CLASSES}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_pycocotools_finds_every_annotation(tmp_path, count, kind, seed):
    project = a_project(tmp_path, kind, seed)
    coco = COCO(str(tmp_path / "coco.json"))
    names = {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())}
    assert {image["file_name"]: (image["width"], image["height"]) for image in coco.imgs.values()} == {
        image.file_name: (image.width, image.height) for image in project.images
    }
    for image in project.images:
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image.id]))
        assert [entry["id"] for entry in found] == [row.id for row in image.annotations]
        for entry, row in zip(found, image.annotations, strict=True):
            assert names[entry["category_id"]] == NAMES[row.class_key]
            assert entry["bbox"] == pytest.approx(row.bbox) and entry["area"] == pytest.approx(row.area)
            if row.type == "polygon":
                assert entry["segmentation"] == [[v for point in ring for v in point] for ring in row.geometry["rings"]]
            if row.type == "rotated_bbox":
                assert entry["segmentation"] == [rotated(row)[1]]
            if kind in ("segmentation", "obb") and entry["segmentation"]:
                pixels = coco.annToMask(entry)
                assert pixels.shape == (image.height, image.width)
                exact = row.type == "mask"
                assert pixels.sum() == (row.area if exact else pytest.approx(row.area, rel=0.35, abs=40))
            if kind == "keypoint":
                assert np.reshape(entry["keypoints"], (-1, 3)).tolist() == row.geometry["keypoints"]
                assert entry["num_keypoints"] == sum(point[2] > 0 for point in row.geometry["keypoints"])
                assert len(entry["keypoints"]) == 3 * len(coco.cats[entry["category_id"]]["keypoints"])
    count("pycocotools", "coco", kind, images=len(project.images), annotations=len(project.rows))


@pytest.mark.parametrize("kind", ["detection", "segmentation", "keypoint"])
def test_datumaro_finds_every_annotation(tmp_path, count, kind):
    project = a_project(tmp_path / "made", kind, 7)
    task = "person_keypoints" if kind == "keypoint" else "instances"
    (tmp_path / "annotations").mkdir()
    shutil.copy(project.root / "coco.json", tmp_path / "annotations" / f"{task}_train.json")
    shutil.copytree(project.root / "images", tmp_path / "images" / "train")
    loaded = Datumaro.import_from(str(tmp_path), "coco_person_keypoints" if kind == "keypoint" else "coco_instances")
    labels = [entry.name for entry in loaded.categories()[AnnotationType.label].items]
    items = {item.id: item for item in loaded}
    assert len(items) == len(project.images)
    for image in project.images:
        found = items[image.file_name.rpartition(".")[0]].annotations
        by_id: dict[int, list] = {}
        for entry in found:
            by_id.setdefault(entry.id, []).append(entry)
        assert set(by_id) == {row.id for row in image.annotations}
        for row in image.annotations:
            _same_in_datumaro(by_id[row.id], row, labels)
    count("datumaro", "coco", kind, images=len(items), annotations=len(project.rows))


def _same_in_datumaro(entries, row, labels) -> None:
    kinds = {entry.type for entry in entries}
    assert {labels[entry.label] for entry in entries if entry.label is not None} == {NAMES[row.class_key]}
    if row.type == "bbox":
        (box,) = [entry for entry in entries if entry.type == AnnotationType.bbox]
        assert [float(value) for value in box.get_bbox()] == pytest.approx(row.bbox, abs=0.02)
    elif row.type == "polygon":
        rings = [entry for entry in entries if entry.type == AnnotationType.polygon]
        told = sorted([float(value) for value in ring.points] for ring in rings)
        drawn = sorted([float(value) for point in ring for value in point] for ring in row.geometry["rings"])
        assert len(told) == len(drawn)
        for one, other in zip(told, drawn, strict=True):
            assert one == pytest.approx(other, abs=0.02)
    elif row.type == "mask":
        (mask,) = [entry for entry in entries if entry.type == AnnotationType.mask]
        assert int(np.asarray(mask.image).sum()) == int(row.area)
    else:
        assert AnnotationType.points in kinds
        (points,) = [entry for entry in entries if entry.type == AnnotationType.points]
        expected = [value for point in row.geometry["keypoints"] for value in point[:2]]
        assert [float(value) for value in points.points] == pytest.approx(expected, abs=0.02)
        assert [int(each.value) for each in points.visibility] == [point[2] for point in row.geometry["keypoints"]]


@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_supervision_finds_every_annotation(tmp_path, count, kind):
    project = a_project(tmp_path, kind, 11)
    loaded = supervision.DetectionDataset.from_coco(
        images_directory_path=str(tmp_path / "images"),
        annotations_path=str(tmp_path / "coco.json"),
        force_masks=kind == "segmentation",
    )
    for image in project.images:
        found = loaded.annotations[str(tmp_path / "images" / image.file_name)]
        assert len(found) == len(image.annotations)
        for position, row in enumerate(image.annotations):
            x, y, w, h = row.bbox
            assert found.xyxy[position].tolist() == pytest.approx([x, y, x + w, y + h], abs=1.01)
            assert loaded.classes[found.class_id[position]] == NAMES[row.class_key]
            if row.type == "mask":
                assert int(found.mask[position].sum()) == int(row.area)
    count("supervision", "coco", kind, images=len(project.images), annotations=len(project.rows))
