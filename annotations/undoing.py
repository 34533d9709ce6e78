"""Taking changes back: one change, a deed of many, the last steps of a person, and what somebody deleted.

A deed is what one transaction did; its history rows share a ``batch_id``. Undoing writes the rows as they were before
the deed, with a version above any they had, as a new deed in which each history row names the one it takes back.
Undoing that deed is a redo. Everything is set-based: a deed of 100,000 rows costs a few statements.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from annotations import locks
from annotations.acting import acting
from annotations.errors import ChangedSince, Duplicate, Forbidden, NotFound
from annotations.models import AnnotationHistory, LabelClass, iso
from annotations.states import Role

MOST_STEPS = 100
SHOWN = 100


@dataclass
class Undone:
    """What was taken back: how many annotations, in which new deeds (batch ids)."""

    annotations: int = 0
    batches: list[uuid.UUID] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    """Which history rows count: of a project, by one person, on one image (primary key). None: all."""

    project_id: str
    by: str | None = None
    image: int | None = None

    @property
    def values(self) -> dict[str, Any]:
        """Parameters for the SQL of this module."""
        return {"project": self.project_id, "by": self.by, "image": self.image}


# One change, one deed, some steps -------------------------------------------------------------


def undo_change(history_id: int, *, by: str, role: Role, force: bool = False) -> Undone:
    """Take one change back. Raises NotFound, and ChangedSince (unless ``force``), Forbidden, Duplicate as undo_batch.

    The status of the image comes back with it where nothing else of the deed on that image stays.
    """
    row = AnnotationHistory.objects.filter(pk=history_id).first()
    if row is None:
        raise NotFound("No such change.")
    scope = Scope(row.project_id)
    with _undoing(by) as deed:
        change = {"annotation": row.annotation_id, "history": row.pk}
        done = _take_back(scope, row.batch_id, role, deed, by=by, force=force, **change)
        if not done.annotations:
            raise ChangedSince("This change was taken back already.", annotation_ids=[row.annotation_id])
    return done


def undo_batch(scope: Scope, batch: uuid.UUID, *, by: str, role: Role, force: bool = False) -> Undone:
    """Take a deed back, whole or not at all; what was taken back already is left.

    Raises NotFound for a batch without rows in ``scope``, ChangedSince (unless ``force``) with the annotations
    changed since, Forbidden where that needs a reviewer, Duplicate where a marker meets objects.
    """
    rows = AnnotationHistory.objects.of(scope.project_id).filter(batch_id=batch)
    if scope.by is not None:
        rows = rows.filter(changed_by=scope.by)
    if not rows.exists():
        raise NotFound("No such batch in this project" + (" is yours." if scope.by is not None else "."))
    with _undoing(by) as deed:
        return _take_back(scope, batch, role, deed, by=by, force=force)


def undo_steps(scope: Scope, steps: int, *, by: str, role: Role, redo: bool = False, force: bool = False) -> Undone:
    """Take back the last deeds within ``scope``, newest first, or (``redo``) the last undos; fewer if there are fewer.

    All in one transaction; raises as ``undo_batch``.
    """
    total = Undone()
    with transaction.atomic():
        for _ in range(steps):
            batch = _last(REDOABLE if redo else UNDOABLE, scope)
            if batch is None:
                break
            with _undoing(by) as deed:
                done = _take_back(scope, batch, role, deed, by=by, force=force)
            total.annotations += done.annotations
            total.batches += done.batches
    return total


@contextmanager
def _undoing(by: str) -> Iterator[uuid.UUID]:
    """One deed that takes others back; gives its batch."""
    deed = uuid.uuid4()
    with acting(by, action="restore", batch=deed):
        yield deed
        if not transaction.get_rollback():
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM undo_targets WHERE batch_id = %s", [deed])


# A change counts where it is the last one its deed made to the annotation, nobody took it back, and it is no undo.
STEPS = """
SELECT r.batch_id FROM annotation_history r
WHERE r.project_id = %(project)s AND (%(by)s::text IS NULL OR r.changed_by = %(by)s)
  AND (%(image)s::bigint IS NULL OR r.image_id = %(image)s)
  AND {wanted}
  AND NOT EXISTS (SELECT FROM annotation_history u WHERE u.undoes = r.id)
  AND NOT EXISTS (SELECT FROM annotation_history n
                  WHERE n.annotation_id = r.annotation_id AND n.batch_id = r.batch_id AND n.id > r.id)
