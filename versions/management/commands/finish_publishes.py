"""``manage.py finish_publishes``: what the sweep does, now and by hand."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from versions import publishing
from versions.management.speaking import Bar, clearly
from versions.models import Version
from versions.states import PlatformState, PublishState


class Command(BaseCommand):
    """Takes every unfinished published version as far as it goes."""

    help = "Build, upload and make official whatever published versions still owe."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Failed ones too, on request."""
        parser.add_argument("--retry-failed", action="store_true", help="put failed versions back to work first")
        parser.add_argument("--dry-run", action="store_true", help="list what is owed, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Advance each; exit code 1 when one is still not finished."""
        if options["retry_failed"] and not options["dry_run"]:
            for version in Version.objects.published().filter(project__deleted_at=None):
                publishing.retry(version)
        owed = Version.objects.unfinished().order_by("pk")
        if options["dry_run"]:
            for version in owed:
                self.stdout.write(f"{version}: {version.status}, platform {version.platform_status}")
            return
        self._advance(list(owed.values_list("pk", flat=True)))

    def _advance(self, owed: list[int]) -> None:
        bar, open_ends = Bar(self, "versions"), 0
        for done, version_id in enumerate(owed, start=1):
            with clearly():
                version = publishing.advance(version_id)
            unfinished = version.status != PublishState.READY or version.platform_status == PlatformState.PENDING
            open_ends += unfinished
            reason = version.last_error or version.platform_error
            self.stdout.write(f"{version}: {version.status}, platform {version.platform_status} {reason}".rstrip())
            bar(done / len(owed))
        failed = Version.objects.published().failed()
        for version in failed:
            self.stderr.write(f"{version}: failed: {version.last_error or version.platform_error}")
        if open_ends or failed:
            raise CommandError(
                f"{open_ends} of {len(owed)} versions are not finished, {len(failed)} failed; the reasons are above."
                " Mend them, then run again with --retry-failed."
            )
        self.stdout.write(self.style.SUCCESS(f"{len(owed)} versions finished."))
