"""One id for each request, from the answer's header through the log to the tasks it sent."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from celery import Task
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from annotations.models import User
from labeler import metrics
from labeler.logs import NONE, request_id

View = Callable[[HttpRequest], HttpResponseBase]
HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9_.-]{8,64}")
# What orchestrators and scrapers ask every few seconds.
QUIET = ("/health", "/metrics")

log = logging.getLogger(__name__)


def traced(get_response: View) -> View:
    """Middleware before all others: every request has an id, one line in the log, and is counted.

    A proxy may give the id (``X-Request-ID``, 8 to 64 letters, digits, ``_.-``), else one is made; the answer tells it.
    """

    def answer(request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        token = request_id.set(given if GIVEN.fullmatch(given) else uuid.uuid4().hex)
        began = time.perf_counter()
        try:
            response = get_response(request)
            response.headers[HEADER] = request_id.get()
            _note(request, response, time.perf_counter() - began)
            return response
        finally:
            request_id.reset(token)

    return answer


def _note(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Up to the first byte of the answer; a file goes on after that."""
    route = route_of(request)
    metrics.REQUESTS.labels(_method(request), route, response.status_code).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    level = logging.DEBUG if request.path_info.startswith(QUIET) else logging.INFO
    facts = {"method": request.method, "path": request.path_info, "status": response.status_code,
             "milliseconds": round(seconds * 1000, 1), "user": _who(request)}  # fmt: skip
    # No query string: signed links carry their permission there.
    log.log(level, "%(method)s %(path)s %(status)s %(milliseconds)s ms %(user)s", facts, extra=facts)


def route_of(request: HttpRequest) -> str:
    """The route's pattern, as ids in a label would never end; ``other`` where none was found."""
    match = request.resolver_match
    return f"/{match.route}" if match else "other"


def _method(request: HttpRequest) -> str:
    return request.method if request.method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


def _who(request: HttpRequest) -> str:
    # Only who is known already: to ask the session for its user would cost a query on every static file.
    user = request.__dict__.get("_cached_user") or request.__dict__.get("user")
    return user.get_username() if isinstance(user, User) else NONE


class TracedTask(Task):
    """Every task carries the id of the request that sent it, and is counted."""

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """As Celery's, with the id in the message."""
        headers = {**(options.pop("headers", None) or {}), "labeler_request": request_id.get()}
        return super().apply_async(*args, headers=headers, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the task under the id it came with."""
        token = request_id.set(str(self.request.get("labeler_request") or NONE))
        began, outcome = time.perf_counter(), "failed"
        try:
            result = super().__call__(*args, **kwargs)
            outcome = "done"
            return result
        finally:
            self._note(args, outcome, time.perf_counter() - began)
            request_id.reset(token)

    def _note(self, arguments: Sequence[Any], outcome: str, seconds: float) -> None:
        metrics.TASKS.labels(self.name, outcome).inc()
        metrics.TASK_SECONDS.labels(self.name).observe(seconds)
        facts = {"task": self.name, "arguments": " ".join(map(str, arguments)), "outcome": outcome,
                 "milliseconds": round(seconds * 1000, 1)}  # fmt: skip
        log.info("%(task)s %(arguments)s %(outcome)s %(milliseconds)s ms", facts, extra=facts)
