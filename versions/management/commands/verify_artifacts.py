"""``manage.py verify_artifacts``: are the files what they were, byte for byte?"""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from versions import verifying
from versions.management.speaking import Bar, clearly
from versions.models import Version
from versions.states import PublishState


class Command(BaseCommand):
    """Reads only."""

    help = "Hash every stored file of versions again, and build published files anew from the frozen rows."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which versions, how deep."""
        parser.add_argument("--project", help="only this project")
        parser.add_argument("--version-number", help="only this number, for example v1.0")
        parser.add_argument("--hash-only", action="store_true", help="do not build files again")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check; exit code 1 when a file is not what was recorded."""
        versions = Version.objects.select_related("project").order_by("pk")
        if options["project"]:
            versions = versions.filter(project_id=options["project"])
        if options["version_number"]:
            versions = versions.filter(version_number=options["version_number"])
        total = versions.count()
        if not total:
            raise CommandError("No such version.")
        bar, files, wrong = Bar(self, "versions"), 0, 0
        unfinished = versions.exclude(status=PublishState.READY)
        for version in unfinished:
            self.stderr.write(f"{version}: {version.status}, has no files to verify yet")
        for done, version in enumerate(versions.iterator(chunk_size=100), start=1):
            with clearly():
                for finding in verifying.verify(version, rebuild=not options["hash_only"]):
                    files += 1
                    wrong += not finding.well
                    out = self.stdout if finding.well else self.stderr
                    out.write(f"{finding.version} {finding.format}: {finding.said}")
            bar(done / total)
        if wrong:
            raise CommandError(f"{wrong} of {files} files are not what was recorded.")
        left = f" {len(unfinished)} versions are not finished." if unfinished else ""
        self.stdout.write(self.style.SUCCESS(f"{files} files of {total} versions are what was recorded.{left}"))
