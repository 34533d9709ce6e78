"""The journal: what happened to annotations, images and classes, in the labeler store seconds after it was committed.

Triggers mark each row of history with it (``history_marks``). A segment takes the marks it sees, in one transaction
that writes its row; then its object is made from that row and uploaded, create-only; then the row is sealed with the
hash. So a writer in flight keeps its marks for a later segment, and whatever dies in between, the next round makes the
same segment again. ``versions/replaying.py`` reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.models import Min
from django.utils import timezone

from annotations.models import AnnotationHistory, HistoryMark, ProjectTask, iso
from exports import keys, stores
from exports.errors import BrokenFile, ContentConflict
from exports.journal_segments import read_header, write_segment
from versions import artifacts, snapshots
from versions.alone import alone
from versions.models import JournalSegment, SaveState
from versions.states import SaveTrigger

log = logging.getLogger(__name__)
GZIP = "application/gzip"
# Rows of history in one segment, about: what is read, packed and sent at a time. (The last mark may bring some more.)
MOST = 50_000

TABLES = {"annotation": "annotation_history", "image": "image_history", "class": "class_history"}
TAKE = f"""
WITH taken AS (DELETE FROM history_marks WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(last_id - first_id + 1) OVER (ORDER BY id) - (last_id - first_id + 1) AS before
        FROM (SELECT * FROM history_marks WHERE project_id = %(project)s ORDER BY id LIMIT %(most)s) next) next
    WHERE before < %(most)s) RETURNING kind, first_id, last_id)
{snapshots.RANGES.format(marks="taken")}"""
ROWS = """
SELECT to_jsonb(h)::text FROM jsonb_array_elements(%s::jsonb) AS r
JOIN {table} h ON h.id BETWEEN (r->>0)::bigint AND (r->>1)::bigint ORDER BY h.id"""


def position(project_id: str) -> dict[str, Any]:
    """How far the journal is in this transaction's view: ``number``, the last segment taken, and ``also``, ranges of
    ids that are visible and wait for a later one. Who reads rows in the same view holds exactly these changes."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {snapshots.POSITION}", {"project": project_id})
        return snapshots.position_of(*cursor.fetchone())


def waiting() -> list[str]:
    """Ids of projects with changes that are not in the store yet."""
    marked = HistoryMark.objects.values_list("project_id", flat=True).distinct()
    unsealed = JournalSegment.objects.filter(sealed_at=None).values_list("project_id", flat=True)
    return sorted({*marked, *unsealed})


def behind_since() -> datetime | None:
    """When the oldest change happened that is not in the store yet; None when all are."""
    oldest = HistoryMark.objects.filter(kind="annotation").aggregate(id=Min("first_id"))["id"]
    change = AnnotationHistory.objects.filter(pk=oldest).values_list("timestamp", flat=True).first()
    segment = JournalSegment.objects.filter(sealed_at=None).aggregate(at=Min("begun_at"))["at"]
    return min((moment for moment in (change, segment) if moment), default=None)


# Writing ------------------------------------------------------------------------------------


def write(project_id: str) -> int:
    """Bring everything that waits into the store; how many segments it took. What comes meanwhile is left for the next
    time, or it would go on for as long as people draw. Raises as ``write_next``."""
    written = 0
    while segment := write_next(project_id):
        written += 1
        # One that was cut off comes first, then what waits behind it.
        if written > 1 and segment.count < MOST:
            break
    return written


def write_next(project_id: str) -> JournalSegment | None:
    """Bring one segment into the store; None when nothing waits, or another process is at it.

    Raises StoreError when the store fails: what was taken stays owed.
    """
    with alone("journal", project_id) as mine:
        segment = _owed(project_id) if mine else None
        if segment is not None:
            _seal(segment)
        return segment


def _owed(project_id: str) -> JournalSegment | None:
    """The segment that was taken and not sealed; else the next one; None when nothing waits."""
    unsealed = JournalSegment.objects.filter(project_id=project_id, sealed_at=None).order_by("number").first()
    return unsealed or _take(project_id)


