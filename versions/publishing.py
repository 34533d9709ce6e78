"""Publishing: a version row that survives any crash, files from frozen rows, the official file last.

``request_publish`` freezes in one transaction and answers; ``advance`` makes the files, records
them, marks the version ready and then replaces the official file. Every step may be repeated, by
anybody, with the same result; ``left_behind`` tells the sweep what is still owed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import IntegrityError, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from annotations.idempotency import earlier_answer, once
from annotations.models import ImageStatus, ProjectTask, iso
from exports.errors import ExportError, StoreUnavailable
from versions import artifacts, gate, numbering, officials, records, snapshots
from versions.alone import alone
from versions.errors import NothingToPublish, NotLatest, NotReady
from versions.models import Artifact, SaveState, Version
from versions.querysets import pause_is_over
from versions.states import PlatformState, PublishState, SaveTrigger, VersionType

log = logging.getLogger(__name__)

ALL_FORMATS = ("dice", "coco", "yolo")
# Seconds a publish waits for another one of the task to be frozen; longer would hold up the web server.
PATIENCE = 20
# Of so many versions one may have written the list of pieces last, in whatever order they were made whole.
LAST_FEW = 3


@dataclass(frozen=True)
class PublishWish:
    """What a person asked for; ``formats`` always holds dice, as the official file is made from it."""

    version_number: str | None = None
    description: str = ""
    formats: Sequence[str] = ALL_FORMATS
    include_draft: bool = False
    allow_empty: bool = False
    verified_only: bool = False
    waivers: Sequence[gate.Waiver] = ()
    # A rollback goes back to what was published once: its warnings stand, nobody is asked.
    is_rollback: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """The annotation states the version holds."""
        return snapshots.states_of(include_draft=self.include_draft, verified_only=self.verified_only)


# Freezing -----------------------------------------------------------------------------------


def request_publish(task: ProjectTask, wish: PublishWish, *, by: str, key: str | None = None) -> Version:
    """Freeze the task's rows as the next published version, in state ``exporting``.

    One REPEATABLE READ transaction; a lock per task lets publishes follow each other, writers are
    never held up. The same ``key`` (Idempotency-Key) gives the version it made. Raises
    InvalidVersionNumber, VersionExists, NothingToPublish, InvalidRequest for a wrong waiver, Duplicate for a key of
    another request and PublishBlocked (``errors`` by reason, with annotation ids or paths; ``gate`` names the reasons).
    """
    gate.check_waivers(wish.waivers)
    said = ["publish", task.pk, asdict(wish)]
    made: list[Version] = []

    def act() -> int:
        made.append(freeze(task, wish, by))
        return made[0].pk

    try:
        with (
            alone("publish", task.pk, wait=True, seconds=PATIENCE),
            artifacts.repeatable(),
            transaction.atomic(durable=True),
        ):
            number = once(by, key, said, act)
    except IntegrityError:
        # Whoever used the key at the same moment is not in this transaction's snapshot, but can be seen after it.
        number = earlier_answer(by, key, said)
        if number is None:
            raise
    want_save(task, by)
    return made[0] if made else Version.objects.select_related("project").get(pk=number)


def want_save(task: ProjectTask, by: str) -> None:
    """A publish makes a save due, so that the stores never fall far behind; after its own transaction, which a save
    that ends meanwhile would break (both change the save state). A process that dies in between leaves what is
    unsaved to the timer."""
    SaveState.objects.want(task, SaveTrigger.PUBLISH, by=by)


def freeze(task: ProjectTask, wish: PublishWish, by: str) -> Version:
    """Freeze inside the caller's transaction, which must see one moment of the task's rows."""
    return _freeze(task, wish, by, last_published(task))


def _freeze(task: ProjectTask, wish: PublishWish, by: str, previous: Version | None) -> Version:
    opened = snapshots.open_version(task, wish.states, since=previous, by=by)
    version = _new_version(task, wish, by, previous, opened)
    frozen = snapshots.freeze(
        version, task, wish.states, since=previous, images=opened.images, by_the_way=gate.BY_THE_WAY
    )
    shapes = gate.look(task, wish.states, frozen.looked_at, frozen.found)
    gate.refuse_blocked(gate.blockers(shapes))
    # Counting on from the last version keeps the cost of a publish in proportion to what changed.
    version.annotation_count = frozen.annotations_more + (previous.annotation_count if previous else 0)
    version.image_count = frozen.images_more + (previous.image_count if previous else 0)
    if version.image_count == 0 and not wish.allow_empty:
        raise NothingToPublish("No image has anything to publish; confirm some, or send allow_empty.")
    found = gate.warnings(shapes, previous, version.annotation_count)
    if not wish.is_rollback:
        gate.refuse_unwaived(task, found, wish.waivers)
    version.manifest["warnings"] = [finding.as_dict() for finding in found]
    version.manifest["waivers"] = gate.recorded(wish.waivers, found, by=by, at=iso(version.created_at) or "")
    # Frozen rows refer to it already: the foreign keys are checked at commit.
    version.save(force_insert=True)
    return version


def _new_version(
    task: ProjectTask, wish: PublishWish, by: str, previous: Version | None, opened: snapshots.Opened
) -> Version:
    major, minor = numbering.next_published(task, previous, wish.version_number)
    return Version(
        id=opened.id,
        project=task.project,
        task_type=task.task_type,
        version_number=f"v{major}.{minor}",
        major=major,
        minor=minor,
        version_type=VersionType.PUBLISHED,
        ordinal=snapshots.next_ordinal(previous),
        description=wish.description,
        created_by=by,
        include_draft=wish.include_draft,
        formats=[name for name in ALL_FORMATS if name == "dice" or name in wish.formats],
        manifest=snapshots.manifest_of(task, wish.states, opened.held),
        platform_status=PlatformState.PENDING,
    )


def preview(task: ProjectTask, *, include_draft: bool = False, verified_only: bool = False) -> dict[str, Any]:
    """What a publish would hold, what stands in its way and what to know of it; changes nothing."""
    states = snapshots.states_of(include_draft=include_draft, verified_only=verified_only)
    previous = last_published(task)
    images = gate.changed_images(task) if previous and previous.manifest["states"] == list(states) else None
    counts = snapshots.live_counts(task, states)
    shapes = gate.look(task, states, images)
    blockers = gate.blockers(shapes)
    if not counts["image_count"]:
        blockers.append(gate.NOTHING)
    found = gate.warnings(shapes, previous, counts["annotation_count"])
    return {
        "next_version_number": "v{}.{}".format(*numbering.next_published(task, previous)),
        **counts,
        **_progress_counts(task),
        "blockers": [{**each.as_dict(), "sample": each.sample[: gate.SAMPLE]} for each in blockers],
        "warnings": [each.as_dict() for each in found],
        "needs_waivers": bool(task.project.settings.get("strict_publish")),
    }


def last_published(task: ProjectTask) -> Version | None:
    """The newest published version of the task."""
    return Version.objects.of(task.project_id, task.task_type).published().order_by("-ordinal").first()


def _progress_counts(task: ProjectTask) -> dict[str, int]:
    progress = ImageStatus.objects.of(task.project_id, task.task_type)
    return {
        "not_started": progress.filter(status="not-started").count(),
        "in_progress": progress.filter(status="in-progress").count(),
        "completed": progress.filter(status="completed").count(),
    }


# Making it whole ----------------------------------------------------------------------------


def advance(version_id: int) -> Version:
    """Take a published version as far as it goes now: files, records, ready, official file.

    Only one process works on a version at a time; what is done is not done again. A store that does
    not answer leaves the version as it is for the sweep; a refusal marks it failed and says why.
    """
    with alone("advance", version_id) as mine:
        version = with_all_it_needs(version_id)
        if mine and version.status == PublishState.EXPORTING:
            _try(version, _make_ready, of="")
        if mine and version.status == PublishState.READY and version.platform_status == PlatformState.PENDING:
            _try(version, _sync, of="platform_")
    return version


def with_all_it_needs(version_id: int) -> Version:
    """The version with its project, its task (``task_pk``, ``task_position``), earlier versions that have no record
    of their own yet (``owing``, primary keys by ordinal) and where pieces of the last few lie (``before``): one query
    for all that making it whole asks first."""
    tasks = ProjectTask.objects.filter(project=OuterRef("project"), task_type=OuterRef("task_type"))
    return (
        Version.objects.select_related("project")
        .annotate(
            task_pk=Subquery(tasks.values("pk")),
            task_position=Subquery(tasks.values("position")),
            owing=ArraySubquery(records.unrecorded_before().values("pk")),
            before=ArraySubquery(_with_pieces().values("pieces")[:LAST_FEW]),
        )
        .get(pk=version_id)
    )


def _with_pieces() -> QuerySet[Version]:
    """For a subquery of versions: those of the same task whose pieces may be copied, the newest first."""
    same = {"project": OuterRef("project"), "task_type": OuterRef("task_type"), "pieces__isnull": False}
    return Version.objects.published().filter(**same).order_by("-ordinal")


def _try(version: Version, step: Callable[[Version], None], *, of: str) -> None:
    """Run one step; what went wrong is said in the row. ``of`` is "" for the files, "platform_" for the official one.

    A store that does not answer, or a full disk, is waited for without end; a refusal needs a person.
    """
    try:
        step(version)
    except (StoreUnavailable, OSError) as reason:
        count = _attempts(version, of) + 1
        pause = timedelta(seconds=min(2**count, 300))
        change(version, **_said(of, str(reason), count), retry_at=timezone.now() + pause)
        log.warning("%s waits: %s", version, reason)
    except ExportError as reason:
        state = {"platform_status": PlatformState.FAILED} if of else {"status": PublishState.FAILED}
        change(version, **_said(of, str(reason), _attempts(version, of) + 1), **state)
        log.error("%s failed: %s", version, reason)


def _attempts(version: Version, of: str) -> int:
    return version.platform_attempts if of else version.attempts


def _said(of: str, reason: str, count: int) -> dict[str, Any]:
    if of:
        return {"platform_error": reason, "platform_attempts": count}
    return {"last_error": reason, "attempts": count}


def _make_ready(version: Version) -> None:
    with artifacts.scratch() as folder:
        files, made = built(version, folder)
        if artifacts.record_ready(version, files):
            # Only now: the list in the store is always one that a version notes.
            artifacts.keep_pieces(version, made)


def built(version: Version, folder: Path) -> tuple[list[Artifact], artifacts.ReadyFiles]:
    """Build everything of a version (from ``with_all_it_needs``) in ``folder`` and upload it; the files to be recorded,
    and those of the formats as they were made. In memory the version is ready then, with what the files hold."""
    found: Any = version
    task = ProjectTask(
        pk=found.task_pk, project=version.project, task_type=version.task_type, position=found.task_position
    )
    made = artifacts.build_next(version, task, folder, found.before)
    summary = artifacts.upload(version, task, made)
    files = records.write_version_record(version, task, summary, owing=found.owing)
    version.status, version.last_error, version.retry_at = PublishState.READY, "", None
    version.content_hash, version.warnings = summary.content_hash, summary.warnings
    version.finished_at = timezone.now()
    return files, made


def _sync(version: Version) -> None:
    """Replace the official files by this version's DICE file, unless newer ones are official."""
    present = officials.look(version)
    if present.newer:
        change(version, platform_status=PlatformState.SUPERSEDED)
        return
    written = officials.replace(version, present)
    states = {outcome.status for outcome in written.values()}
    change(
        version,
        platform_status=PlatformState.SUPERSEDED if PlatformState.SUPERSEDED in states else PlatformState.SYNCED,
        platform_keys=list(written),
        platform_synced_at=timezone.now(),
        platform_error="",
        platform_attempts=version.platform_attempts + 1,
    )


