"""The Celery app; the timetable lives in the database and is seeded by a migration."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as BrokerLost

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")


class Channel(transport.Channel):  # type: ignore[misc]
    """A channel that was closed while its broker was away says so in the words Celery waits for.

    A task that ends then is acknowledged on it, and its messages are given back; kombu 5.7 met that with an
    AttributeError, and the whole worker ended instead of waiting for the broker.
    """

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise BrokerLost("The broker was lost, and this channel with it.")
        return super()._connparams(asynchronous)


transport.Transport.Channel = Channel

app = Celery("labeler", task_cls="labeler.tracing:TracedTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
