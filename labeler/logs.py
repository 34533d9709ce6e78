"""Logs: a line for people, or one JSON object a line for machines, both with the id of the request they belong to."""

from __future__ import annotations

import logging
import logging.config
import os
from contextvars import ContextVar
from types import NoneType
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

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Plain values only: Django hangs whole requests on records, whose text shows the query of a signed link."""
        super().add_fields(log_data, record, message_dict)
        for name in [name for name, value in log_data.items() if not isinstance(value, str | int | float | NoneType)]:
            del log_data[name]


class GunicornLogger(Logger):
    """Gunicorn's words go the way of all others."""

    def setup(self, cfg: Any) -> None:
        """Called once by gunicorn, in its master, before the application is loaded."""
        super().setup(cfg)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")
        logging.config.dictConfig(settings.LOGGING)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
