"""Images of boxes alone, or of polygons alone: most of what there is, laid out in columns.

A format puts the text of such an image together from its columns, at half of what it costs to make objects of each
annotation first. Numbers that files and digests write in different ways never get here, so a text of a column is right
for both. An image that is odd in any way goes through its rows, which stay the reference: tests hold one way against
the other, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal, TypeVar

import msgspec
import orjson

from exports.canonical import compact, may_be_untidy, ordered, tidy_text
from exports.rows import ImageRow, Unread
from exports.shapes import iscrowd, share

Known = TypeVar("Known")
Number = int | float
Kind = Literal["bbox", "polygon"]


class Rings(msgspec.Struct, gc=False):
    """The rings of a geometry; a box has none."""

    rings: list[list[tuple[Number, Number]]] = []


class SimpleRow(msgspec.Struct, gc=False):
    """What files show of a box or a polygon; as ``exports.rows.AnnotationRow``."""

    id: int
    type: Kind
    geometry: Rings
    bbox: tuple[Number, Number, Number, Number]
    area: Number
    class_key: str
    state: str
    attributes: dict[str, Any] = {}
    confidence: Number | None = None


ROWS = msgspec.json.Decoder(list[SimpleRow])


class SimpleImage(msgspec.Struct, gc=False):
    """An image of known size, its annotations in their order, and columns of what files say of them."""

    image: ImageRow
    rows: list[SimpleRow]
    # None of an image without annotations.
    kind: Kind | None
    # Each polygon's rings, flat.
    rings: list[list[list[Number]]]
    # Texts, ready for a file; without the outer brackets: of a list of four, and of a list of lists.
    ids: list[str]
    boxes: list[str]
    areas: list[str]
    outlines: list[str]
    confidences: list[str]
    attributes: list[str]
    # Attributes with their keys in order.
    in_order: list[str]
    crowds: list[str]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.width or 0, self.image.height or 0

    def named(self, classes: Mapping[str, Known]) -> list[Known] | None:
        """What ``classes`` says of each annotation's class; None if it does not know one."""
        try:
            return [classes[row.class_key] for row in self.rows]
        except KeyError:
            return None


def simple_image(image: ImageRow) -> SimpleImage | None:
    """The image in columns; None if it is of another kind, or its rows were not read from texts."""
    if not isinstance(image.annotations, Unread) or not image.width or not image.height:
        return None
    try:
        rows = ROWS.decode(image.annotations.text)
        kinds = {row.type for row in rows}
        return _in_columns(image, rows, kinds.pop() if kinds else None) if len(kinds) < 2 else None
    except (msgspec.ValidationError, orjson.JSONEncodeError):  # the latter for whole numbers beyond 64 bits
        return None


def _in_columns(image: ImageRow, rows: list[SimpleRow], kind: Kind | None) -> SimpleImage | None:
    polygons = rows if kind == "polygon" else []
    rings = [[list(chain.from_iterable(ring)) for ring in row.geometry.rings] for row in polygons]
    boxes, areas = orjson.dumps([row.bbox for row in rows]), orjson.dumps([row.area for row in rows])
    outlines = orjson.dumps(rings)
    said = _said(rows)
    if said is None or not all(rings) or _may_differ(boxes) or _may_differ(areas) or _may_differ(outlines):
        return None
    return SimpleImage(
        image,
        rows,
        kind,
        rings,
        [str(row.id) for row in rows],
        boxes[2:-2].decode().split("],[") if rows else [],
        areas[1:-1].decode().split(",") if rows else [],
        outlines[3:-3].decode().split("]],[[") if rings else [],
        *said,
    )


def _said(rows: list[SimpleRow]) -> tuple[list[str], list[str], list[str], list[str]] | None:
    """The columns that confidences and attributes fill; None if one of them may be written in different ways."""
    if all(row.confidence is None and not row.attributes for row in rows):
        return ["null"] * len(rows), ["{}"] * len(rows), ["{}"] * len(rows), ["0"] * len(rows)
    confidences = [tidy_text(share(row.confidence)) for row in rows]
    attributes = [compact(row.attributes) for row in rows]
    if any(map(_may_differ, confidences)) or any(map(_may_differ, attributes)):
        return None
    return (
        [text.decode() for text in confidences],
        [text.decode() for text in attributes],
        [ordered(row.attributes) for row in rows],
        [str(iscrowd(row.attributes)) for row in rows],
    )


def _may_differ(text: bytes) -> bool:
    """True where the text may hold a number that canonical JSON writes otherwise than orjson: 2.0, 1e-7, 0.00001."""
    return may_be_untidy(text) or b"0.0000" in text
