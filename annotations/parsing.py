"""Strict JSON for request bodies: nothing a database text cannot hold, nothing that guesses.

Refused with a place named: bodies too large or nested too deep, NaN and Infinity, numbers no float64
holds, keys given twice, NUL and lone surrogates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1


class BodyTooLarge(ParseError):
    """The body is larger than the limit."""

    status_code = 413
    default_code = "too_large"


class StrictJSONParser(BaseParser):
    """``application/json``, strictly."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The body as Python values; ParseError, ValidationError (400) or BodyTooLarge (413), one clear sentence."""
        return parse_json(read_limited(stream))


def read_limited(stream: IO[bytes]) -> bytes:
    """The whole body, unless it is above the limit."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes; send it in parts.")
    return body


def parse_json(body: bytes) -> Any:
    """Strictly parsed JSON. Raises ParseError, and ValidationError naming the place of a value nobody can store."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParseError(f"The body is not UTF-8 (byte {error.start}).") from error
    _check_depth(text)
    try:
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_float,
            parse_int=_int,
            object_pairs_hook=_no_doubles,
        )
    except json.JSONDecodeError as error:
        raise ParseError(f"The body is not JSON: {error.msg} at character {error.pos}.") from error
    _check_values(value, "")
    return value


def _check_depth(text: str) -> None:
    """Counted before parsing, brackets in strings left out: the parser itself would run out of stack."""
    depth, inside, escaped = 0, False, False
    for character in text if text.count("[") + text.count("{") > MAX_DEPTH else "":
        if inside:
            inside, escaped = escaped or character != '"', not escaped and character == "\\"
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.")
        elif character in "]}":
            depth -= 1


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands where a value was that cannot be stored, until the walk that knows the place finds it."""

    reason: str


def _no_constant(name: str) -> _Refused:
    return _Refused(f"{name} is not a number that can be stored.")


def _float(text: str) -> float | _Refused:
    value = float(text)
    return value if math.isfinite(value) else _Refused(f"{text[:20]} is too large for a number.")


def _int(text: str) -> int | _Refused:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        return _Refused(f"{text[:20]} is too large for a whole number.")
    return int(text)


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Refused:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        return _Refused(f"The key {double[:50]!r} is given twice.")
    return values


def _check_values(value: Any, place: str) -> None:
    if isinstance(value, _Refused):
        raise _wrong(place, value.reason)
    if isinstance(value, str):
        _check_text(value, place, "It")
    elif isinstance(value, dict):
        for key, each in value.items():
            _check_text(key, place, "A key in it")
            _check_values(each, f"{place}.{key[:50]}" if place else key[:50])
    elif isinstance(value, list):
        for index, each in enumerate(value):
            if not isinstance(each, int | float):
                _check_values(each, f"{place}[{index}]")


def _check_text(text: str, place: str, what: str) -> None:
    if "\x00" in text:
        raise _wrong(place, f"{what} holds a NUL character.")
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        raise _wrong(place, f"{what} holds half of a surrogate pair.")


def _wrong(place: str, reason: str) -> ValidationError:
    return ValidationError({place or "body": [reason]})
