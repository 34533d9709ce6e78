"""Reading the journal back: its segments into tables of this transaction, from there into history and staged rows.

A save says which segment was the last it held and which rows beyond it (``journal.position``); what comes after that,
segment by segment without a gap, is laid over it. For one annotation the rows of history are in the order of its
changes, so its last row is what it became. Where a segment is missing, damaged, or does not follow the one before it,
the replay ends and says so: what comes later may rest on what is not there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from django.db import connection

from annotations.models import Project, ProjectTask
from exports import stores
from exports.errors import BrokenFile, ObjectMissing, StoreRefused
from exports.journal_segments import read_header, read_segment
from versions import rebuilt_rows
from versions.journal import TABLES
from versions.staging import copied

TABLE = """
CREATE TEMP TABLE journal_rows (segment int, kind text, id bigint, task_type text, subject bigint, image_id bigint,
    row jsonb) ON COMMIT DROP"""
COLUMNS = ("segment", "kind", "id", "task_type", "subject", "image_id", "row")
SUBJECTS = {"annotation": "annotation_id", "image": "image_id", "class": "label_class_id"}

# What happened after a position, until a segment, on images that are there.
FRESH = """
CREATE TEMP TABLE journal_fresh ON COMMIT DROP AS SELECT j.* FROM journal_rows j
WHERE (%(task_type)s::text IS NULL OR j.task_type = %(task_type)s) AND j.segment > %(after)s AND j.segment <= %(until)s
  AND (j.kind = 'class' OR EXISTS (SELECT FROM dataset_images i WHERE i.id = j.image_id AND i.project_id = %(project)s))
  AND NOT EXISTS (SELECT FROM jsonb_array_elements(%(also)s::jsonb -> j.kind) r
                  WHERE j.id BETWEEN (r->>0)::bigint AND (r->>1)::bigint)"""

LAST = """
CREATE TEMP TABLE journal_last ON COMMIT DROP AS
SELECT DISTINCT ON (subject) subject AS id, nullif(row->'new_state', 'null') AS state,
    coalesce(row->'new_state'->>'version', row->'previous_state'->>'version')::int AS version
FROM journal_fresh f WHERE kind = 'annotation' ORDER BY subject, segment DESC, f.id DESC"""

# A staged row with a higher version (of a published version newer than the journal's end) knows better.
ANNOTATIONS = """
DELETE FROM journal_last l USING wanted_annotations w WHERE w.keep_id = l.id AND w.version > l.version;
DELETE FROM wanted_annotations w USING journal_last l WHERE w.keep_id = l.id;
INSERT INTO wanted_annotations (keep_id, image_id, annotation_type, geometry, bbox, area, class_pk, attributes,
    confidence, notes, state, version, client_id, created_by, created_at, updated_by, updated_at, confirmed_by,
    confirmed_at)
SELECT r.id, r.image_id, r.annotation_type, r.geometry, r.bbox, r.area, r.class_id, r.attributes, r.confidence, r.notes,
    r.state, r.version, r.client_id, r.created_by, r.created_at, r.updated_by, r.updated_at, r.confirmed_by,
    r.confirmed_at
FROM journal_last l CROSS JOIN LATERAL jsonb_populate_record(NULL::annotations, l.state) r
WHERE l.state IS NOT NULL ORDER BY r.id"""

IMAGES = """
INSERT INTO wanted_images (image_id, status, confirmed_by, confirmed_at, first_modified_at)
SELECT image_id, state->>'status', state->>'confirmed_by', (state->>'confirmed_at')::timestamptz,
    (state->>'first_modified_at')::timestamptz
FROM (SELECT DISTINCT ON (image_id) image_id, row->'new_state' AS state, segment, id
      FROM journal_fresh WHERE kind = 'image' ORDER BY image_id, segment DESC, id DESC) said
WHERE segment > %(after)s AND NOT EXISTS (SELECT FROM jsonb_array_elements(%(also)s::jsonb -> 'image') r
                                          WHERE id BETWEEN (r->>0)::bigint AND (r->>1)::bigint)
