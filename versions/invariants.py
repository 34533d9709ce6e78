"""Do versions and saves keep their promises? Read only, at any time on a live system."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from django.conf import settings
from django.db import connection

from annotations import invariants as live
from annotations.invariants import Finding
from annotations.models import ImageStatus, Project, ProjectTask
from versions import verifying
from versions.alone import is_held
from versions.models import Artifact, Job, SaveState, Version
from versions.states import PublishState
from versions.store_invariants import Depth, backup, lasting, official
from versions.store_invariants import subject as _subject

TRIGGERS = (
    *(("frozen_annotations", name) for name in ("frozen_for_a_version", "frozen_is_opened", "frozen_stays")),
    *(
        ("version_images", name)
        for name in ("frozen_for_a_version", "frozen_is_opened", "frozen_is_closed_once", "frozen_stays")
    ),
    ("frozen_annotations", "frozen_is_kept"),
    ("version_images", "version_images_are_kept"),
    ("annotation_versions", "versions_are_kept"),
    ("annotation_versions", "version_is_as_frozen"),
    ("annotation_versions", "published_versions_are_final"),
    ("version_exports", "published_files_are_final"),
    ("frozen_versions", "frozen_version_stays"),
    ("frozen_versions", "frozen_versions_are_kept"),
    ("annotation_history", "history_is_kept"),
    ("image_history", "history_is_kept"),
    ("annotations", "annotations_are_kept"),
    ("project_tasks", "task_saves"),
    ("annotation_versions", "version_audited"),
    ("audit_entries", "audit_is_kept"),
)
FINISH = "manage.py finish_publishes --retry-failed, after mending what the error names"


def rules() -> Iterator[Finding]:
    """Triggers and constraints of both rooms."""
    yield from live.rules()
    yield from live.absent_triggers(TRIGGERS)
    yield from live.absent_constraints(live.constraints_of("versions"))


def project(project: Project, depth: Depth) -> Iterator[Finding]:
    """All that is wrong with one project; a tombstone owes nothing any more."""
    yield from live.rows(project)
    for task in project.tasks.all():
        yield from numbers(task)
        yield from frozen(task)
        yield from files(task, depth)
        if project.deleted_at is None:
            for check in (late_versions, late_save, backup, official):
                yield from lasting(lambda check=check, task=task: list(check(task, depth)), depth)  # type: ignore[misc]
    if project.deleted_at is None:
        yield from late_jobs(project, depth)


# Versions -------------------------------------------------------------------------------------


def _published(task: ProjectTask) -> list[Version]:
    return list(Version.objects.of(task.project_id, task.task_type).published().order_by("ordinal"))


def numbers(task: ProjectTask) -> Iterator[Finding]:
    """Published versions follow each other without a gap, and their numbers grow."""
    found = _published(task)
    for place, version in enumerate(found, start=1):
        if version.ordinal != place:
            yield Finding("I6", _subject(task, version.version_number), f"is number {place} in order, its row says"
                          f" {version.ordinal}: a version is missing", "bring back a dump of the database")  # fmt: skip
            return
    for one, other in pairwise(found):
        if (one.major, one.minor) >= (other.major, other.minor):
            yield Finding("I6", _subject(task, other.version_number), f"comes after {one.version_number}",
                          "publish again: the next number is above both")  # fmt: skip


# By how many rows each version holds more than the one before, as whoever reads them is given them.
MORE = {
    "frozen_annotations": """
        SELECT f.opened AS ordinal, sum((SELECT count(*) FROM frozen_at(f.task_id, f.image_id, f.opened))
            - (SELECT count(*) FROM frozen_at(f.task_id, f.image_id, f.opened - 1))) AS more
        FROM frozen_annotations f WHERE f.task_id = %(task)s GROUP BY f.opened""",
    "version_images": """
        SELECT opened AS ordinal, count(*) AS more FROM version_images WHERE task_id = %(task)s GROUP BY opened
        UNION ALL
        SELECT closed, -count(*) FROM version_images WHERE task_id = %(task)s AND closed IS NOT NULL GROUP BY closed""",
}
COUNTS = """
SELECT ordinal, sum(more) OVER (ORDER BY ordinal) FROM (
    SELECT ordinal, sum(more) AS more FROM ({more}) moved GROUP BY ordinal) by_ordinal ORDER BY ordinal"""


# What a comparison and a record build on: what a version opened or closed lies on images it says it looked at.
OVERLOOKED = """
SELECT f.version_id, count(*) FROM (
    SELECT version_id, image_id FROM version_images WHERE task_id = %(task)s
    UNION SELECT until_version_id, image_id FROM version_images WHERE task_id = %(task)s AND closed IS NOT NULL
    UNION SELECT version_id, image_id FROM frozen_annotations WHERE task_id = %(task)s
    EXCEPT SELECT version_id, unnest(images) FROM frozen_versions WHERE task_id = %(task)s) m
