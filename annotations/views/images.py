"""Progress of images."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import confirming, images, projects
from annotations.access import image_for, project_for
from annotations.answers import status_answer
from annotations.fields import TaskQuery
from annotations.models import ImageStatus
from annotations.paging import checked, page_of
from annotations.projects import task_of
from annotations.serializers import SplitBody, StatusQuery, VerifyBody
from annotations.shapes import ImageStatusShape, SplitShape, StatusListShape
from annotations.states import Role


class ReviewViewSet(viewsets.ViewSet):
    """What waits for a reviewer."""

    @extend_schema(
        parameters=[TaskQuery, OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=StatusListShape,
    )
    def list(self, request: Request, project_id: str) -> Response:
        """Confirmed images with annotations that nobody verified, in image order, with their counts."""
        project = project_for(request.user, project_id, Role.REVIEWER)
        task = task_of(project, checked(TaskQuery, request.query_params)["task_type"])
        rows = (
            ImageStatus.objects.of(project.pk, task.task_type).to_review().select_related("image").order_by("image_id")
        )
        answers = [status_answer(row) for row in page_of(request, most=200).of(rows)]
        return Response({"statuses": answers, "total": rows.count(), "project_id": project.pk})

    @extend_schema(parameters=[TaskQuery], request=VerifyBody, responses=ImageStatusShape)
    def verify(self, request: Request, project_id: str, image_id: str) -> Response:
        """All confirmed annotations of the image become verified; ``{"verified": false}`` takes it back."""
        project = project_for(request.user, project_id, Role.REVIEWER)
        task = task_of(project, checked(TaskQuery, request.query_params)["task_type"])
        wanted = checked(VerifyBody, request.data or {})["verified"]
        row = confirming.verify_image(
            image_for(project, image_id), task.task_type, by=request.user.get_username(), verified=wanted
        )
        return Response(status_answer(row))


class SplitViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/images/split``."""

    @extend_schema(request=SplitBody, responses={200: SplitShape})
    def create(self, request: Request, project_id: str) -> Response:
        """Put images into train, val or test by hand; the next version and every export have it so."""
        project = project_for(request.user, project_id, Role.ADMIN)
        body = checked(SplitBody, request.data)
        wanted = images.keys_of(project, body["image_ids"])
        return Response({"changed": images.set_split(project, wanted, body["split"], by=request.user.get_username())})


class ImageStatusViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/images/status``."""

    @extend_schema(
        parameters=[StatusQuery, OpenApiParameter("limit", int), OpenApiParameter("offset", int),
                    OpenApiParameter("image_ids", str, description="Paths, comma-separated or repeated")],
        responses=StatusListShape,
    )  # fmt: skip
    def list(self, request: Request, project_id: str) -> Response:
        """Progress rows in the order of the image list, so equal offsets match."""
        project = project_for(request.user, project_id)
        query = checked(StatusQuery, request.query_params)
        task = projects.task_of(project, query["task_type"])
        page = page_of(request, most=200)
        rows, total = images.status_page(
            project,
            task_type=task.task_type,
            limit=page.limit,
            offset=page.offset,
            status=query["status"],
            image_ids=_named(request) or None,
            search=query["search"],
        )
        return Response({"statuses": [status_answer(row) for row in rows], "total": total, "project_id": project.pk})


def _named(request: Request) -> list[str]:
    """The paths of ``image_ids``; ValidationError for one no image can have."""
    said = request.query_params.getlist("image_ids")
    if any("\x00" in each for each in said):
        raise serializers.ValidationError({"image_ids": ["must not hold NUL characters."]})
    # Said once it is a list; said again and again, each is one path, which may hold a comma.
    return [path for path in (said[0].split(",") if len(said) == 1 else said) if path]
