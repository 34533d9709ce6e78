"""Long work as a row: asked for, taken up by a worker, taken up again after a crash, finished.

What must not be done twice ends its job in the transaction that does it (``finish``): such a job is begun again only if
nothing of it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection
from django.utils import timezone

from annotations.errors import AnnotationError
from annotations.models import Project
from exports.errors import ExportError, StoreUnavailable
from versions.alone import alone
from versions.errors import AlreadyDone, VersionError
from versions.models import Job
from versions.querysets import JobQuerySet, pause_is_over
from versions.states import JobState

log = logging.getLogger(__name__)

Report = Callable[[float], None]
Handler = Callable[[Job, Report], dict[str, Any]]
# With growing pauses of at most five minutes: about a day.
ATTEMPTS = 300


class Busy(Exception):
    """What the job is to work on is held by another process for as long as it takes, and no worker waits for that."""


def start(kind: str, *, by: str, project: Project | None = None, params: dict[str, Any] | None = None) -> Job:
    """Record that work is wanted; a door nudges a worker, the sweep does so again if that was lost."""
    return Job.objects.create(kind=kind, created_by=by, project=project, params=params or {})


def run(job_id: UUID | str, handlers: Mapping[str, Handler]) -> Job:
    """Do the work of one job, unless it is done or another process is at it; twice is the same as once.

    A store that does not answer puts the job back for later; any other failure ends it with its reason.
    """
    with alone("job", job_id) as mine:
        job = Job.objects.get(pk=job_id)
        if not mine or job.status not in (JobState.QUEUED, JobState.RUNNING):
            return job
        if job.attempts >= ATTEMPTS:
            # A worker that dies of the job itself would die of it with every sweep.
            _end(job, JobState.FAILED, error=f"Given up: begun {job.attempts} times and never ended.")
            return job
        _begin(job)
        try:
            result = handlers[job.kind](job, lambda share: report(job, share))
        except Busy:
            # As if it had never been begun: whoever is at it has it done when he is through.
            _change(job, status=JobState.QUEUED, attempts=job.attempts - 1)
        except StoreUnavailable as error:
            _later(job, str(error))
        except OperationalError as error:
            # A deadlock, or a database that was restarted: the transaction is undone, the job is done again.
            connection.close()
            _later(job, f"The database broke off the work: {error}")
        except (AnnotationError, VersionError, ExportError) as error:
            _end(job, JobState.FAILED, error=str(error), result=_told(error))
        except Exception as error:
            # Said in the row for the client, raised for the log: a job never ends in silence.
            _end(
                job,
                JobState.FAILED,
                error=f"Internal error ({type(error).__name__}); the log has the details.",
            )
            raise
        else:
            _end(job, JobState.DONE, result=result)
        return job


def _told(error: AnnotationError | VersionError | ExportError) -> dict[str, Any]:
    """The machine's part of an error, for a client that reads the job."""
    told = {"code": error.code, **error.facts}
    fields = getattr(error, "errors", None)
    return {**told, "errors": fields} if fields else told


def finish(job: Job, result: dict[str, Any]) -> None:
    """The job is done. To be called last in the transaction of its work: both are committed or neither.

    Raises AlreadyDone if the job has ended meanwhile; the work is to be taken back, as another has done it.
    """
    # The job in memory learns of it after the commit (``run``): until then it may come to nothing.
    if not _still_open(job).update(**_ended(JobState.DONE, result=result)):
        raise AlreadyDone(f"Job {job.pk} has ended already.")


def report(job: Job, share: float) -> None:
    """How far the work is, 0 to 1; visible at once, as it is written outside any long transaction."""
    if share - job.progress >= 0.01:
        _change(job, progress=round(min(share, 1.0), 4))


def left_behind(among: JobQuerySet | None = None) -> list[UUID]:
    """Jobs (``among`` some, or all) nobody finished and whose pause is over; those being worked on are skipped when
    run."""
    found = (Job.objects.all() if among is None else among).unfinished().filter(pause_is_over())
    return list(found.order_by("created_at").values_list("pk", flat=True)[:500])


def _begin(job: Job) -> None:
    _change(job, status=JobState.RUNNING, attempts=job.attempts + 1, started_at=job.started_at or timezone.now())


def _later(job: Job, reason: str) -> None:
    if job.attempts >= ATTEMPTS:
        _end(job, JobState.FAILED, error=f"Gave up after {job.attempts} attempts: {reason}")
        return
    pause = timedelta(seconds=min(2**job.attempts, 300))
    _change(job, status=JobState.QUEUED, error=reason, retry_at=timezone.now() + pause)


def _end(job: Job, status: JobState, *, result: dict[str, Any] | None = None, error: str = "") -> None:
    _change(job, **_ended(status, result=result, error=error))


def _ended(status: JobState, *, result: dict[str, Any] | None = None, error: str = "") -> dict[str, Any]:
    values = {"status": status, "result": result, "error": error, "finished_at": timezone.now()}
    return {**values, "progress": 1.0} if status == JobState.DONE else values


def _change(job: Job, **values: Any) -> None:
    """Change the row, unless it has ended: then its transaction was committed, whatever became of the answer."""
    _still_open(job).update(**values)
    job.refresh_from_db()


def _still_open(job: Job) -> JobQuerySet:
    return Job.objects.unfinished().filter(pk=job.pk)
