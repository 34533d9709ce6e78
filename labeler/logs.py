"""Logs: a line for people, or one JSON object a line for machines, both with the id of the request they belong to."""

from __future__ import annotations

import logging
import logging.config
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from gunicorn.glogging import Logger
from pythonjsonlogger.json import JsonFormatter

NONE = "-"
request_id: ContextVar[str] = ContextVar("request_id", default=NONE)
FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s"


class RequestId(logging.Filter):
    """Gives every record ``request_id``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True: nothing is held back."""
        record.request_id = request_id.get()
        return True


class JsonLines(JsonFormatter):
    """``time, level, logger, message, request_id`` and what a record brings besides; times in UTC."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        super().__init__(FIELDS, rename_fields=names, json_ensure_ascii=False)


class GunicornLogger(Logger):
    """Gunicorn's words go the way of all others."""

    def setup(self, cfg: Any) -> None:
        """Called once by gunicorn, in its master, before the application is loaded."""
        super().setup(cfg)
        logging.config.dictConfig(settings.LOGGING)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