def newer_ready(version: Version) -> bool:
    """True if a later published version of the task is complete."""
    later = Version.objects.of(version.project_id, version.task_type).published()
    return later.filter(ordinal__gt=version.ordinal, status=PublishState.READY).exists()


def task_of(version: Version) -> ProjectTask:
    """The version's task row."""
    return ProjectTask.objects.select_related("project").get(project_id=version.project_id, task_type=version.task_type)


def left_behind() -> list[int]:
    """Published versions whose files or official copy are owed and whose pause is over."""
    return list(Version.objects.unfinished().filter(pause_is_over()).order_by("pk").values_list("pk", flat=True)[:500])


def retry(version: Version) -> bool:
    """Put a failed version, or a failed sync, back to work; False if nothing had failed."""
    values: dict[str, Any] = {}
    if version.status == PublishState.FAILED:
        values |= {"status": PublishState.EXPORTING, "attempts": 0, "last_error": ""}
    if version.platform_status == PlatformState.FAILED:
        values |= {"platform_status": PlatformState.PENDING, "platform_attempts": 0, "platform_error": ""}
    if values:
        change(version, **values, retry_at=None)
    return bool(values)


def request_sync(version: Version) -> None:
    """Ask for the official file to be written again from this version.

    Raises NotReady while the version is not complete and NotLatest if a newer one is official, or if
    it is a working save, which never becomes official.
    """
    if version.version_type != VersionType.PUBLISHED:
        raise NotLatest("Only a published version becomes the official file; this is a working save.")
    if version.status != PublishState.READY:
        raise NotReady(f"{version.version_number} is {version.status}; its files are not complete.")
    if newer_ready(version):
        raise NotLatest("A newer published version is official; the official file never goes back.")
    change(version, platform_status=PlatformState.PENDING, platform_attempts=0, platform_error="", retry_at=None)


def change(version: Version, **values: Any) -> None:
    """Write only what changed."""
    for name, value in values.items():
        setattr(version, name, value)
    version.save(update_fields=list(values))
