"""``manage.py restore_deleted``: who deleted these boxes, and back they are."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotations import undoing
from annotations.errors import AnnotationError
from annotations.models import Image, Project
from annotations.undoing import Deleted, Returned

REFUSED = 2


def moment(text: str) -> datetime:
    """A time in ISO form; without an offset it is UTC."""
    try:
        said = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2026-01-12T09:00:00Z") from error
    return said if said.tzinfo else said.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Annotations come back with their ids, their history and their images, as one deed that can be undone."""

    help = "Bring deleted annotations back: by who deleted them, when, and on which images."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which deletions."""
        parser.add_argument("--project", required=True, help="the project's id (proj_...)")
        parser.add_argument("--by", help="deleted by this user id")
        parser.add_argument("--since", type=moment, help="deleted at this time (UTC) or later")
        parser.add_argument("--until", type=moment, help="deleted before this time (UTC)")
        parser.add_argument("--image", action="append", dest="images", help="only this image (may be repeated)")
        parser.add_argument("--batch", help="deleted in this deed (batch id)")
        parser.add_argument("--as", dest="actor", default="command", help="the user id the history names")
        parser.add_argument("--dry-run", action="store_true", help="say what would come back, change nothing")
        parser.add_argument("--json", action="store_true", help="answer in JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit code 0 when everything meant came back, 1 when something was skipped or there was nothing, 2 refused."""
        wanted = _wanted(options)
        try:
            done = undoing.restore_deleted(options["project"], wanted, by=options["actor"], dry_run=options["dry_run"])
        except AnnotationError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if options["json"]:
            self.stdout.write(json.dumps(done.as_dict()))
        else:
            self._tell(done)
        if done.skipped or not done.restored:
            raise CommandError(f"{done.skipped} skipped." if done.skipped else "Nothing was deleted that fits.")

    def _tell(self, done: Returned) -> None:
        for each in done.by:
            self.stdout.write(f"{each['user']} deleted {each['count']} from {each['first_at']} to {each['last_at']}")
        for error in done.errors:
            self.stdout.write(f"skipped {error['annotation_id']}: {error['detail']}")
        verb = "would come back" if done.dry_run else "are back"
        deed = f" (undo them as batch {done.batch_id})" if done.batch_id else ""
        self.stdout.write(self.style.SUCCESS(f"{done.restored} annotations {verb}{deed}."))


def _wanted(options: dict[str, Any]) -> Deleted:
    if not Project.objects.alive().filter(pk=options["project"]).exists():
        raise CommandError(f"There is no project {options['project']}.", returncode=REFUSED)
    images = None
    if options["images"]:
        known = dict(
            Image.objects.filter(project_id=options["project"], path__in=options["images"]).values_list("path", "pk")
        )
        if unknown := sorted(set(options["images"]) - set(known)):
            raise CommandError(f"The project has no image {', '.join(unknown)}.", returncode=REFUSED)
        images = tuple(known.values())
    return Deleted(
        by=options["by"], since=options["since"], until=options["until"], images=images, batch=options["batch"]
    )
