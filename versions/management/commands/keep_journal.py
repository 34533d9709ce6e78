"""``manage.py keep_journal``: the program that brings every change into the labeler store within seconds."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections, connection

from exports.errors import ExportError
from versions import journal, records

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """Needs the database and the labeler store, and nothing else; several at once do no harm."""

    help = (
        "Write what happens to annotations, images, classes and projects to the labeler store every few seconds"
        " (LABELER_JOURNAL_SECONDS), until it is told to stop; then once more."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Whether to go on."""
        parser.add_argument("--once", action="store_true", help="write what waits now, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rounds until TERM or INT; what goes wrong in one is logged and tried again in the next."""
        stop = threading.Event()
        if options["once"]:
            stop.set()
        else:
            for name in (signal.SIGTERM, signal.SIGINT):
                signal.signal(name, lambda *_: stop.set())
            log.info("The journal is kept every %s s.", settings.LABELER_JOURNAL_SECONDS)
        while not stop.wait(settings.LABELER_JOURNAL_SECONDS):
            write_round(stop)
        # Twice: a segment that was cut off comes first, then what waits behind it.
        failed = [write_round() for _ in range(2)][-1]
        if failed and options["once"]:
            raise SystemExit(1)


def write_round(stop: threading.Event | None = None) -> int:
    """Everything that waits, and the records that are owed; how many could not be written.

    Projects take turns, a segment each: a long import of one keeps no other waiting.
    """
    close_old_connections()
    try:
        turns = journal.waiting()
        failed = sum(not _tried(records.write_project_record, each)[0] for each in records.owed_soon())
    except DatabaseError as error:
        _give_up(error)
        return 1
    while turns:
        results = {each: _tried(journal.write_next, each) for each in turns}
        failed += sum(not well for well, _ in results.values())
        turns = [each for each, (_, segment) in results.items() if segment and segment.count >= journal.MOST]
        if stop is not None and stop.is_set():
            break
    return failed


def _tried(write: Callable[[str], Any], project_id: str) -> tuple[bool, Any]:
    """Whether it went well, and what came of it."""
    try:
        return True, write(project_id)
    except ExportError as error:
        log.warning("The journal of %s waits for its store: %s", project_id, error)
    except DatabaseError as error:
        _give_up(error)
    except OSError as error:
        # A full disk, above all: somebody makes room.
        log.warning("The journal of %s waits for the disk of LABELER_SCRATCH: %s", project_id, error)
    return False, None


def _give_up(error: DatabaseError) -> None:
    log.warning("The journal waits for the database: %s", error)
    connection.close()
