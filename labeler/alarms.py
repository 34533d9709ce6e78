"""Errors told to Sentry, where ``LABELER_SENTRY_DSN`` names one; off by default."""

from __future__ import annotations

from typing import Any

import sentry_sdk
from django.conf import settings
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration

from labeler.logs import request_id


def start_alarms() -> None:
    """Tell of every unexpected error of web and worker, with its trace and the request's id; never with what people
    sent, the values of variables, cookies, tokens or signed links."""
    if settings.LABELER_SENTRY_DSN:
        sentry_sdk.init(
            dsn=settings.LABELER_SENTRY_DSN,
            integrations=[DjangoIntegration(), CeleryIntegration()],
            default_integrations=True,
            send_default_pii=False,
            include_local_variables=False,
            max_request_body_size="never",
            before_send=_without_links,
        )


def _without_links(event: Any, hint: dict[str, Any]) -> Any:
    request = event.get("request", {})
    request.pop("query_string", None)
    event.setdefault("tags", {})["request_id"] = request_id.get()
    return event
