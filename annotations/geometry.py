"""Shapes as plain functions: what may be stored, its envelope and its area.

Coordinates are pixels from the top left corner of the image as shown, boxes ``[x, y, width, height]``,
angles degrees clockwise on the screen. Rules: api.md section 2 (accepted spellings) and
dice-format.md section 4.3 (envelope and area). No Django here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct

from annotations.errors import BrokenGeometry

TASK_OF = {
    "bbox": "detection",
    "rotated_bbox": "detection",
    "polygon": "segmentation",
    "mask": "segmentation",
    "keypoints": "keypoint",
    "line": "line",
    "polyline": "geometry",
    "circle": "geometry",
    "classification": "classification",
}
TYPES = (*TASK_OF, "no_object")
ALIASES = {"keypoint": "keypoints"}
MAX_POINTS = 10_000
MAX_RINGS = 1_000
MAX_MASK_PIXELS = 100_000_000
MAX_COORDINATE = 1e7
PLAIN = {int, float}
SIZES = ("image_width", "image_height")
SIDES = {"x", "y", "width", "height"}
COMMON = {"type", *SIZES}

Json = dict[str, Any]
Box = list[float]


class Shape(Struct, frozen=True, gc=False):
    """A checked shape: canonical ``geometry``, envelope ``bbox`` and ``area`` in pixels (None for labels),
    and the image size the client told, if it did."""

    type: str
    geometry: Json
    bbox: Box | None
    area: float | None
    image_width: int | None
    image_height: int | None


def checked(annotation_type: str, geometry: object, *, width: int | None, height: int | None) -> Shape:
    """The shape in canonical form, or BrokenGeometry naming the field and the mend.

    ``width`` and ``height`` are the image's size in pixels where known; a shape must overlap it.
    """
    kind = ALIASES.get(annotation_type, annotation_type) if isinstance(annotation_type, str) else ""
    if kind not in READERS:
        raise _broken("annotation_type", f"must be one of {', '.join(TYPES)}")
    if not isinstance(geometry, dict):
        raise _broken("geometry", "must be an object")
    _check_type(kind, geometry)
    told: dict[str, int] = {}
    # Most shapes come without the image's size, files of millions of them.
    if not geometry.keys().isdisjoint(SIZES):
        told = {name: _size(geometry[name], name) for name in SIZES if geometry.get(name)}
        width, height = width or told.get("image_width"), height or told.get("image_height")
    reader, allowed = READERS[kind]
    if not geometry.keys() <= allowed:
        _refuse_unknown(geometry, allowed)
    own, bbox, area = reader(geometry, width, height)
    if bbox is not None:
        _check_overlap(bbox, width, height)
    canonical = {"type": kind, **own, **told}
    return Shape(kind, canonical, bbox, area, told.get("image_width"), told.get("image_height"))


def _broken(field: str, reason: str) -> BrokenGeometry:
    return BrokenGeometry(f"{field} {reason}.", errors={field: [f"{reason}."]})


def _check_type(kind: str, geometry: Json) -> None:
    said = geometry.get("type", kind)
    if said == kind:
        return
    if not isinstance(said, str) or ALIASES.get(said, said) != kind:
        raise _broken("geometry.type", f"must be {kind}, as annotation_type says")


def _refuse_unknown(geometry: Json, allowed: set[str]) -> None:
    unknown = sorted(geometry.keys() - allowed)
    own = ", ".join(sorted(allowed - COMMON)) or "type"
    raise _broken(f"geometry.{unknown[0]}", f"is not known; this type takes {own}")


# Numbers ------------------------------------------------------------------------------------


def number(value: object, field: str) -> float:
    """A finite number as float64, integral ones as int; strings, booleans, NaN and Infinity are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _broken(field, "must be a number")
    if isinstance(value, int) and abs(value) <= MAX_COORDINATE:
        return value
    # The comparison comes first: isfinite cannot take an integer beyond float64.
    if abs(value) > MAX_COORDINATE or not math.isfinite(value):
        raise _broken(field, f"must be a finite number of pixels, at most {MAX_COORDINATE:.0f}")
    return tidy(float(value))


def tidy(value: float) -> float:
    """Integral floats as ints, so that equal numbers are written alike."""
    return int(value) if value == int(value) else value


