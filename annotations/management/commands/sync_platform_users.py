"""``manage.py sync_platform_users``: accounts for the people of the platform's database."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from annotations.people import make_accounts


class Command(BaseCommand):
    """Adds accounts that are missing; nobody is removed."""

    help = "Make an account (without a password) for every user of the platform database who has none."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Whether for real."""
        parser.add_argument("--dry-run", action="store_true", help="count only")

    def handle(self, *args: Any, **options: Any) -> None:
        """Add and count."""
        try:
            made = make_accounts(dry_run=options["dry_run"])
        except DatabaseError as error:
            raise CommandError(f"The platform database does not answer: {error}") from error
        verb = "would be made" if options["dry_run"] else "made"
        self.stdout.write(self.style.SUCCESS(f"{made} accounts {verb}."))
