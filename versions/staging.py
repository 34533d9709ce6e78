"""Bringing wanted rows into the live tables: first load, import, restore and rebuild all end here.

The rows a task should have are staged in temporary tables (by COPY from a file, or in SQL from
snapshots), then three set-based statements delete, update and insert what differs. Everything
happens in the caller's one transaction, so it is all or nothing; the triggers write the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from django.db import connection

from annotations import audit, locks
from annotations.models import ProjectTask
from versions.errors import ForeignFile

TABLES = """
DROP TABLE IF EXISTS wanted_annotations; DROP TABLE IF EXISTS wanted_images;
CREATE TEMP TABLE wanted_annotations (
    seq bigserial, keep_id bigint, image_id bigint NOT NULL, annotation_type text NOT NULL, geometry jsonb NOT NULL,
    bbox jsonb, area float8, class_pk bigint, attributes jsonb NOT NULL, confidence float8, notes text,
    state text NOT NULL, version int, client_id uuid, created_by text, created_at timestamptz,
    updated_by text, updated_at timestamptz, confirmed_by text, confirmed_at timestamptz) ON COMMIT DROP;
CREATE TEMP TABLE wanted_images (
    image_id bigint PRIMARY KEY, status text NOT NULL, confirmed_by text, confirmed_at timestamptz,
    first_modified_at timestamptz, last_modified_at timestamptz) ON COMMIT DROP;
"""

ANNOTATION_COLUMNS = (
    "keep_id", "image_id", "annotation_type", "geometry", "bbox", "area", "class_pk", "attributes", "confidence",
    "notes", "state", "version", "client_id", "created_by", "created_at", "updated_by", "updated_at",
    "confirmed_by", "confirmed_at",
)  # fmt: skip
IMAGE_COLUMNS = (
    "image_id",
    "status",
    "confirmed_by",
    "confirmed_at",
    "first_modified_at",
    "last_modified_at",
)

LOOKED_FOR = "keep_id, image_id, class_pk, client_id, created_by, created_at, updated_by, updated_at"

# What makes two states of an annotation the same for a person; versions and update times do not.
CONTENT = (
    "annotation_type", "geometry", "attributes", "confidence", "notes", "state", "created_by", "created_at",
    "confirmed_by", "confirmed_at",
)  # fmt: skip
SAME = " AND ".join(
    [f"a.{name} IS NOT DISTINCT FROM w.{name}" for name in CONTENT] + ["a.class_id IS NOT DISTINCT FROM w.class_pk"]
)
SCOPE = """a.project_id = %(project)s AND a.task_type = %(task_type)s
    AND (%(images)s::bigint[] IS NULL OR a.image_id = ANY(%(images)s))"""


@dataclass
class Changes:
    """What bringing the rows in changed, by annotation."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0

    def as_dict(self) -> dict[str, int]:
        """For answers."""
        return asdict(self)


def listed(images: Sequence[int] | None) -> str | None:
    """Primary keys as PostgreSQL reads an array of them, of whatever type it is compared with. A list of Python's would
    be one of integers or smaller, whose members PostgreSQL compares with a bigint one by one."""
    return None if images is None else f"{{{','.join(map(str, images))}}}"


def open_tables() -> None:
    """Fresh, empty staging tables for this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)


def stage_annotations(rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows in the order of ANNOTATION_COLUMNS; geometry, bbox and attributes as JSON text."""
    copy_rows("wanted_annotations", ANNOTATION_COLUMNS, rows)


def stage_images(rows: Iterable[Sequence[Any]]) -> None:
    """COPY progress rows in the order of IMAGE_COLUMNS."""
    copy_rows("wanted_images", IMAGE_COLUMNS, rows)


def copy_rows(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into the table; errors as of ``copied``."""
    with copied(table, columns) as copy:
        for row in rows:
            copy.write_row(row)


@contextmanager
def copied(table: str, columns: Sequence[str]) -> Iterator[psycopg.Copy]:
    """A COPY into the table, to be written to. What PostgreSQL says is raised as Django's errors, as everywhere."""
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy,
    ):
        yield copy


