"""Who works on which image (api.md, image locks)."""

from __future__ import annotations

from typing import Any

from django.http import JsonResponse
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations import locks
from annotations.access import image_for, project_for
from annotations.answers import lock_answer, lock_answers
from annotations.models import Image
from annotations.shapes import AcquiredShape, HeartbeatShape, LockListShape, ReleasedShape
from annotations.states import Role

# The only answer that may be null as a whole.
NO_LOCK_OR_ONE = {"allOf": [{"$ref": "#/components/schemas/LockShape"}], "nullable": True}


class LockViewSet(viewsets.ViewSet):
    """``/image-locks/{project_id}``."""

    @extend_schema(operation_id="image_locks_list", responses=LockListShape)
    def list(self, request: Request, project_id: str) -> Response:
        """Who works on which images of the project now."""
        project = project_for(request.user, project_id)
        return Response({"locks": lock_answers(locks.living(project.pk))})

    @extend_schema(responses={200: NO_LOCK_OR_ONE})
    def retrieve(self, request: Request, project_id: str, image_id: str) -> JsonResponse:
        """Who works on the image now; null when nobody does."""
        image = image_for(project_for(request.user, project_id), image_id)
        lock = locks.living(image.project_id).filter(image=image).first()
        return JsonResponse(lock_answer(lock) if lock else None, safe=False)

    @extend_schema(request=None, responses=AcquiredShape)
    def acquire(self, request: Request, project_id: str, image_id: str) -> Response:
        """Say that one works on the image, for five minutes; another person's lock stays and is shown."""
        status, lock = locks.acquire(_image(request, project_id, image_id), by=_me(request))
        name = "locked_by" if status == "already_locked" else "lock"
        return Response({"status": status, "lock": None, "locked_by": None, name: lock_answer(lock)})

    @extend_schema(request=None, responses=HeartbeatShape)
    def heartbeat(self, request: Request, project_id: str, image_id: str) -> Response:
        """Still there: five minutes more. Wanted every two."""
        status, lock = locks.heartbeat(_image(request, project_id, image_id), by=_me(request))
        return Response({"status": status, "lock": lock_answer(lock) if lock else None})

    @extend_schema(responses={200: ReleasedShape})
    def release(self, request: Request, project_id: str, image_id: str) -> Response:
        """One is done with the image."""
        return Response({"status": locks.release(_image(request, project_id, image_id), by=_me(request))})

    @extend_schema(responses={200: ReleasedShape})
    def force(self, request: Request, project_id: str, image_id: str) -> Response:
        """Free an image whoever locked it."""
        return Response({"status": locks.release(_image(request, project_id, image_id, Role.ADMIN), by=None)})


def _image(request: Request, project_id: str, image_id: str, role: Role = Role.ANNOTATOR) -> Image:
    return image_for(project_for(request.user, project_id, role), image_id)


def _me(request: Request) -> Any:
    return request.user.get_username()
