"""``manage.py export_annotations``: a task's files on local disk, without the stores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from annotations.models import ProjectTask
from exports.formats import FORMATS
from versions import artifacts, exporting, listing, snapshots
from versions.management.speaking import Count, add_project, clearly, task_of

REFUSED = 2


class Command(BaseCommand):
    """From live rows, or with ``--of`` from the frozen rows of a published version."""

    help = (
        "Write a task's annotations to files of a folder, from the live rows or a published version; the files are "
        "the same, byte for byte, as those people download. Exit code 0: written; 2: refused."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What, and where to."""
        add_project(parser)
        parser.add_argument("folder", type=Path, help="where the files go; it is made if it is not there")
        parser.add_argument("--format", action="append", choices=list(FORMATS), dest="formats",
                            help="default: all of them (may be repeated)")  # fmt: skip
        parser.add_argument("--of", dest="number", help="a published version, for example v1.0")
        parser.add_argument("--image", action="append", dest="images", help="only this image (may be repeated)")
        states = parser.add_mutually_exclusive_group()
        states.add_argument("--include-draft", action="store_true", help="drafts, too")
        states.add_argument("--verified-only", action="store_true", help="only what a reviewer verified")
        parser.add_argument("--json", action="store_true", help="answer in JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write and say what was left out."""
        try:
            with clearly():
                built = self._write(task_of(options), options)
        except (CommandError, OSError) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        if options["json"]:
            self.stdout.write(orjson.dumps([_told(each) for each in built]).decode())
            return
        for file in built:
            for warning in file.summary.warnings:
                self.stderr.write(f"{file.format}: {warning['count']} x {warning['code']}")
            self.stdout.write(
                f"{file.path}: {file.summary.annotation_count} annotations on {file.summary.image_count} images, "
                f"{file.size} bytes, sha256 {file.sha256}"
            )

    def _write(self, task: ProjectTask, options: dict[str, Any]) -> list[artifacts.Built]:
        number = options["number"]
        version = listing.version_of(task.project_id, number, task.task_type) if number else None
        if version is not None and (options["include_draft"] or options["verified_only"]):
            raise CommandError(
                "A version holds what it was published with; leave --include-draft and --verified-only out."
            )
        formats = options["formats"] or list(FORMATS)
        exporting.check_wish(formats, version)
        exporting.check_images(task.project, options["images"])
        options["folder"].mkdir(parents=True, exist_ok=True)
        states = snapshots.states_of(include_draft=options["include_draft"], verified_only=options["verified_only"])
        return exporting.write(
            task,
            options["folder"],
            formats=formats,
            states=states,
            image_paths=options["images"],
            version=version,
            tell=Count(self, "images written"),
        )


def _told(file: artifacts.Built) -> dict[str, Any]:
    return {
        "format": file.format,
        "path": str(file.path),
        "size_bytes": file.size,
        "sha256": file.sha256,
        "annotation_count": file.summary.annotation_count,
        "image_count": file.summary.image_count,
        "warnings": file.summary.warnings,
    }