def apply(
    task: ProjectTask,
    *,
    keep_versions: bool = False,
    merge: bool = False,
    images: Sequence[int] | None = None,
) -> Changes:
    """Make the task's live rows equal the staged ones; returns what changed.

    ``merge`` only adds what is missing: live rows stay as they are, a staged row that equals one under another id is
    not added again, a staged marker gives way to objects, and an image keeps its status unless it was not started.
    ``images`` limits everything to those primary keys; ``keep_versions`` takes the staged version numbers as they
    are (an empty database being rebuilt), otherwise every changed row gets one above any it ever had. Raises
    ForeignFile when a staged id belongs to another project, task or image, or did before it was deleted, ImageLocked
    for an image that somebody else has locked where locks are a rule.
    """
    values = {
        "project": task.project_id,
        "task_type": task.task_type,
        "images": listed(images),
        "keep_versions": keep_versions,
    }
    found = _prepare(values)
    changes = Changes()
    if found.live and merge:
        changes.unchanged = sum(_run(sql, values) for sql in PRESENT)
        changes.removed = _run(MARKERS, values)
    elif found.live:
        changes.removed = _run(DELETE, values)
        changes.updated = _run(UPDATE, values)
    if merge:
        _run(STARTED, values)
    _run(TELL, values)
    changes.added = _insert(found, values)
    changes.unchanged += (staged_count() if found.live else found.staged) - changes.updated - changes.added
    _settle(values)
    if not merge:
        _run(UNTOUCHED, values)
    _note(task, changes, merge=merge)
    return changes


def finish_load(task: ProjectTask, added: int) -> None:
    """What remains after rows went straight into a task that had none: the staged progress of the images, the audit."""
    _settle({"project": task.project_id, "task_type": task.task_type})
    _note(task, Changes(added=added), merge=True)


def _settle(values: dict[str, Any]) -> None:
    """Every listed image as it was told: most are already, those with many annotations since these were inserted."""
    _run("DELETE FROM told_statuses WHERE batch_id = labeler_batch()", values)
    _run(STATUSES, values)


def _note(task: ProjectTask, changes: Changes, *, merge: bool) -> None:
    locks.refuse_touched(task.project_id)
    audit.note_action(task.project_id, task.task_type, {**changes.as_dict(), "merge": merge})


@dataclass(frozen=True)
class Found:
    """What there is before anything is changed: how many rows are staged, how many of them name an id or a client's id
    or leave open who made them and when, the highest id and place, and whether the task has live rows. Most of what
    follows can be left out for a first load."""

    staged: int
    ids: int
    clients: int
    open: int
    highest: int
    last: int
    live: bool

    @property
    def named(self) -> bool:
        """Some of them may have been here before."""
        return self.ids + self.clients > 0


COUNTS = """
SELECT count(*), count(keep_id), count(client_id),
    count(*) - count(CASE WHEN created_by IS NOT NULL AND updated_by IS NOT NULL AND updated_at IS NOT NULL
        THEN created_at END), coalesce(max(keep_id), 0), coalesce(max(seq), 0),
    EXISTS (SELECT FROM annotations WHERE project_id = %(project)s AND task_type = %(task_type)s)
FROM wanted_annotations"""


def _prepare(values: dict[str, Any]) -> Found:
    """Complete the staged rows; raises ForeignFile for ids they must not name."""
    with connection.cursor() as cursor:
        if values["images"] is not None:
            cursor.execute("DELETE FROM wanted_annotations WHERE image_id <> ALL(%(images)s)", values)
            cursor.execute("DELETE FROM wanted_images WHERE image_id <> ALL(%(images)s)", values)
        cursor.execute(COUNTS, values)
        found = Found(*cursor.fetchone())
        if found.named:
            # What the statements below look for and join by; the shapes of a whole version take long to look through.
            cursor.execute(f"CREATE INDEX ON wanted_annotations (keep_id); ANALYZE wanted_annotations ({LOOKED_FOR})")
            _take_ids(cursor, found.highest)
        if found.named and found.open:
            cursor.execute(FILL_FROM_LIVE)
            cursor.execute(FILL_FROM_HISTORY)
            cursor.execute(FILL_THE_REST)
        if found.named:
            _refuse_foreign(cursor, values)
        cursor.execute("CREATE INDEX ON wanted_annotations (seq)")
    return found


