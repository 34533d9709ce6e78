"""YOLO zips as Ultralytics' own loaders and supervision read them, row by row."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
import supervision
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from exports import outlines
from exports.shapes import rotated
from tests.conformance.projects import CLASSES, Written, a_project

FORMS = {"detection": "detect", "obb": "obb", "segmentation": "segment", "keypoint": "pose"}
INDEX = {entry.key: entry.index for entry in CLASSES}
NEAR = 3e-6


def loaded(project: Written, form: str) -> dict[str, dict]:
    """What Ultralytics makes of the label files of all splits, by image name."""
    data = check_det_dataset(str(project.root / "data.yaml"), autodownload=False)
    assert list(data["names"].values()) == [entry.name for entry in CLASSES] and data["nc"] == len(CLASSES)
    found = {}
    for split in ("train", "val", "test"):
        dataset = YOLODataset(img_path=data[split], data=data, task=form, augment=False, imgsz=64)
        assert dataset.ni == len((project.root / f"{split}.txt").read_text().splitlines())
        found |= {os.path.relpath(label["im_file"], project.root / "images"): label for label in dataset.labels}
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FORMS)
def test_ultralytics_finds_every_row(tmp_path, count, kind, seed):
    project = a_project(tmp_path, kind, seed)
    labels = loaded(project, FORMS[kind])
    assert set(labels) == {image.file_name for image in project.images}
    for image in project.images:
        label = labels[image.file_name]
        assert label["shape"] == (image.height, image.width)
        expected = [part for row in image.annotations for part in parts(row, image)]
        assert label["cls"].flatten().tolist() == [index for index, _, _ in expected]
        size = np.array([image.width, image.height])
        for position, (_, box, extra) in enumerate(expected):
            if kind in ("detection", "keypoint"):
                x, y, w, h = box
                told = label["bboxes"][position] * np.tile(size, 2)
                assert told.tolist() == pytest.approx([x + w / 2, y + h / 2, w, h], abs=NEAR * 200)
            if kind in ("segmentation", "obb"):
                told = label["segments"][position] * size
                assert told.shape == extra.shape and np.allclose(told, extra, atol=NEAR * 200)
            if kind == "keypoint":
                told = label["keypoints"][position]
                assert told.shape == (5, 3) and told[:, 2].tolist() == extra[:, 2].tolist()
                assert np.allclose(told[:, :2] * size, extra[:, :2], atol=NEAR * 200)
    count("ultralytics", "yolo", FORMS[kind], images=len(labels), annotations=len(project.rows))


def parts(row, image) -> list[tuple[int, list[float], np.ndarray]]:
    """Class id, box and shape of every row the label file should have for an annotation."""
    index = INDEX[row.class_key]
    if row.type == "polygon":
        return [(index, row.bbox, np.array(ring, dtype=float)) for ring in row.geometry["rings"]]
    if row.type == "mask":
        return [(index, row.bbox, np.array(ring, dtype=float)) for ring in outlines.of_mask(row.geometry["rle"])[0]]
    if row.type == "rotated_bbox":
        return [(index, row.bbox, np.array(rotated(row)[1]).reshape(4, 2))]
    if row.type == "keypoints":
        return [(index, row.bbox, np.array(row.geometry["keypoints"], dtype=float))]
    x, y, w, h = row.bbox
    return [(index, row.bbox, np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]))]


def test_pose_tells_points_and_their_partners(tmp_path):
    project = a_project(tmp_path, "keypoint", 5)
    data = check_det_dataset(str(project.root / "data.yaml"), autodownload=False)
    assert (data["kpt_shape"], data["flip_idx"]) == ([5, 3], [0, 2, 1, 4, 3])


def test_the_list_of_labels_makes_the_folders_trainers_want(tmp_path, count):
    project = a_project(tmp_path, "classification", 5)
    labels = 0
    for row in csv.DictReader((tmp_path / "classification.csv").open(encoding="utf-8")):
        folder = tmp_path / "classify" / row["split"] / row["class_id"]
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / row["path"].replace("/", "_")
        if not link.exists():
            link.symlink_to(tmp_path / "images" / row["path"])
        labels += 1
    assert labels == len(project.rows)
    told = set()
    for split in ("train", "val", "test"):
        read = supervision.ClassificationDataset.from_folder_structure(str(tmp_path / "classify" / split))
        told |= {
            (split, os.path.basename(path), read.classes[index])
            for path in read.image_paths
            for index in _classes_of(path, read.classes)
        }
    assert told == {
        (image.split, image.file_name.replace("/", "_"), str(INDEX[row.class_key]))
        for image in project.images for row in image.annotations
    }  # fmt: skip
    count("supervision", "yolo", "classify", images=len({each[1] for each in told}), annotations=len(project.rows))


def _classes_of(path: str, classes: list[str]) -> list[int]:
    return [classes.index(os.path.basename(os.path.dirname(path)))]


@pytest.mark.parametrize("kind", ["detection", "obb"])
def test_supervision_finds_every_row(tmp_path, count, kind):
    project = a_project(tmp_path, kind, 11)
    images = annotations = 0
    # supervision looks for images and labels in one folder each, not below it.
    for folder in ("line 0", "line 1"):
        read = supervision.DetectionDataset.from_yolo(
            images_directory_path=str(tmp_path / "images" / folder),
            annotations_directory_path=str(tmp_path / "labels" / folder),
            data_yaml_path=str(tmp_path / "data.yaml"),
            is_obb=kind == "obb",
        )
        for image in project.images:
            if not image.file_name.startswith(folder):
                continue
            found = read.annotations[str(tmp_path / "images" / image.file_name)]
            assert len(found) == len(image.annotations)
            for position, row in enumerate(image.annotations):
                x, y, w, h = row.bbox
                assert found.xyxy[position].tolist() == pytest.approx([x, y, x + w, y + h], abs=1.01)
                assert found.class_id[position] == INDEX[row.class_key]
            images, annotations = images + 1, annotations + len(found)
    count("supervision", "yolo", FORMS[kind], images=images, annotations=annotations)
