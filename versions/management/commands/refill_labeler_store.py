"""``manage.py refill_labeler_store``: the store is lost, the database is not."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotations.models import Project
from versions import refilling
from versions.management.speaking import clearly


class Command(BaseCommand):
    """Writes only what is missing; started again it goes on."""

    help = "Write what is missing in the labeler store again: published files from the frozen rows, records, saves."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which project."""
        parser.add_argument("--project", help="only this project (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refill; exit code 1 when something cannot be written again."""
        projects = Project.objects.prefetch_related("tasks").order_by("pk")
        if options["project"]:
            projects = projects.filter(pk=options["project"])
        left = 0
        for project in projects:
            with clearly():
                for line in refilling.refill(project):
                    left += "other bytes" in line
                    self.stdout.write(line)
        if left:
            raise CommandError(f"{left} files could not be written again; they are listed above.")
        self.stdout.write("Saves and records that are due are written by the running programs within a minute.")
