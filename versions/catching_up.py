"""A database of yesterday: what the labeler store knows of a project beyond what the database does.

After a dump was restored, segments of the journal, versions and saves from after the dump lie in the store. They are
taken in, in order, all or nothing for a project; a project that is not behind stays as it is. This must come before
anybody works on: where the database went its own way since, it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from annotations.models import Project, ProjectTask
from exports import stores
from exports.errors import StoreError
from exports.frozen_records import read_records
from versions import rebuilt_rows, replaying, staging
from versions.alone import alone
from versions.errors import VersionError
from versions.found import Found, read_json
from versions.journal import TABLES
from versions.models import Artifact, JournalSegment, SaveState, Version
from versions.returning import ACTOR, Rebuilt, ReturningProject, raise_floors
from versions.states import SaveTrigger

UNCHANGED = "already in the database; left as it is"

# Rows of history with the same id and another content: written here after the dump was restored.
OWN_WAY = """
SELECT count(*) FROM journal_rows j JOIN {table} h ON h.id = j.id
WHERE j.kind = %s AND (h.{subject}, h.timestamp) IS DISTINCT FROM (j.subject, (j.row->>'timestamp')::timestamptz)"""
FORGET_MARKS = """
WITH told AS (
    SELECT kind, range_agg(int8range(id, id, '[]')) AS ids FROM journal_rows WHERE segment <= %s GROUP BY kind),
forgotten AS (DELETE FROM history_marks m USING told t
    WHERE m.kind = t.kind AND t.ids && int8range(m.first_id, m.last_id, '[]') RETURNING m.*, t.ids)
INSERT INTO history_marks (kind, first_id, last_id, project_id)
SELECT kind, lower(r), upper(r) - 1, project_id FROM forgotten,
    unnest(int8multirange(int8range(first_id, last_id, '[]')) - ids) r"""
FORGET_KNOWN = "DELETE FROM journal_rows j USING {table} h WHERE j.kind = %s AND h.id = j.id"

AFFECTED = """
SELECT DISTINCT image_id FROM journal_rows WHERE task_type = %s AND kind <> 'class' AND segment <= %s"""
STAGE_LIVE = """
INSERT INTO wanted_annotations (keep_id, image_id, annotation_type, geometry, bbox, area, class_pk, attributes,
    confidence, notes, state, version, client_id, created_by, created_at, updated_by, updated_at, confirmed_by,
    confirmed_at)
SELECT id, image_id, annotation_type, geometry, bbox, area, class_id, attributes, confidence, notes, state, version,
    client_id, created_by, created_at, updated_by, updated_at, confirmed_by, confirmed_at
