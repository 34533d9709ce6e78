"""Is it alive, and is it ready: every part asked for itself, each for at most a few seconds."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connections
from django.db.models import Min
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from exports import stores
from exports.errors import ObjectMissing, StoreError
from labeler import metrics_page
from versions import autosave, journal
from versions.models import Job, Version

log = logging.getLogger(__name__)
View = Callable[[HttpRequest], HttpResponseBase]
SECONDS = 5
KEEP = 5
OWED = (
    "oldest_unfinished_publish_seconds",
    "oldest_unfinished_job_seconds",
    "oldest_due_save_seconds",
    # Of a change that the labeler store does not know yet: what a lost database would cost now.
    "journal_behind_seconds",
)


def health_first(get_response: View) -> View:
    """Middleware before the checks of host and HTTPS: whoever asks for health or figures knows an address only."""
    pages = {"/health": live, "/health/live": live, "/health/ready": ready, "/metrics": metrics_page.page}

    def answer(request: HttpRequest) -> HttpResponseBase:
        page = pages.get(request.path_info.rstrip("/"))
        return get_response(request) if page is None else page(request)

    return answer


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """200 as long as this process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 when every part answers, else 503; says which does not, and how old the oldest owed work is."""
    answer = cache.get("health:ready")
    if answer is None:
        answer = _ask_all()
        cache.set("health:ready", answer, KEEP)
    return JsonResponse(answer, status=200 if answer["status"] == "ok" else 503)


def _ask_all() -> dict[str, Any]:
    asked: dict[str, Callable[[], None]] = {
        "database": lambda: _query("default"),
        "platform_database": lambda: _query("platform"),
        "broker": _broker,
        "labeler_store": lambda: _store("labeler"),
        "platform_store": lambda: _store("platform"),
    }
    threads = ThreadPoolExecutor(len(asked))
    waiting = {name: threads.submit(ask) for name, ask in asked.items()}
    parts = {name: _outcome(name, future) for name, future in waiting.items()}
    threads.shutdown(wait=False, cancel_futures=True)
    well = all(said == "ok" for said in parts.values())
    owed = _owed() if parts["database"] == "ok" else dict.fromkeys(OWED)
    return {"status": "ok" if well else "unavailable", "parts": parts, **owed}


def _outcome(name: str, future: Any) -> str:
    try:
        future.result(SECONDS)
    except TooLate:
        return "does not answer"
    except (DatabaseError, StoreError, OSError) as error:
        # The reason may name hosts and users: it goes to the log, not to strangers.
        log.warning("%s is not ready: %s", name, error)
        return "does not answer"
    return "ok"


def _query(alias: str) -> None:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connections[alias].close()


def _broker() -> None:
    address = urlsplit(settings.CELERY_BROKER_URL)
    socket.create_connection((address.hostname or "127.0.0.1", address.port or 6379), timeout=2).close()


def _store(alias: str) -> None:
    try:
        stores.head(alias, "health-check-of-an-absent-object")
    except ObjectMissing:
        return


def _owed() -> dict[str, float | None]:
    """Seconds since the oldest of each was owed; None where nothing is."""
    versions = Version.objects.unfinished().aggregate(first=Min("created_at"))["first"]
    jobs = Job.objects.unfinished().aggregate(first=Min("created_at"))["first"]
    saves = min(autosave.due_since(), default=None)
    return dict(zip(OWED, map(_age, (versions, jobs, saves, journal.behind_since())), strict=True))


def _age(moment: datetime | None) -> float | None:
    return None if moment is None else round((timezone.now() - moment).total_seconds(), 1)
