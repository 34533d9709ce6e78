"""What the doors of this room share: the task of a request, waiting for a job, absolute links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import projects
from annotations.access import project_for
from annotations.idempotency import once
from annotations.models import Project, ProjectTask
from annotations.paging import checked
from annotations.states import Role
from versions import jobs, tasks
from versions.answers import job_answer
from versions.errors import JobFailed
from versions.models import Job
from versions.serializers import WaitQuery
from versions.states import JobState
from versions.waiting import wait_until

IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    location="header",
    description="Repeating the request with the same key has one effect",
)
# What is asked for is not there yet.
LATER = OpenApiResponse({"$ref": "#/components/schemas/Error"}, "Its files are still being made; ask again.")
WAIT = OpenApiParameter("wait", int, description="Seconds to wait for the work to finish (at most 20)")


def task_for(request: Request, project_id: str, role: Role, task_type: str | None) -> ProjectTask:
    """The task of a project the user may work on with ``role``."""
    return projects.task_of(project_for(request.user, project_id, role), task_type)


def seconds_to_wait(request: Request, default: int = 0) -> int:
    """``?wait``, or the route's own default."""
    wanted = checked(WaitQuery, request.query_params)["wait"]
    return default if wanted is None else wanted


def start_job(
    request: Request,
    kind: str,
    project: Project,
    params: dict[str, Any],
    *,
    supply: Callable[[Job], None] = lambda job: None,
) -> Job:
    """A job, supplied with what it needs, and a worker nudged; the same ``Idempotency-Key`` gives the same job."""
    by = request.user.get_username()

    def start() -> str:
        return str(jobs.start(kind, by=by, project=project, params=params).pk)

    key = request.headers.get("Idempotency-Key")
    job_id = once(by, key, {"route": kind, "project": project.pk, "params": params}, start)
    job = Job.objects.get(pk=job_id)
    supply(job)
    tasks.nudge(tasks.run_job, job_id)
    return job


def finished(job: Job, seconds: int) -> bool:
    """True once the job is done, after waiting at most ``seconds``. Raises JobFailed with its reason."""

    def over() -> bool:
        job.refresh_from_db()
        return job.is_over

    if not wait_until(over, seconds):
        return False
    if job.status == JobState.FAILED:
        raise JobFailed(job)
    return True


def accepted(request: Request, job: Job) -> Response:
    """202: the work goes on; where to ask for it."""
    answer = job_answer(job, request.build_absolute_uri)
    return Response(
        {"job_id": answer["id"], "status": answer["status"], "progress": answer["progress"]},
        status.HTTP_202_ACCEPTED,
        headers={"Location": f"/api/v1/jobs/{job.pk}"},
    )