ON CONFLICT (image_id) DO UPDATE SET status = EXCLUDED.status, confirmed_by = EXCLUDED.confirmed_by,
    confirmed_at = EXCLUDED.confirmed_at, first_modified_at = EXCLUDED.first_modified_at"""
# When the drawing itself last changed, as the counters' trigger sees it.
TOUCHED = """
UPDATE wanted_images w SET last_modified_at = greatest(w.last_modified_at, t.at)
FROM (SELECT image_id, max((row->>'timestamp')::timestamptz) AS at FROM journal_fresh
      CROSS JOIN LATERAL (SELECT row->'previous_state' AS p, row->'new_state' AS n) states
      WHERE kind = 'annotation'
        AND (p->'geometry', p->'class_id', p->'attributes', p->'confidence', p->'annotation_type')
        IS DISTINCT FROM (n->'geometry', n->'class_id', n->'attributes', n->'confidence', n->'annotation_type')
      GROUP BY image_id) t
WHERE t.image_id = w.image_id"""
SETTLE = """
DELETE FROM wanted_images WHERE status = 'not-started';
UPDATE wanted_images i SET status = 'in-progress' WHERE status = 'completed' AND EXISTS (
    SELECT FROM wanted_annotations w WHERE w.image_id = i.image_id AND w.state = 'draft')"""

HISTORY = """
INSERT INTO {table} SELECT r.* FROM journal_rows j CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, j.row) r
WHERE j.kind = %(kind)s AND j.task_type = %(task_type)s AND j.segment <= %(until)s
  AND (j.kind = 'class' OR EXISTS (SELECT FROM dataset_images i WHERE i.id = j.image_id AND i.project_id = %(project)s))
