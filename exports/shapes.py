"""What files derive from a stored shape: corners, flat rings, boxes (dice-format.md 4.3).

Box and area come from the row where it has them: they were computed once, when the shape was
written. Only a mask must bring its own, as decoding it here would cost more than everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from exports.errors import ExportError
from exports.rows import AnnotationRow

SHAPELESS = ("classification", "no_object")


def flat(points: Sequence[Sequence[float]]) -> list[float]:
    """``[[x, y], ...]`` as ``[x1, y1, x2, y2, ...]``."""
    return list(chain.from_iterable(points))


def rotated(row: AnnotationRow) -> tuple[list[float], list[float]]:
    """Of a rotated box: ``[cx, cy, w, h, angle]`` and its four corners, flat, clockwise from the top left."""
    x, y, w, h, angle = row.geometry["bbox"]
    cx, cy, turn = x + w / 2, y + h / 2, math.radians(angle)
    cos, sin = math.cos(turn), math.sin(turn)
    halves = ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
    points = [(cx + dx * cos - dy * sin, cy + dx * sin + dy * cos) for dx, dy in halves]
    return [cx, cy, w, h, angle], flat(points)


def rings(row: AnnotationRow) -> list[list[float]]:
    """A polygon's rings, each flat, not closed; several rings are separate parts."""
    return [flat(ring) for ring in row.geometry["rings"]]


def shown(row: AnnotationRow) -> int:
    """How many keypoints are labeled (v > 0)."""
    return sum(point[2] > 0 for point in row.geometry["keypoints"])


def iscrowd(attributes: dict[str, Any]) -> int:
    """1 if a row's attributes say so, else 0."""
    return 1 if attributes.get("iscrowd") in (1, True) else 0


def share(confidence: float | None) -> float | None:
    """A confidence of 0-100 as the 0-1 of files."""
    return None if confidence is None else round(confidence / 100, 10)


def box(row: AnnotationRow) -> list[float]:
    """The envelope ``[x, y, w, h]`` in pixels: the row's own, else that of its points.

    Raises ExportError for a mask that brings none.
    """
    if row.bbox is not None:
        return row.bbox
    if row.type == "circle":
        (cx, cy), radius = row.geometry["center"], row.geometry["radius"]
        return [cx - radius, cy - radius, 2 * radius, 2 * radius]
    if row.geometry.get("bbox") and row.type != "rotated_bbox":
        return row.geometry["bbox"]
    points = _points(row)
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def area(row: AnnotationRow) -> float:
    """Square pixels of the shape itself: the row's own, else computed; 0 for lines."""
    if row.area is not None:
        return row.area
    if row.type in ("polyline", "line"):
        return 0
    if row.type == "circle":
        return math.pi * row.geometry["radius"] ** 2
    if row.type == "polygon":
        return sum(ring_area(ring) for ring in row.geometry["rings"])
    w, h = row.geometry["bbox"][2:4] if row.type == "rotated_bbox" else box(row)[2:4]
    return w * h


def ring_area(ring: Sequence[Sequence[float]]) -> float:
    """Absolute shoelace area of a ring of points."""
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True))) / 2


def _points(row: AnnotationRow) -> Sequence[Sequence[float]]:
    if row.type == "rotated_bbox":
        corners = rotated(row)[1]
        return list(zip(corners[::2], corners[1::2], strict=True))
    if row.type == "polygon":
        return [point for ring in row.geometry["rings"] for point in ring]
    if row.type == "keypoints":
        return [point for point in row.geometry["keypoints"] if point[2] > 0]
    if row.type in ("polyline", "line"):
        return row.geometry["points"]
    raise ExportError(f"Annotation {row.id} ({row.type}) brings no box; recompute it from its geometry.")
