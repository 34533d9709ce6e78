"""Ready texts: the pieces of an image's files, kept from one publish to the next.

A publish renders the images that changed and copies the pieces of all others. They are a cache, never the truth: the
frozen rows give every piece again, and ``verifying`` compares them.

A freeze removes the pieces of every image it looks at, so those that are there are right for every version from the one
they were made for up to the newest. Only the newest version's build puts pieces in, while no other version is frozen.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction

from annotations.models import ProjectTask
from exports.rows import Dataset, ImageRow
from exports.writer import ReadyImage
from versions import snapshots
from versions.alone import alone
from versions.models import Version

FORMATS = ("dice", "coco", "yolo")
# What a file says of itself; no piece holds any of it.
OF_THE_FILE = ("dataset_id", "dataset_name", "project_id", "version", "created_at", "last_modified_at", "storage_info")
LENGTHS = struct.Struct(f"<q{len(FORMATS)}q")
ABSENT = -1

# Where an image has no pieces its frozen rows come instead.
ROWS = """
SELECT v.image_id, r.dice, r.coco, r.yolo, v.path, v.width, v.height, v.depth, v.split, v.metadata,
    CASE WHEN r.image_id IS NULL THEN {annotations} END
FROM version_images v
LEFT JOIN ready_texts r ON r.task_id = v.task_id AND r.image_id = v.image_id AND r.since <= %(ordinal)s
    AND r.context = %(context)s AND {wanted}
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)
ORDER BY v.image_id"""

UNUSABLE = "DELETE FROM ready_texts WHERE task_id = %(task)s AND NOT (context = %(context)s AND {wanted})"
KEEP = "COPY ready_texts (task_id, image_id, since, context, dice, coco, yolo) FROM STDIN (FORMAT BINARY)"
KEEP_TYPES = ("int8", "int8", "int4", "uuid", "bytea", "bytea", "bytea")


def context_of(dataset: Dataset) -> UUID:
    """A digest of all that pieces depend on besides their image: classes, ratios, forms, and the writers themselves."""
    told = {name: value for name, value in asdict(dataset).items() if name not in OF_THE_FILE}
    text = orjson.dumps([told, snapshots.writer_version()], option=orjson.OPT_SORT_KEYS)
    return UUID(bytes=hashlib.sha256(text).digest()[:16])


def images(
    version: Version, task: ProjectTask, dataset: Dataset, formats: Sequence[str]
) -> Iterator[ImageRow | ReadyImage]:
    """The version's images in file order, streamed: as pieces for ``formats`` where they are kept, else as rows. Inside
    a transaction, and with no other query before the last one is taken."""
    sql = ROWS.format(annotations=snapshots.FROZEN_ANNOTATIONS, wanted=_wanted(formats))
    places = [1 + FORMATS.index(name) for name in formats]
    values = {"task": task.pk, "ordinal": version.ordinal, "context": context_of(dataset)}
    for row in snapshots.pushed(sql, values):
        if row[1] is not None:
            yield ReadyImage(row[0], [row[place] for place in places])
        else:
            yield snapshots.image_row((row[0], *row[4:]))


def _wanted(formats: Sequence[str]) -> str:
    return " AND ".join(f"{name} IS NOT NULL" for name in FORMATS if name in formats)


class Spool:
    """Pieces on local disk until the pass that made them is over: they go to a table it only reads."""

    def __init__(self, path: Path, formats: Sequence[str]) -> None:
        self.path, self.formats = path, tuple(formats)
        self.out = path.open("wb", buffering=1 << 18)
        self.count = 0

    def add(self, image_id: int, pieces: Sequence[bytes]) -> None:
        """Take in an image's pieces, in the order of the formats."""
        told = dict(zip(self.formats, pieces, strict=True))
        lengths = [len(told[name]) if name in told else ABSENT for name in FORMATS]
        self.out.write(LENGTHS.pack(image_id, *lengths))
        self.out.writelines(told[name] for name in FORMATS if name in told)
        self.count += 1

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Image id and its pieces in the order of FORMATS, None for one that was not made."""
        self.out.flush()
        with self.path.open("rb", buffering=1 << 18) as file:
            while head := file.read(LENGTHS.size):
                image_id, *lengths = LENGTHS.unpack(head)
                yield image_id, *(None if length == ABSENT else file.read(length) for length in lengths)


def keep(version: Version, task: ProjectTask, dataset: Dataset, spool: Spool) -> int:
    """Keep the pieces for later versions, unless one is frozen or being so; returns how many images were kept."""
    with alone("publish", task.pk) as mine:
        if not mine or not spool.count or _is_overtaken(version):
            return 0
        context = context_of(dataset)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(UNUSABLE.format(wanted=_wanted(spool.formats)), {"task": task.pk, "context": context})
            with cursor.copy(KEEP) as copy:
                copy.set_types(KEEP_TYPES)
                for image_id, *pieces in spool:
                    copy.write_row((task.pk, image_id, version.ordinal, context, *pieces))
    return spool.count


def _is_overtaken(version: Version) -> bool:
    later = Version.objects.of(version.project_id, version.task_type).published()
    return later.filter(ordinal__gt=version.ordinal).exists()
