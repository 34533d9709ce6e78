"""The outlines of a mask, along the edges of its pixels: what formats without masks take for one.

Masks are COCO's run lengths down the columns. Work and memory follow the runs, not the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from exports.errors import ExportError

Point = tuple[int, int]
Ring = list[Point]
Spans = list[tuple[int, int]]


def of_mask(rle: dict[str, Any]) -> tuple[list[Ring], bool]:
    """The outer rings ``[(x, y), ...]`` in pixels, clockwise on the screen, not closed; and whether holes were filled.

    Parts that touch at a corner only are rings of their own. Raises ExportError for counts that are no run lengths.
    """
    loops = list(_loops(_edges(_columns(rle))))
    outer = [ring for ring in loops if _turns_clockwise(ring)]
    return outer, len(outer) < len(loops)


def runs_of(counts: str | Sequence[int]) -> list[int]:
    """Run lengths from COCO's compressed text (or as they are). Source: pycocotools' maskApi, ``rleFrString``."""
    if not isinstance(counts, str):
        return list(counts)
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        part = ord(character) - 48
        if not 0 <= part < 64:
            raise ExportError("A mask's counts are not COCO's compressed form.")
        value |= (part & 0x1F) << shift
        shift += 5
        if not part & 0x20:
            value -= (part & 0x10) and 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs


def _columns(rle: dict[str, Any]) -> dict[int, Spans]:
    """By column the spans ``(top, bottom)`` of marked pixels, bottom excluded."""
    height = rle["size"][0]
    columns: dict[int, Spans] = {}
    at = 0
    for number, run in enumerate(runs_of(rle["counts"])):
        end = at + run
        while number % 2 and at < end:
            column, top = divmod(at, height)
            bottom = min(height, top + end - at)
            columns.setdefault(column, []).append((top, bottom))
            at += bottom - top
        at = end
    return columns


def _edges(columns: dict[int, Spans]) -> dict[Point, list[Point]]:
    """Directed pixel edges by their start, the marked side to their right."""
    edges: dict[Point, list[Point]] = {}

    def add(start: Point, end: Point) -> None:
        edges.setdefault(start, []).append(end)

    for x, spans in columns.items():
        for top, bottom in spans:
            add((x, top), (x + 1, top))
            add((x + 1, bottom), (x, bottom))
        for top, bottom in _only_first(spans, columns.get(x - 1, [])):
            add((x, bottom), (x, top))
        for top, bottom in _only_first(spans, columns.get(x + 1, [])):
            add((x + 1, top), (x + 1, bottom))
    return edges


def _only_first(spans: Spans, others: Spans) -> Iterator[tuple[int, int]]:
    """What of the spans no other span covers; both in rising order."""
    position = 0
    for top, bottom in spans:
        while position < len(others) and others[position][1] <= top:
            position += 1
        at, each = top, position
        while each < len(others) and others[each][0] < bottom:
            if others[each][0] > at:
                yield at, others[each][0]
            at = max(at, others[each][1])
            each += 1
        if at < bottom:
            yield at, bottom


def _loops(edges: dict[Point, list[Point]]) -> Iterator[Ring]:
    while edges:
        start = next(iter(edges))
        ring, here, direction = [start], start, (0, 0)
        while True:
            there = _take(edges, here, direction)
            step = (there[0] - here[0], there[1] - here[1])
            heading = (_sign(step[0]), _sign(step[1]))
            if heading == direction:
                ring.pop()
            ring.append(there)
            here, direction = there, heading
            if here == start:
                # Where loops touch, this one is closed and the other is found later.
                break
        ring.pop()
        yield _without_straight_start(ring)


def _take(edges: dict[Point, list[Point]], here: Point, direction: Point) -> Point:
    """The next edge; where two leave, the one that turns right stays with the same pixel."""
    ends = edges[here]
    right = (-direction[1], direction[0])
    chosen = next((end for end in ends if (_sign(end[0] - here[0]), _sign(end[1] - here[1])) == right), ends[0])
    ends.remove(chosen)
    if not ends:
        del edges[here]
    return chosen


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _without_straight_start(ring: Ring) -> Ring:
    """The ring without its first point if that only lies on the way."""
    before, first, after = ring[-1], ring[0], ring[1]
    straight = before[0] == first[0] == after[0] or before[1] == first[1] == after[1]
    return ring[1:] if straight else ring


def _turns_clockwise(ring: Ring) -> bool:
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True)) > 0