ORDER BY r.id DESC LIMIT 1"""

UNDOABLE = STEPS.format(wanted="NOT r.is_undo")

# As in any editor, a new change ends what can be redone.
REDOABLE = STEPS.format(
    wanted="""r.is_undo AND r.id > coalesce((
    SELECT max(f.id) FROM annotation_history f
    WHERE f.project_id = %(project)s AND f.undoes IS NULL AND (%(by)s::text IS NULL OR f.changed_by = %(by)s)
      AND (%(image)s::bigint IS NULL OR f.image_id = %(image)s)), 0)"""
)


def _last(sql: str, scope: Scope) -> uuid.UUID | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, scope.values)
        found = cursor.fetchone()
    return found[0] if found else None


# Writing the rows as they were ----------------------------------------------------------------

PLACES = """
SELECT DISTINCT h.image_id, h.task_type FROM annotation_history h
WHERE h.batch_id = %(batch)s AND h.project_id = %(project)s AND (%(by)s::text IS NULL OR h.changed_by = %(by)s)
  AND (%(image)s::bigint IS NULL OR h.image_id = %(image)s)
  AND (%(annotation)s::bigint IS NULL OR h.annotation_id = %(annotation)s)"""

# Before the deed: the row its first change found. Whether that may be written again, its last change tells.
WANTED = """
CREATE TEMP TABLE wanted_back ON COMMIT DROP AS
SELECT d.annotation_id, d.image_id, d.task_type, d.row, v.verdict, v.takes_back FROM (
    SELECT DISTINCT ON (h.annotation_id) h.annotation_id, h.image_id, h.task_type, h.previous_state::jsonb AS row,
        (SELECT max(l.id) FROM annotation_history l
         WHERE l.annotation_id = h.annotation_id AND l.batch_id = h.batch_id) AS last
    FROM annotation_history h
    WHERE h.batch_id = %(batch)s AND h.project_id = %(project)s AND (%(by)s::text IS NULL OR h.changed_by = %(by)s)
      AND (%(image)s::bigint IS NULL OR h.image_id = %(image)s)
      AND (%(annotation)s::bigint IS NULL OR h.annotation_id = %(annotation)s)
      AND (%(history)s::bigint IS NULL OR h.id >= %(history)s)
    ORDER BY h.annotation_id, h.id) d
CROSS JOIN LATERAL undo_verdict(d.last) v
WHERE v.verdict <> 'done'"""

TARGETS = """
INSERT INTO undo_targets (batch_id, annotation_id, takes_back)
SELECT %s, annotation_id, takes_back FROM wanted_back"""

LOCKED = """
SELECT s.image_id, s.task_type FROM image_annotation_status s JOIN ({places}) p
    ON p.image_id = s.image_id AND p.task_type = s.task_type ORDER BY s.id FOR UPDATE OF s"""
LOCK = f"SELECT count(*) FROM ({LOCKED}) locked"

# The status an image had, where it is still as the deed left it and the deed is taken back whole on that image.
STATUSES = """
CREATE TEMP TABLE statuses_back ON COMMIT DROP AS
SELECT f.image_id, f.task_type, f.previous_state AS was FROM (
    SELECT DISTINCT ON (image_id, task_type) * FROM image_history
    WHERE batch_id = %(batch)s AND project_id = %(project)s AND (%(image)s::bigint IS NULL OR image_id = %(image)s)
    ORDER BY image_id, task_type, id) f
JOIN (SELECT DISTINCT ON (image_id, task_type) image_id, task_type, new_state FROM image_history
      WHERE batch_id = %(batch)s ORDER BY image_id, task_type, id DESC) l USING (image_id, task_type)