FROM annotations WHERE project_id = %(project)s AND task_type = %(task_type)s AND image_id = ANY(%(images)s);
INSERT INTO wanted_images (image_id, status, confirmed_by, confirmed_at, first_modified_at, last_modified_at)
SELECT image_id, status, confirmed_by, confirmed_at, first_modified_at, last_modified_at FROM image_annotation_status
WHERE task_type = %(task_type)s AND image_id = ANY(%(images)s) AND status <> 'not-started'"""

# The next publish looks again at every image that a version taken in froze: the live rows may be older.
MARK_FROZEN = """
INSERT INTO image_marks (project_id, task_type, image_id)
SELECT DISTINCT %(project)s, %(task_type)s, i.id FROM dataset_images i JOIN (
    SELECT image_id FROM version_images WHERE task_id = %(task)s AND (opened > %(after)s OR closed > %(after)s)
    UNION SELECT image_id FROM frozen_annotations WHERE task_id = %(task)s AND opened > %(after)s
) f ON f.image_id = i.id"""


@contextmanager
def at_rest(project: Project | None) -> Iterator[None]:
    """Nobody saves, publishes or journals a project while it catches up: all of them know more than the table."""
    with ExitStack() as held:
        if project is not None:
            held.enter_context(alone("journal", project.pk, wait=True))
            for task in project.tasks.all():
                held.enter_context(alone("save", task.pk, wait=True))
                held.enter_context(alone("publish", task.pk, wait=True))
        yield


def catch_up(project: Project, found: Found, folder: Path) -> Rebuilt:
    """Take in what is missing. Raises VersionError where the database went its own way since it was restored."""
    ahead = _segments_ahead(project, found)
    if not ahead and not _new_versions(project, found) and not _new_saves(project, found):
        result = Rebuilt(project.pk, UNCHANGED)
        raise_floors(list(project.tasks.all()), found, result)
        return result
    return _take_in(project, found, folder, ahead)


def _segments_ahead(project: Project, found: Found) -> dict[int, str]:
    sealed = JournalSegment.objects.filter(project=project).exclude(sealed_at=None).order_by("number").last()
    last = sealed.number if sealed else 0
    return {number: key for number, key in found.segments.items() if number > last}


def _new_versions(project: Project, found: Found) -> list[str]:
    written = set(
        Artifact.objects.filter(format="manifest", s3_key__in=found.manifests).values_list("s3_key", flat=True)
    )
    known = set(Version.objects.filter(project=project).published().values_list("task_type", "ordinal"))
    # One that is being published now has its row, and its manifest is not written down yet.
    records = {key: read_json(key) for key in found.manifests if key not in written}
    return [key for key, record in records.items() if (record["task_type"], record["ordinal"]) not in known]


def _known_saves(project: Project) -> set[tuple[str, str]]:
    saves = Version.objects.filter(project=project).working()
    return set(saves.values_list("task_type", "version_number"))


def _new_saves(project: Project, found: Found) -> list[str]:
    # Nobody removes a save's metadata, so the table knows every one but those made after the dump.
    known = Artifact.objects.filter(version__project=project, format="dice").values_list("s3_key", flat=True)
    folders = {key.rpartition("/")[0] for key in known}
    return [key for key in found.saves if key.rpartition("/")[0] not in folders]


def _take_in(project: Project, found: Found, folder: Path, ahead: dict[int, str]) -> Rebuilt:
    if found.record is None:
        raise VersionError("project.json is gone: without it nothing else can be placed.")
    back = ReturningProject(project.pk, found, folder)
    back.project, back.tasks = project, {task.task_type: task for task in project.tasks.all()}
    back.result.state = "brought up to date"
    position: dict[str, Any] = {"number": max(found.segments.keys() - ahead.keys(), default=0), "also": {}}
    back.journal = _load_journal(project, ahead, position["number"], folder)
    if replaying.rows_left():
        # The store knows more, so its record is newer, too.
        rebuilt_rows.update_project(project, back.record)
        _update_images(back)
    replaying.bring_classes(back.journal, position)
    for task in back.tasks.values():
        _take_versions(back, task)
    raise_floors(list(back.tasks.values()), found, back.result)
    back.saves(_known_saves(project))
    for task in back.tasks.values():
        _replay(back, task, position)
    return back.result


def _update_images(back: ReturningProject) -> None:
    path = back.folder / "images.jsonl.gz"
    try:
        stores.download("labeler", back.record["image_list"], path)
    except StoreError as error:
        back.result.missing.append(f"the image list: {error}")
        return
    back.result.images = rebuilt_rows.update_images(back.project, read_records(path))


def _load_journal(project: Project, ahead: dict[int, str], last: int, folder: Path) -> replaying.Journal:
    """The segments ahead, of which only rows stay that the database does not have; raises VersionError."""
    sealed = JournalSegment.objects.filter(project=project, number=last).first()
    journal = replaying.load(project, ahead, folder, before={last: sealed.sha256} if sealed else {})
    with connection.cursor() as cursor:
        for kind, table in TABLES.items():
            cursor.execute(OWN_WAY.format(table=table, subject=replaying.SUBJECTS[kind]), [kind])
            if cursor.fetchone()[0]:
                raise VersionError(
                    "The database was worked on since it was restored, so the journal does not fit on it any more."
                    " Restore the dump again and rebuild before anything else, or go on without what the store knows."
                )
        cursor.execute(FORGET_MARKS, [journal.until(last)])
        for kind, table in TABLES.items():
            cursor.execute(FORGET_KNOWN.format(table=table), [kind])
    return journal


def _take_versions(back: ReturningProject, task: ProjectTask) -> None:
    known = Version.objects.of(task.project_id, task.task_type).published()
    after = max(known.values_list("ordinal", flat=True), default=0)
    back.versions(task.task_type, after)
    values = {"project": task.project_id, "task_type": task.task_type, "task": task.pk, "after": after}
    with connection.cursor() as cursor:
        cursor.execute(MARK_FROZEN, values)


def _replay(back: ReturningProject, task: ProjectTask, position: dict[str, Any]) -> None:
    """Lay the journal over the live rows of the images it names."""
    with connection.cursor() as cursor:
        cursor.execute(AFFECTED, [task.task_type, back.journal.until(position["number"])])
        images = [row[0] for row in cursor.fetchall()]
        staging.open_tables()
        values: dict[str, Any] = {"project": task.project_id, "task_type": task.task_type, "images": images}
        cursor.execute(STAGE_LIVE, values)
    replayed = replaying.stage_over(back.journal, task, position)
    back.result.history += replaying.bring_history(back.journal, task, position["number"])
    if replayed:
        with replaying.replaying("rows"):
            changes = staging.apply(task, keep_versions=True, images=images)
        back.result.annotations += changes.added
        SaveState.objects.want(task, SaveTrigger.RESTORE, by=ACTOR)
    back.result.replayed += replayed
    back.miss_journal(position["number"])
