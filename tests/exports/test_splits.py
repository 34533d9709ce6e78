"""Which split an image falls into."""

from __future__ import annotations

import hashlib
import json

import pytest

from exports.splits import split_of
from tests.exports.builders import CONTRACT


def share_of(name: str) -> int:
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % 10_000


def name_with(share: int) -> str:
    return next(name for name in map("x{}.jpg".format, range(10**6)) if share_of(name) == share)


@pytest.mark.parametrize("name", ["classification.json", "segmentation.json", "line.json", "geometry.json"])
def test_the_examples_were_split_by_the_same_rule(name):
    images = json.loads((CONTRACT / name).read_text())["images"]
    assert [split_of(image["file_name"], None) for image in images] == [image["split"] for image in images]


def test_an_explicit_choice_wins():
    assert split_of(name_with(0), "test") == "test"


@pytest.mark.parametrize(
    ("share", "split"),
    [(0, "train"), (6999, "train"), (7000, "val"), (8999, "val"), (9000, "test"), (9999, "test")],
)
def test_the_borders_lie_at_seventy_and_ninety_percent(share, split):
    assert split_of(name_with(share), None) == split


def test_other_ratios_move_the_borders():
    assert split_of(name_with(7000), None, (0.8, 0.2, 0)) == "train"
    assert split_of(name_with(9999), None, (0.8, 0.2, 0)) == "val"
    assert split_of(name_with(0), None, (0, 0, 1)) == "test"


def test_names_outside_ascii_are_hashed_as_utf8():
    expected = "train" if share_of("사진/é.jpg") < 7000 else "val" if share_of("사진/é.jpg") < 9000 else "test"
    assert split_of("사진/é.jpg", None) == expected