def _plain_points(points: Sequence[Any]) -> list[list[float]] | None:
    """The points as ``number`` gives their coordinates back if nothing is wrong with any of them; else None, and each
    has to be looked at by itself. Most are right, and a file may hold millions."""
    try:
        if set(map(len, points)) != {2}:
            return None
        flat = [*chain.from_iterable(points)]
        # No booleans, no texts; and what is not a number cannot be made a whole one below.
        if not set(map(type, flat)) <= PLAIN or min(flat) < -MAX_COORDINATE or max(flat) > MAX_COORDINATE:
            return None
        return [[int(x) if x == int(x) else x, int(y) if y == int(y) else y] for x, y in points]
    except (TypeError, ValueError, OverflowError):
        return None


def _plain_numbers(values: Sequence[Any]) -> list[float] | None:
    """The same for numbers beside one another, as of a box."""
    plain: list[float] = []
    for x in values:
        if type(x) not in PLAIN or not -MAX_COORDINATE <= x <= MAX_COORDINATE:
            return None
        plain.append(int(x) if x == int(x) else x)
    return plain


def _numbers(value: object, field: str, count: int) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != count:
        raise _broken(field, f"must be a list of {count} numbers")
    plain = _plain_numbers(value)
    if plain is not None:
        return plain
    return [number(each, f"{field}[{index}]") for index, each in enumerate(value)]


def _positive(value: float, field: str, what: str) -> None:
    if value <= 0:
        raise _broken(field, f"must be greater than 0 ({what} in pixels)")


