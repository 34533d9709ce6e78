"""Working saves ``v0.N``: automatic safety copies with drafts, never the same content twice.

"Due" is derived from rows (progress rows and the save state), so it survives brokers, workers and
crashes; a message only makes it sooner. A progress row knows which revision was last saved: images
newly confirmed since then are counted each once, and a save settles only what it has seen.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import (
    Case,
    Exists,
    F,
    Min,
    OuterRef,
    QuerySet,
    Value,
    When,
)
from django.utils import timezone

from annotations.asking import asked
from annotations.models import ImageStatus, ProjectTask
from exports.errors import ContentConflict, ObjectMissing, StoreError
from versions import artifacts, jobs, journal, numbering
from versions.alone import alone, is_held
from versions.models import Artifact, Job, SaveState, Version
from versions.querysets import LONGEST_PAUSE
from versions.snapshots import pushed
from versions.states import JobState, PublishState, SaveTrigger, VersionType

log = logging.getLogger(__name__)

UNASKED = (("requested_at", None), ("requested_trigger", ""), ("requested_by", ""))


@dataclass(frozen=True)
class SaveStatus:
    """What a client may know of a task's saves: what is unsaved and when the next save is due."""

    state: SaveState
    dirty: bool
    confirmed_since_save: int
    next_due_at: datetime | None
    # After a failure the next try waits for its time.
    waits: bool

    @property
    def due(self) -> str | None:
        """Why a save is due now (a SaveTrigger), or None."""
        if self.waits:
            return None
        if self.state.requested_at:
            return self.state.requested_trigger or SaveTrigger.MANUAL
        if self.confirmed_since_save >= _enough():
            return SaveTrigger.IMAGES
        if self.next_due_at and self.next_due_at <= timezone.now():
            return SaveTrigger.TIMER
        return None


def state_of(task: ProjectTask) -> SaveState:
    """The task's save state; a trigger made it with the task."""
    return SaveState.objects.select_related("last_version").get(task=task)


# After every confirm, so written out (annotations/querysets.py tells why): what ``ImageStatus.objects.unsaved`` and
# ``newly_confirmed`` find, and ``pause_is_over``.
STATUS = """
SELECT {columns},
    EXISTS (SELECT FROM image_annotation_status s WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s
        AND s.revision > s.saved_revision) AS dirty,
    (SELECT count(*) FROM image_annotation_status s WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s
        AND s.is_image_confirmed AND s.confirmed_revision > s.saved_revision) AS confirmed,
    t.retry_at > %(now)s AND t.retry_at <= %(latest)s AS waits
FROM save_states t WHERE t.task_id = %(task)s"""


def status_of(task: ProjectTask) -> SaveStatus:
    """What is unsaved now, and when the timer will save it (None when nothing is)."""
    now = timezone.now()
    values = {"project": task.project_id, "task_type": task.task_type, "task": task.pk, "now": now,
              "latest": now + LONGEST_PAUSE}  # fmt: skip
    state: Any = asked(SaveState, STATUS, values, also=["dirty", "confirmed", "waits"])[0]
    due = _next_due(task, state, state.dirty, state.confirmed)
    return SaveStatus(state, state.dirty, state.confirmed, due, waits=bool(state.waits))


def _next_due(task: ProjectTask, state: SaveState, dirty: bool, confirmed: int) -> datetime | None:
    if state.requested_at or confirmed >= _enough():
        return timezone.now()
    if not dirty:
        return None
    return _timer(task, state)


def _enough() -> int:
    """How many newly confirmed images make a save due; never none, or a save would always be due."""
    return max(settings.LABELER_SAVE_IMAGES, 1)


def _timer(task: ProjectTask, state: SaveState) -> datetime:
    since = state.last_saved_at or task.project.created_at
    if since > timezone.now():
        # A clock ran ahead when that was written; nobody waits for it to become true.
        return timezone.now()
    return since + timedelta(seconds=settings.LABELER_SAVE_SECONDS)


def is_due(task: ProjectTask) -> str | None:
    """Why a save is due now (a SaveTrigger), or None."""
    return status_of(task).due


def due_tasks(project_id: str | None = None) -> list[int]:
    """Primary keys of all tasks (of a project) whose save is due."""
    owed = _owed() if project_id is None else _owed().filter(project=project_id)
    return [task.pk for task in owed.iterator() if is_due(task)]


def due_since() -> list[datetime]:
    """For every save that is due now, since when: what an operator's alarm looks at."""
    return [_since(task) for task in _owed().iterator() if is_due(task)]


def _owed() -> QuerySet[ProjectTask]:
    """Tasks with something unsaved or a save asked for: of many projects few are worked on at a time."""
    unsaved = ImageStatus.objects.filter(project=OuterRef("project"), task_type=OuterRef("task_type")).unsaved()
    asked = SaveState.objects.filter(task=OuterRef("pk"), requested_at__isnull=False)
    living = ProjectTask.objects.filter(project__deleted_at=None).select_related("project")
    return living.filter(Exists(unsaved) | Exists(asked))


