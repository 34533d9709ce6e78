"""Generated projects with images on disk, written in every format, ready for other people's readers."""

from __future__ import annotations

import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from pycocotools import mask as coco_mask

from exports.coco import CocoWriter
from exports.rows import AnnotationRow, Dataset, ImageRow, LabelClass
from exports.shapes import rotated
from exports.writer import write_all
from exports.yolo import YoloWriter

POINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
CLASSES = (
    LabelClass(0, "k0", "cell", keypoints=POINTS, skeleton=((1, 2), (1, 3), (2, 4), (3, 5))),
    LabelClass(1, "k1", '여과지: "b"', keypoints=POINTS, skeleton=((1, 2),)),
    LabelClass(2, "k2", "retired one", retired=True),
    LabelClass(3, "k3", "last"),
)
KINDS = {
    "detection": ("bbox",),
    "obb": ("bbox", "rotated_bbox"),
    "segmentation": ("polygon", "mask"),
    "keypoint": ("keypoints",),
    "classification": ("classification",),
}


@dataclass(frozen=True)
class Written:
    """A project on disk: ``images/``, ``coco.json`` and the unpacked YOLO zip, and what it was made of."""

    root: Path
    dataset: Dataset
    images: list[ImageRow]

    @property
    def rows(self) -> dict[int, AnnotationRow]:
        """Annotations by id."""
        return {row.id: row for image in self.images for row in image.annotations}


def a_project(root: Path, kind: str, seed: int, count: int = 12) -> Written:
    """A project of one task; ``obb`` is detection with rotated boxes. The last image has no annotations."""
    chance = random.Random(f"{kind} {seed}")
    images, number = [], 1
    for index in range(1, count + 1):
        width, height = chance.randint(40, 160), chance.randint(40, 160)
        rows = []
        for _ in range(0 if index == count else chance.randint(1, 4)):
            rows.append(_row(chance, number, chance.choice(KINDS[kind]), width, height))
            number += 1
        # Like any project, this one has images in each split.
        images.append(_image(chance, root, index, width, height, rows))
    dataset = Dataset(
        dataset_id="ds_1", dataset_name="generated", project_id="proj_1",
        task_type="detection" if kind == "obb" else kind, version="v1.0", version_type="published",
        include_draft=False, created_at="2026-01-10T02:00:00.000000Z", last_modified_at="2026-01-12T11:00:00.000000Z",
        storage_info={"storage_type": "local", "bucket": "b", "image_root": "images/"}, classes=CLASSES,
        has_background=False, has_rotated=kind == "obb",
    )  # fmt: skip
    with (root / "coco.json").open("wb") as coco, (root / "yolo.zip").open("wb") as yolo:
        write_all(images, [CocoWriter(dataset, coco), YoloWriter(dataset, yolo)])
    with zipfile.ZipFile(root / "yolo.zip") as packed:
        packed.extractall(root)
    return Written(root, dataset, images)


def _image(
    chance: random.Random, root: Path, index: int, width: int, height: int, rows: list[AnnotationRow]
) -> ImageRow:
    name = f"line {index % 2}/{index:04}.png"
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("RGB", (width, height), (chance.randrange(256), 90, 160)).save(path)
    split = ("train", "val", "test")[index % 3]
    return ImageRow(index, name, width, height, 3, "completed", split=split, annotations=rows)


def _row(chance: random.Random, number: int, kind: str, width: int, height: int) -> AnnotationRow:
    geometry, box, area = SHAPES[kind](chance, width, height)
    key = chance.choice(("k0", "k1") if kind == "keypoints" else ("k0", "k1", "k3"))
    return AnnotationRow(number, kind, {"type": kind, **geometry}, box, area, key, "confirmed")


def _box(chance: random.Random, width: int, height: int) -> list[float]:
    w, h = chance.uniform(5, width / 2), chance.uniform(5, height / 2)
    return [round(value, 3) for value in (chance.uniform(0, width - w), chance.uniform(0, height - h), w, h)]


def _bbox(chance: random.Random, width: int, height: int) -> tuple:
    box = _box(chance, width, height)
    return {"bbox": box}, box, box[2] * box[3]


def _rotated(chance: random.Random, width: int, height: int) -> tuple:
    while True:
        shape = [*_box(chance, width, height), round(chance.uniform(-180, 179), 2)]
        flat = rotated(AnnotationRow(1, "rotated_bbox", {"bbox": shape}, None, None, None, "draft"))[1]
        xs, ys = flat[::2], flat[1::2]
        if min(xs) >= 0 and min(ys) >= 0 and max(xs) <= width and max(ys) <= height:
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            return {"bbox": shape}, box, shape[2] * shape[3]


def _polygon(chance: random.Random, width: int, height: int) -> tuple:
    x, y, w, h = _box(chance, width, height)
    first = [[x, y], [x + w, y], [x + w, y + h], [x + w / 3, y + h]]
    at = round(chance.uniform(0, 30), 3)
    rings = [first] if chance.random() < 0.6 else [first, [[at, at], [at + 3, at], [at + 3, at + 3]]]
    points = [point for ring in rings for point in ring]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    area = (w * h - w * h / 6) + (4.5 if len(rings) == 2 else 0)
    return {"rings": rings}, [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)], area


def _mask(chance: random.Random, width: int, height: int) -> tuple:
    pixels = np.zeros((height, width), dtype=np.uint8)
    x, y, w, h = (int(value) for value in _box(chance, width, height))
    pixels[y : y + h, x : x + w] = 1
    pixels[y : y + h // 2, x : x + w // 2] = 0
    packed = coco_mask.encode(np.asfortranarray(pixels))
    counts = packed["counts"].decode() if chance.random() < 0.5 else _runs(pixels)
    box = [float(value) for value in coco_mask.toBbox(packed)]
    return {"rle": {"size": [height, width], "counts": counts}}, box, float(pixels.sum())


def _runs(pixels: np.ndarray) -> list[int]:
    """COCO's run lengths down the columns, unmarked pixels first."""
    flat = pixels.flatten(order="F")
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1), len(flat)]
    runs = [int(length) for length in np.diff(edges)]
    return [0, *runs] if flat[0] else runs


def _keypoints(chance: random.Random, width: int, height: int) -> tuple:
    box = _box(chance, width, height)
    points = []
    for _ in POINTS:
        shown = chance.choice((0, 1, 2))
        place = [round(chance.uniform(box[0], box[0] + box[2]), 2), round(chance.uniform(box[1], box[1] + box[3]), 2)]
        points.append([*place, shown] if shown else [0, 0, 0])
    points[0] = [box[0] + 1, box[1] + 1, 2]
    return {"keypoints": points, "bbox": box}, box, box[2] * box[3]


SHAPES = {
    "bbox": _bbox,
    "rotated_bbox": _rotated,
    "polygon": _polygon,
    "mask": _mask,
    "keypoints": _keypoints,
    "classification": lambda chance, width, height: ({}, None, None),
}
