"""Outlines of masks: the rings cover the marked pixels exactly, parts apart, holes filled and said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from exports.errors import ExportError
from exports.outlines import of_mask, runs_of
from exports.shapes import ring_area
from tests.cases import made_up


def rle(rows: list[str]) -> dict:
    """A mask drawn with ``#``."""
    pixels = np.array([[each == "#" for each in row] for row in rows], dtype=np.uint8)
    packed = coco.encode(np.asfortranarray(pixels))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}


def covered(rings: list, height: int, width: int) -> np.ndarray:
    """The pixels whose middle lies in a ring."""
    found = np.zeros((height, width), dtype=bool)
    for ring in rings:
        for y in range(height):
            for x in range(width):
                crossings = [
                    x + 0.5 < x1 + (y + 0.5 - y1) * (x2 - x1) / (y2 - y1)
                    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True)
                    if (y1 > y + 0.5) != (y2 > y + 0.5)
                ]
                found[y, x] |= sum(crossings) % 2 == 1
    return found


def test_a_rectangle_has_four_corners():
    rings, holes = of_mask(rle(["....", ".##.", ".##.", ".##."]))
    assert (sorted(rings[0]), holes) == ([(1, 1), (1, 4), (3, 1), (3, 4)], False)


def test_parts_that_touch_at_a_corner_are_rings_of_their_own():
    rings, holes = of_mask(rle(["#.", ".#"]))
    assert len(rings) == 2 and not holes


def test_a_hole_is_filled_and_said():
    rings, holes = of_mask(rle(["###", "#.#", "###"]))
    assert (len(rings), holes, ring_area(rings[0])) == (1, True, 9)


@made_up(100)
@given(st.integers(1, 9).flatmap(lambda width: st.lists(
    st.text("#.", min_size=width, max_size=width), min_size=1, max_size=9)))  # fmt: skip
def test_the_rings_of_any_mask_cover_its_pixels(rows):
    if "#" not in "".join(rows):
        return
    mask = rle(rows)
    marked = np.array([[each == "#" for each in row] for row in rows])
    rings, holes = of_mask(mask)
    found = covered(rings, *marked.shape)
    assert (found & marked == marked).all()
    assert holes == bool((found & ~marked).any())
    assert of_mask({**mask, "counts": runs_of(mask["counts"])}) == (rings, holes)
    assert all(len(ring) >= 4 and ring_area(ring) > 0 for ring in rings)


def test_counts_that_are_none_are_refused():
    with pytest.raises(ExportError):
        of_mask({"size": [2, 2], "counts": "\u00ff"})