# Rows inserted by one statement: what the triggers look through stays within PostgreSQL's work_mem.
PART = 4000


def _insert(found: Found, values: dict[str, Any]) -> int:
    """Insert the staged rows part by part, in their order; returns how many."""
    sql = INSERT_NEW
    if found.named:
        taken = TAKEN if found.clients else NOBODY
        sql = INSERT.format(taken=taken, absent=ABSENT if found.live else "")
    parts = range(0, found.last, PART)
    return sum(_run(sql, {**values, "after": after, "until": after + PART}) for after in parts)


def _refuse_foreign(cursor: Any, values: dict[str, Any]) -> None:
    cursor.execute(FOREIGN, values)
    foreign = [row[0] for row in cursor.fetchall()]
    if foreign:
        raise ForeignFile(
            "The file names annotation ids that belong, or belonged, to another project, task or image.",
            errors={"annotation_ids": foreign},
        )


# Ids a file may bring beyond those given out here: a database restored from yesterday, never a number out of thin air.
AHEAD = 10_000_000


def _take_ids(cursor: Any, highest: int) -> None:
    """Refuse ids nobody can have given out, or given twice; go on above those that come. Raises ForeignFile."""
    cursor.execute(
        "SELECT keep_id FROM wanted_annotations WHERE keep_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1 LIMIT 10"
    )
    double = [row[0] for row in cursor.fetchall()]
    if double:
        raise ForeignFile("The file gives an annotation id twice.", errors={"annotation_ids": double})
    cursor.execute("SELECT last_value FROM annotations_id_seq")
    (given_out,) = cursor.fetchone()
    if highest > given_out + AHEAD:
        raise ForeignFile(
            f"The file names annotation id {highest}, far above any given out ({given_out}).",
            errors={"annotation_ids": [highest]},
        )
    if highest > given_out:
        cursor.execute("SELECT setval('annotations_id_seq', %s)", [highest])


# A published file does not tell who drew a shape and when, nor its notes: what it leaves open is as it is in the
# live row, else as it last was, else of now. (A file that tells the creation time tells the rest too.)
FILL_FROM_LIVE = """
UPDATE wanted_annotations w SET created_by = coalesce(w.created_by, a.created_by), created_at = a.created_at,
    notes = coalesce(w.notes, a.notes), client_id = coalesce(w.client_id, a.client_id),
    confirmed_by = CASE WHEN w.state <> 'draft' THEN coalesce(w.confirmed_by, a.confirmed_by) END,
    confirmed_at = CASE WHEN w.state <> 'draft' THEN coalesce(w.confirmed_at, a.confirmed_at) END
FROM annotations a WHERE a.id = w.keep_id AND w.created_at IS NULL"""

FILL_FROM_HISTORY = """
UPDATE wanted_annotations w SET created_by = coalesce(w.created_by, was.row->>'created_by'),
    created_at = (was.row->>'created_at')::timestamptz, notes = coalesce(w.notes, was.row->>'notes'),
    confirmed_by = CASE WHEN w.state <> 'draft' THEN coalesce(w.confirmed_by, was.row->>'confirmed_by') END,
    confirmed_at = CASE WHEN w.state <> 'draft'
        THEN coalesce(w.confirmed_at, (was.row->>'confirmed_at')::timestamptz) END
FROM (SELECT DISTINCT ON (h.annotation_id) h.annotation_id, h.previous_state AS row FROM annotation_history h
      JOIN wanted_annotations m ON m.keep_id = h.annotation_id AND m.created_at IS NULL
      WHERE h.previous_state IS NOT NULL ORDER BY h.annotation_id, h.id DESC) was
WHERE was.annotation_id = w.keep_id AND w.created_at IS NULL"""