JOIN frozen_versions f ON f.version_id = m.version_id AND f.images IS NOT NULL GROUP BY f.version_id"""


def frozen(task: ProjectTask) -> Iterator[Finding]:
    """A version's frozen rows are as many as it says, on images it looked at, and none belongs to a version that is not
    there."""
    found = _published(task)
    overlooked = _overlooked(task)
    for version in (each for each in found if each.pk in overlooked):
        yield Finding("I4", _subject(task, version.version_number),
                      f"changed rows of {overlooked[version.pk]} images it does not say it looked at",
                      "bring back a dump of the database, or rebuild an empty one")  # fmt: skip
    for table, field, what in (
        ("frozen_annotations", "annotation_count", "annotations"),
        ("version_images", "image_count", "images"),
    ):
        counts = _counts(table, task)
        for ordinal in sorted(set(counts) - {version.ordinal for version in found}):
            yield Finding("I3", _subject(task), f"{table} holds rows of version {ordinal}, which is not there",
                          "bring back a dump of the database")  # fmt: skip
        held = 0
        for version in found:
            held = counts.get(version.ordinal or 0, held)
            if held != (said := getattr(version, field)):
                yield Finding("I4", _subject(task, version.version_number), f"holds {held} {what}, says {said}",
                              "bring back a dump of the database, or rebuild an empty one")  # fmt: skip


def _overlooked(task: ProjectTask) -> dict[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(OVERLOOKED, {"task": task.pk})
        return dict(cursor.fetchall())


def _counts(table: str, task: ProjectTask) -> dict[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(COUNTS.format(more=MORE[table]), {"task": task.pk})
        return {ordinal: int(held) for ordinal, held in cursor.fetchall()}


def files(task: ProjectTask, depth: Depth) -> Iterator[Finding]:
    """A ready version has every file recorded with size and hash; ``deep``: its bytes are those, rebuilt the same."""
    ready = Version.objects.of(task.project_id, task.task_type).filter(status=PublishState.READY)
    for version in ready.order_by("pk").prefetch_related("artifacts").iterator(chunk_size=100):
        kept = {each.format: each for each in version.artifacts.all()}
        wanted = [*version.formats, *(["frozen_rows", "manifest"] if version.ordinal else [])]
        for name in wanted:
            said = "has no file" if name not in kept else _unproved(kept[name])
            if said:
                yield Finding("I3", _subject(task, version.version_number), f"{name}: {said}", FINISH)
        if not version.content_hash:
            yield Finding("I3", _subject(task, version.version_number), "has no content hash", FINISH)
        if depth.deep:
            yield from _bytes(task, version)


def _unproved(artifact: Artifact) -> str:
    proved = artifact.size_bytes > 0 and len(artifact.sha256) == 64
    return "" if proved else f"recorded without size or hash ({artifact.s3_key})"


def _bytes(task: ProjectTask, version: Version) -> Iterator[Finding]:
    for each in verifying.verify(version):
        if not each.well:
            yield Finding("I5", _subject(task, version.version_number), f"{each.format}: {each.said}",
                          "bring the object back from a replica or an older version of the bucket; the frozen rows"
                          " hold its content")  # fmt: skip


# What is late ---------------------------------------------------------------------------------


def late_versions(task: ProjectTask, depth: Depth) -> Iterator[Finding]:
    """Versions that failed, and unfinished ones nobody is at for longer than they may take."""
    versions = Version.objects.of(task.project_id, task.task_type)
    for version in versions.failed():
        reason = version.last_error or version.platform_error
        yield Finding("I3", _subject(task, version.version_number), f"failed: {reason}", FINISH)
    for version in versions.unfinished().filter(created_at__lt=depth.limit).order_by("pk"):
        if not is_held("advance", version.pk):
            where = "its files" if version.status == PublishState.EXPORTING else "its official file"
            reason = version.last_error or version.platform_error or "nobody takes it up: do worker and beat run?"
            said = f"waits for {where} since {version.created_at:%Y-%m-%d %H:%M}: {reason}"
            yield Finding("I3", _subject(task, version.version_number), said, FINISH)


def late_jobs(project: Project, depth: Depth) -> Iterator[Finding]:
    """Jobs nobody is at for longer than they may take."""
    for job in Job.objects.unfinished().filter(project=project, created_at__lt=depth.limit).order_by("created_at"):
        if not is_held("job", job.pk):
            said = f"waits since {job.created_at:%Y-%m-%d %H:%M}: {job.error or 'nobody takes it up'}"
            yield Finding(
                "I1", f"{project.pk} job {job.kind} {job.pk}", said, "start worker and beat; the sweep does it"
            )


def late_save(task: ProjectTask, depth: Depth) -> Iterator[Finding]:
    """Ten confirmed images or half an hour of changes that no working save holds, longer than it may take."""
    state = SaveState.objects.filter(task=task).first()
    if state is None:
        yield Finding("I8", _subject(task), "has no save state: it is never saved", live.MEND_RULES)
        return
    if is_held("save", task.pk):
        return
    why = _late(task, state, depth.limit)
    if why:
        reason = f"; the last try said: {state.last_error}" if state.last_error else ""
        yield Finding("I8", _subject(task), why + reason, f"manage.py save_working {task.project_id}")


def _late(task: ProjectTask, state: SaveState, limit: datetime) -> str:
    progress = ImageStatus.objects.of(task.project_id, task.task_type)
    if state.requested_at and state.requested_at < limit:
        return f"a save was asked for at {state.requested_at:%Y-%m-%d %H:%M} and not made"
    confirmed = progress.newly_confirmed().filter(confirmed_at__lt=limit).count()
    if confirmed >= settings.LABELER_SAVE_IMAGES:
        return f"{confirmed} confirmed images are in no save"
    since = (state.last_saved_at or task.project.created_at) + timedelta(seconds=settings.LABELER_SAVE_SECONDS)
    if since < limit and progress.unsaved().filter(last_modified_at__lt=limit).exists():
        return f"changes are in no save since {state.last_saved_at or task.project.created_at:%Y-%m-%d %H:%M}"
    return ""
