"""Do the live rows keep their promises? Read only, a statement each, so at any time on a live system.

What a statement finds, it finds at one moment: a trigger writes history and counters in the transaction of the change,
so nobody's work in flight looks broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection

from annotations import progress
from annotations.models import Project

# Of findings of one kind in one project, so many are listed; the rest is counted.
LISTED = 20


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was promised: which invariant (I1 to I10), of what, what is wrong, what mends it."""

    invariant: str
    subject: str
    said: str
    mend: str

    def as_dict(self) -> dict[str, str]:
        """For machines."""
        return {"invariant": self.invariant, "subject": self.subject, "said": self.said, "mend": self.mend}


# Rules ----------------------------------------------------------------------------------------

TRIGGERS = (
    ("annotations", "annotations_inserted"),
    ("annotations", "annotations_updated"),
    ("annotations", "annotations_deleted"),
    ("annotations", "annotations_guarded"),
    ("annotation_history", "history_is_appended"),
    ("image_history", "history_is_appended"),
    ("class_history", "history_is_appended"),
    ("annotation_history", "history_marked"),
    ("image_history", "history_marked"),
    ("class_history", "history_marked"),
    ("image_annotation_status", "progress_numbered"),
    ("image_annotation_status", "progress_recorded"),
    ("dataset_images", "images_inserted"),
    ("dataset_images", "image_kept"),
    ("dataset_images", "image_stays"),
    ("project_tasks", "task_kept"),
    ("project_tasks", "task_stays"),
    ("dataset_images", "image_changed"),
    ("project_tasks", "task_inserted"),
    ("project_tasks", "task_recorded"),
    ("project_members", "member_recorded"),
    ("projects", "project_recorded"),
    ("classes", "class_recorded"),
    ("classes", "class_changed"),
    ("classes", "class_guarded"),
    ("classes", "class_kept"),
    ("classes", "class_audited"),
    ("project_members", "member_audited"),
    ("projects", "project_audited"),
    ("api_tokens", "token_issued"),
    ("api_tokens", "token_revoked"),
    ("annotations", "deletes_audited"),
    ("audit_entries", "audit_is_appended"),
)
MEND_RULES = "put it back as its migration makes it, then check again: what was written without it may be wrong"


def rules() -> Iterator[Finding]:
    """Triggers and constraints of this room that are absent, switched off or not validated."""
    yield from absent_triggers(TRIGGERS)
    yield from absent_constraints(constraints_of("annotations"))


def constraints_of(room: str) -> list[str]:
    """The constraints that the room's tables are declared with."""
    models = [model for model in apps.get_app_config(room).get_models() if model._meta.managed]
    return [constraint.name for model in models for constraint in model._meta.constraints]


