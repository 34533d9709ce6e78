"""Going back: restore, rollback, import of the official file; and the jobs that do it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations.fields import TaskQuery
from annotations.paging import checked
from annotations.states import Role
from versions import listing, restoring, tasks, work
from versions.answers import job_answer, version_answers
from versions.models import Job, Version
from versions.serializers import ForceQuery, RestoreBody, RollbackBody
from versions.shapes import AcceptedShape, ImportedShape, JobShape, RestoredShape, VersionShape
from versions.views.common import (
    IDEMPOTENCY,
    WAIT,
    accepted,
    finished,
    seconds_to_wait,
    start_job,
    task_for,
)


class RestoreViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/restore`` and ``/rollback``."""

    throttle_scope: str | None = None

    @extend_schema(
        request=RestoreBody, parameters=[IDEMPOTENCY, WAIT], responses={200: RestoredShape, 202: AcceptedShape}
    )
    def restore(self, request: Request, project_id: str) -> Response:
        """Make the live rows those of a save, a version or the official file; what is replaced is saved first."""
        body = checked(RestoreBody, request.data)
        task = task_for(request, project_id, Role.ADMIN, body["task_type"])
        seconds = seconds_to_wait(request, default=settings.LABELER_WAIT_SECONDS)
        version = listing.version_of(project_id, body["version_id"], task.task_type) if body["version_id"] else None
        restoring.check_wish(task, source=body["source"], version=version, image_paths=body["image_ids"])
        params = {
            "task_type": version.task_type if version else task.task_type,
            "source": body["source"],
            "version_id": version.pk if version else None,
            "image_ids": body["image_ids"],
            "mode": body["mode"],
            "dry_run": body["dry_run"],
        }
        return _outcome(request, start_job(request, "restore", task.project, params), seconds)

    @extend_schema(
        request=RollbackBody, parameters=[IDEMPOTENCY, WAIT], responses={201: VersionShape, 202: AcceptedShape}
    )
    def rollback(self, request: Request, project_id: str) -> Response:
        """Restore a published version and publish it as the next number."""
        body = checked(RollbackBody, request.data)
        task = task_for(request, project_id, Role.ADMIN, body["task_type"])
        seconds = seconds_to_wait(request, default=settings.LABELER_WAIT_SECONDS)
        version = restoring.rollback_target(listing.version_of(project_id, body["version_id"], task.task_type))
        params = {
            "task_type": version.task_type,
            "version_id": version.pk,
            "description": body["description"],
        }
        job = start_job(request, "rollback", task.project, params)
        if not finished(job, seconds):
            return accepted(request, job)
        made = Version.objects.prefetch_related("artifacts").get(pk=(job.result or {})["version_id"])
        tasks.nudge(tasks.advance_publish, made.pk)
        answer = version_answers([made], request.build_absolute_uri)[0]
        return Response({**answer, "job_id": str(job.pk)}, status.HTTP_201_CREATED)

    @extend_schema(
        parameters=[ForceQuery, TaskQuery, WAIT], request=None, responses={200: ImportedShape, 202: AcceptedShape}
    )
    def import_official(self, request: Request, project_id: str) -> Response:
        """Import the platform's official file; ``force`` replaces what is there, after a working save."""
        force = checked(ForceQuery, request.query_params)["force"]
        task_type = checked(TaskQuery, request.query_params)["task_type"]
        task = task_for(request, project_id, Role.ADMIN, task_type)
        seconds = seconds_to_wait(request, default=settings.LABELER_WAIT_SECONDS)
        work.refuse_over_annotations(task, force=force)
        params: dict[str, Any] = {"task_type": task.task_type, "force": force}
        return _outcome(request, start_job(request, "import", task.project, params), seconds)


def _outcome(request: Request, job: Job, seconds: int) -> Response:
    if finished(job, seconds):
        return Response({**(job.result or {}), "job_id": str(job.pk)})
    return accepted(request, job)


class JobViewSet(viewsets.ViewSet):
    """``/jobs/{job_id}``."""

    @extend_schema(responses=JobShape)
    def retrieve(self, request: Request, job_id: str) -> Response:
        """How far the work is and what came of it; for its creator, and admins of its project."""
        return Response(job_answer(listing.job_for(request.user, job_id), request.build_absolute_uri))
