"""Canonical JSON and the hashes made of it (dice-format.md section 6).

Keys sorted by code point, no white space, nothing escaped beyond the mandatory, integral numbers
without ``.0``, shortest round-trip decimals: equal content gives equal bytes in any language.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import orjson

NEWLINE = "\n"


def tidy(value: Any) -> Any:
    """The value with every integral float as an int; ``-0.0`` becomes 0. Tuples become lists."""
    kind = type(value)
    # Most values are texts and ints: asking for them first makes this three times as fast.
    if kind is str or kind is int or value is None:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is dict:
        return {key: tidy(each) for key, each in value.items()}
    if kind is list or kind is tuple:
        return [tidy(each) for each in value]
    return value


def canonical(value: Any) -> bytes:
    """Canonical JSON of a value, as UTF-8. Raises ValueError for NaN and Infinity."""
    return _canonical_of_tidy(tidy(value))


def _canonical_of_tidy(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(element: Any) -> str:
    """Lower-case hex SHA-256 of an element's canonical JSON; the digest of an image."""
    return hashlib.sha256(canonical(element)).hexdigest()


def compact(value: Any) -> bytes:
    """One-line JSON with the keys in their own order, as files hold it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson knows no integers beyond 64 bits, attributes may.
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def tidy_text(value: Any) -> bytes:
    """``compact(tidy(value))``, without looking at every number where none needs it."""
    return _plain(value) or compact(tidy(value))


def text_and_digest(element: Any) -> tuple[bytes, bytes]:
    """An element's tidy text with its keys in their own order, and its digest (32 bytes)."""
    text = _plain(element)
    # Python writes 0.00001 as 1e-05, orjson does not.
    if text is not None and b"0.0000" not in text:
        return text, hashlib.sha256(orjson.dumps(element, option=orjson.OPT_SORT_KEYS)).digest()
    element = tidy(element)
    return compact(element), hashlib.sha256(_canonical_of_tidy(element)).digest()


def _plain(value: Any) -> bytes | None:
    """The text if it is tidy as it is; None if it is not, or orjson cannot tell."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        return None
    # Where orjson writes a number otherwise than canonical JSON wants it: 2.0, -0.0, 1e-7, 1e+16. A text that holds
    # one of these for another reason only takes the longer way.
    if b".0," in text or b".0]" in text or b".0}" in text or b"e-" in text or b"e+" in text or text.endswith(b".0"):
        return None
    return text


class ContentHash:
    """The ``content_hash`` of a file, fed with its images in file order."""

    def __init__(self, dataset_id: str, task_type: str, classes: list[dict[str, Any]]) -> None:
        head = {"format_version": "1.0", "dataset_id": dataset_id, "task_type": task_type, "classes": classes}
        self._hash = hashlib.sha256(canonical(head) + b"\n")

    def add(self, digests: bytes) -> None:
        """Take in the next images by their digests, 32 bytes each."""
        if digests:
            self._hash.update(f"{digests.hex(NEWLINE, 32)}\n".encode())

    def value(self) -> str:
        """``sha256:`` and 64 hex digits."""
        return f"sha256:{self._hash.hexdigest()}"
