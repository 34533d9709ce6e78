"""Annotation files people bring: taken in, imported by a job, reported on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import projects
from annotations.access import project_for
from annotations.paging import checked
from annotations.states import Role
from exports import keys, stores
from versions import uploads
from versions.answers import link_answer
from versions.errors import NotReady
from versions.serializers import ImportBody, RedirectQuery
from versions.shapes import AcceptedShape, ImportedFileShape, LinkShape
from versions.views.common import IDEMPOTENCY, LATER, WAIT, accepted, finished, seconds_to_wait, start_job


class FileImportViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/import`` and the reports of its jobs."""

    throttle_scope = "import"
    parser_classes = [MultiPartParser]

    @extend_schema(
        request={"multipart/form-data": ImportBody},
        parameters=[IDEMPOTENCY, WAIT],
        responses={200: ImportedFileShape, 202: AcceptedShape},
    )
    def create(self, request: Request, project_id: str) -> Response:
        """Import a DICE, COCO, YOLO (zip), CVAT (XML) or Label Studio file, uploaded as the field ``file``.

        ``add`` keeps what is there and adds what is missing; ``replace`` takes it away, after a working save. What
        cannot be read is skipped and listed with its place, or with ``atomic`` nothing is imported.
        """
        project = project_for(request.user, project_id, Role.ADMIN)
        seconds = seconds_to_wait(request, default=settings.LABELER_WAIT_SECONDS)
        body = checked(ImportBody, request.data)
        task = projects.task_of(project, body["task_type"])
        file = body.pop("file")
        path = Path(file.temporary_file_path())
        sha256 = stores.sha256_of_file(path)
        params: dict[str, Any] = {**body, "task_type": task.task_type, "file_name": file.name, "sha256": sha256}
        job = start_job(
            request,
            uploads.KIND,
            project,
            params,
            supply=lambda job: uploads.keep_upload(job, path, sha256=sha256, size=file.size),
        )
        if not finished(job, seconds):
            return accepted(request, job)
        return Response({**(job.result or {}), "job_id": str(job.pk)})

    @extend_schema(parameters=[RedirectQuery], responses={200: LinkShape, 302: None, 409: LATER})
    def report(self, request: Request, project_id: str, job_id: str) -> HttpResponseBase:
        """A link to every problem of an import, a JSON object a line; with ``redirect=1`` the way there."""
        project_for(request.user, project_id, Role.ADMIN)
        job = uploads.import_job(project_id, job_id)
        if not job.is_over:
            raise NotReady(f"The import is {job.status}; its report comes with its end.")
        key = keys.import_report(project_id, str(job.pk))
        stores.head("labeler", key)
        link = link_answer(key, f"import_{job.created_at:%Y%m%d_%H%M%S}_report.jsonl", request.build_absolute_uri)
        if checked(RedirectQuery, request.query_params)["redirect"]:
            return HttpResponseRedirect(link["download_url"])
        return Response(link)
