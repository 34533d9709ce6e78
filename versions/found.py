"""What the labeler store holds of lost projects: their records by key, and the highest ids anything names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.db import connection

from exports import keys, stores
from exports.errors import ExportError
from exports.journal_segments import read_header
from versions.errors import NothingInStores, VersionError
from versions.snapshots import SEQUENCES

log = logging.getLogger(__name__)
RECORD = re.compile(r"exports/([^/]+)/project\.json\Z")
MANIFEST = re.compile(r"exports/([^/]+)/(?:([a-z]+)/)?v[1-9]\d*\.\d+/manifest\.json\Z")
FOLDER = re.compile(r"exports/([^/]+)/(?:([a-z]+)/)?v([1-9]\d*)\.\d+/")
SAVE = re.compile(r"exports/([^/]+)/working/(?:([a-z]+)/)?v0\.(\d+)/metadata\.json\Z")
SEGMENT = re.compile(r"exports/([^/]+)/journal/(\d{9})\.jsonl\.gz\Z", re.ASCII)


@dataclass
class Found:
    """What the store holds of one project: keys of its records."""

    record: str | None = None
    manifests: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    # Segments of the journal by number.
    segments: dict[int, str] = field(default_factory=dict)
    # The highest major anything lies under, by task ("" for the first one), finished or not.
    majors: dict[str, int] = field(default_factory=dict)


def look(project_id: str | None = None) -> dict[str, Found]:
    """Records in the labeler store by project; raises NothingInStores when there are none."""
    prefix = keys.project_folder(project_id) if project_id else "exports/"
    found: dict[str, Found] = {}
    for stored in stores.listing("labeler", prefix):
        if match := FOLDER.match(stored.key):
            majors = found.setdefault(match[1], Found()).majors
            majors[match[2] or ""] = max(int(match[3]), majors.get(match[2] or "", 0))
        for pattern in (RECORD, MANIFEST, SAVE, SEGMENT):
            if match := pattern.match(stored.key):
                _note(found.setdefault(match[1], Found()), match)
    if not found:
        raise NothingInStores(f"The labeler store holds no records below {prefix}; is it the right store?")
    return dict(sorted(found.items()))


def _note(found: Found, match: re.Match[str]) -> None:
    if match.re is RECORD:
        found.record = match[0]
    elif match.re is MANIFEST:
        found.manifests.append(match[0])
    elif match.re is SAVE:
        found.saves.append(match[0])
    else:
        found.segments[int(match[2])] = match[0]


def read_json(key: str) -> dict[str, Any]:
    """A record of the labeler store; raises VersionError naming the key when it is not one."""
    try:
        value = orjson.loads(stores.read_small("labeler", key))
    except orjson.JSONDecodeError as error:
        raise VersionError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise VersionError(f"{key} is not a record.")
    return value


def save_number(key: str) -> int:
    """The N of the save ``v0.N`` whose metadata lies there."""
    match = SAVE.match(key)
    assert match is not None
    return int(match[3])


# Ids ----------------------------------------------------------------------------------------

TABLES = {
    "annotation": "annotations",
    "image": "dataset_images",
    "version": "annotation_versions",
    "class": "classes",
    "annotation_history": "annotation_history",
    "image_history": "image_history",
    "class_history": "class_history",
}


def high_waters(everything: dict[str, Found]) -> Iterator[dict[str, int]]:
    """What every readable record says of ids given out; the others are named when their project's turn comes."""
    for found in everything.values():
        for key in [*([found.record] if found.record else []), *found.manifests, *found.saves]:
            try:
                record = read_json(key)
            except (ExportError, VersionError):
                continue
            yield from (record.get("high_water") or {}, {"version": record.get("version_id") or 0})
            yield (record.get("manifest") or {}).get("high_water") or {}
        yield _journal_high_water(found)


def _journal_high_water(found: Found) -> dict[str, int]:
    """What the newest readable segment says; it was taken after all before it."""
    for number in sorted(found.segments, reverse=True):
        try:
            with stores.open_read("labeler", found.segments[number]) as body:
                return read_header(body).get("high_water") or {}
        except ExportError as error:
            log.warning("Segment %s cannot be asked for its ids: %s", number, error)
    return {}


def highest(records: Iterable[dict[str, int]]) -> dict[str, int]:
    """The highest id of each kind that any record names."""
    most = dict.fromkeys(SEQUENCES, 0)
    for record in records:
        for name in SEQUENCES:
            most[name] = max(most[name], int(record.get(name) or 0))
    return most


def raise_sequences(high_water: dict[str, int]) -> None:
    """No id that was ever given out is given out again: sequences go on above every record and every row."""
    with connection.cursor() as cursor:
        for name, sequence in SEQUENCES.items():
            cursor.execute(
                f"SELECT setval('{sequence}', greatest(%s, (SELECT coalesce(max(id), 1) FROM {TABLES[name]}),"
                f" (SELECT last_value FROM {sequence})))",
                [high_water.get(name, 0)],
            )