def _size(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise _broken(f"geometry.{name}", "must be a whole number of pixels, at least 1")
    return value


def _points(value: object, field: str, least: int) -> list[list[float]]:
    if not isinstance(value, list | tuple):
        raise _broken(field, "must be a list of points [x, y]")
    if len(value) < least:
        raise _broken(field, f"needs at least {least} points")
    if len(value) > MAX_POINTS:
        raise _broken(field, f"has {len(value)} points; at most {MAX_POINTS} are allowed")
    plain = _plain_points(value)
    if plain is not None:
        return plain
    return [_numbers(point, f"{field}[{index}]", 2) for index, point in enumerate(value)]


# Envelopes ----------------------------------------------------------------------------------


def envelope(points: Sequence[Sequence[float]]) -> Box:
    """The smallest upright box ``[x, y, w, h]`` around points ``[x, y]``; w or h may be 0."""
    # Keypoints have a third number.
    xs, ys = list(zip(*points, strict=True))[:2]
    x, y = min(xs), min(ys)
    return [x, y, tidy(max(xs) - x), tidy(max(ys) - y)]


def ring_area(ring: Sequence[Sequence[float]]) -> float:
    """Absolute shoelace area of a ring of points, in square pixels."""
    total = 0.0
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        total += x1 * y2 - x2 * y1
    return abs(total) / 2


def corners(box: Sequence[float]) -> list[list[float]]:
    """The four corners of ``[x, y, w, h, angle]`` turned clockwise about its centre, from the top left one."""
    x, y, w, h, angle = box
    cx, cy, turn = x + w / 2, y + h / 2, math.radians(angle)
    cos, sin = math.cos(turn), math.sin(turn)
    halves = ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
    return [[cx + dx * cos - dy * sin, cy + dx * sin + dy * cos] for dx, dy in halves]


def _check_overlap(bbox: Box, width: int | None, height: int | None) -> None:
    if width is None or height is None:
        return
    x, y, w, h = bbox
    # A flat shape (a level line) may lie on the border; a box has to share area with the image.
    beyond_x = x >= width or x + w <= 0 if w else not 0 <= x <= width
    beyond_y = y >= height or y + h <= 0 if h else not 0 <= y <= height
    if beyond_x or beyond_y:
        raise _broken("geometry", f"does not overlap the image of {width} x {height} pixels")


# One reader a type: (own fields, bbox, area) ---------------------------------------------------

Read = tuple[Json, Box | None, float | None]


def _bbox(geometry: Json, width: int | None, height: int | None) -> Read:
    if "bbox" in geometry:
        if not SIDES.isdisjoint(geometry):
            raise _broken("geometry", "gives the box twice; send bbox alone")
        x, y, w, h = _numbers(geometry["bbox"], "geometry.bbox", 4)
        names = ("geometry.bbox[2]", "geometry.bbox[3]")
    else:
        legacy = ("x", "y", "width", "height")
        missing = [name for name in legacy if name not in geometry]
        if missing:
            raise _broken("geometry.bbox", "is required: [x, y, width, height] in pixels")
        x, y, w, h = (number(geometry[name], f"geometry.{name}") for name in legacy)
        names = ("geometry.width", "geometry.height")
    _positive(w, names[0], "width")
    _positive(h, names[1], "height")
    return {"bbox": [x, y, w, h]}, [x, y, w, h], tidy(w * h)


def _rotated(geometry: Json, width: int | None, height: int | None) -> Read:
    x, y, w, h, angle = _numbers(geometry.get("bbox"), "geometry.bbox", 5)
    _positive(w, "geometry.bbox[2]", "width")
    _positive(h, "geometry.bbox[3]", "height")
    box = [x, y, w, h, _turn(angle)]
    return {"bbox": box}, envelope(corners(box)), tidy(w * h)


def _turn(angle: float) -> float:
    """The same direction from -180 up to, not including, 180 degrees; an angle within stays to the last bit."""
    if -180 <= angle < 180:
        return angle
    turned = tidy((angle + 180) % 360 - 180)
    # A hair below -180 rounds to a whole turn.
    return -180 if turned >= 180 else turned


def _polygon(geometry: Json, width: int | None, height: int | None) -> Read:
    given = [name for name in ("rings", "points", "polygon") if name in geometry]
    if len(given) != 1:
        raise _broken("geometry.points", "is required: [[x, y], ...], or rings: [[[x, y], ...], ...]")
    value, field = geometry[given[0]], f"geometry.{given[0]}"
    rings = _rings(value, field) if given[0] == "rings" else [_ring(value, field)]
    area = sum(ring_area(ring) for ring in rings)
    if area <= 0:
        raise _broken(field, "encloses no area")
    return {"rings": rings}, envelope([point for ring in rings for point in ring]), tidy(area)


def _rings(value: object, field: str) -> list[list[list[float]]]:
    if not isinstance(value, list | tuple) or not value:
        raise _broken(field, "must be a list of at least one ring of points")
    if len(value) > MAX_RINGS:
        raise _broken(field, f"has {len(value)} rings; at most {MAX_RINGS} are allowed")
    return [_ring(ring, f"{field}[{index}]") for index, ring in enumerate(value)]


def _ring(value: object, field: str) -> list[list[float]]:
    points = _points(value, field, 3)
    # Files never repeat the first point; a closed ring is the same ring.
    while len(points) > 3 and points[0] == points[-1]:
        points.pop()
    return points


def _mask(geometry: Json, width: int | None, height: int | None) -> Read:
    rle = geometry.get("rle")
    if not isinstance(rle, dict) or set(rle) != {"size", "counts"}:
        raise _broken("geometry.rle", "must be an object with size [height, width] and counts")
    size = rle["size"]
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise _broken("geometry.rle.size", "must be [height, width]")
    rows, columns = (_whole(each, f"geometry.rle.size[{i}]") for i, each in enumerate(size))
    if rows * columns > MAX_MASK_PIXELS:
        raise _broken("geometry.rle.size", f"covers more than {MAX_MASK_PIXELS} pixels")
    if width is not None and height is not None and (rows, columns) != (height, width):
        raise _broken("geometry.rle.size", f"must be [{height}, {width}], the image's height and width")
    runs = _runs(rle["counts"])
    if sum(runs) != rows * columns:
        raise _broken("geometry.rle.counts", f"must sum to {rows * columns}, height times width")
    bbox, area = mask_extent(runs, rows)
    if bbox is None:
        raise _broken("geometry.rle.counts", "marks no pixel")
    return {"rle": {"size": [rows, columns], "counts": rle["counts"]}}, bbox, area


def _whole(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _broken(field, "must be a whole number, at least 1")
    return value


def _runs(counts: object) -> list[int]:
    """Run lengths of a COCO RLE, from a list or from COCO's compressed string."""
    if isinstance(counts, str):
        return decode_runs(counts)
    if not isinstance(counts, list) or not counts:
        raise _broken("geometry.rle.counts", "must be COCO's compressed string or a list of run lengths")
    for index, run in enumerate(counts):
        if isinstance(run, bool) or not isinstance(run, int) or not 0 <= run <= MAX_MASK_PIXELS:
            raise _broken(f"geometry.rle.counts[{index}]", "must be a whole number, at least 0")
    return counts


def decode_runs(text: str) -> list[int]:
    """Run lengths from COCO's compressed string (LEB128-like, 5 bits a character, differences to the run
    before last); source: pycocotools' maskApi, ``rleFrString``."""
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(text) or not 48 <= ord(text[position]) < 112 or shift > 60:
                raise _broken("geometry.rle.counts", "is not COCO's compressed form")
            piece = ord(text[position]) - 48
            value |= (piece & 0x1F) << shift
            more, shift, position = bool(piece & 0x20), shift + 5, position + 1
            if not more and piece & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            raise _broken("geometry.rle.counts", "has a negative run")
    return runs


def mask_extent(runs: Sequence[int], rows: int) -> tuple[Box | None, float]:
    """Tight box and pixel count of column-major runs (background first) of a mask ``rows`` high."""
    left = top = None
    right = bottom = area = position = 0
    for index, run in enumerate(runs):
        if index % 2 and run:
            first, last = position, position + run - 1
            area += run
            left = first // rows if left is None else min(left, first // rows)
            right = max(right, last // rows)
            spans = first // rows != last // rows
            low, high = (0, rows - 1) if spans else (first % rows, last % rows)
            top = low if top is None else min(top, low)
            bottom = max(bottom, high)
        position += run
    if left is None or top is None:
        return None, 0
    return [left, top, right - left + 1, bottom - top + 1], area


def _polyline(least: int, most: int) -> Callable[[Json, int | None, int | None], Read]:
    def read(geometry: Json, width: int | None, height: int | None) -> Read:
        given = [name for name in ("points", "line") if name in geometry]
        if len(given) != 1:
            raise _broken("geometry.points", "is required: [[x, y], ...]")
        field = f"geometry.{given[0]}"
        points = _points(geometry[given[0]], field, least)
        if len(points) > most:
            raise _broken(field, f"has {len(points)} points; a line has exactly {most}")
        return {"points": points}, envelope(points), 0

    return read


def _circle(geometry: Json, width: int | None, height: int | None) -> Read:
    cx, cy = _numbers(geometry.get("center"), "geometry.center", 2)
    radius = number(geometry.get("radius"), "geometry.radius")
    _positive(radius, "geometry.radius", "radius")
    box = [tidy(cx - radius), tidy(cy - radius), tidy(2 * radius), tidy(2 * radius)]
    return {"center": [cx, cy], "radius": radius}, box, tidy(math.pi * radius * radius)


def _keypoints(geometry: Json, width: int | None, height: int | None) -> Read:
    value = geometry.get("keypoints")
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_POINTS:
        raise _broken("geometry.keypoints", f"must be a list of 1 to {MAX_POINTS} points [x, y, v]")
    points = [_numbers(point, f"geometry.keypoints[{i}]", 3) for i, point in enumerate(value)]
    for index, point in enumerate(points):
        if point[2] not in (0, 1, 2):
            raise _broken(f"geometry.keypoints[{index}][2]", "must be 0 (unlabeled), 1 (occluded) or 2 (visible)")
    own: Json = {"keypoints": points}
    if geometry.get("bbox") is not None:
        box = _bbox({"bbox": geometry["bbox"]}, width, height)[1]
        own["bbox"] = box
    else:
        shown = [point for point in points if point[2] > 0]
        if not shown:
            raise _broken("geometry.keypoints", "shows no point; give at least one with v 1 or 2, or a bbox")
        box = envelope(shown)
    assert box is not None
    return own, box, tidy(box[2] * box[3])


def _label(geometry: Json, width: int | None, height: int | None) -> Read:
    return {}, None, None


# What each type takes of its own, besides what all of them do.
OWN: dict[str, tuple[Callable[[Json, int | None, int | None], Read], set[str]]] = {
    "bbox": (_bbox, {"bbox", "x", "y", "width", "height"}),
    "rotated_bbox": (_rotated, {"bbox"}),
    "polygon": (_polygon, {"points", "rings", "polygon"}),
    "mask": (_mask, {"rle"}),
    "polyline": (_polyline(2, MAX_POINTS), {"points", "line"}),
    "line": (_polyline(2, 2), {"points", "line"}),
    "circle": (_circle, {"center", "radius"}),
    "keypoints": (_keypoints, {"keypoints", "bbox"}),
    "classification": (_label, set()),
    "no_object": (_label, set()),
}
READERS = {kind: (reader, own | COMMON) for kind, (reader, own) in OWN.items()}
