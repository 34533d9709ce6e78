"""Working saves: asking for one (also from a closing page) and what is unsaved."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework import status, viewsets
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotations.access import project_for
from annotations.errors import NotFound
from annotations.fields import TaskQuery
from annotations.models import ProjectTask, User, iso
from annotations.paging import checked
from annotations.parsing import StrictJSONParser
from annotations.projects import task_of
from annotations.states import Role
from annotations.tokens import BearerAuthentication
from versions import autosave, tasks
from versions.answers import version_answers
from versions.beacons import Beacon, read_token, token_for
from versions.models import Version
from versions.serializers import SaveBody
from versions.shapes import SaveShape, WorkingVersionShape


class PlainTextJSONParser(StrictJSONParser):
    """JSON sent as ``text/plain``, which is what a string beacon does."""

    media_type = "text/plain"


class BeaconAuthentication(BaseAuthentication):
    """``beacon_token`` in the body: the identity of a page that can set no headers any more."""

    def authenticate(self, request: Request) -> tuple[User, Beacon] | None:
        """The token's user; None without a token that works, so that other identities are tried."""
        data = request.data
        token = data.get("beacon_token") if hasattr(data, "get") else None
        beacon = read_token(token) if isinstance(token, str) else None
        user = User.objects.filter(username=beacon.user_id, is_active=True).first() if beacon else None
        return None if beacon is None or user is None else (user, beacon)

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answers with."""
        return "Bearer"


class BeaconScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document names the token of a closing page."""

    target_class = BeaconAuthentication
    name = "beacon"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """There is no place for a token in a body; the nearest is said, the rest described."""
        return {"type": "apiKey", "in": "query", "name": "beacon_token", "description": "In the body, as beacon_token"}


class SaveViewSet(viewsets.ViewSet):
    """``POST /projects/{project_id}/working-version/save``."""

    throttle_scope = "beacon"
    authentication_classes = [BeaconAuthentication, BearerAuthentication, SessionAuthentication]
    parser_classes = [StrictJSONParser, PlainTextJSONParser, FormParser, MultiPartParser]

    @extend_schema(request=SaveBody, responses={202: SaveShape})
    def create(self, request: Request, project_id: str) -> Response:
        """Make a working save due now; the answer does not wait for it."""
        if isinstance(request.auth, Beacon) and request.auth.project_id != project_id:
            raise NotFound("No such project.")
        project = project_for(request.user, project_id, Role.ANNOTATOR)
        body = checked(SaveBody, request.data)
        task = task_of(project, body["task_type"])
        said, job = autosave.ask_for_save(task, body["trigger"], by=request.user.get_username())
        if job is not None:
            tasks.nudge(tasks.run_job, job.pk)
        state = autosave.state_of(task)
        answer = {
            "status": said,
            "job_id": str(job.pk) if job else None,
            "version_number": state.last_version.version_number if state.last_version else None,
            "last_saved_at": iso(state.last_saved_at),
        }
        return Response(answer, status.HTTP_202_ACCEPTED)


class WorkingVersionViewSet(viewsets.ViewSet):
    """``GET /projects/{project_id}/working-version``."""

    @extend_schema(parameters=[TaskQuery], responses=WorkingVersionShape)
    def retrieve(self, request: Request, project_id: str) -> Response:
        """The last save, what is unsaved, when the next one is due, and a token for the closing page."""
        project = project_for(request.user, project_id)
        task = task_of(project, checked(TaskQuery, request.query_params)["task_type"])
        return Response({**_state(request, task), **_beacon(request, project.pk, Role(project.my_role))})


def _state(request: Request, task: ProjectTask) -> dict[str, Any]:
    saves = autosave.status_of(task)
    last_id = saves.state.last_version_id
    last = Version.objects.prefetch_related("artifacts").get(pk=last_id) if last_id else None
    return {
        "version": version_answers([last], request.build_absolute_uri)[0] if last else None,
        "last_saved_at": iso(saves.state.last_saved_at),
        "dirty": saves.dirty,
        "confirmed_since_save": saves.confirmed_since_save,
        "next_due_at": iso(saves.next_due_at),
        "image_threshold": settings.LABELER_SAVE_IMAGES,
        "interval_seconds": settings.LABELER_SAVE_SECONDS,
        "attempts": saves.state.attempts,
        "last_error": saves.state.last_error or None,
    }


def _beacon(request: Request, project_id: str, role: Role) -> dict[str, Any]:
    """Only those who may save get a token."""
    if role.rank < Role.ANNOTATOR.rank:
        return {"beacon_token": None, "beacon_token_expires_at": None}
    token, ends = token_for(request.user.get_username(), project_id)
    return {"beacon_token": token, "beacon_token_expires_at": iso(ends)}