def _since(task: ProjectTask) -> datetime:
    """When the first of the reasons for a save became one."""
    state, progress = state_of(task), ImageStatus.objects.of(task.project_id, task.task_type)
    first_change = progress.unsaved().aggregate(at=Min("last_modified_at"))["at"]
    # The timer may have run out long before anything changed.
    timer = first_change and max(first_change, _timer(task, state))
    confirmed = progress.newly_confirmed().order_by("confirmed_at").values_list("confirmed_at", flat=True)
    enough = _enough()
    moments = [state.requested_at, timer, *confirmed[enough - 1 : enough]]
    return min((moment for moment in moments if moment), default=timezone.now())


def request_save(task: ProjectTask, trigger: str, *, by: str) -> str:
    """Make a save due now: queued, coalesced (one waits already) or unchanged (nothing to save)."""
    status, under_way = status_of(task), False
    if status.state.requested_at:
        # One that is being made may have looked too early for what is asked for now: it is none that waits. What is
        # not being made yet looks late enough, so the status is that of after this question.
        under_way, status = is_under_way(task), status_of(task)
    if status.state.requested_at and not (under_way and status.dirty):
        return "coalesced"
    if not status.dirty:
        return "unchanged"
    SaveState.objects.want(task, trigger, by=by)
    return "queued"


def ask_for_save(task: ProjectTask, trigger: str, *, by: str) -> tuple[str, Job | None]:
    """As ``request_save``, with the job a client may watch: the waiting one when coalesced, None when unchanged."""
    with transaction.atomic():
        said = request_save(task, trigger, by=by)
        if said == "unchanged":
            return said, None
        of_the_task = Job.objects.filter(kind="save", project_id=task.project_id, params__task_type=task.task_type)
        waiting = of_the_task.unfinished().order_by("-created_at")
        # A wish that was made or renewed just now is fulfilled by a job that nobody has begun, too.
        job = waiting.filter(status=JobState.QUEUED).first() if said == "queued" else waiting.first()
        if said == "queued" and job is None:
            params = {"task_type": task.task_type, "trigger": trigger}
            return said, jobs.start("save", by=by, project=task.project, params=params)
    return "coalesced", job


