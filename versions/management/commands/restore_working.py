"""``manage.py restore_working``: live rows as a working save has them."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from versions import listing, restoring
from versions.management.speaking import add_by, add_project, clearly, task_of


class Command(BaseCommand):
    """The newest save, or one by number; what is there is saved first."""

    help = "Make the live rows of a task those of a working save; the present rows are saved first."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which save."""
        add_project(parser)
        parser.add_argument("--number", help="the save, for example v0.12 (default: the newest)")
        parser.add_argument("--image", action="append", dest="images", help="only this image (may be repeated)")
        parser.add_argument("--merge", action="store_true", help="only bring back what is missing; what is there stays")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
        add_by(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore and say what changed."""
        task = task_of(options)
        with clearly():
            number = options["number"]
            version = listing.version_of(task.project_id, number, task.task_type) if number else None
            done = restoring.restore(
                task,
                source="version" if version else "working",
                version=version,
                image_paths=options["images"],
                by=options["by"],
                dry_run=options["dry_run"],
                merge=options["merge"],
            )
        for entry in done.errors:
            self.stderr.write(f"{entry['where']}: {entry['reason']}")
        self.stdout.write(self.style.SUCCESS(done.sentence()))
