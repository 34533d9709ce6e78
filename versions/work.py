"""What each kind of job does: one function a kind, ids in, a result for the client out.

Restore, rollback and import end their job in the transaction that changes the rows, so that they are never done twice;
the others find what is done already.
"""

from __future__ import annotations

from typing import Any

from annotations import projects
from annotations.errors import HasAnnotations
from annotations.models import Annotation, Project, ProjectTask
from annotations.states import ProjectStatus
from exports.errors import StoreUnavailable
from versions import autosave, exporting, importing, jobs, listing, opening, publishing, restoring, snapshots, uploads
from versions.alone import alone
from versions.jobs import Report
from versions.models import Job, Version
from versions.states import PlatformState, SaveTrigger


def _project(job: Job) -> Project:
    assert job.project_id is not None
    return Project.objects.prefetch_related("tasks").get(pk=job.project_id)


def _task(job: Job) -> ProjectTask:
    return projects.task_of(_project(job), job.params.get("task_type"))


def _version(job: Job) -> Version | None:
    number = job.params.get("version_id")
    return None if number is None else listing.version_of(str(job.project_id), str(number))


def open_dataset(job: Job, report: Report) -> dict[str, Any]:
    """First load of a project."""
    return opening.load_dataset(_project(job), by=job.created_by, report=report)


def rescan(job: Job, report: Report) -> dict[str, Any]:
    """List the store's images again."""
    return opening.load_images(_project(job), report=report)


def import_official(job: Job, report: Report) -> dict[str, Any]:
    """Import the official file; with ``force`` what is there is saved, then replaced. A project whose first load failed
    becomes active. Raises HasAnnotations unless the task is empty or ``force``."""
    project, task, force = _project(job), _task(job), bool(job.params.get("force"))
    refuse_over_annotations(task, force=force)

    def told(reading: importing.Reading) -> dict[str, Any]:
        return {"status": "done", "project_id": project.pk, **reading.as_dict()}

    def tell(reading: importing.Reading) -> None:
        if project.status == ProjectStatus.FAILED:
            projects.activate(project, by=job.created_by)
        jobs.finish(job, told(reading))

    return told(opening.import_official(project, task, by=job.created_by, remove=force, tell=tell))


def import_file(job: Job, report: Report) -> dict[str, Any]:
    """Import a file somebody brought."""
    return uploads.import_upload(job, _task(job))


def refuse_over_annotations(task: ProjectTask, *, force: bool) -> bool:
    """Whether the task has annotations; HasAnnotations if it has and ``force`` was not said."""
    present = Annotation.objects.filter(project_id=task.project_id, task_type=task.task_type).exists()
    if present and not force:
        raise HasAnnotations("The task has annotations; ask with force to replace them (they are saved first).")
    return present


def save(job: Job, report: Report) -> dict[str, Any]:
    """A working save somebody asked for. Raises Busy while the task is being saved or replaced."""
    task = _task(job)
    with alone("save", task.pk) as mine:
        state = autosave.state_of(task)
        # Another save may have held it already; then there is nothing to wait for.
        asked = state.requested_at is not None
        if asked and not mine:
            raise jobs.Busy
        trigger = job.params.get("trigger", SaveTrigger.MANUAL)
        version = autosave.save_working(task, trigger=trigger, by=job.created_by) if asked else None
    if version is not None:
        return {"status": "saved", "version_id": version.pk, "version_number": version.version_number}
    last = state.last_version
    return {"status": "unchanged", "version_number": last.version_number if last else None}


def export(job: Job, report: Report) -> dict[str, Any]:
    """Files of live rows or of a version."""
    params = job.params
    return exporting.export(
        _task(job),
        job,
        formats=params["formats"],
        states=snapshots.states_of(
            include_draft=params["include_draft"], verified_only=params.get("verified_only", False)
        ),
        image_paths=params.get("image_ids"),
        version=_version(job),
    )


def restore(job: Job, report: Report) -> dict[str, Any]:
    """Bring rows back."""
    task = _task(job)
    if job.params["source"] == "working":
        _choose_save(job, task)
    return restoring.restore(
        task,
        source=job.params["source"],
        version=_version(job),
        image_paths=job.params.get("image_ids"),
        by=job.created_by,
        dry_run=bool(job.params.get("dry_run")),
        merge=job.params.get("mode") == "merge",
        tell=lambda done: jobs.finish(job, done.as_dict()),
    ).as_dict()


def _choose_save(job: Job, task: ProjectTask) -> None:
    """The latest save is the one there was when the job first began: what is saved before it is tried again holds the
    very rows that are to go."""
    save = restoring.latest_save(task)
    if save is not None and job.params.get("version_id") is None:
        job.params = {**job.params, "version_id": save.version_id}
        job.save(update_fields=["params"])


def rollback(job: Job, report: Report) -> dict[str, Any]:
    """Restore and publish under the next number."""
    wanted = _version(job)
    assert wanted is not None

    def told(version: Version) -> dict[str, Any]:
        return {"version_id": version.pk, "version_number": version.version_number}

    return told(
        restoring.rollback(
            wanted,
            by=job.created_by,
            description=job.params.get("description", ""),
            tell=lambda made: jobs.finish(job, told(made)),
        )
    )


def platform_sync(job: Job, report: Report) -> dict[str, Any]:
    """Write the official file from a version again."""
    version = publishing.advance(job.params["version_id"])
    if version.platform_status == PlatformState.PENDING:
        raise StoreUnavailable(version.platform_error or "The platform store is waited for.")
    return {"version_id": version.pk, "platform_status": version.platform_status}


HANDLERS: dict[str, jobs.Handler] = {
    "open": open_dataset,
    "rescan": rescan,
    "import": import_official,
    uploads.KIND: import_file,
    "save": save,
    "export": export,
    "restore": restore,
    "rollback": rollback,
    "platform_sync": platform_sync,
}


def run(job_id: Any) -> Job:
    """Do one job."""
    return jobs.run(job_id, HANDLERS)
