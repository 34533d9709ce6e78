"""Which shapes without a common id are one shape, held against the plain way of trying every pair."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, strategies

from tests.cases import made_up
from versions.likeness import Lonely, changes, overlap, partners

SIDES = strategies.sampled_from([0, 1, 3, 5, 10, 20])
BOXES = strategies.tuples(strategies.integers(0, 30), strategies.integers(0, 30), SIDES, SIDES).map(list)
ROWS = strategies.lists(strategies.tuples(BOXES, strategies.sampled_from(["cat", "dog", None])), max_size=12)


def lonely(rows, first: int) -> list[Lonely]:
    return [Lonely(first + n, "bbox", key, box) for n, (box, key) in enumerate(rows)]


def plainly(removed: list[Lonely], added: list[Lonely]) -> list[tuple[int, int]]:
    """Every pair of one class, the likest first, each row once."""
    pairs = [(-overlap(o.box, n.box), o.id, n.id) for o, n in product(removed, added) if o.class_key == n.class_key]
    found: list[tuple[int, int]] = []
    for share, old, new in sorted(pairs):
        if -share >= 0.5 and old not in dict(found) and new not in dict(found).values():
            found.append((old, new))
    return found


@made_up(100)
@given(old=ROWS, new=ROWS)
def test_partners_are_those_that_trying_every_pair_finds(old, new):
    removed, added = lonely(old, 1), lonely(new, 1000)
    assert partners(removed, added) == plainly(removed, added)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),
        ([0, 0, 10, 10], [5, 0, 10, 10], 1 / 3),
        ([0, 0, 10, 10], [10, 0, 10, 10], 0),
        ([0, 5, 9, 0], [0, 5, 9, 0], 1),
        ([0, 5, 9, 0], [0, 6, 9, 0], 0),
    ],
)
def test_overlap_is_intersection_over_union(one, other, share):
    assert overlap(one, other) == overlap(other, one) == pytest.approx(share)


def test_labels_have_no_place_and_pair_by_class():
    old = [Lonely(1, "classification", "cat", None), Lonely(2, "classification", "dog", None)]
    new = [Lonely(3, "classification", "dog", None), Lonely(4, "no_object", None, None)]
    assert partners(old, new) == [(2, 3)]


def test_ten_thousand_shapes_are_paired_without_trying_every_pair():
    grid = [[x * 20, y * 20, 10, 10] for x in range(100) for y in range(100)]
    removed = [Lonely(n, "bbox", "cat", box) for n, box in enumerate(grid)]
    added = [Lonely(10_000 + n, "bbox", "cat", [box[0] + 1, *box[1:]]) for n, box in enumerate(grid)]
    assert partners(removed, added) == [(n, 10_000 + n) for n in range(10_000)]


def test_a_turn_alone_moves_and_resizes_nothing():
    row = {"type": "rotated_bbox", "class_key": "cat", "attributes": {}, "confidence": None}
    old = {**row, "geometry": {"type": "rotated_bbox", "bbox": [1, 2, 3, 4, 0]}, "bbox": [1, 2, 3, 4]}
    new = {**row, "geometry": {"type": "rotated_bbox", "bbox": [1, 2, 3, 4, 90]}, "bbox": [0.5, 2.5, 4, 3]}
    told = changes(old, new)
    assert told["geometry_changed"] and not told["position_changed"] and not told["size_changed"]
