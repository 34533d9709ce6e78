"""Celery's door: ids in, one function called, twice is the same as once; and the sweeps that need no message."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, shared_task
from django.db import transaction
from kombu.exceptions import OperationalError

from versions import artifacts, autosave, exporting, jobs, journal, publishing, records, uploads, work
from versions.models import Job

log = logging.getLogger(__name__)


def nudge(task: Task, *arguments: Any) -> None:
    """Wake a worker after the commit. A broker that is away is only logged: the row says what is owed and
    the sweep does it."""

    def send() -> None:
        try:
            task.apply_async(args=[str(each) for each in arguments], retry=False)
        except (OperationalError, OSError, TimeoutError) as error:
            log.warning("The broker is away (%s); %s%s waits for the sweep.", error, task.name, arguments)

    transaction.on_commit(send)


@shared_task
def advance_publish(version_id: str) -> str:
    """Take one published version further."""
    return publishing.advance(int(version_id)).status


@shared_task
def run_job(job_id: str) -> str:
    """Do one job."""
    job = work.run(job_id)
    if job.project_id is not None and job.is_over:
        _look_again(job.project_id)
    return job.status


@shared_task
def save_if_due(task_id: str) -> str | None:
    """Make one working save, if it is due."""
    version = autosave.save_if_due(int(task_id), afterwards=_look_again)
    return version.version_number if version else None


def _look_again(project_id: str) -> None:
    """While a task was held nobody was woken for it: saves that became due, and jobs that ask for one, come now, behind
    what waits already."""
    for task in autosave.due_tasks(project_id):
        nudge(save_if_due, task)
    for job in jobs.left_behind(Job.objects.filter(project=project_id, kind="save")):
        nudge(run_job, job)


@shared_task
def write_project_record(project_id: str) -> None:
    """Write one project's record."""
    records.write_project_record(project_id)


@shared_task
def write_journal(project_id: str) -> int:
    """Bring one project's journal up to date, should nobody keep it (``manage.py keep_journal``)."""
    return journal.write(project_id)


@shared_task
def sweep() -> dict[str, int]:
    """Every minute: whatever rows say is owed and nobody is at, whether or not a message was ever sent."""
    owed: dict[Task, list[Any]] = {
        advance_publish: publishing.left_behind(),
        run_job: jobs.left_behind(),
        save_if_due: autosave.due_tasks(),
        write_project_record: records.owed(),
        write_journal: journal.waiting(),
    }
    for task, subjects in owed.items():
        for subject in subjects:
            nudge(task, subject)
    return {str(task.name): len(subjects) for task, subjects in owed.items()}


@shared_task
def remove_expired_exports() -> int:
    """Once a day: files of old ad-hoc exports and uploads, and scratch that killed processes left."""
    artifacts.sweep_scratch()
    return exporting.remove_expired() + uploads.remove_expired()
