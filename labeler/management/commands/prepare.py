"""``manage.py prepare``: what ``make run`` does before the programs start, in one process."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Tables, static files and, if wanted, the demo dataset."""

    help = "Migrate the database, collect static files and load the demo dataset; doing it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument("--no-demo", action="store_true", help="do not load the demo dataset")

    def handle(self, *args: Any, **options: Any) -> None:
        """One after the other; what fails is said by the command it fails in."""
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        if not options["no_demo"]:
            call_command("load_demo", stdout=self.stdout)
