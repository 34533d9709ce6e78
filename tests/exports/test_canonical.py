"""Canonical JSON and content hashes, against the contract's own test vectors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.canonical import ContentHash, canonical, compact, digest, text_and_digest, tidy, tidy_text
from tests.cases import made_up
from tests.exports.builders import CONTRACT, check_schema

EXAMPLES = sorted(path.name for path in CONTRACT.glob("*.json") if "schema" not in path.name)


def example(name: str) -> dict:
    return json.loads((CONTRACT / name).read_text(encoding="utf-8"))


def hash_of(parsed: dict) -> str:
    content = ContentHash(parsed["dataset_id"], parsed["task_type"], parsed["classes"])
    for image in parsed["images"]:
        content.add(bytes.fromhex(digest(image)))
    return content.value()


def test_there_is_an_example_for_every_task_and_a_working_one():
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_hash_of_every_example_is_the_one_it_carries(name):
    parsed = example(name)
    check_schema(parsed)
    assert hash_of(parsed) == parsed["content_hash"]


def test_the_hash_changes_with_any_value_of_an_image():
    parsed = example("detection.json")
    parsed["images"][0]["annotations"][0]["bbox"][0] += 0.5
    assert hash_of(parsed) != parsed["content_hash"]


def test_the_hash_does_not_see_times_version_and_storage():
    parsed = example("detection.json")
    parsed |= {"version": "v9.0", "last_modified_at": "x", "storage_info": {}}
    assert hash_of(parsed) == parsed["content_hash"]


def test_keys_are_sorted_by_code_point_and_nothing_is_escaped():
    assert canonical({"é": 1, "z": '"', "A": "한/\x7f"}) == '{"A":"한/\x7f","z":"\\"","é":1}'.encode()


def test_integral_numbers_lose_their_fraction_at_every_depth():
    assert canonical({"a": [1.0, {"b": -0.0}, (2.5, 1e15)]}) == b'{"a":[1,{"b":0},[2.5,1000000000000000]]}'


def test_true_stays_true():
    assert tidy([True, 1.0, None, "1.0"]) == [True, 1, None, "1.0"]
    assert canonical(True) == b"true"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_json_does_not_know_are_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": number})


def test_integers_beyond_64_bits_are_written_all_the_same():
    assert json.loads(compact({"x": 10**30, "한": 0.5})) == {"x": 10**30, "한": 0.5}


NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, 1e15, 1e16, -1e22, 1e-7, 5e-324, 2.0, 10.05, 100000000000000000.5, 2**53 + 1.0]
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["1e5", "2.0,", "x.0]", "\x7f\u2028"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


@made_up(100)
@given(VALUES)
def test_the_quick_way_writes_and_hashes_as_the_plain_one(value):
    assert text_and_digest(value) == (compact(tidy(value)), bytes.fromhex(digest(value)))
    assert tidy_text(value) == compact(tidy(value))
