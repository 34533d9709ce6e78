"""Publishing, listing, looking into, downloading and exporting versions."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations.access import project_for
from annotations.errors import NotFound
from annotations.fields import TaskQuery
from annotations.paging import checked, page_of
from annotations.projects import task_of
from annotations.states import Role
from versions import exporting, listing, publishing, tasks
from versions.answers import export_answer, file_name, link_answer, version_answers
from versions.errors import NoSuchVersion, NotReady
from versions.gate import Waiver
from versions.models import Artifact, Version
from versions.publishing import PublishWish
from versions.serializers import (
    DownloadQuery,
    ExportBody,
    PreviewQuery,
    PublishBody,
    SnapshotQuery,
    VersionQuery,
)
from versions.shapes import (
    AcceptedShape,
    DownloadShape,
    ExportShape,
    PreviewShape,
    SnapshotListShape,
    VersionListShape,
    VersionShape,
)
from versions.states import PublishState
from versions.views.common import (
    IDEMPOTENCY,
    LATER,
    WAIT,
    accepted,
    finished,
    seconds_to_wait,
    start_job,
    task_for,
)
from versions.waiting import wait_until


class PublishViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/versions/publish``."""

    @extend_schema(request=PublishBody, parameters=[IDEMPOTENCY, WAIT], responses={201: VersionShape})
    def create(self, request: Request, project_id: str) -> Response:
        """Freeze the confirmed rows as the next version; its files are made meanwhile (``status``)."""
        body = checked(PublishBody, request.data)
        seconds = seconds_to_wait(request)
        task = task_for(request, project_id, Role.ADMIN, body["task_type"])
        wish = PublishWish(
            version_number=body.get("version_number"),
            description=body["description"],
            formats=tuple(body["formats"] or publishing.ALL_FORMATS),
            include_draft=body["include_draft"],
            allow_empty=body["allow_empty"],
            verified_only=body["verified_only"],
            waivers=tuple(Waiver(**waiver) for waiver in body["waivers"]),
        )
        version = publishing.request_publish(
            task, wish, by=request.user.get_username(), key=request.headers.get("Idempotency-Key")
        )
        tasks.nudge(tasks.advance_publish, version.pk)
        wait_until(lambda: _is_settled(version), seconds)
        location = f"/api/v1/projects/{project_id}/versions/{version.pk}"
        return Response(_answer(request, version.pk), status.HTTP_201_CREATED, headers={"Location": location})

    @extend_schema(parameters=[PreviewQuery], responses=PreviewShape)
    def preview(self, request: Request, project_id: str) -> Response:
        """What a publish would hold, what stands in its way, what would be left out."""
        query = checked(PreviewQuery, request.query_params)
        task = task_for(request, project_id, Role.ADMIN, query["task_type"])
        return Response(
            publishing.preview(task, include_draft=query["include_draft"], verified_only=query["verified_only"])
        )


def _is_settled(version: Version) -> bool:
    version.refresh_from_db(fields=["status"])
    return version.status != PublishState.EXPORTING


def _answer(request: Request, version_id: int) -> dict[str, Any]:
    version = Version.objects.prefetch_related("artifacts").get(pk=version_id)
    return version_answers([version], request.build_absolute_uri)[0]


class VersionViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/versions``; published versions answer 405 to whatever would change them."""

    @extend_schema(
        operation_id="projects_versions_list",
        parameters=[VersionQuery, OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=VersionListShape,
    )
    def list(self, request: Request, project_id: str) -> Response:
        """Newest first; ``limit`` and ``offset`` apply to published and working versions separately."""
        project = project_for(request.user, project_id)
        query = checked(VersionQuery, request.query_params)
        page = page_of(request, most=200)
        found, total = listing.versions_of(
            project.pk,
            task_type=query["task_type"],
            version_type=query["version_type"],
            limit=page.limit,
            offset=page.offset,
        )
        answers = version_answers(found, request.build_absolute_uri)
        return Response({"versions": answers, "total": total, "project_id": project.pk})

    @extend_schema(parameters=[TaskQuery], responses=VersionShape)
    def retrieve(self, request: Request, project_id: str, version_id: str) -> Response:
        """One version, by id or number."""
        return Response(_answer(request, _version(request, project_id, version_id).pk))

    @extend_schema(parameters=[SnapshotQuery, TaskQuery, OpenApiParameter("limit", int)], responses=SnapshotListShape)
    def snapshots(self, request: Request, project_id: str, version_id: str) -> Response:
        """The version's frozen annotations in file order, a page at a time."""
        version = _version(request, project_id, version_id)
        query = checked(SnapshotQuery, request.query_params)
        page = page_of(request, most=1000, default=100)
        found, cursor = listing.snapshots_of(
            version, image_path=query["image_id"], cursor=query["cursor"], limit=page.limit
        )
        return Response({"snapshots": found, "next_cursor": cursor})

    @extend_schema(parameters=[IDEMPOTENCY], request=None, responses={202: AcceptedShape})
    def platform_sync(self, request: Request, project_id: str, version_id: str) -> Response:
        """Write the official file from this version again; 409 if a newer one is official."""
        version = _version(request, project_id, version_id, Role.ADMIN)
        publishing.request_sync(version)
        return accepted(request, start_job(request, "platform_sync", version.project, {"version_id": version.pk}))


def _version(request: Request, project_id: str, reference: str, role: Role = Role.VIEWER) -> Version:
    project = project_for(request.user, project_id, role)
    task_type = checked(TaskQuery, request.query_params)["task_type"]
    return listing.version_of(project.pk, reference, task_of(project, task_type).task_type)


class DownloadViewSet(viewsets.ViewSet):
    """``/versions/{version_id}/download``."""

    @extend_schema(parameters=[DownloadQuery], responses={200: DownloadShape, 302: None, 409: LATER})
    def retrieve(self, request: Request, version_id: str) -> HttpResponseBase:
        """A link to one file of a version, good for 7 days; with ``redirect=1`` the way there."""
        query = checked(DownloadQuery, request.query_params)
        version = Version.objects.filter(pk=int(version_id)).first() if int(version_id) < 2**63 else None
        if version is None:
            raise NoSuchVersion("No such version.")
        try:
            project_for(request.user, version.project_id)
        except NotFound:
            raise NoSuchVersion("No such version.") from None
        file = _downloadable(version, query["format"])
        filename = file_name(version, file.format)
        link = link_answer(file.s3_key, filename, request.build_absolute_uri)
        if query["redirect"]:
            return HttpResponseRedirect(link["download_url"])
        facts = {
            "format": file.format,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "filename": filename,
        }
        return Response({**link, **facts})


def _downloadable(version: Version, format_name: str) -> Artifact:
    if version.status != PublishState.READY:
        raise NotReady(f"{version.version_number} is {version.status}; its files are not complete yet.")
    file = version.artifacts.filter(format=format_name, removed_at=None).first()
    if file is None or format_name not in publishing.ALL_FORMATS:
        raise NoSuchVersion(f"{version.version_number} has no file in the format {format_name!r}.")
    return file


class ExportViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/export``."""

    throttle_scope = "export"

    @extend_schema(request=ExportBody, parameters=[IDEMPOTENCY, WAIT], responses={200: ExportShape, 202: AcceptedShape})
    def create(self, request: Request, project_id: str) -> Response:
        """Files of live rows or of a version; 202 with a job, or 200 with links when waited for."""
        body = checked(ExportBody, request.data)
        seconds = seconds_to_wait(request)
        task = task_for(request, project_id, Role.ANNOTATOR, body["task_type"])
        version = listing.version_of(project_id, body["version_id"], task.task_type) if "version_id" in body else None
        formats = body["formats"] or ["dice"]
        exporting.check_wish(formats, version)
        exporting.check_images(task.project, body.get("image_ids"))
        params = {
            "task_type": version.task_type if version else task.task_type,
            "formats": formats,
            "include_draft": body["include_draft"],
            "verified_only": body["verified_only"],
            "image_ids": body.get("image_ids"),
            "version_id": version.pk if version else None,
        }
        job = start_job(request, "export", task.project, params)
        if finished(job, seconds):
            return Response({**export_answer(job, request.build_absolute_uri), "job_id": str(job.pk)})
        return accepted(request, job)
