"""``manage.py load_demo``: place the demo dataset in the platform store and open it as a project."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotations.errors import AnnotationError
from exports.errors import ExportError
from labeler.demo import loading
from versions.errors import VersionError


class Command(BaseCommand):
    """Idempotent: what is there already stays as it is."""

    help = "Place the demo dataset in the platform store, open it as a project and make a login for it."

    def handle(self, *args: Any, **options: Any) -> None:
        """Load, or say in one line why not."""
        try:
            loading.load(settings.DATA_DIR, self.stdout.write)
        except (AnnotationError, VersionError, ExportError) as error:
            raise CommandError(f"The demo could not be loaded: {error}") from error
