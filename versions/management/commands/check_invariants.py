"""``manage.py check_invariants``: is everything as it was promised?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from annotations.invariants import Finding
from annotations.models import Project
from versions import invariants, store_invariants
from versions.management.speaking import clearly
from versions.store_invariants import LATE, Depth

WELL, FOUND, REFUSED = 0, 1, 2


class Command(BaseCommand):
    """Reads only, on a live system too. Exit code 0: all is well; 1: something is not; 2: it could not be told."""

    help = (
        "Check what Labeler promises (docs/reliability.md) against rows and stores: says what is wrong and how to mend "
        "it. Reads only. Exit code 0: all is well; 1: something is not; 2: it could not be told."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Of what, and how closely."""
        parser.add_argument("--project", help="only this project")
        parser.add_argument("--deep", action="store_true", help="hash every file, and build published ones again")
        parser.add_argument("--late-seconds", type=int, default=LATE, metavar="N",
                            help=f"owed work is late after so long (default: {LATE})")  # fmt: skip
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check and say what is found."""
        self.plain, self.found = not options["json"], 0
        projects = Project.objects.prefetch_related("tasks").order_by("pk")
        projects = projects.filter(pk=options["project"]) if options["project"] else projects
        try:
            with clearly(), reading_only():
                ids = list(projects.values_list("pk", flat=True))
                if options["project"] and not ids:
                    raise CommandError(f"There is no project {options['project']}.")
                self._begin()
                self._check(ids, Depth(options["deep"], options["late_seconds"]), options["project"])
        except CommandError as error:
            self._end(str(error))
            raise CommandError(str(error), returncode=REFUSED) from error
        self._end("")
        if self.found:
            sys.exit(FOUND)

    def _check(self, ids: list[str], depth: Depth, only: str | None) -> None:
        self._say("Rules ...", invariants.rules())
        for number, each in enumerate(ids, start=1):
            project = Project.objects.prefetch_related("tasks").get(pk=each)
            self._say(f"[{number}/{len(ids)}] {project} ...", invariants.project(project, depth))
        self._say("Objects in the labeler store ...", store_invariants.objects(only))

    def _begin(self) -> None:
        self.begun = True
        if not self.plain:
            self.stdout.write('{"findings":[', ending="")

    def _say(self, what: str, findings: Iterator[Finding]) -> None:
        # Progress goes where it is in nobody's way.
        self.stderr.write(what)
        for finding in findings:
            if self.plain:
                self.stdout.write(f"{finding.invariant} {finding.subject}: {finding.said}\n   mend: {finding.mend}")
            else:
                text = orjson.dumps(finding.as_dict()).decode()
                self.stdout.write(("," if self.found else "") + text, ending="")
            self.found += 1

    begun = False

    def _end(self, refused: str) -> None:
        if not self.plain and self.begun:
            told = orjson.dumps({"found": self.found, "refused": refused or None}).decode()
            self.stdout.write(f"],{told[1:]}")
        elif self.plain and not refused:
            said = f"{self.found} things are not as promised." if self.found else "All is as promised."
            self.stdout.write(said if self.found else self.style.SUCCESS(said))


@contextmanager
def reading_only() -> Iterator[None]:
    """PostgreSQL itself refuses every write of this connection meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        if not connection.in_atomic_block:
            with connection.cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = off")