def absent_triggers(wanted: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Those of ``wanted`` (table, trigger) that are not there, or do not fire."""
    enabled = {
        (table, name): state
        for table, name, state in _rows(
            "SELECT c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
    }
    for table, name in wanted:
        state = enabled.get((table, name))
        if state not in ("O", "A"):
            said = "is not there" if state is None else "is switched off"
            yield Finding("I1", f"trigger {name} of {table}", said, MEND_RULES)


def absent_constraints(wanted: Iterable[str]) -> Iterator[Finding]:
    """Those of ``wanted`` that are not there, or were never validated."""
    valid = {
        name
        for (name,) in _rows(
            "SELECT conname FROM pg_constraint WHERE convalidated UNION"
            " SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = indexrelid WHERE indisunique AND indisvalid"
        )
    }
    for name in wanted:
        if name not in valid:
            yield Finding("I1", f"constraint {name}", "is not there, or does not hold for all rows", MEND_RULES)


# Rows -----------------------------------------------------------------------------------------

# A row is compared as PostgreSQL reads it back: the same moment may be written in another time zone, and a column that
# came later is in no older history.
UNTOLD = """
SELECT a.id FROM annotations a LEFT JOIN LATERAL (
    SELECT new_state::jsonb FROM annotation_history WHERE annotation_id = a.id ORDER BY id DESC LIMIT 1) h ON true
WHERE a.project_id = %s AND h.new_state IS DISTINCT FROM to_jsonb(a)
  AND (h.new_state IS NULL OR jsonb_populate_record(a, h.new_state) IS DISTINCT FROM a) ORDER BY a.id"""

UNTOLD_DELETES = """
SELECT h.annotation_id FROM annotation_history h LEFT JOIN annotations a ON a.id = h.annotation_id
WHERE h.project_id = %s AND a.id IS NULL GROUP BY h.annotation_id
HAVING (array_agg(h.new_state IS NULL ORDER BY h.id DESC))[1] = false ORDER BY h.annotation_id"""

BROKEN_CHAINS = """
SELECT DISTINCT h.annotation_id FROM annotation_history h LEFT JOIN LATERAL (
    SELECT new_state::jsonb FROM annotation_history b WHERE b.annotation_id = h.annotation_id AND b.id < h.id
    ORDER BY b.id DESC LIMIT 1) b ON true
WHERE h.project_id = %s AND h.previous_state::jsonb IS DISTINCT FROM b.new_state
  AND jsonb_populate_record(NULL::annotations, h.previous_state::jsonb)
      IS DISTINCT FROM jsonb_populate_record(NULL::annotations, b.new_state) ORDER BY h.annotation_id"""

HALF_CONFIRMED = """
SELECT i.path || ' (' || s.task_type || ')' FROM image_annotation_status s JOIN dataset_images i ON i.id = s.image_id
WHERE s.project_id = %s AND s.status = 'completed' AND EXISTS (
    SELECT FROM annotations a WHERE a.project_id = s.project_id AND a.image_id = s.image_id
        AND a.task_type = s.task_type AND a.state = 'draft') ORDER BY s.id"""

WITHOUT_STATUS = """
SELECT i.path || ' (' || t.task_type || ')' FROM dataset_images i JOIN project_tasks t ON t.project_id = i.project_id
LEFT JOIN image_annotation_status s ON s.image_id = i.id AND s.task_type = t.task_type
WHERE i.project_id = %s AND s.id IS NULL ORDER BY i.id"""

MEND_HISTORY = (
    "find out who wrote past the triggers (rules above, session_replication_role); a change that is right is told by"
    " repeating it with the triggers on, one that is wrong is undone from the newest save"
)
CHECKS: tuple[tuple[str, str, str, str], ...] = (
    ("I1", UNTOLD, "annotation {}: its last row of history is not what it is now", MEND_HISTORY),
    ("I1", UNTOLD_DELETES, "annotation {} is gone, and its history does not say who deleted it", MEND_HISTORY),
    ("I1", BROKEN_CHAINS, "annotation {}: between two rows of its history a change is missing", MEND_HISTORY),
    (
        "I2",
        HALF_CONFIRMED,
        "image {} is completed, but has drafts",
        "take the image back and confirm it again",
    ),
    ("I2", WITHOUT_STATUS, "image {} has no progress row", "put the trigger images_inserted back; add the row"),
)


def rows(project: Project) -> Iterator[Finding]:
    """What is wrong with the live rows and the history of a project."""
    for invariant, sql, said, mend in CHECKS:
        yield from listed(invariant, project.pk, (said.format(what) for (what,) in _rows(sql, [project.pk])), mend)
    wrong = progress.recount(project.pk, dry_run=True)
    counted = (f"image {path} ({task}): its counters are not what a count gives" for path, task in wrong)
    yield from listed("I2", project.pk, counted, f"manage.py recount_progress --project {project.pk}")


def listed(invariant: str, subject: str, said: Iterable[str], mend: str) -> Iterator[Finding]:
    """The first of many findings of a kind, and how many more there are."""
    more = 0
    for number, each in enumerate(said):
        if number < LISTED:
            yield Finding(invariant, subject, each, mend)
        else:
            more += 1
    if more:
        yield Finding(invariant, subject, f"... and {more} more of this kind", mend)


def _rows(sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(values))
        while batch := cursor.fetchmany(1000):
            yield from batch
