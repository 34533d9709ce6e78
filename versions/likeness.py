"""When two states of an annotation are the same, and which of two shapes without a common id belong together.

Plain functions over frozen rows (the fields of ``exports.rows.AnnotationRow``). What a person can see on the image
counts: class, type, geometry, confidence, attributes; the same rule by which an edit takes a confirmation back. State,
notes, who, when and the row's version are bookkeeping. Boxes are ``[x, y, w, h]`` in pixels.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Json = dict[str, Any]
Box = Sequence[float]

# Shapes of one class that share at least half of their joint area are one shape, drawn anew.
ENOUGH = 0.5
# Kept in a geometry for images of unknown size; nothing a person sees.
TOLD = ("image_width", "image_height")
# Files hold confidences as shares with 10 decimals; two states agree up to this many decimals of a percentage.
CONFIDENCE_DECIMALS = 6


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two upright boxes, 0 to 1; flat ones (lines) are alike only when equal."""
    if list(one) == list(other):
        return 1.0
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


class Lonely:
    """A row whose id is only on one side: its class, and its box (None for labels, which have no place)."""

    __slots__ = ("box", "class_key", "id", "type")

    def __init__(self, id: int, type: str, class_key: str | None, box: Box | None) -> None:
        self.id, self.type, self.class_key, self.box = id, type, class_key, box

    @property
    def group(self) -> tuple[str | None, str]:
        """Only rows of one group can be one: the same class; labels also of the same type."""
        return self.class_key, self.type if self.box is None else "shape"


def partners(removed: Iterable[Lonely], added: Iterable[Lonely]) -> list[tuple[int, int]]:
    """(old id, new id) of rows on one image that are one shape by class and place, the likest first; each row once."""
    found: list[tuple[float, int, int]] = []
    groups: dict[Any, tuple[list[Lonely], list[Lonely]]] = {}
    for side, rows in enumerate((removed, added)):
        for row in rows:
            groups.setdefault(row.group, ([], []))[side].append(row)
    for old, new in groups.values():
        found += _likely(old, new)
    return list(_each_once(sorted(found, key=lambda one: (-one[0], one[1], one[2]))))


def _likely(old: list[Lonely], new: list[Lonely]) -> Iterator[tuple[float, int, int]]:
    """Pairs that share enough. A pair that does cannot be further apart than the new box is wide, so that an image of
    ten thousand shapes is not compared a hundred million times."""
    if old and old[0].box is None:
        yield from ((1.0, one.id, other.id) for one, other in zip(old, new, strict=False))
        return
    old = sorted(old, key=lambda row: row.box[0])  # type: ignore[index]
    lefts = [row.box[0] for row in old]  # type: ignore[index]
    for row in new:
        box = row.box or (0, 0, 0, 0)
        near = old[bisect_left(lefts, box[0] - box[2]) : bisect_right(lefts, box[0] + box[2])]
        for other in near:
            share = overlap(other.box or (), box)
            if share >= ENOUGH:
                yield share, other.id, row.id


def _each_once(pairs: Iterable[tuple[float, int, int]]) -> Iterator[tuple[int, int]]:
    olds: set[int] = set()
    news: set[int] = set()
    for _, old, new in pairs:
        if old not in olds and new not in news:
            olds.add(old)
            news.add(new)
            yield old, new


# Two states of one annotation -------------------------------------------------------------------


def changes(old: Json, new: Json) -> Json:
    """What differs between two states: api.md's flags; old and new values only where they differ."""
    geometry = shape_of(old) != shape_of(new)
    attributes = old["attributes"] != new["attributes"]
    before, after = _place(old), _place(new)
    return {
        "class_changed": old["class_key"] != new["class_key"],
        "geometry_changed": geometry,
        "position_changed": geometry and before[:2] != after[:2],
        "size_changed": geometry and before[2:] != after[2:],
        "old_geometry": old["geometry"] if geometry else None,
        "new_geometry": new["geometry"] if geometry else None,
        "confidence_changed": _confidence(old) != _confidence(new),
        "attributes_changed": attributes,
        "old_attributes": old["attributes"] if attributes else None,
        "new_attributes": new["attributes"] if attributes else None,
    }


def shape_of(row: Json) -> Json:
    """The geometry without what a client told of the image; its ``type`` is the annotation's."""
    return {name: value for name, value in row["geometry"].items() if name not in TOLD} | {"type": row["type"]}


def _place(row: Json) -> list[float]:
    """Where a shape lies and how large it is: its own box if it is one (a turn alone moves nothing), else its
    envelope; empty for labels."""
    own = row["geometry"].get("bbox") if row["type"] in ("bbox", "rotated_bbox") else row["bbox"]
    return list(own or ())[:4]


def _confidence(row: Json) -> float | None:
    value = row["confidence"]
    return None if value is None else round(value, CONFIDENCE_DECIMALS)
