"""``manage.py compare_versions``: what differs between two versions, or a version and the live rows?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from annotations.models import ProjectTask
from versions import comparing, listing
from versions.comparing import Comparison, ImageChange, Overview
from versions.difference_answers import changed_image, summary_answer
from versions.management.speaking import add_project, clearly, task_of
from versions.models import Version
from versions.sides import LIVE, LIVE_NUMBER

SAME, DIFFER, REFUSED = 0, 1, 2


class Command(BaseCommand):
    """Reads only. Exit code 0 when nothing differs, 1 when something does, 2 when it could not be told."""

    help = (
        "Compare two versions of a task (v1.0, a working save v0.7, an id, or live) by annotation: totals, classes "
        "and, with --images, every changed image. Exit code 0: the same; 1: they differ; 2: refused."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which two."""
        add_project(parser)
        parser.add_argument("a", help="a version, for example v1.0, or live")
        parser.add_argument("b", help="the other one")
        drafts = parser.add_mutually_exclusive_group()
        for name, said, value in (("--drafts", "count", True), ("--no-drafts", "leave out", False)):
            drafts.add_argument(
                name, action="store_const", const=value, default=None, dest="include_draft",
                help=f"{said} drafts of live rows and saves (default: as the published side does)",
            )  # fmt: skip
        parser.add_argument("--images", action="store_true", help="list the changed images, too")
        parser.add_argument("--limit", type=int, default=None, help="at most this many images (default: all)")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare and say what differs."""
        try:
            with clearly():
                found = self._compare(options)
        except CommandError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if found.differs:
            sys.exit(DIFFER)

    def _compare(self, options: dict[str, Any]) -> Overview:
        task = task_of(options)
        one, other = (_version(task, options[name]) for name in ("a", "b"))
        comparing.check_pair(one, other)
        limit = _limit(options)
        with comparing.compared(one, other, task, include_draft=options["include_draft"]) as comparison:
            found = comparison.overview()
            # Asked for once more rather than kept: there may be as many as the project has.
            images = islice(comparison.changed_images(), limit)
            if options["json"]:
                self._say_json(summary_answer(comparison, found, asked_first=one.pk if one else LIVE), images)
            else:
                self._say(comparison, found, images)
        return found

    def _say_json(self, answer: dict[str, Any], images: Iterable[ImageChange]) -> None:
        self.stdout.write(f'{orjson.dumps(answer).decode()[:-1]},"images":[', ending="")
        for number, change in enumerate(images):
            self.stdout.write(("," if number else "") + orjson.dumps(changed_image(change)).decode(), ending="")
        self.stdout.write("]}")

    def _say(self, comparison: Comparison, found: Overview, images: Iterable[ImageChange]) -> None:
        old, new = comparison.old.number, comparison.new.number
        self.stdout.write(
            f"{old} to {new}: {found.added} added, {found.removed} removed, {found.modified} changed, "
            f"{found.unchanged} the same; {found.images_with_changes} of {found.total_images} images differ "
            f"({found.images_added} new, {found.images_removed} gone)."
        )
        for line in _class_lines(comparison, found):
            self.stdout.write(f"  {line}")
        for change in images:
            gone = "" if change.listing == "both" else f" ({change.listing})"
            self.stdout.write(f"  {change.path}: +{change.added} -{change.removed} ~{change.modified}{gone}")


def _version(task: ProjectTask, reference: str) -> Version | None:
    if reference in (LIVE_NUMBER, str(LIVE)):
        return None
    return listing.version_of(task.project_id, reference, task.task_type)


def _limit(options: dict[str, Any]) -> int:
    limit = sys.maxsize if options["limit"] is None else options["limit"]
    if limit < 1:
        raise CommandError("--limit must be at least 1.")
    return limit if options["images"] else 0


def _class_lines(comparison: Comparison, found: Overview) -> list[str]:
    classes = comparison.classes()
    return [
        *(f"class {entry['old_name']} is now {entry['new_name']}" for entry in classes["renamed"]),
        *(f"class {entry['name']} is new" for entry in classes["added"]),
        *(f"class {entry['name']} is gone" for entry in classes["removed"]),
        *(
            f"{name}: +{counts['added']} -{counts['removed']} ~{counts['modified']}"
            for name, counts in sorted(found.by_class.items())
        ),
    ]
