"""Lines of JSON in a reproducible gzip: the records a database is rebuilt from.

``frozen_rows.jsonl.gz`` holds what a version changed, one change a line: ``{"close_image": id}``,
``{"close": annotation_id}``, ``{"open_image": {...}}`` and ``{"open": {...}}`` (dice-format.md section 1,
design.md section 5). ``images.jsonl.gz`` holds a plain object a line. Both stream either way.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from exports.errors import BrokenFile
from exports.writer import Gathered

# A first publish packs all rows it froze: level 6 would take twice as long for a seventh of the size.
LEVEL = 1
BITE = 256 * 1024
CHANGES: dict[str, type] = {"close_image": int, "close": int, "open_image": dict, "open": dict}


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """One record a line; no name and no time in the header, so equal records make equal bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=LEVEL) as packed,
    ):
        out = Gathered(packed)  # type: ignore[arg-type]
        for record in records:
            out.write(orjson.dumps(record) + b"\n")
        out.flush()


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records in order, streamed; raises BrokenFile naming the line that is not one."""
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                number += 1
                record = orjson.loads(line)
                if not isinstance(record, dict):
                    raise BrokenFile(f"{path.name}, line {number}: not an object. Fetch the file again.")
                yield record
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise BrokenFile(f"{path.name} is damaged at line {number}: {error}. Fetch it again.") from error


def unpacked(path: Path) -> str:
    """SHA-256 (hex) of the lines, however they were packed; raises BrokenFile."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") as lines:
            while bite := lines.read(BITE):
                digest.update(bite)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BrokenFile(f"{path.name} is damaged: {error}.") from error
    return digest.hexdigest()


def read_changes(path: Path) -> Iterator[tuple[str, Any]]:
    """The changes of ``frozen_rows.jsonl.gz`` as (kind, value), in order; other lines raise BrokenFile."""
    for number, record in enumerate(read_records(path), start=1):
        kind, value = next(iter(record.items()), ("nothing", None))
        if len(record) != 1 or type(value) is not CHANGES.get(kind):
            raise BrokenFile(
                f"{path.name}, line {number}: {', '.join(record) or 'an empty object'} is no known change."
                " The file was written by another program or a newer one."
            )
        yield kind, value