# Saving -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What the consistent read of a save covered: progress rows by revision, the save state with the wish in it, and
    when. Arrays, as a first save covers every image of a large project."""

    ids: array[int]
    revisions: array[int]
    state: SaveState
    at: datetime


def save_if_due(task_id: int, *, afterwards: Callable[[str], None] | None = None) -> Version | None:
    """Save the task if a save is due; None if not, if nothing had changed, or if somebody saves or replaces it already:
    nobody waits for that, or a team that confirms faster than a large task is saved would have all workers wait.

    Whoever held the task calls ``afterwards`` with its project when it is free again: what became due meanwhile was
    left to him.
    """
    task = ProjectTask.objects.select_related("project").get(pk=task_id)
    with alone("save", task.pk) as mine:
        trigger = is_due(task) if mine else None
        version = _save_and_prune(task, trigger, "") if trigger else None
    if mine and afterwards is not None:
        afterwards(task.project_id)
    return version


def is_under_way(task: ProjectTask) -> bool:
    """Whether the task is being saved or replaced at this moment; a worker that does so looks afterwards whether a save
    is due again."""
    return is_held("save", task.pk)


def save_working(task: ProjectTask, *, trigger: str, by: str = "") -> Version | None:
    """Save the live rows of the task as the next ``v0.N``; None if they equal the last save.

    Order: retained copy, latest file, metadata, then the row. Raises StoreError when the store
    fails (recorded in the save state, the count of unsaved images stays as it was).
    """
    with alone("save", task.pk, wait=True):
        return _save_and_prune(task, trigger, by)


def _save_and_prune(task: ProjectTask, trigger: str, by: str) -> Version | None:
    try:
        version = _save(task, trigger, by)
    except StoreError as error:
        _remember_failure(state_of(task), error)
        raise
    _prune_quietly(task)
    return version


def save_held(task: ProjectTask, *, trigger: str, by: str) -> Version | None:
    """As ``save_working``, inside a transaction of the caller's that holds every writer of the task (``lock_task``)
    and under ``alone("save")``: what is saved is exactly what the caller is about to replace."""
    return _save(task, trigger, by, held=True)


def _prune_quietly(task: ProjectTask) -> None:
    try:
        prune(task)
        journal.prune(task.project_id)
    except StoreError as error:
        # The save is made; the next one tries again to let old ones go.
        log.warning("Old saves of %s could not be removed: %s", task, error)


def _save(task: ProjectTask, trigger: str, by: str, *, held: bool = False) -> Version | None:
    version, last = _new_version(task, trigger, by), state_of(task).last_version
    while True:
        with artifacts.working_file(version, task, lambda: _see(task, version), last=last, held=held) as (made, seen):
            (built,) = made.built
            if built.summary.content_hash == seen.state.content_hash and _is_there(seen.state.last_version, task):
                _settle(seen, version=None)
                return None
            version.content_hash = built.summary.content_hash or ""
            version.annotation_count = built.summary.annotation_count
            version.image_count = built.summary.image_count
            version.warnings = built.summary.warnings
            try:
                artifact = artifacts.put_working(version, task, made)
            except ContentConflict:
                log.warning("%s is taken in the store; giving the number up", version)
                version.minor += 1
                version.version_number = f"v0.{version.minor}"
                continue
            _settle(seen, version=version, artifact=artifact)
            artifacts.keep_pieces(version, made)
        return version


def _is_there(last: Version | None, task: ProjectTask) -> bool:
    """Whether the latest file is the last save, or could be made it again."""
    try:
        if last is not None:
            artifacts.mend_latest(last, task)
    except ObjectMissing:
        log.warning("%s is gone from the store, and so is the latest file; what it held is saved again.", last)
        return False
    return True


def _new_version(task: ProjectTask, trigger: str, by: str) -> Version:
    key, minor = numbering.next_working(task)
    return Version(
        id=key,
        project=task.project,
        task_type=task.task_type,
        version_number=f"v0.{minor}",
        major=0,
        minor=minor,
        version_type=VersionType.WORKING,
        created_by=by,
        include_draft=True,
        trigger=trigger,
        formats=["dice"],
        status=PublishState.READY,
        finished_at=timezone.now(),
    )


def _see(task: ProjectTask, version: Version) -> _Seen:
    # A save is of the moment it begins to read: what was there by then is in it. The wish is read before the rows, as
    # the change of who wished was there before the wish; clocks, which may differ, have no say in that.
    version.created_at = timezone.now()
    state = state_of(task)
    version.created_by = version.created_by or state.requested_by or task.project.owner_id
    unsaved = ImageStatus.objects.of(task.project_id, task.task_type).unsaved()
    ids, revisions = array("q"), array("q")
    for pk, revision in pushed(*unsaved.order_by("pk").values_list("pk", "revision").query.sql_with_params()):
        ids.append(pk)
        revisions.append(revision)
    # And it holds the journal as far as it went then.
    version.manifest = {"journal": journal.position(task.project_id)}
    return _Seen(ids, revisions, state, version.created_at)


def _listed(numbers: array[int]) -> str:
    """As PostgreSQL reads a list; in stretches, as a text for each number would take ten times the room."""
    stretches = (numbers[at : at + 1000] for at in range(0, len(numbers), 1000))
    return "{" + ",".join(",".join(map(str, each)) for each in stretches) + "}"


@transaction.atomic
def _settle(seen: _Seen, *, version: Version | None, artifact: Artifact | None = None) -> None:
    """Record what the save covered; changes made meanwhile stay unsaved."""
    state = seen.state
    if version is not None and artifact is not None:
        version.save(force_insert=True)
        artifact.save()
        state.last_version, state.last_saved_at = version, seen.at
        state.content_hash = version.content_hash
    state.attempts, state.retry_at, state.last_error = 0, None, ""
    said = ("last_version", "content_hash", "last_saved_at", "attempts", "retry_at", "last_error")
    # Another wish than the one that was seen stays.
    heard = {
        name: Case(When(requested_at=state.requested_at, then=Value(empty)), default=F(name)) for name, empty in UNASKED
    }
    SaveState.objects.filter(pk=state.pk).update(**{name: getattr(state, name) for name in said}, **heard)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_annotation_status s SET saved_revision = seen.revision"
            " FROM unnest(%s::bigint[], %s::bigint[]) AS seen(id, revision)"
            " WHERE s.id = seen.id AND s.saved_revision < seen.revision",
            [_listed(seen.ids), _listed(seen.revisions)],
        )


def _remember_failure(state: SaveState, error: StoreError) -> None:
    state.attempts += 1
    state.last_error = str(error)
    state.retry_at = timezone.now() + timedelta(seconds=min(2**state.attempts, 300))
    state.save(update_fields=["attempts", "last_error", "retry_at"])


# Retention ----------------------------------------------------------------------------------


def prune(task: ProjectTask) -> list[str]:
    """Remove retained copies beyond the last N and the newest of each of the last days that have any; returns the
    numbers removed."""
    removed = []
    for artifact in surplus(list(kept(task))):
        artifacts.remove_working(artifact)
        removed.append(artifact.version.version_number)
    return removed


def kept(task: ProjectTask) -> QuerySet[Artifact]:
    """The retained copies of the task's saves, newest first."""
    saves = Artifact.objects.filter(
        version__project_id=task.project_id,
        version__task_type=task.task_type,
        version__version_type=VersionType.WORKING,
        removed_at=None,
    )
    return saves.select_related("version").order_by("-version__minor")


def surplus(kept: Sequence[Artifact]) -> list[Artifact]:
    """Of retained copies, newest first, those that retention lets go."""
    # Days that have saves are counted, not days of the calendar: a clock that leaps takes one of them, not all.
    days: set[date] = set()
    gone = []
    for position, artifact in enumerate(kept):
        day = artifact.version.created_at.date()
        newest_of_day = day not in days and len(days) < settings.LABELER_KEEP_SAVE_DAYS
        days.add(day)
        if position >= settings.LABELER_KEEP_SAVES and not newest_of_day:
            gone.append(artifact)
    return gone