ORDER BY r.id ON CONFLICT (id) DO NOTHING"""

UNKNOWN = """
SELECT count(*) FROM journal_rows j WHERE j.kind = 'annotation' AND NOT EXISTS (
    SELECT FROM dataset_images i WHERE i.id = j.image_id AND i.project_id = %s)"""

CLASSES = """
SELECT DISTINCT ON (subject) subject, row->'new_state' FROM journal_fresh WHERE kind = 'class'
ORDER BY subject, segment DESC, id DESC"""


@dataclass
class Journal:
    """What was read of one project's journal, inside one transaction. ``hashes`` are of the segments found, ``good``
    are those that can be replayed after the one before them, ``problems`` say why others cannot."""

    project: Project
    hashes: dict[int, str] = field(default_factory=dict)
    good: set[int] = field(default_factory=set)
    problems: dict[int, str] = field(default_factory=dict)

    def until(self, after: int) -> int:
        """The last segment that can be replayed after segment ``after``, without a gap."""
        while after + 1 in self.good:
            after += 1
        return after

    def left_out(self, after: int) -> str | None:
        """What cannot be replayed after segment ``after``, in a sentence; None when everything can."""
        end, last = self.until(after), max(self.hashes, default=0)
        if last <= end:
            return None
        reason = self.problems.get(end + 1, "is missing")
        return (
            f"the journal cannot be replayed beyond segment {end}, as segment {end + 1} {reason};"
            f" segments {end + 1} to {last} are left out"
        )


# Reading ------------------------------------------------------------------------------------


def load(project: Project, segments: dict[int, str], folder: Path, *, before: dict[int, str] | None = None) -> Journal:
    """Fetch and check the segments (keys by number), and lay their rows into ``journal_rows``; each gets its row, so
    that the journal goes on above them. ``before``: the hash of the one before them, if it is known.
    Raises StoreUnavailable."""
    _run(TABLE)
    journal = Journal(project, dict(before or {}))
    for number, key in sorted(segments.items()):
        _load_one(journal, number, key, folder / "segment.jsonl.gz")
    return journal


def _load_one(journal: Journal, number: int, key: str, path: Path) -> None:
    header: dict[str, Any] = {}
    size = 0
    try:
        journal.hashes[number] = stores.download("labeler", key, path)
        size = path.stat().st_size
        header = _checked(journal, number, key, path)
        _copy(number, path)
        _check_link(journal, number, header)
        journal.good.add(number)
    except (BrokenFile, ObjectMissing, StoreRefused) as error:
        journal.hashes.setdefault(number, "")
        journal.problems[number] = f"cannot be used ({error})"
    rebuilt_rows.segment_row(journal.project, number, header, size=size, sha256=journal.hashes[number])


def _checked(journal: Journal, number: int, key: str, path: Path) -> dict[str, Any]:
    """The header of a segment that is whole and in its place; raises BrokenFile and StoreRefused."""
    recorded = stores.head("labeler", key).sha256
    if recorded and recorded != journal.hashes[number]:
        raise StoreRefused(f"{key} holds other bytes than were written")
    with path.open("rb") as body:
        header = read_header(body)
    if (header["project_id"], header["number"]) != (journal.project.pk, number):
        raise BrokenFile(f"{key} says it is segment {header['number']} of {header['project_id']}")
    for _ in read_segment(path):
        pass
    return header


def _check_link(journal: Journal, number: int, header: dict[str, Any]) -> None:
    before = journal.hashes.get(number - 1)
    if before is not None and before != header["previous"]:
        raise BrokenFile("it does not follow the segment before it: it was written by another life of the database")


def _copy(number: int, path: Path) -> None:
    with copied("journal_rows", COLUMNS) as copy:
        for kind, row in read_segment(path):
            text = orjson.dumps(row).decode()
            place = (row["task_type"], row[SUBJECTS[kind]], row.get("image_id"))
            copy.write_row([number, kind, row["id"], *place, text])


# Bringing back ------------------------------------------------------------------------------


def stage_over(
    journal: Journal, task: ProjectTask, position: dict[str, Any], *, laid_over: dict[str, Any] | None = None
) -> int:
    """Lay what happened after ``position`` over the staged rows; how many annotations and images that were.

    ``laid_over``: the position of what the staged rows were laid over with already; it knows an image's status as of
    then. (Of annotations it is told by their versions.)
    """
    _fresh(journal, task.task_type, position)
    _run(LAST)
    count = _one("SELECT count(DISTINCT (kind, subject)) FROM journal_fresh WHERE kind <> 'class'")
    _run(ANNOTATIONS)
    held = laid_over or position
    _run(IMAGES, {"after": held["number"], "also": orjson.dumps(held["also"]).decode()})
    _run(TOUCHED)
    _run(SETTLE)
    _run("DROP TABLE journal_last; DROP TABLE journal_fresh")
    return count


def bring_history(journal: Journal, task: ProjectTask, after: int) -> int:
    """The rows of history themselves, as far as they can be replayed after segment ``after`` and all before it; how
    many came. A row that is there already stays as it is."""
    values = {"project": journal.project.pk, "task_type": task.task_type, "until": journal.until(after)}
    with replaying("history"):
        return sum(_run(HISTORY.format(table=table), {**values, "kind": kind}) for kind, table in TABLES.items())


def bring_classes(journal: Journal, position: dict[str, Any]) -> int:
    """Classes as the journal last has them, those made since ``position`` too; how many."""
    _fresh(journal, None, position)
    with connection.cursor() as cursor:
        cursor.execute(CLASSES)
        states = {pk: orjson.loads(state) for pk, state in cursor.fetchall()}
        # Names may have changed hands: all are let go first, as no two classes share one at any moment.
        for pk in states:
            cursor.execute("UPDATE classes SET name = %s WHERE id = %s", [str(uuid.uuid4()), pk])
        for state in states.values():
            cursor.execute(*_class_upsert(state))
        cursor.execute("DROP TABLE journal_fresh")
    return len(states)


def _class_upsert(state: dict[str, Any]) -> tuple[str, list[str]]:
    columns = [name for name in state if name not in ("id", "project_id", "task_type", "class_id", "index")]
    changes = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in columns)
    return (
        "INSERT INTO classes SELECT r.* FROM jsonb_populate_record(NULL::classes, %s::jsonb) r"
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        [orjson.dumps(state).decode()],
    )


def rows_left() -> int:
    """How many rows were read and not taken out again."""
    return _one("SELECT count(*) FROM journal_rows")


def on_unknown_images(journal: Journal) -> int:
    """How many changes of annotations are on images that did not come back."""
    return _one(UNKNOWN, [journal.project.pk])


@contextmanager
def replaying(what: str) -> Iterator[None]:
    """While rows come back out of the journal, the triggers do not write it again: ``history`` marks no row of
    history, ``rows`` writes no history for a state that has its own."""
    _run("SELECT set_config('labeler.replaying', %s, true)", [what])
    yield
    _run("SELECT set_config('labeler.replaying', '', true)")


def _fresh(journal: Journal, task_type: str | None, position: dict[str, Any]) -> None:
    values = {
        "project": journal.project.pk,
        "task_type": task_type,
        "after": position["number"],
        "until": journal.until(position["number"]),
        "also": orjson.dumps(position["also"]).decode(),
    }
    _run(FRESH, values)


def _run(sql: str, values: Any = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.rowcount


def _one(sql: str, values: Any = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()[0]