FILL_THE_REST = """
UPDATE wanted_annotations SET created_by = coalesce(created_by, labeler_actor()),
    created_at = coalesce(created_at, now()),
    updated_by = coalesce(updated_by, created_by, labeler_actor()), updated_at = coalesce(updated_at, created_at, now())
WHERE created_at IS NULL OR created_by IS NULL OR updated_by IS NULL OR updated_at IS NULL"""

# A deleted annotation's id stays its own: it comes back under it. An annotation never moves, so of one that lives in
# its place the history need not be asked. Planned for all of them, as there is none as a rule: a plan that hopes to end
# at the tenth looks each of them up.
FOREIGN = """
WITH found AS MATERIALIZED (SELECT w.keep_id FROM wanted_annotations w LEFT JOIN annotations a ON a.id = w.keep_id
WHERE w.keep_id IS NOT NULL AND CASE WHEN a.id IS NULL
    THEN EXISTS (SELECT FROM annotation_history h WHERE h.annotation_id = w.keep_id
        AND (h.project_id, h.task_type, h.image_id) IS DISTINCT FROM (%(project)s, %(task_type)s, w.image_id))
    ELSE (a.project_id, a.task_type, a.image_id) IS DISTINCT FROM (%(project)s, %(task_type)s, w.image_id) END)
SELECT keep_id FROM found ORDER BY keep_id LIMIT 10"""

DELETE = f"""
DELETE FROM annotations a
WHERE {SCOPE} AND NOT EXISTS (SELECT FROM wanted_annotations w WHERE w.keep_id = a.id)"""

UPDATE = f"""
UPDATE annotations a SET annotation_type = w.annotation_type, geometry = w.geometry, bbox = w.bbox, area = w.area,
    class_id = w.class_pk, attributes = w.attributes, confidence = w.confidence, notes = w.notes, state = w.state,
    version = CASE WHEN %(keep_versions)s THEN greatest(w.version, a.version + 1) ELSE a.version + 1 END,
    created_by = w.created_by, created_at = w.created_at, confirmed_by = w.confirmed_by,
    confirmed_at = w.confirmed_at,
    updated_by = CASE WHEN %(keep_versions)s THEN w.updated_by ELSE labeler_actor() END,
    updated_at = CASE WHEN %(keep_versions)s THEN w.updated_at ELSE now() END
FROM wanted_annotations w
WHERE w.keep_id = a.id AND {SCOPE} AND NOT ({SAME})"""

# Merging: what is there already, by id, as an equal shape of the same class, or as objects where a marker would come.
PRESENT = (
    "DELETE FROM wanted_annotations w USING annotations a WHERE a.id = w.keep_id",
    """DELETE FROM wanted_annotations w USING annotations a
    WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.image_id = w.image_id
      AND a.annotation_type = w.annotation_type AND a.geometry = w.geometry
      AND a.class_id IS NOT DISTINCT FROM w.class_pk""",
    """DELETE FROM wanted_annotations w USING annotations a
    WHERE w.annotation_type = 'no_object' AND a.project_id = %(project)s AND a.task_type = %(task_type)s
      AND a.image_id = w.image_id""",
)
STARTED = """
DELETE FROM wanted_images w USING image_annotation_status s
WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s AND s.image_id = w.image_id
  AND s.status <> 'not-started'"""
MARKERS = """
DELETE FROM annotations m WHERE m.project_id = %(project)s AND m.task_type = %(task_type)s
  AND m.annotation_type = 'no_object' AND EXISTS (SELECT FROM wanted_annotations w WHERE w.image_id = m.image_id)"""