JOIN image_annotation_status s USING (image_id, task_type)
WHERE (s.status, s.confirmed_by, s.confirmed_at) IS NOT DISTINCT FROM
    (l.new_state->>'status', l.new_state->>'confirmed_by', (l.new_state->>'confirmed_at')::timestamptz)
  AND NOT EXISTS (SELECT FROM annotation_history h WHERE h.batch_id = %(batch)s AND h.image_id = s.image_id
                  AND h.task_type = s.task_type AND h.annotation_id NOT IN (SELECT annotation_id FROM wanted_back))"""


def _take_back(
    scope: Scope,
    batch: uuid.UUID,
    role: Role,
    deed: uuid.UUID,
    *,
    by: str,
    force: bool,
    annotation: int | None = None,
    history: int | None = None,
) -> Undone:
    values = {**scope.values, "batch": batch, "annotation": annotation, "history": history}
    with connection.cursor() as cursor:
        cursor.execute(LOCK.format(places=PLACES), values)
        if locks.are_a_rule(scope.project_id):
            cursor.execute(f"SELECT DISTINCT image_id FROM ({PLACES}) places", values)
            locks.claim_images(scope.project_id, [image for (image,) in cursor.fetchall()], by=by)
        cursor.execute("DROP TABLE IF EXISTS wanted_back, statuses_back")
        cursor.execute(WANTED, values)
        if not force:
            _refuse_changed_since(_ids(cursor, "SELECT annotation_id FROM wanted_back WHERE verdict = 'under'"))
        cursor.execute(STATUSES, values)
        cursor.execute(TARGETS, [deed])
        count = _bring_back(cursor, role)
        cursor.execute(STATUS_BACK)
    return Undone(count, [deed] if count else [])


def _refuse_changed_since(ids: Sequence[int]) -> None:
    if ids:
        raise ChangedSince(
            f"{len(ids)} annotations were changed since; look at them, or send force to overwrite.",
            annotation_ids=list(ids[:SHOWN]),
        )


TAKES_VERIFIED = """
SELECT a.id FROM annotations a JOIN wanted_back w ON w.annotation_id = a.id
WHERE a.image_id = w.image_id AND a.state = 'verified' AND coalesce(w.row->>'state', '') <> 'verified' ORDER BY a.id"""

MARKER_MEETS_OBJECTS = """
SELECT w.annotation_id FROM wanted_back w
WHERE w.row->>'annotation_type' = 'no_object'
  AND EXISTS (SELECT FROM annotations o WHERE o.image_id = w.image_id AND o.task_type = w.task_type
              AND o.annotation_type <> 'no_object'
              AND NOT EXISTS (SELECT FROM wanted_back g WHERE g.annotation_id = o.id AND g.row IS NULL))
ORDER BY 1"""

# An image says "nothing here" or has objects, never both: what comes back takes the marker's place.
MARKERS = """
DELETE FROM annotations m USING (
    SELECT DISTINCT image_id, task_type FROM wanted_back
    WHERE row IS NOT NULL AND row->>'annotation_type' <> 'no_object') w
WHERE m.image_id = w.image_id AND m.task_type = w.task_type AND m.annotation_type = 'no_object'"""

CLASSES = """
SELECT DISTINCT c.id FROM wanted_back w JOIN classes c ON c.id = (w.row->>'class_id')::bigint
WHERE c.retired_at IS NOT NULL"""

# By image too, which is of one project: whatever became of the id, only what is held is written.
GONE = """
DELETE FROM annotations a USING wanted_back w
WHERE a.id = w.annotation_id AND a.image_id = w.image_id AND a.task_type = w.task_type AND w.row IS NULL"""

CHANGED = """
UPDATE annotations a SET annotation_type = r.annotation_type, geometry = r.geometry, bbox = r.bbox, area = r.area,
    class_id = r.class_id, attributes = r.attributes, confidence = r.confidence, notes = r.notes, state = r.state,
    confirmed_by = r.confirmed_by, confirmed_at = r.confirmed_at, created_by = r.created_by, created_at = r.created_at,
    version = a.version + 1, updated_by = labeler_actor(), updated_at = now()
FROM wanted_back w CROSS JOIN LATERAL jsonb_populate_record(NULL::annotations, w.row) r
WHERE a.id = w.annotation_id AND a.image_id = w.image_id AND a.task_type = w.task_type AND w.row IS NOT NULL"""

RETURNED = """
INSERT INTO annotations (id, project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id,
    attributes, confidence, notes, state, version, client_id, created_by, created_at, updated_by, updated_at,
    confirmed_by, confirmed_at)
