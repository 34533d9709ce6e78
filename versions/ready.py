"""Ready texts: the pieces of an image's files, kept from one file to the next.

A publish or a working save renders the images that changed and copies the pieces of all others. They are a cache,
never the truth: the rows give every piece again, and ``verifying`` compares them.

Published: an image is frozen anew whenever anything of it changed, so pieces made of a version are right for every
other one that lists the same frozen image. Working: pieces are right while their image's progress row is at the
revision they were made at, as every change of the image or its annotations raises it.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.db import IntegrityError, OperationalError, connection
from psycopg.errors import DeadlockDetected, UniqueViolation

from annotations.models import ProjectTask
from exports import formats
from exports.rows import Dataset, ImageRow
from exports.writer import ReadyImage
from versions import snapshots
from versions.models import Version
from versions.states import VersionType

FORMATS = tuple(formats.FORMATS)
# The columns of each format: one a strand.
COLUMNS = {name: [f"{name}_{strand}" for strand in each.strands] for name, each in formats.FORMATS.items()}
# What a file says of itself; no piece holds any of it.
OF_THE_FILE = ("dataset_id", "dataset_name", "project_id", "version", "created_at", "last_modified_at", "storage_info")
# Where an image has no pieces its rows come instead. A row: image id, state, columns of the image and texts of its
# annotations (both null where it is ready), strands. As few columns as can be: each costs time for each image.
# Pieces are looked up image by image; LIMIT leaves PostgreSQL no choice. In a join it sorts all of them on disk first,
# and whoever writes the files waits for that.
FROZEN = """
SELECT v.image_id, %(ordinal)s::int, CASE WHEN r.image_id IS NULL THEN
        json_build_array(v.path, v.width, v.height, v.depth, v.split, v.metadata)::text END,
    CASE WHEN r.image_id IS NULL THEN {annotations} END, {strands}
FROM version_images v
LEFT JOIN LATERAL (
    SELECT * FROM ready_texts r WHERE r.task_id = v.task_id AND r.form = 'published' AND r.image_id = v.image_id
      AND r.state >= v.opened AND (v.closed IS NULL OR r.state < v.closed) AND r.context = %(context)s AND {wanted}
    LIMIT 1) r ON true
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)
ORDER BY v.image_id"""
IMAGE_AT, TEXTS_AT, STRANDS_AT = 2, 3, 4

STARTED = """
SELECT i.id, s.revision, CASE WHEN r.image_id IS NULL THEN
        json_build_array(i.path, i.width, i.height, i.depth, i.split, {metadata})::text END,
    CASE WHEN r.image_id IS NULL THEN {annotations} END, {strands}
FROM image_annotation_status s
JOIN dataset_images i ON i.id = s.image_id
LEFT JOIN LATERAL (
    SELECT * FROM ready_texts r WHERE r.task_id = %(task)s AND r.form = 'working' AND r.image_id = s.image_id
      AND r.state = s.revision AND r.context = %(context)s LIMIT 1) r ON true
LEFT JOIN LATERAL (
    SELECT e.created_by, e.created_at FROM annotations e
    WHERE r.image_id IS NULL AND e.project_id = s.project_id AND e.image_id = s.image_id AND e.task_type = s.task_type
    ORDER BY e.created_at, e.id LIMIT 1) first ON true
WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s AND {started}
ORDER BY i.id"""

# What a later version put in stays. Of images that are listed no more pieces may stay, too; their state tells.
# The stretches lead, whatever the statistics know of this task: OFFSET leaves PostgreSQL no choice. In a join it walks
# all stretches for each kept text where it expects few of those.
REPLACED = """
DELETE FROM ready_texts WHERE ctid = ANY(ARRAY(
    SELECT r.place FROM unnest(%(first)s::bigint[], %(last)s::bigint[]) AS made (first, last)
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place FROM ready_texts k
        WHERE k.task_id = %(task)s AND k.form = %(form)s AND k.image_id BETWEEN made.first AND made.last
          AND (%(ordinal)s::int IS NULL OR k.state <= %(ordinal)s) OFFSET 0) r))"""
KEY = ("task_id", "form", "image_id", "state", "context")
# How a binary COPY begins and ends.
BEGIN, END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
BITE = 256 * 1024


def context_of(dataset: Dataset) -> UUID:
    """A digest of all that pieces depend on besides their image: classes, ratios, forms, and the writers themselves."""
    told = {each.name: getattr(dataset, each.name) for each in fields(dataset) if each.name not in OF_THE_FILE}
    # Numbers in strands stand as this machine's processor writes them.
    text = orjson.dumps([told, snapshots.writer_version(), sys.byteorder], option=orjson.OPT_SORT_KEYS)
    return UUID(bytes=hashlib.sha256(text).digest()[:16])


class Spool:
    """Pieces that had to be rendered, on local disk until the pass is over: they go to a table that it reads.

    They lie there as the rows that COPY takes, so that keeping them is passing on bytes, without a look at any row. Of
    their images only the ``stretches`` are remembered, first and last ids of those that came one after the other in
    file order: one if all were rendered, one for each that changed; so memory stays flat.
    """

    def __init__(
        self, path: Path, task: ProjectTask, form: VersionType, dataset: Dataset, formats: Sequence[str]
    ) -> None:
        self.task, self.form, self.formats, self.context = task, form, tuple(formats), context_of(dataset)
        self.count, self.stretches = 0, (array("q"), array("q"))
        self._apart, self._states = True, deque[int]()
        self.columns = [column for name in self.formats for column in COLUMNS[name]]
        # How COPY takes the columns of KEY: the count of all columns, then the length of each before it.
        self._key = struct.Struct(f">hiqi{len(form.value)}siqiii16s")
        self._path, self._out = path, path.open("wb", buffering=1 << 18)

    def expect(self, image_id: int, state: int) -> None:
        """The next image that comes is this one, in this state."""
        first, last = self.stretches
        if self._apart:
            first.append(image_id)
            last.append(image_id)
        last[-1], self._apart = image_id, False
        self._states.append(state)

    def pass_over(self) -> None:
        """An image between the others has its pieces."""
        self._apart = True

    def add(self, image_id: int, packed: bytes) -> None:
        """Take in the strands of an image's pieces, packed, in the order of the formats: so COPY takes them."""
        form, state = self.form.value.encode(), self._states.popleft()
        key = (8, self.task.pk, len(form), form, 8, image_id, 4, state, 16, self.context.bytes)
        self._out.write(self._key.pack(len(KEY) + len(self.columns), *key))
        self._out.write(packed)
        self.count += 1

    def copied(self) -> Iterator[bytes]:
        """All rows as a binary COPY, in bites."""
        self._out.flush()
        yield BEGIN
        with self._path.open("rb") as file:
            while bite := file.read(BITE):
                yield bite
        yield END


def published_images(version: Version, spool: Spool) -> Iterator[ImageRow | ReadyImage]:
    """The version's images in file order, streamed: as pieces where all the spool's formats are kept, else as rows.

    One query, so one moment; no other is sent on this connection before the last image is taken.
    """
    columns = {"annotations": snapshots.FROZEN_ANNOTATIONS, "strands": _strands(spool), "wanted": _wanted(spool)}
    values = {"task": spool.task.pk, "ordinal": version.ordinal, "context": spool.context}
    return _images(FROZEN.format(**columns), values, spool)


def working_images(spool: Spool) -> Iterator[ImageRow | ReadyImage]:
    """All started live images in file order, drafts included; as ``published_images``."""
    columns = {"annotations": snapshots.LIVE_ANNOTATIONS, "metadata": snapshots.METADATA, "started": snapshots.STARTED}
    values = {**snapshots.WORKING.parameters(spool.task), "context": spool.context}
    return _images(STARTED.format(**columns, strands=_strands(spool)), values, spool)


def _images(sql: str, values: dict[str, Any], spool: Spool) -> Iterator[ImageRow | ReadyImage]:
    for row in snapshots.pushed(sql, values):
        if row[IMAGE_AT] is None:
            spool.pass_over()
            yield ReadyImage(row[0], row[STRANDS_AT:])
        else:
            spool.expect(row[0], row[1])
            yield snapshots.image_row((row[0], *orjson.loads(row[IMAGE_AT]), row[TEXTS_AT]))


def _strands(spool: Spool) -> str:
    return ", ".join(f"r.{column}" for column in spool.columns)


def _wanted(spool: Spool) -> str:
    return " AND ".join(f"{COLUMNS[name][0]} IS NOT NULL" for name in spool.formats)


def forget_published(task: ProjectTask) -> None:
    """Let the published pieces of all images of a task go."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM ready_texts WHERE task_id = %s AND form = 'published'", [task.pk])


def keep_published(version: Version, spool: Spool) -> int:
    """Keep the pieces for later versions; returns how many images were kept. Outside a transaction: none if another
    version keeps some of the same images at the moment."""
    try:
        return _keep(spool, ordinal=version.ordinal)
    except (IntegrityError, OperationalError) as error:
        if isinstance(error.__cause__, UniqueViolation | DeadlockDetected):
            return 0
        raise


def keep_working(spool: Spool) -> int:
    """Keep the pieces for later saves; returns how many images were kept. To be called under ``alone("save")``."""
    return _keep(spool)


def _keep(spool: Spool, ordinal: int | None = None) -> int:
    if not spool.count:
        return 0
    first, last = map(list, spool.stretches)
    made: dict[str, Any] = {"first": first, "last": last, "ordinal": ordinal}
    keep = f"COPY ready_texts ({', '.join([*KEY, *spool.columns])}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor:
        # Between the two statements there are fewer pieces, which only costs whoever would use them time.
        cursor.execute(REPLACED, {"task": spool.task.pk, "form": spool.form.value, **made})
        with connection.wrap_database_errors, cursor.copy(keep) as copy:
            for bite in spool.copied():
                copy.write(bite)
    return spool.count
