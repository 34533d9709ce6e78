"""Segments of a project's journal: a header, then one row of history a line, in a reproducible gzip.

The header says which project and number it is, which rows it holds, how many, and the hash of the segment before; a
row is ``{"annotation": {...}}``, ``{"image": {...}}`` or ``{"class": {...}}``, as its table has it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from exports.errors import BrokenFile
from exports.frozen_records import read_records
from exports.writer import Gathered

LEVEL = 6
KINDS = ("annotation", "image", "class")
HEADER = {"journal": int, "project_id": str, "number": int, "previous": str, "rows": dict, "count": int}


def write_segment(path: Path, header: dict[str, Any], rows: Iterable[tuple[str, str]]) -> None:
    """The header, then rows as (kind, JSON text); equal rows make equal bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=LEVEL) as packed,
    ):
        out = Gathered(packed)  # type: ignore[arg-type]
        out.write(orjson.dumps(header, option=orjson.OPT_SORT_KEYS) + b"\n")
        for kind, text in rows:
            out.write(b'{"%s":%s}\n' % (kind.encode(), text.encode()))
        out.flush()


def read_header(body: BinaryIO) -> dict[str, Any]:
    """What a segment says of itself, read from its first line alone; raises BrokenFile."""
    try:
        with gzip.open(body, "rb") as lines:
            return _checked(orjson.loads(lines.readline()))
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise BrokenFile(f"the segment is damaged at its beginning: {error}") from error


def read_segment(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its rows as (kind, row), streamed; raises BrokenFile where a line is none, or when there are not as many as the
    header says."""
    records = read_records(path)
    header, count = _checked(next(records, None)), 0
    for record in records:
        kind, row = next(iter(record.items()), ("nothing", None))
        if len(record) != 1 or kind not in KINDS or not isinstance(row, dict):
            raise BrokenFile(f"{path.name}, line {count + 2}: no row of history.")
        count += 1
        yield kind, row
    if count != header["count"]:
        raise BrokenFile(f"{path.name} holds {count} rows of history, its header says {header['count']}.")


def _checked(header: Any) -> dict[str, Any]:
    if not isinstance(header, dict) or any(type(header.get(name)) is not kind for name, kind in HEADER.items()):
        raise BrokenFile("the segment does not begin with a header of a journal.")
    return header
