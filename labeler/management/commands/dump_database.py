"""``manage.py dump_database``: the whole database into the labeler store, now."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeler import dumping
from versions.management.speaking import clearly


class Command(BaseCommand):
    """The timetable does the same once a day."""

    help = (
        "Dump the whole database into the labeler store; of those there are the last LABELER_KEEP_DUMP_DAYS days' stay."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Dump, and say under which name."""
        with clearly():
            made = dumping.dump()
        if made is None:
            raise CommandError("Another process is dumping the database now.")
        self.stdout.write(f"Dump {made.name}: {made.size} bytes, sha256 {made.sha256}.")