SELECT r.id, r.project_id, r.image_id, r.task_type, r.annotation_type, r.geometry, r.bbox, r.area, r.class_id,
    r.attributes, r.confidence, r.notes, r.state, past.version + 1,
    CASE WHEN NOT EXISTS (SELECT FROM annotations t WHERE t.client_id = r.client_id) THEN r.client_id END,
    r.created_by, r.created_at, labeler_actor(), now(), r.confirmed_by, r.confirmed_at
FROM wanted_back w CROSS JOIN LATERAL jsonb_populate_record(NULL::annotations, w.row) r
CROSS JOIN LATERAL (SELECT max((h.previous_state->>'version')::int) AS version FROM annotation_history h
                    WHERE h.annotation_id = w.annotation_id) past
WHERE w.row IS NOT NULL AND NOT EXISTS (SELECT FROM annotations a WHERE a.id = w.annotation_id)
ORDER BY r.id"""

STATUS_BACK = """
UPDATE image_annotation_status s SET status = b.was->>'status', is_image_confirmed = (b.was->>'status' = 'completed'),
    confirmed_by = b.was->>'confirmed_by', confirmed_at = (b.was->>'confirmed_at')::timestamptz,
    first_modified_at = CASE WHEN b.was->>'status' <> 'not-started' THEN coalesce(s.first_modified_at, now()) END,
    last_modified_at = CASE WHEN b.was->>'status' <> 'not-started' THEN s.last_modified_at END
FROM statuses_back b
WHERE s.image_id = b.image_id AND s.task_type = b.task_type AND s.status <> b.was->>'status'
  AND CASE b.was->>'status' WHEN 'completed' THEN s.draft_annotations = 0
                            WHEN 'not-started' THEN s.total_annotations = 0 ELSE true END"""


def _bring_back(cursor: Any, role: Role) -> int:
    """Make the rows of ``wanted_back`` live, deleted or as they were; returns how many annotations changed."""
    if role.rank < Role.REVIEWER.rank and (ids := _ids(cursor, TAKES_VERIFIED)):
        raise Forbidden(f"Only a reviewer takes back verified annotations ({len(ids)} here).")
    if ids := _ids(cursor, MARKER_MEETS_OBJECTS):
        raise Duplicate("An image that was marked as having no object has annotations now.", annotation_ids=ids[:SHOWN])
    # Nothing is brought back without its class.
    LabelClass.objects.filter(pk__in=_ids(cursor, CLASSES)).update(retired_at=None)
    cursor.execute(GONE)
    count = cursor.rowcount
    cursor.execute(MARKERS)
    cursor.execute(CHANGED)
    count += cursor.rowcount
    cursor.execute(RETURNED)
    return count + cursor.rowcount


def _ids(cursor: Any, sql: str) -> list[int]:
    cursor.execute(sql)
    return [row[0] for row in cursor.fetchall()]


# What somebody deleted ------------------------------------------------------------------------


@dataclass(frozen=True)
class Deleted:
    """Which deleted annotations are meant: by whom, when, on which images (primary keys), which ids, which deed."""

    by: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    images: tuple[int, ...] | None = None
    annotations: tuple[int, ...] | None = None
    batch: uuid.UUID | None = None

    def values(self, project_id: str) -> dict[str, Any]:
        """Parameters for the SQL of this module."""
        return {
            "project": project_id,
            "by": self.by,
            "since": self.since,
            "until": self.until,
            "images": None if self.images is None else list(self.images),
            "annotations": None if self.annotations is None else list(self.annotations),
            "batch": self.batch,
        }


@dataclass
class Returned:
    """What came back (or would): how many, who had deleted them, which ids (the first 1,000), what could not."""

    restored: int
    skipped: int
    by: list[dict[str, Any]]
    annotation_ids: list[int]
    errors: list[dict[str, Any]]
    batch_id: uuid.UUID | None
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """For answers."""
        people = [
            {**each, "first_at": iso(each["first_at"]), "last_at": iso(each["last_at"]),
             "batch_ids": [str(batch) for batch in each["batch_ids"]]}
            for each in self.by
        ]  # fmt: skip
        return {**asdict(self), "by": people, "batch_id": str(self.batch_id) if self.batch_id else None}


DELETIONS = """
SELECT h.annotation_id, h.image_id, h.task_type, h.previous_state::jsonb AS row, h.id AS takes_back, h.changed_by,
    h.timestamp, h.batch_id
