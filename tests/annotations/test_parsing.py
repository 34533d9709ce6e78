"""Strict JSON: what JSON says comes through unchanged, and nothing that cannot be stored comes through at all."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError, ValidationError

from annotations.parsing import MAX_DEPTH, MAX_INTEGER, BodyTooLarge, parse_json, read_limited

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def refused(body: str | bytes) -> str:
    """Why a body as a whole is refused."""
    with pytest.raises(ParseError) as caught:
        parse_json(body.encode() if isinstance(body, str) else body)
    return str(caught.value.detail)


def refused_at(body: str) -> tuple[str, str]:
    """The place that is refused, and why."""
    with pytest.raises(ValidationError) as caught:
        parse_json(body.encode())
    ((place, (reason,)),) = caught.value.detail.items()
    return place, str(reason)


@given(VALUES)
def test_whatever_can_be_stored_comes_through_as_it_was(value):
    for spelling in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        found = parse_json(spelling.encode())
        assert found == value and json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize("body", ["null", "true", "0", '""', "[]", "{}", ' {"a" : 1} \n'])
def test_any_json_value_may_be_a_body(body):
    assert parse_json(body.encode()) == json.loads(body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_words_that_are_no_numbers_are_named(number):
    place, reason = refused_at(f'{{"geometry": {{"bbox": [1, {number}]}}}}')
    assert (place, reason) == ("geometry.bbox[1]", f"{number} is not a number that can be stored.")


@pytest.mark.parametrize("number", ["1e309", "-1e309", "1" * 400 + ".5", str(MAX_INTEGER + 1), "9" * 5000])
def test_numbers_no_column_holds_are_refused(number):
    place, reason = refused_at(f'{{"confidence": {number}}}')
    assert place == "confidence" and "too large" in reason


def test_the_largest_numbers_there_are_come_through():
    assert parse_json(f"[{MAX_INTEGER}, {-MAX_INTEGER}, 1e308, 1e-400]".encode()) == [
        MAX_INTEGER, -MAX_INTEGER, 1e308, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "place", "reason"),
    [
        ('"\\u0000"', "body", "It holds a NUL"),
        ('{"notes": "a\\u0000"}', "notes", "It holds a NUL"),
        ('{"annotations": [{"attributes": {"k": "\\u0000"}}]}', "annotations[0].attributes.k", "It holds a NUL"),
        ('{"a\\u0000": 1}', "body", "A key in it holds a NUL"),
        ('{"attributes": {"a\\u0000": 1}}', "attributes", "A key in it holds a NUL"),
        ('{"points": [1, 2, "\\ud800"]}', "points[2]", "It holds half of a surrogate pair"),
        ('{"notes": "\\udc00\\ud800"}', "notes", "It holds half of a surrogate pair"),
        ('{"\\ud83d": 1}', "body", "A key in it holds half of a surrogate pair"),
    ],
)
def test_text_no_column_holds_is_refused_with_its_place(body, place, reason):
    found = refused_at(body)
    assert found[0] == place and found[1].startswith(reason)


def test_a_whole_surrogate_pair_is_the_character_it_means():
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    ("body", "place"), [('{"a": 1, "b": 2, "a": 3}', "body"), ('[{"x": {"a": 1, "a": 1}}]', "[0].x")]
)
def test_a_key_given_twice_is_named_with_its_object(body, place):
    assert refused_at(body) == (place, "The key 'a' is given twice.")


def test_a_key_that_cannot_be_written_down_is_told_escaped():
    place, reason = refused_at('{"notes": {"\\ud800": 1, "\\ud800": 2}}')
    assert place == "notes" and reason.isascii()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_counted_exactly(opening, closing):
    deepest = opening * (MAX_DEPTH - 1) + "[]" + closing * (MAX_DEPTH - 1)
    assert parse_json(deepest.encode()) is not None
    assert refused(opening + deepest + closing) == f"The body is nested deeper than {MAX_DEPTH} levels."


def test_depth_far_beyond_the_stack_is_a_sentence_and_no_crash():
    for body in ("[" * 1_000_000, '{"a":' * 200_000, "[[" * 50_000 + "]]" * 50_000):
        assert "deeper" in refused(body)


def test_brackets_in_texts_are_no_depth():
    body = {"notes": "[{" * 100, "quoted": '"' * 3 + "[" * 100, "back": "\\" * 3 + '"[' * 100, "many": [[1]] * 100}
    assert parse_json(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff{}", "not UTF-8 (byte 0)"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8 (byte 7)"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{} {}", "not JSON"),
        (b"[01]", "not JSON"),
        (b'"a\nb"', "not JSON"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(body, said):
    assert said in refused(body)


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert read_limited(io.BytesIO(b"x" * 100)) == b"x" * 100
    with pytest.raises(BodyTooLarge) as caught:
        read_limited(io.BytesIO(b"x" * 101))
    assert caught.value.status_code == 413 and "100 bytes" in str(caught.value.detail)


def test_of_a_body_too_large_no_more_than_the_limit_is_read(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    stream = io.BytesIO(b"x" * 10_000)
    with pytest.raises(BodyTooLarge):
        read_limited(stream)
    assert stream.tell() == 101
