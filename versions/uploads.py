"""Annotation files people bring: kept in the labeler store, imported by a job, with a report of every problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotations.acting import acting
from annotations.errors import AnnotationError, NotFound
from annotations.models import ProjectTask
from annotations.progress import hold_task, lock_task
from exports import keys, stores
from exports.errors import BrokenFile, ObjectMissing, StoreUnavailable
from versions import artifacts, importing, jobs, staging
from versions.errors import AlreadyDone, ForeignFile, VersionError
from versions.models import Job
from versions.replacing import nobody, replace_rows
from versions.states import JobState

KIND = "import_file"
# How long an upload may take to arrive after its job was made.
ARRIVES = timedelta(hours=1)


class NotWhole(ForeignFile):
    """Something of the file cannot be read, and all or nothing was asked for."""

    def __init__(self, reading: importing.Reading) -> None:
        first = "; ".join(f"{error['where']}: {error['reason']}" for error in reading.errors[:3])
        message = f"{reading.skipped} entries cannot be read, so nothing was imported: {first}"
        super().__init__(message, **reading.as_dict() | {"imported": 0})


def add_file(
    path: Path,
    task: ProjectTask,
    *,
    by: str,
    format_name: str | None = None,
    replace: bool = False,
    atomic: bool = False,
    dry_run: bool = False,
    listing: BinaryIO | None = None,
    count: Callable[[int], None] = nobody,
    listed: Callable[[], None] = nobody,
    tell: Callable[[staging.Changes, importing.Reading], None] = nobody,
) -> tuple[staging.Changes, importing.Reading]:
    """Import a file of any format that is read, into a task that may have annotations: they stay, and a shape that is
    there already is not added again. ``replace`` takes them away (saved first); ``dry_run`` takes everything back.

    ``listing`` takes every problem as a line of JSON; ``listed`` is called when it is whole, before the task's writers
    are held. ``count`` hears how many annotations have been read, ``tell`` what was done, as the last thing in the
    transaction. Raises NotWhole if ``atomic`` and something cannot be read, exports.errors.BrokenFile for a file that
    cannot be read at all and ForeignFile for one of another task.
    """

    def stage() -> importing.Reading:
        reading = importing.stage_file(path, task, by=by, format_name=format_name, listing=listing, tell=count)
        if atomic and reading.skipped:
            raise NotWhole(reading)
        listed()
        return reading

    if replace:
        return replace_rows(task, stage, by=by, action="import", dry_run=dry_run, tell=tell)
    with acting(by, action="import"):
        hold_task(task.project_id, task.task_type)
        reading = stage()
        lock_task(task.project_id, task.task_type)
        changes = staging.apply(task, merge=True)
        if dry_run:
            transaction.set_rollback(True)
        else:
            tell(changes, reading)
    return changes, reading


def keep_upload(job: Job, path: Path, *, sha256: str, size: int) -> None:
    """Put a job's file where its worker finds it; the job waits for it. One that is over needs it no more."""
    if job.is_over:
        return
    assert job.project_id is not None
    key = keys.upload(job.project_id, str(job.pk))
    stores.put_latest("labeler", key, path, content_type="application/octet-stream", sha256=sha256, size=size)


def import_upload(job: Job, task: ProjectTask) -> dict[str, Any]:
    """Import the job's file and keep its report, also of a file that is refused; returns what changed.

    The report is kept before the rows are in, and the job ends with them: nothing is left to be done afterwards. Raises
    StoreUnavailable while the file has not arrived, else as ``add_file``.
    """
    params = job.params

    def told(changes: staging.Changes, reading: importing.Reading) -> dict[str, Any]:
        said = {"status": "done", "project_id": task.project_id, "dry_run": params["dry_run"]}
        return said | reading.as_dict() | changes.as_dict()

    with artifacts.scratch() as folder, (folder / "report.jsonl").open("wb") as listing:
        path = folder / "upload"
        _fetch(job, path)
        try:
            with refusal_listed(listing):
                done = add_file(
                    path,
                    task,
                    by=job.created_by,
                    format_name=params["format"],
                    replace=params["mode"] == "replace",
                    atomic=params["atomic"],
                    dry_run=params["dry_run"],
                    listing=listing,
                    listed=lambda: _keep_report(job, listing),
                    tell=lambda *done: jobs.finish(job, told(*done)),
                )
        except AlreadyDone:
            # The report there is is that of whoever did it.
            raise
        except (AnnotationError, VersionError, BrokenFile):
            _keep_report(job, listing)
            raise
    return told(*done)


@contextmanager
def refusal_listed(listing: BinaryIO) -> Iterator[None]:
    """The reason a file was refused as a whole stands in its report, too."""
    try:
        yield
    except AlreadyDone:
        raise
    except (AnnotationError, VersionError, BrokenFile) as error:
        line = {"outcome": "refused", "where": "file", "reason": str(error)}
        listing.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        raise


def import_job(project_id: str, job_id: str) -> Job:
    """The job of an import into the project; raises NotFound."""
    job = Job.objects.filter(pk=job_id, project_id=project_id, kind=KIND).first()
    if job is None:
        raise NotFound("The project has no such import.")
    return job


def _fetch(job: Job, path: Path) -> None:
    assert job.project_id is not None
    try:
        artifacts.fetch("labeler", keys.upload(job.project_id, str(job.pk)), path, sha256=job.params["sha256"])
    except ObjectMissing as error:
        if timezone.now() - job.created_at < ARRIVES:
            raise StoreUnavailable("The uploaded file has not arrived yet.") from error
        raise ForeignFile("The upload was cut off; send the file again.") from error


def _keep_report(job: Job, listing: BinaryIO) -> None:
    assert job.project_id is not None
    listing.flush()
    path = Path(listing.name)
    stores.put_latest(
        "labeler",
        keys.import_report(job.project_id, str(job.pk)),
        path,
        content_type="application/jsonl",
        sha256=stores.sha256_of_file(path),
        size=path.stat().st_size,
    )


def remove_expired() -> int:
    """Remove uploads past their days once their job is over; reports stay. Returns how many."""
    limit = timezone.now() - timedelta(days=settings.LABELER_EXPORT_DAYS)
    over = Job.objects.filter(kind=KIND, status__in=(JobState.DONE, JobState.FAILED))
    old = over.filter(created_at__lt=limit).exclude(params__has_key="removed")
    gone = 0
    for job in old[:200]:
        stores.remove("labeler", keys.upload(str(job.project_id), str(job.pk)))
        job.params = {**job.params, "removed": True}
        job.save(update_fields=["params"])
        gone += 1
    return gone