# A row that comes back gets a version above any in its history, that is above the last one.
INSERT = """
INSERT INTO annotations (id, project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id,
    attributes, confidence, notes, state, version, client_id, created_by, created_at, updated_by, updated_at,
    confirmed_by, confirmed_at)
SELECT coalesce(w.keep_id, nextval('annotations_id_seq')), %(project)s, w.image_id, %(task_type)s, w.annotation_type,
    w.geometry, w.bbox, w.area, w.class_pk, w.attributes, w.confidence, w.notes, w.state,
    CASE WHEN %(keep_versions)s THEN coalesce(w.version, 1) ELSE coalesce(past.version + 1, w.version, 1) END,
    CASE WHEN taken.id IS NULL THEN w.client_id END,
    w.created_by, coalesce(w.created_at, now()),
    CASE WHEN %(keep_versions)s OR w.keep_id IS NULL THEN w.updated_by ELSE labeler_actor() END,
    CASE WHEN %(keep_versions)s OR w.keep_id IS NULL THEN coalesce(w.updated_at, now()) ELSE now() END,
    w.confirmed_by, w.confirmed_at
FROM wanted_annotations w
LEFT JOIN LATERAL (
    SELECT (h.previous_state->>'version')::int AS version FROM annotation_history h
    WHERE h.annotation_id = w.keep_id AND h.previous_state IS NOT NULL ORDER BY h.id DESC LIMIT 1) past ON true
{taken}
WHERE w.seq > %(after)s AND w.seq <= %(until)s {absent}
ORDER BY w.seq"""
TAKEN = "LEFT JOIN annotations taken ON taken.client_id = w.client_id"
NOBODY = "CROSS JOIN (SELECT NULL::bigint AS id) taken"
ABSENT = "AND NOT EXISTS (SELECT FROM annotations a WHERE a.id = w.keep_id)"

# The same where no row names an id, so that nothing can have been there before. What the file does not tell is of now.
INSERT_NEW = """
INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id,
    attributes, confidence, notes, state, version, created_by, created_at, updated_by, updated_at,
    confirmed_by, confirmed_at)
SELECT %(project)s, w.image_id, %(task_type)s, w.annotation_type, w.geometry, w.bbox, w.area, w.class_pk,
    w.attributes, w.confidence, w.notes, w.state, coalesce(w.version, 1),
    coalesce(w.created_by, (SELECT labeler_actor())), coalesce(w.created_at, now()),
    coalesce(w.updated_by, w.created_by, (SELECT labeler_actor())), coalesce(w.updated_at, w.created_at, now()),
    w.confirmed_by, w.confirmed_at
FROM wanted_annotations w WHERE w.seq > %(after)s AND w.seq <= %(until)s ORDER BY w.seq"""

# What the triggers are told of the images, for the rows that come.
TELL = """
INSERT INTO told_statuses (image_id, task_type, status, confirmed_by, confirmed_at, first_modified_at, last_modified_at)
SELECT image_id, %(task_type)s, status, confirmed_by, confirmed_at, first_modified_at, last_modified_at
FROM wanted_images"""

# An image that is as the file has it already is left alone.
STATUSES = """
UPDATE image_annotation_status s SET status = w.status, is_image_confirmed = (w.status = 'completed'),
    confirmed_by = w.by, confirmed_at = w.at,
    first_modified_at = coalesce(w.first_modified_at, s.first_modified_at, now()),
    last_modified_at = coalesce(w.last_modified_at, s.last_modified_at, now())
FROM (SELECT *, CASE WHEN status = 'completed' THEN confirmed_by END AS by,
          CASE WHEN status = 'completed' THEN confirmed_at END AS at FROM wanted_images) w
WHERE s.image_id = w.image_id AND s.project_id = %(project)s AND s.task_type = %(task_type)s
  AND (s.status, s.confirmed_by, s.confirmed_at, s.first_modified_at, s.last_modified_at) IS DISTINCT FROM
      (w.status, w.by, w.at, coalesce(w.first_modified_at, s.first_modified_at, now()),
       coalesce(w.last_modified_at, s.last_modified_at, now()))"""

# An image the file does not list was not started in it.
UNTOUCHED = """
UPDATE image_annotation_status a SET status = 'not-started', is_image_confirmed = false, confirmed_by = NULL,
    confirmed_at = NULL, first_modified_at = NULL, last_modified_at = NULL
WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s
  AND (%(images)s::bigint[] IS NULL OR a.image_id = ANY(%(images)s))
  AND a.status <> 'not-started' AND a.total_annotations = 0
  AND NOT EXISTS (SELECT FROM wanted_images w WHERE w.image_id = a.image_id)"""


def _run(sql: str, values: dict[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.rowcount


def staged_count() -> int:
    """How many annotations are staged."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM wanted_annotations")
        return cursor.fetchone()[0]
