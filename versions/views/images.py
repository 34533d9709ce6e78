"""Images with signed links, the next one to label, and confirming, which also reports the autosave."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.status import HTTP_204_NO_CONTENT

from annotations import confirming, images, projects
from annotations.access import image_for, project_for
from annotations.answers import confirmation_answer, image_answer
from annotations.errors import NotFound
from annotations.fields import TaskQuery
from annotations.models import Image, Project, ProjectTask
from annotations.paging import Page, checked, page_of
from annotations.shapes import ImageShape
from annotations.states import Role
from exports import stores
from versions import autosave, tasks
from versions.serializers import (
    BulkConfirmBody,
    ConfirmImageBody,
    ImageListQuery,
    NextImageQuery,
    UnconfirmImageBody,
)
from versions.shapes import BulkImageConfirmShape, ConfirmationShape, ImageListShape
from versions.views.common import task_for

IMAGE_LINK_SECONDS = 3600


class ImageViewSet(viewsets.ViewSet):
    """``/projects/{project_id}/images``."""

    @extend_schema(
        parameters=[ImageListQuery, OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=ImageListShape,
    )
    def list(self, request: Request, project_id: str) -> Response:
        """Images by path, each with a link good for an hour; ``around`` an image: the page it stands on, and where."""
        project = project_for(request.user, project_id)
        query = checked(ImageListQuery, request.query_params)
        task = projects.task_of(project, query["task_type"])
        wanted = {"status": query["status"], "task_type": task.task_type, "search": query["search"]}
        page, position = _page(request, project, query["around"], wanted)
        found, total = images.image_page(project, limit=page.limit, offset=page.offset, **wanted)
        return Response(
            {
                "images": [_image(request, project, image) for image in found],
                "total": total,
                "offset": page.offset,
                "position": position,
                "dataset_id": project.dataset_id,
                "project_id": project.pk,
            }
        )

    @extend_schema(parameters=[NextImageQuery], responses={200: ImageShape, 204: None})
    def next(self, request: Request, project_id: str) -> Response:
        """The next image in the state asked for, after ``after`` and round to the start; 204 when there is none."""
        project = project_for(request.user, project_id)
        query = checked(NextImageQuery, request.query_params)
        task = projects.task_of(project, query["task_type"])
        image = images.next_image(project, task_type=task.task_type, status=query["status"], after=query["after"])
        if image is None:
            return Response(status=HTTP_204_NO_CONTENT)
        return Response(_image(request, project, image))

    @extend_schema(parameters=[TaskQuery], request=ConfirmImageBody, responses=ConfirmationShape)
    def confirm(self, request: Request, project_id: str, image_id: str) -> Response:
        """All drafts become confirmed, the image completed; says whether that made a working save due."""
        task = _task(request, project_id)
        body = checked(ConfirmImageBody, request.data)
        image = image_for(task.project, image_id)
        row = confirming.confirm_image(
            image, task.task_type, by=request.user.get_username(), allow_empty=body["allow_empty"]
        )
        return Response({**confirmation_answer(row, image_id), "auto_save": _auto_save(task)})

    @extend_schema(parameters=[TaskQuery], request=UnconfirmImageBody, responses=ConfirmationShape)
    def unconfirm(self, request: Request, project_id: str, image_id: str) -> Response:
        """Back to in progress."""
        task = _task(request, project_id)
        body = checked(UnconfirmImageBody, request.data)
        image = image_for(task.project, image_id)
        row = confirming.unconfirm_image(
            image, task.task_type, by=request.user.get_username(), keep_annotations=body["keep_annotations"]
        )
        return Response({**confirmation_answer(row, image_id), "auto_save": _auto_save(task)})

    @extend_schema(request=BulkConfirmBody, responses=BulkImageConfirmShape)
    def bulk_confirm(self, request: Request, project_id: str) -> Response:
        """Confirm up to 500 images; those that cannot be are listed."""
        project = project_for(request.user, project_id, Role.ANNOTATOR)
        body = checked(BulkConfirmBody, request.data)
        task = projects.task_of(project, body["task_type"])
        results, errors = _confirm_all(request, task, body["image_ids"], body["allow_empty"])
        answer = {"confirmed": len(results), "failed": len(errors), "results": results, "errors": errors}
        return Response({**answer, "auto_save": _auto_save(task)})


def _page(request: Request, project: Project, around: str | None, wanted: dict[str, Any]) -> tuple[Page, int | None]:
    """The page asked for, or the one with the image ``around``, and where in the list that image stands."""
    page = page_of(request, most=200)
    if around is None:
        return page, None
    position = images.position_of(project, around, **wanted)
    return Page(page.limit, 0 if position is None else position - position % page.limit), position


def _task(request: Request, project_id: str) -> ProjectTask:
    task_type = checked(TaskQuery, request.query_params)["task_type"]
    return task_for(request, project_id, Role.ANNOTATOR, task_type)


def _confirm_all(request: Request, task: ProjectTask, paths: list[str], allow_empty: bool) -> tuple[list, list]:
    known = dict(Image.objects.filter(project=task.project, path__in=paths).values_list("path", "pk"))
    confirmed, refused = confirming.confirm_images(
        task.project_id, task.task_type, list(known.values()), by=request.user.get_username(), allow_empty=allow_empty
    )
    results, errors = [], []
    for path in dict.fromkeys(paths):
        if known.get(path) in confirmed:
            results.append(confirmation_answer(confirmed[known[path]], path))
        else:
            error = refused[known[path]] if path in known else NotFound("No such image in this project.")
            said = {
                "index": paths.index(path),
                "image_id": path,
                "code": error.code,
                "detail": str(error),
                **error.facts,
            }
            errors.append(said)
    return results, errors


def _auto_save(task: ProjectTask) -> dict[str, Any]:
    """What is unsaved; a worker is woken when a save is due and nobody is at it."""
    status = autosave.status_of(task)
    if status.due and not autosave.is_under_way(task):
        tasks.nudge(tasks.save_if_due, task.pk)
    return {
        "queued": bool(status.due),
        "confirmed_since_save": status.confirmed_since_save,
        "threshold": settings.LABELER_SAVE_IMAGES,
    }


def _image(request: Request, project: Project, image: Image) -> dict[str, Any]:
    key = project.image_root + image.path
    link = stores.link("platform", key, seconds=IMAGE_LINK_SECONDS)
    return image_answer(image, key=key, url=request.build_absolute_uri(link))
