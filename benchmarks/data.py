"""The data every benchmark uses, the same on every machine: ten annotations an image, 80 classes, 70 % boxes, 30 %
polygons of 6 to 20 corners, all confirmed.

Boxes and polygons belong to two tasks of a project, so seven of ten images have boxes and three have polygons; there
is an official file for each task, and "a publish" is one of each.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

SIZES = {"S": 1_000, "M": 10_000, "L": 100_000}
PER_IMAGE = 10
CLASSES = 80
WIDTH, HEIGHT = 1920, 1080


def image_path(number: int) -> str:
    """The path of the image with this number, from 1."""
    return f"{number // 1000:04d}/{number:07d}.jpg"


def task_of(number: int) -> str:
    """Which task the image with this number is labeled for."""
    return "detection" if number % 10 < 7 else "segmentation"


def write_files(folder: Path, dataset_id: str, images: int, seed: int = 1) -> dict[str, Path]:
    """The official files of a dataset of ``images`` images, by task."""
    paths = {task: folder / f"{dataset_id}-{task}.json" for task in ("detection", "segmentation")}
    for task, path in paths.items():
        classes = [{"id": index, "name": f"class {index}", "color": "#336699"} for index in range(CLASSES)]
        head = {"format_version": "1.0", "dataset_id": dataset_id, "task_type": task, "classes": classes}
        numbers = (number for number in range(1, images + 1) if task_of(number) == task)
        with path.open("wb", buffering=1 << 20) as out:
            out.write(orjson.dumps(head)[:-1] + b',"images":[\n')
            for at, element in enumerate(_images(numbers, seed)):
                out.write((b",\n" if at else b"") + orjson.dumps(element))
            out.write(b"\n]}\n")
    return paths


def _images(numbers: Iterable[int], seed: int) -> Iterator[dict[str, Any]]:
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for number in numbers:
        shape = _box if task_of(number) == "detection" else _polygon
        yield {
            "id": number,
            "file_name": image_path(number),
            "width": WIDTH,
            "height": HEIGHT,
            "annotations": [_annotation(number * PER_IMAGE + each, shape(dice), dice) for each in range(PER_IMAGE)],
            "metadata": {"status": "completed"},
        }


def _annotation(number: int, shape: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    return {"id": number, "class_id": dice.randrange(CLASSES), "state": "confirmed", **shape}


def _box(dice: random.Random) -> dict[str, Any]:
    x, y = dice.randrange(0, WIDTH - 260), dice.randrange(0, HEIGHT - 260)
    return {"type": "bbox", "bbox": [x, y, dice.randrange(8, 250), round(dice.uniform(8, 250), 2)]}


def _polygon(dice: random.Random) -> dict[str, Any]:
    x, y, corners = dice.uniform(150, WIDTH - 150), dice.uniform(150, HEIGHT - 150), dice.randrange(6, 21)
    ring = []
    for corner in range(corners):
        angle, radius = 2 * math.pi * corner / corners, dice.uniform(20, 140)
        ring += [round(x + radius * math.cos(angle), 2), round(y + radius * math.sin(angle), 2)]
    return {"type": "polygon", "segmentation": [ring]}
