"""``manage.py rebuild_from_stores``: the database is lost, the stores are not."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from versions import rebuilding
from versions.management.speaking import clearly


class Command(BaseCommand):
    """Run it on a migrated, empty database; started again it goes on where it was stopped."""

    help = (
        "Bring back projects, members, classes, images, versions and live annotations from the labeler store. "
        "Projects that are in the database are left as they are."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which project, and whether for real."""
        parser.add_argument("--project", help="only this project (default: all in the store)")
        parser.add_argument("--dry-run", action="store_true", help="read and check everything, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild, then list what came back and what did not; exit code 1 when something is missing."""
        with clearly():
            done = rebuilding.rebuild(options["project"], dry_run=options["dry_run"], say=self.stdout.write)
        for project in done:
            self._say(project)
        self.stdout.write("What no store holds:")
        for each in rebuilding.LOST:
            self.stdout.write(f"  - {each}")
        missing = sum(len(project.missing) for project in done)
        if missing:
            raise CommandError(f"{missing} things could not be brought back; they are listed above.")

    def _say(self, project: rebuilding.Rebuilt) -> None:
        self.stdout.write(
            f"{project.project_id}: {project.state}; {project.images} images, {project.annotations} annotations, "
            f"versions {', '.join(project.versions) or 'none'}, saves {', '.join(project.saves) or 'none'}; "
            f"by the journal {project.replayed} newer annotations and images, {project.history} rows of history"
        )
        for each in project.notes:
            self.stdout.write(f"  {each}")
        for each in project.missing:
            self.stderr.write(f"  missing: {each}")
