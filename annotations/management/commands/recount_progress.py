"""``manage.py recount_progress``: do the counters equal a count?"""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotations.acting import acting
from annotations.models import Project
from annotations.progress import recount


class Command(BaseCommand):
    """Counters are kept by triggers; this proves it, and repairs what a restored backup may have broken."""

    help = "Count annotations anew and mend image counters that differ."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which project, and whether for real."""
        parser.add_argument("--project", help="only this project")
        parser.add_argument("--dry-run", action="store_true", help="list what differs, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count project by project; with --dry-run exit code 1 when something differs."""
        projects = Project.objects.order_by("pk")
        if options["project"]:
            projects = projects.filter(pk=options["project"])
        if not (ids := list(projects.values_list("pk", flat=True))):
            raise CommandError("No such project." if options["project"] else "There are no projects.")
        wrong = 0
        for number, project_id in enumerate(ids, start=1):
            with acting("command"):
                differing = recount(project_id, dry_run=options["dry_run"])
            for path, task_type in differing:
                self.stdout.write(f"{project_id} {path} {task_type}")
            wrong += len(differing)
            self.stdout.write(f"[{number}/{len(ids)}] {project_id}: {len(differing)} differ")
        if wrong and options["dry_run"]:
            raise CommandError(f"{wrong} counters differ; run without --dry-run to mend them.")
        self.stdout.write(self.style.SUCCESS(f"{wrong} counters mended."))