FROM annotation_history h
WHERE h.project_id = %(project)s AND h.new_state IS NULL
  AND (%(by)s::text IS NULL OR h.changed_by = %(by)s)
  AND (%(since)s::timestamptz IS NULL OR h.timestamp >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR h.timestamp < %(until)s)
  AND (%(images)s::bigint[] IS NULL OR h.image_id = ANY(%(images)s))
  AND (%(annotations)s::bigint[] IS NULL OR h.annotation_id = ANY(%(annotations)s))
  AND (%(batch)s::uuid IS NULL OR h.batch_id = %(batch)s)
  AND NOT EXISTS (SELECT FROM annotations a WHERE a.id = h.annotation_id)
  AND NOT EXISTS (SELECT FROM annotation_history n
                  WHERE n.annotation_id = h.annotation_id AND n.project_id = h.project_id AND n.id > h.id)"""

# Looked for once more after the wait, on the images that are held: one deleted on another meanwhile stays deleted.
PLACES_OF_DELETED = f"SELECT DISTINCT image_id, task_type FROM ({DELETIONS}) d"
HOLD = f"CREATE TEMP TABLE held_places ON COMMIT DROP AS {LOCKED.format(places=PLACES_OF_DELETED)}"
HELD = "AND EXISTS (SELECT FROM held_places p WHERE p.image_id = h.image_id AND p.task_type = h.task_type)"

WHO = """
SELECT changed_by, count(*), min(timestamp), max(timestamp), (array_agg(DISTINCT batch_id))[1:100]
FROM wanted_back GROUP BY changed_by ORDER BY count(*) DESC, changed_by"""


def restore_deleted(project_id: str, wanted: Deleted, *, by: str, dry_run: bool = False) -> Returned:
    """Bring deleted annotations back with their ids, as one deed; ``dry_run`` does it and takes it back.

    A marker whose image has objects now is skipped and listed. Rows an import or a restore replaced count as
    deleted by whoever did that. Raises ImageLocked as ``locks.refuse_touched``.
    """
    values = wanted.values(project_id)
    with _undoing(by) as deed, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS held_places, wanted_back")
        cursor.execute(HOLD, values)
        cursor.execute(f"CREATE TEMP TABLE wanted_back ON COMMIT DROP AS {DELETIONS} {HELD}", values)
        cursor.execute(MEETING)
        skipped = [row[0] for row in cursor.fetchall()]
        cursor.execute(WHO)
        people = [dict(zip(("user", "count", "first_at", "last_at", "batch_ids"), row, strict=True)) for row in cursor]
        ids = _ids(cursor, "SELECT annotation_id FROM wanted_back ORDER BY 1 LIMIT 1000")
        cursor.execute(TARGETS, [deed])
        count = _bring_back(cursor, Role.OWNER)
        locks.refuse_touched(project_id)
        if dry_run:
            transaction.set_rollback(True)
    errors = [{"annotation_id": each, "code": "duplicate", "detail": MET} for each in skipped[:1000]]
    return Returned(count, len(skipped), people, ids, errors, deed if count and not dry_run else None, dry_run)


MET = "The image was marked as having no object and has annotations now."

MEETING = """
DELETE FROM wanted_back w WHERE w.row->>'annotation_type' = 'no_object'
  AND (EXISTS (SELECT FROM annotations o WHERE o.image_id = w.image_id AND o.task_type = w.task_type)
       OR EXISTS (SELECT FROM wanted_back o WHERE o.image_id = w.image_id AND o.task_type = w.task_type
                  AND (o.row->>'annotation_type' <> 'no_object' OR o.annotation_id > w.annotation_id)))
RETURNING w.annotation_id"""
