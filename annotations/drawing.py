"""Shapes as outlines a page can draw (SVG), and differences as words a person reads; over ``difference_answers``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from annotations.geometry import corners

Json = dict[str, Any]
ARROW = "\N{RIGHTWARDS ARROW}"
Points = Sequence[Sequence[float]]


def drawing(diff: Json, width: int | None, height: int | None) -> Json | None:
    """Outlines of everything that differs on one image, each with its ``tone`` (removed, added, before, after); the
    canvas is the image, or what the shapes cover where its size is unknown. None if nothing has a place."""
    toned = [
        *(("removed", row) for row in diff["removed"]),
        *(("before", pair["old"]) for pair in diff["modified"]),
        *(("after", pair["new"]) for pair in diff["modified"]),
        *(("added", row) for row in diff["added"]),
    ]
    boxes = [row["bbox"] for _, row in toned if row["bbox"]]
    if not boxes:
        return None
    width = width or round(max(box[0] + box[2] for box in boxes)) + 1
    height = height or round(max(box[1] + box[3] for box in boxes)) + 1
    shapes = [{**outline, "tone": tone, "title": title(row)} for tone, row in toned for outline in outlines(row)]
    return {"width": width, "height": height, "dot": max(width, height) / 150, "shapes": shapes}


def outlines(row: Json) -> list[Json]:
    """What to draw of one annotation: closed or open ``points``, or a circle; a mask by its envelope, labels not."""
    geometry, kind = row["geometry"], row["annotation_type"]
    if kind == "circle":
        return [_circle(geometry["center"], geometry["radius"])]
    if kind == "keypoints":
        return [_box(row["bbox"]), *(_circle(point, None) for point in geometry["keypoints"] if point[2] > 0)]
    if kind == "rotated_bbox":
        return [_line(corners(geometry["bbox"]), closed=True)]
    if kind == "polygon":
        return [_line(ring, closed=True) for ring in geometry["rings"]]
    if kind in ("line", "polyline"):
        return [_line(geometry["points"], closed=False)]
    return [_box(row["bbox"])] if row["bbox"] else []


def _circle(center: Sequence[float], radius: float | None) -> Json:
    return {"x": float(center[0]), "y": float(center[1]), "radius": radius}


def _line(points: Points, *, closed: bool) -> Json:
    return {"points": " ".join(f"{point[0]:g},{point[1]:g}" for point in points), "closed": closed}


def _box(box: Sequence[float]) -> Json:
    return _line(corners([*box, 0]), closed=True)


def title(row: Json) -> str:
    """An annotation in a few words: class, type and where it is, in pixels."""
    name = row["class_name"] or "no class"
    if not row["bbox"]:
        return f"{name}, {row['annotation_type']}"
    x, y, width, height = (f"{round(value, 1):g}" for value in row["bbox"])
    return f"{name}, {row['annotation_type']} at {x}, {y}, {width} x {height}"


def words(pair: Json) -> list[str]:
    """What changed of one annotation."""
    old, new, changes = pair["old"], pair["new"], pair["changes"]
    return [*_shape_words(changes), *_value_words(old, new, changes)]


def _shape_words(changes: Json) -> Iterable[str]:
    if changes["class_changed"]:
        yield f"class {changes['old_class'] or 'none'} {ARROW} {changes['new_class'] or 'none'}"
    if changes["position_changed"]:
        yield "moved"
    if changes["size_changed"]:
        yield "resized"
    if changes["geometry_changed"] and not changes["position_changed"] and not changes["size_changed"]:
        yield "reshaped"


def _value_words(old: Json, new: Json, changes: Json) -> Iterable[str]:
    if old["id"] != new["id"]:
        yield f"drawn anew (was {old['id']})"
    if changes["confidence_changed"]:
        yield f"confidence {said(old['confidence'])} {ARROW} {said(new['confidence'])}"
    yield from differences(old["attributes"], new["attributes"])


def differences(old: Json, new: Json, names: Iterable[str] | None = None) -> list[str]:
    """``name: before, arrow, after`` of every value that differs; all names if none are given."""
    return [
        f"{name}: {said(old.get(name))} {ARROW} {said(new.get(name))}"
        for name in (sorted(old.keys() | new.keys()) if names is None else names)
        if old.get(name) != new.get(name)
    ]


def said(value: Any) -> str:
    """A value in a sentence."""
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
