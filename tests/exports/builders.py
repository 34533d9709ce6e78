"""Small builders for rows and datasets: a test says what matters and leaves the rest to these."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, FormatChecker

from exports.formats import FORMATS
from exports.rows import AnnotationRow, Dataset, ImageRow, LabelClass, Unread
from exports.writer import Summary, write_all

GOLDEN = Path(__file__).parent.parent / "golden"
CONTRACT = GOLDEN / "contract"
TASKS = {
    "classification": ("classification",),
    "detection": ("bbox", "rotated_bbox"),
    "segmentation": ("polygon", "mask"),
    "keypoint": ("keypoints",),
    "line": ("line",),
    "geometry": ("polyline", "circle"),
}
GEOMETRIES: dict[str, tuple[dict[str, Any], list[float] | None, float | None]] = {
    "bbox": ({"bbox": [10, 20.5, 30, 40]}, [10, 20.5, 30, 40], 1200),
    "rotated_bbox": ({"bbox": [100, 100, 60, 20, 90]}, [120, 80, 20, 60], 1200),
    "polygon": ({"rings": [[[0, 0], [40, 0], [40, 30]]]}, [0, 0, 40, 30], 600),
    "mask": ({"rle": {"size": [480, 640], "counts": [961, 3, 306236]}}, [2, 1, 1, 3], 3),
    "polyline": ({"points": [[0, 0], [10, 5], [20, 0]]}, [0, 0, 20, 5], 0),
    "line": ({"points": [[5, 5], [25, 5]]}, [5, 5, 20, 0], 0),
    "circle": ({"center": [50, 60], "radius": 10}, [40, 50, 20, 20], 314.1592653589793),
    "keypoints": ({"keypoints": [[10, 10, 2], [20, 30, 1], [0, 0, 0]]}, [10, 10, 10, 20], 200),
    "classification": ({}, None, None),
    "no_object": ({}, None, None),
}
CAT = LabelClass(0, "k-cat", "cat", "#FF0000", "animal", keypoints=("nose", "tail", "ear"), skeleton=((1, 2),))
DOG = LabelClass(1, "k-dog", "dog", "#00FF00", "animal", description="barks")
MOMENT = "2026-01-12T08:30:11.000000Z"


def a_row(row_id: int = 1, kind: str = "bbox", **fields: Any) -> AnnotationRow:
    """An annotation of any type, inside an image of 640 x 480 pixels."""
    geometry, bbox, area = GEOMETRIES[kind]
    values: dict[str, Any] = {
        "geometry": {"type": kind, **geometry},
        "bbox": bbox,
        "area": area,
        "class_key": None if kind == "no_object" else CAT.key,
        "state": "confirmed",
        "created_by": "u-1",
        "created_at": MOMENT,
    }
    return AnnotationRow(id=row_id, type=kind, **{**values, **fields})


def a_box(row_id: int, box: list[float], **fields: Any) -> AnnotationRow:
    """A ``bbox`` annotation with its envelope and area."""
    return a_row(row_id, geometry={"type": "bbox", "bbox": box}, bbox=box, area=box[2] * box[3], **fields)


def an_image(image_id: int = 1, *annotations: AnnotationRow, **fields: Any) -> ImageRow:
    """A completed image of 640 x 480 pixels."""
    values = {
        "file_name": f"a/{image_id:04d}.jpg",
        "width": 640,
        "height": 480,
        "depth": 3,
        "status": "completed",
    }
    return ImageRow(id=image_id, annotations=annotations, **{**values, **fields})


def a_dataset(task: str = "detection", kind: str = "published", **fields: Any) -> Dataset:
    """A dataset with the classes cat and dog; ``kind`` is published, working or export."""
    values: dict[str, Any] = {
        "dataset_id": "ds_1",
        "dataset_name": "pets",
        "project_id": "proj_1",
        "task_type": task,
        "version": {"published": "v1.0", "working": "v0.3", "export": "export_20260112_110000"}[kind],
        "version_type": kind,
        "include_draft": kind == "working",
        "created_at": "2026-01-10T02:00:00.000000Z",
        "last_modified_at": "2026-01-12T11:00:00.000000Z",
        "storage_info": {"storage_type": "s3", "bucket": "b", "image_root": "datasets/ds_1/images/"},
        "classes": (CAT, DOG),
        "has_background": False,
    }
    return Dataset(**{**values, **fields})


def written(format_name: str, dataset: Dataset, images: Iterable[ImageRow]) -> tuple[bytes, Summary]:
    """The file and the summary of one format, the same from rows and from their texts."""
    images = list(images)
    (file, summary), from_texts = (_written(format_name, dataset, each) for each in (images, map(in_texts, images)))
    assert from_texts == (file, summary)
    return file, summary


def _written(format_name: str, dataset: Dataset, images: Iterable[ImageRow]) -> tuple[bytes, Summary]:
    out = io.BytesIO()
    (summary,) = write_all(images, [FORMATS[format_name].writer(dataset, out)])
    return out.getvalue(), summary


def in_texts(image: ImageRow) -> ImageRow:
    """The image as it comes from a database: its rows are texts, which writers need not read one by one."""
    texts = ",".join(msgspec.json.encode(row).decode() for row in image.annotations)
    return msgspec.structs.replace(image, annotations=Unread(texts))


def dice(dataset: Dataset, *images: ImageRow) -> dict[str, Any]:
    """The parsed DICE file, checked against the schema."""
    parsed = json.loads(written("dice", dataset, images)[0])
    check_schema(parsed)
    return parsed


def coco(dataset: Dataset, *images: ImageRow) -> dict[str, Any]:
    """The parsed COCO file."""
    return json.loads(written("coco", dataset, images)[0])


def codes(summary: Summary) -> dict[str, list[Any]]:
    """Sample by warning code."""
    return {warning["code"]: warning["sample"] for warning in summary.warnings}


@cache
def validator() -> Draft202012Validator:
    """The contract's schema, formats checked too."""
    schema = json.loads((CONTRACT / "dice-1.0.schema.json").read_text())
    return Draft202012Validator(schema, format_checker=FormatChecker())


def check_schema(parsed: dict[str, Any]) -> None:
    """Fail with the first place that breaks the schema."""
    errors = [f"{error.json_path}: {error.message}" for error in validator().iter_errors(parsed)]
    assert not errors, errors[0]


def many_images(count: int, boxes: int = 4, classes: Sequence[LabelClass] = (CAT, DOG)) -> Iterator[ImageRow]:
    """Images with boxes, made one at a time."""
    for number in range(1, count + 1):
        rows = [
            a_box(number * boxes + at, [10.5 + at, 20.25, 30.125, 40], class_key=classes[at % 2].key)
            for at in range(boxes)
        ]
        yield an_image(number, *rows)