@transaction.atomic
def _take(project_id: str) -> JournalSegment | None:
    """Turn marks into the row of the next segment; from then on it is owed and its content is settled."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"project": project_id, "most": MOST})
        found = cursor.fetchall()
    if not found:
        return None
    last = JournalSegment.objects.filter(project_id=project_id).order_by("number").last()
    return JournalSegment.objects.create(
        project_id=project_id,
        number=last.number + 1 if last else 1,
        previous=last.sha256 if last else "",
        rows={kind: orjson.loads(ranges) for kind, _, ranges in found},
        count=sum(count for _, count, _ in found),
        high_water=snapshots.high_water(),
    )


def _seal(segment: JournalSegment) -> None:
    """Make the object, upload it, then the hash into the row; repeating finds its own earlier try."""
    with artifacts.scratch() as folder:
        path = folder / "segment.jsonl.gz"
        with artifacts.one_instant():
            write_segment(path, header(segment), _rows(segment))
        size, digest = path.stat().st_size, stores.sha256_of_file(path)
        key = keys.journal_segment(segment.project_id, segment.number)
        try:
            artifacts.put_new(key, path, GZIP, digest)
        except ContentConflict:
            found = _own(segment, key)
            if found is None:
                _begin_anew(segment, above=max(numbers(segment.project_id)))
                return
            size, digest = found
    _sealed(segment, size, digest)


def _sealed(segment: JournalSegment, size: int, digest: str) -> None:
    values = {"size_bytes": size, "sha256": digest, "sealed_at": timezone.now()}
    JournalSegment.objects.filter(pk=segment.pk).update(**values)


def header(segment: JournalSegment) -> dict[str, Any]:
    """What the segment says of itself: all from its row, so that it is the same whenever it is made."""
    return {
        "journal": 1,
        "project_id": segment.project_id,
        "number": segment.number,
        "previous": segment.previous,
        "begun_at": iso(segment.begun_at),
        "rows": segment.rows,
        "count": segment.count,
        "high_water": segment.high_water,
    }


def _rows(segment: JournalSegment) -> Iterator[tuple[str, str]]:
    for kind, table in TABLES.items():
        if ranges := segment.rows.get(kind):
            for (text,) in snapshots.stream(ROWS.format(table=table), [orjson.dumps(ranges).decode()]):
                yield kind, text


def _own(segment: JournalSegment, key: str) -> tuple[int, str] | None:
    """Size and hash of what lies there, if it is this very segment in other bytes (another zlib packed it)."""
    try:
        with stores.open_read("labeler", key) as body:
            found = read_header(body)
    except BrokenFile:
        return None
    if found != header(segment):
        return None
    return stores.head("labeler", key).size, stores.hash_of("labeler", key)


@transaction.atomic
def _begin_anew(segment: JournalSegment, *, above: int) -> None:
    """The store has segments this database never wrote: it was restored from an older backup. A new chain begins above
    them, and a save of every task is due, as a rebuild never replays across two lives of a database."""
    log.error("%s is taken in the store by another life of the database; going on above %s.", segment, above)
    JournalSegment.objects.filter(pk=segment.pk).update(number=above + 1, previous="")
    for task in ProjectTask.objects.filter(project_id=segment.project_id, project__deleted_at=None):
        SaveState.objects.want(task, SaveTrigger.RESTORE, by="journal")


def numbers(project_id: str) -> list[int]:
    """The numbers of the segments in the store, in order."""
    prefix = keys.journal_folder(project_id)
    names = [stored.key.removeprefix(prefix).partition(".")[0] for stored in stores.listing("labeler", prefix)]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


# Retention ----------------------------------------------------------------------------------


# Of each task: the last segment that its oldest kept save holds; without a save, all if the task was never touched.
SURPLUS = """
WITH held AS (
    SELECT coalesce((
        SELECT coalesce((v.manifest #>> '{journal,number}')::bigint, 0)
        FROM annotation_versions v JOIN version_exports f ON f.version_id = v.id AND f.removed_at IS NULL
        WHERE v.project_id = t.project_id AND v.task_type = t.task_type AND v.version_type = 'working'
        ORDER BY v.minor LIMIT 1),
      CASE WHEN EXISTS (SELECT FROM image_annotation_status s WHERE s.project_id = t.project_id
            AND s.task_type = t.task_type AND s.revision > s.saved_revision) THEN 0 ELSE 1e9 END) AS last
    FROM project_tasks t WHERE t.project_id = %(project)s)
SELECT * FROM journal_segments j WHERE j.project_id = %(project)s AND j.sealed_at IS NOT NULL
  AND j.number <= (SELECT min(last) FROM held)
  AND j.number < (SELECT max(n.number) FROM journal_segments n WHERE n.project_id = %(project)s)
ORDER BY j.number"""


def prune(project_id: str) -> int:
    """Remove segments that the oldest kept save of every task holds already; the newest stays. How many went.

    The object goes first, then its row, so that a crash repeats it.
    """
    segments = list(JournalSegment.objects.raw(SURPLUS, {"project": project_id}))
    for segment in segments:
        stores.remove("labeler", keys.journal_segment(project_id, segment.number))
        segment.delete()
    return len(segments)
