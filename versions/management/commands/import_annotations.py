"""``manage.py import_annotations``: a file of any format that is read, into a task."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from annotations.models import ProjectTask
from exports.readers import READABLE
from versions import importing, staging, uploads
from versions.management.speaking import Count, add_by, add_project, clearly, task_of

WHOLE, PARTLY, REFUSED = 0, 1, 2


class Command(BaseCommand):
    """Exit code 0 when every entry was imported, 1 when some were skipped, 2 when nothing was."""

    help = (
        "Import a DICE, COCO, YOLO (zip), CVAT (XML) or Label Studio file into a task. What is there stays unless "
        "--replace; what cannot be read is listed. Exit code 0: everything; 1: some entries skipped; 2: refused."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which file, and how."""
        add_project(parser)
        parser.add_argument("file", type=Path, help="the annotation file")
        parser.add_argument("--format", choices=READABLE, help="default: known by the file's first bytes")
        parser.add_argument("--replace", action="store_true", help="take away what is there (it is saved first)")
        parser.add_argument("--atomic", action="store_true", help="import all or nothing")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
        parser.add_argument("--report", type=Path, help="write every problem to this file, a JSON object a line")
        parser.add_argument("--json", action="store_true", help="answer in JSON")
        add_by(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and say what became of it."""
        try:
            with clearly():
                changes, reading = self._import(task_of(options), options)
        except (CommandError, OSError) as error:
            if options["json"]:
                self.stdout.write(orjson.dumps({"refused": str(error)}).decode())
            raise CommandError(str(error), returncode=REFUSED) from error
        if options["json"]:
            told = {**reading.as_dict(), **changes.as_dict(), "dry_run": options["dry_run"]}
            self.stdout.write(orjson.dumps(told).decode())
        else:
            self._tell(changes, reading, options)
        if reading.skipped:
            raise CommandError(f"{reading.skipped} entries were skipped.", returncode=PARTLY)

    def _import(self, task: ProjectTask, options: dict[str, Any]) -> tuple[staging.Changes, importing.Reading]:
        if not options["file"].is_file():
            raise CommandError(f"There is no file {options['file']}.")
        with ExitStack() as stack:
            listing = None
            if options["report"]:
                listing = stack.enter_context(options["report"].open("wb"))
                stack.enter_context(uploads.refusal_listed(listing))
            return uploads.add_file(
                options["file"],
                task,
                by=options["by"],
                format_name=options["format"],
                replace=options["replace"],
                atomic=options["atomic"],
                dry_run=options["dry_run"],
                listing=listing,
                count=Count(self, "annotations read"),
            )

    def _tell(self, changes: staging.Changes, reading: importing.Reading, options: dict[str, Any]) -> None:
        for entry in [*reading.errors, *reading.warnings]:
            self.stderr.write(f"{entry['where']}: {entry['reason']}")
        listed = len(reading.errors) + len(reading.warnings)
        if listed < reading.skipped + reading.warned and not options["report"]:
            self.stderr.write(f"{reading.skipped + reading.warned - listed} more; --report FILE lists all.")
        would = "would be " if options["dry_run"] else ""
        self.stdout.write(
            self.style.SUCCESS(
                f"{reading.staged} of {reading.total} entries read: {changes.added} {would}added, {changes.updated} "
                f"{would}changed, {changes.removed} {would}removed, {changes.unchanged} unchanged."
            )
        )
