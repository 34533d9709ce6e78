"""The bytes of JSON files as people bring them: what a parser would not take, or take for something else, is mended.

Python and others write bare NaN and endless numbers, and halves of surrogate pairs; only the entries that hold them
are to be skipped, not the file.
"""

from __future__ import annotations

import math
import re
from os import SEEK_SET
from typing import BinaryIO

import ijson.backends.yajl2_c as ijson

from exports.errors import BrokenFile

MAX_DEPTH = 64
BUFFER = 64 * 1024
MAX_INTEGER = 2**63 - 1
# Strings and numbers are matched whole, so that no part of one is taken for another.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?Infinity|NaN|-?\d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+', re.DOTALL)
ENDS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[,\[\]{}]', re.DOTALL)
PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
ESCAPE = re.compile(PAIR + rb"|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_VALUE = 64 * 1024 * 1024


class Source:
    """The file's bytes without a byte order mark. ``lenient`` mends what no JSON parser takes, or takes
    silently for something else: NaN and endless numbers become text, integers beyond 64 bits floats,
    halves of surrogate pairs NUL."""

    def __init__(self, file: BinaryIO, *, lenient: bool) -> None:
        self._file, self._lenient = file, lenient
        self._rest = b""
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes or, when lenient, about that many."""
        if not self._lenient or size == 0:
            return self._file.read(size)
        while True:
            # As much again as is waiting: a value that goes on and on is not scanned over and over.
            piece = self._file.read(max(size, BUFFER, len(self._rest)))
            text = self._rest + piece
            cut = _safe_cut(text) if piece else len(text)
            self._rest = text[cut:]
            if len(self._rest) > MAX_VALUE:
                raise BrokenFile(f"The file holds a single value of more than {MAX_VALUE} bytes.")
            if cut or not piece:
                return TOKEN.sub(_mended, text[:cut])


def _safe_cut(text: bytes) -> int:
    """The end of the last whole token: a comma or bracket outside any string."""
    cut = 0
    for found in ENDS.finditer(text):
        if found[0] == b'"':
            break
        if found[0][:1] != b'"':
            cut = found.end()
    return cut


def _mended(found: re.Match[bytes]) -> bytes:
    token = found[0]
    if token[:1] == b'"':
        return ESCAPE.sub(_without_half, token) if SURROGATE.search(token) else token
    return token if len(token) < 19 and not NOT_PLAIN.search(token) else _number(token)


NOT_PLAIN = re.compile(rb"[eENI]")


def _without_half(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    return rb"\u0000" if len(escape) == 6 and SURROGATE.match(escape) else escape


def _number(token: bytes) -> bytes:
    """The token as a parser takes it: an integer of 64 bits as it is, any other as a float, else a text."""
    if token.lstrip(b"-").isdigit() and len(token) <= 20 and abs(int(token)) <= MAX_INTEGER:
        return token
    value = float(token)
    return repr(value).encode() if math.isfinite(value) else b'"not a number"'


def has_surrogates(file: BinaryIO) -> bool:
    """Whether any text is escaped with surrogates: the parser turns lone halves into question marks."""
    file.seek(0, SEEK_SET)
    end = b""
    while bite := file.read(BUFFER):
        if SURROGATE.search(end + bite):
            return True
        end = bite[-3:]
    return False


def refuse_deep(source: BinaryIO) -> None:
    """Raise BrokenFile for a file nested too deep: the paths of its parts would fill gigabytes."""
    depth = 0
    # Events without their paths, which are what grows.
    for event, _ in ijson.basic_parse(source, use_float=True):
        depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
        if depth > MAX_DEPTH:
            raise BrokenFile(f"The file is nested deeper than {MAX_DEPTH} levels.")


def first_line(error: Exception) -> str:
    """What a parser says of an error, without the excerpt it adds."""
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
