"""``manage.py restore_dump``: the database as a dump has it."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from labeler import dumping
from versions.management.speaking import clearly


class Command(BaseCommand):
    """Run it on an empty database that was not migrated; then ``migrate`` and ``rebuild_from_stores``."""

    help = (
        "Bring a dump back into an empty database. Then run migrate and rebuild_from_stores: they bring what"
        " happened since the dump was taken."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which dump."""
        parser.add_argument("name", nargs="?", help="a dump's name, like 20260112T030000Z (default: the newest)")
        parser.add_argument("--list", action="store_true", help="only say which dumps there are")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore, or list."""
        with clearly():
            if options["list"]:
                for each in dumping.listed():
                    self.stdout.write(f"{each.name}  {each.size} bytes  sha256 {each.sha256}")
                return
            found = dumping.restore(options["name"])
        self.stdout.write(f"The database is as it was at {found.taken_at.isoformat()}.")
        self.stdout.write("Now: manage.py migrate, then manage.py rebuild_from_stores.")
