"""What readers of other people's formats share: their interface, and turning foreign shapes into ours.

A reader has a ``header`` and gives its ``entries`` as often as they are asked for: images, annotations, and problems
with their place. Only a file that cannot be read at all raises BrokenFile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from exports.errors import BrokenFile
from exports.rows import FileAnnotation, FileHeader, FileImage, Problem

Entry = FileImage | FileAnnotation | Problem
Json = dict[str, Any]
MOST_SIDE = 1_000_000
STRAIGHT = 0.01  # degrees: less is how a box that was never turned comes back from decimals


class Reader(Protocol):
    """An opened annotation file."""

    header: FileHeader

    def entries(self) -> Iterator[Entry]:
        """Every image before its annotations, with problems in between."""


class Unreadable(Exception):
    """An entry that cannot be read; its reason becomes a Problem."""


def number(value: Any, field: str) -> float:
    """A finite number, also from text; raises Unreadable."""
    if value is None:
        raise Unreadable(f"{field} is missing")
    try:
        # Python takes true for 1 and 1_0 for 10, which nobody means.
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError
        said = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"{field} {str(value)[:40]!r} is not a number") from None
    if not math.isfinite(said):
        raise Unreadable(f"{field} is not a finite number")
    return said


def size(value: Any, field: str) -> int:
    """A whole number of pixels from 1 to a million, also from text; raises Unreadable."""
    said = number(value, field)
    if said != int(said) or not 1 <= said <= MOST_SIDE:
        raise Unreadable(f"{field} {str(value)[:40]!r} is no size in pixels")
    return int(said)


def turned(x: float, y: float, w: float, h: float, angle: float) -> tuple[str, Json]:
    """Type and geometry of a box turned by ``angle`` degrees clockwise about its centre; a plain box if straight."""
    turn = (angle + 180) % 360 - 180
    if abs(turn) < STRAIGHT:
        return "bbox", {"type": "bbox", "bbox": [x, y, w, h]}
    return "rotated_bbox", {"type": "rotated_bbox", "bbox": [x, y, w, h, turn]}


def from_corners(points: Sequence[tuple[float, float]]) -> tuple[str, Json]:
    """A box from its four corners in order: type and geometry as ``turned``."""
    (x0, y0), (x1, y1), (x2, y2), _ = points
    w, h = math.hypot(x1 - x0, y1 - y0), math.hypot(x2 - x1, y2 - y1)
    cx, cy = sum(x for x, _ in points) / 4, sum(y for _, y in points) / 4
    return turned(cx - w / 2, cy - h / 2, w, h, math.degrees(math.atan2(y1 - y0, x1 - x0)))


def refuse_text(raw: bytes, what: str) -> str:
    """The bytes as text; raises Unreadable unless they are UTF-8 without NUL."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None
    return refuse_nul(text, what)


def refuse_nul(text: str, what: str) -> str:
    """The text itself; raises Unreadable for what no database text may hold."""
    if "\0" in text:
        raise Unreadable(f"{what} holds a NUL character or half of a surrogate pair")
    return text


def broken(reason: str) -> BrokenFile:
    """A file that cannot be read at all."""
    return BrokenFile(reason)
