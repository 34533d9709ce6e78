"""``manage.py restore_version``: live rows as a published version has them."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from versions import listing, publishing, restoring
from versions.management.speaking import add_by, add_project, clearly, task_of
from versions.states import PublishState


class Command(BaseCommand):
    """By number; with ``--publish`` also published as the next number (a rollback)."""

    help = "Make the live rows of a task those of a published version; the present rows are saved first."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which version."""
        add_project(parser)
        parser.add_argument("version", help="the version, for example v1.0")
        parser.add_argument("--image", action="append", dest="images", help="only this image (may be repeated)")
        parser.add_argument("--publish", action="store_true", help="publish it as the next number too (rollback)")
        parser.add_argument("--merge", action="store_true", help="only bring back what is missing; what is there stays")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
        add_by(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore and say what changed."""
        if options["publish"] and (options["images"] or options["merge"]):
            raise CommandError(
                "--publish rolls the whole task back; leave --image and --merge out, or publish afterwards."
            )
        task = task_of(options)
        with clearly():
            version = restoring.rollback_target(listing.version_of(task.project_id, options["version"], task.task_type))
            if options["publish"] and not options["dry_run"]:
                made = publishing.advance(restoring.rollback(version, by=options["by"]).pk)
                self.stdout.write(f"{made}: {made.status}, platform {made.platform_status}")
                if made.status != PublishState.READY:
                    raise CommandError(f"{made} is made, but not finished: {made.last_error}")
                return
            done = restoring.restore(
                task,
                source="version",
                version=version,
                image_paths=options["images"],
                by=options["by"],
                dry_run=options["dry_run"],
                merge=options["merge"],
            )
        self.stdout.write(self.style.SUCCESS(done.sentence()))
