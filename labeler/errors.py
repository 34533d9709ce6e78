"""One table: what a room says went wrong, and the number HTTP has for it.

Every error answers ``{"detail": "<one sentence>", "code": "<word>", "errors"?: {field: [...]}}``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from annotations import errors as annotation_errors
from annotations.answers import annotation_answers
from annotations.models import iso
from annotations.parsing import BodyTooLarge
from exports import errors as export_errors
from versions import errors as version_errors

log = logging.getLogger(__name__)

STATUS: dict[type[Exception], int] = {
    annotation_errors.NotFound: 404,
    annotation_errors.Forbidden: 403,
    annotation_errors.InvalidTransition: 409,
    annotation_errors.ChangedSince: 409,
    annotation_errors.Duplicate: 409,
    annotation_errors.ClassInUse: 409,
    annotation_errors.Unclassed: 409,
    annotation_errors.HasAnnotations: 409,
    annotation_errors.ImageLocked: 423,
    annotation_errors.AnnotationError: 400,
    version_errors.NoSuchVersion: 404,
    version_errors.NoWorkingSave: 404,
    version_errors.VersionExists: 409,
    version_errors.NothingToPublish: 409,
    version_errors.PublishBlocked: 409,
    version_errors.NotReady: 409,
    version_errors.NotLatest: 409,
    version_errors.HasPublished: 409,
    version_errors.RestoreRefused: 503,
    version_errors.VersionError: 400,
    export_errors.ObjectMissing: 404,
    export_errors.ContentConflict: 409,
    export_errors.PreconditionFailed: 409,
    export_errors.StoreError: 503,
    export_errors.ExportError: 400,
    OperationalError: 503,
    InterfaceError: 503,
}

# A job's error is known by its word only.
STATUS_OF_CODE = {
    "invalid": 400,
    "empty_image": 400,
    "not_found": 404,
    "storage_unavailable": 503,
    "internal": 500,
}

CODES = {400: "invalid", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
         406: "not_acceptable", 413: "too_large", 415: "unsupported_media_type", 429: "throttled"}  # fmt: skip


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to any error of a view; None lets a defect become a 500 with its trace in the log."""
    if isinstance(error, annotation_errors.VersionConflict):
        set_rollback()
        return _conflict(error)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, exceptions.APIException):
        set_rollback()
        return _framework(error)
    if isinstance(error, RequestDataTooBig):
        error = BodyTooLarge("The body is too large; send it in parts.")
        return _framework(error)
    if isinstance(error, version_errors.JobFailed):
        return _domain(error, STATUS_OF_CODE.get(error.code, 409))
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
    if status is None:
        return None
    set_rollback()
    return _domain(error, status)


def _domain(error: Exception, status: int) -> Response:
    if isinstance(error, OperationalError | InterfaceError):
        return _database(error, status)
    if status == 503:
        log.error("A store does not answer: %s", error)
    facts = dict(getattr(error, "facts", {}))
    fields = getattr(error, "errors", None)
    body = {"detail": str(error), "code": getattr(error, "code", "invalid"), **facts}
    return Response({**body, "errors": fields} if fields else body, status)


def _database(error: Exception, status: int) -> Response:
    return Response({"detail": _said_of_database(error), "code": "unavailable"}, status, headers={"Retry-After": "1"})


def _said_of_database(error: Exception) -> str:
    if isinstance(error.__cause__, LockNotAvailable):
        log.warning("Somebody waited for long work: %s", error)
        return "Long work, such as an import or a restore, holds these rows; nothing was changed here. Try again later."
    if isinstance(error.__cause__, SerializationFailure | DeadlockDetected):
        log.error("Two changes were in each other's way: %s", error)
        return "Somebody changed the same rows at the same moment; nothing was changed here. Try again."
    log.error("The database does not answer: %s", error)
    return "The database does not answer; try again in a moment."


def _conflict(error: annotation_errors.VersionConflict) -> Response:
    """api.md section 4: ``detail`` is an object here, as the reference client reads it."""
    current: Any = error.current
    detail = {
        "error": "conflict",
        "message": str(error),
        "current_version": current.version,
        "your_version": error.your_version,
        "last_updated_by": current.updated_by,
        "last_updated_at": iso(current.updated_at),
    }
    return Response({"code": "conflict", "detail": detail, "current": annotation_answers([current])[0]}, 409)


def _framework(error: exceptions.APIException) -> Response:
    status = error.status_code
    headers = {}
    if scheme := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = scheme
    if pause := getattr(error, "wait", None):
        headers["Retry-After"] = f"{int(pause)}"
    if isinstance(error, exceptions.ValidationError):
        fields = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
        body: dict[str, Any] = {"detail": annotation_errors.sentence(fields), "code": "invalid", "errors": fields}
    else:
        body = {"detail": str(error.detail), "code": CODES.get(status, "invalid")}
    return Response(body, status, headers=headers)


# Errors that never reach a view -----------------------------------------------------------------


def _plain(request: HttpRequest, status: int, detail: str, code: str, **shown: Any) -> HttpResponse:
    if request.path.startswith("/api/") or not settings.TEMPLATES:
        return JsonResponse({"detail": detail, "code": code}, status=status)
    return render(request, "error.html", {"status": status, "detail": detail, **shown}, status=status)


def no_nul_in_pages(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: a page's address with a NUL is 400, as no row is called so; API and files answer themselves."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        said = request.path_info + unquote(request.META.get("QUERY_STRING", ""))
        if "\x00" in said and not request.path_info.startswith(("/api/", "/files/")):
            return bad_request(request)
        return get_response(request)

    return answer


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400."""
    return _plain(request, 400, "The request cannot be read.", "invalid")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404."""
    return _plain(request, 404, "There is nothing at this address.", "not_found")


def forbidden(request: HttpRequest, exception: Exception | None = None, reason: str = "") -> HttpResponse:
    """403, also for a missing CSRF token."""
    return _plain(request, 403, "This is not allowed.", "forbidden")


def server_error(request: HttpRequest) -> HttpResponse:
    """500; 503, as for the API, where the database was in the way. The log has the trace."""
    error = sys.exc_info()[1]
    if not isinstance(error, OperationalError | InterfaceError):
        return _plain(request, 500, "Something went wrong on our side; it is in the log.", "internal")
    # As for somebody who is not signed in: who it is would be asked of the database.
    answer = _plain(request, 503, _said_of_database(error), "unavailable", user=AnonymousUser())
    answer.headers["Retry-After"] = "1"
    return answer
