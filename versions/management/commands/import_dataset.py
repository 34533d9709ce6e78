"""``manage.py import_dataset``: a dataset's images and annotations, for a new project or one that is there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotations.models import PlatformDataset, Project, ProjectTask
from annotations.projects import create_project, task_of
from annotations.states import TaskType
from versions import artifacts, importing, opening, work
from versions.management.speaking import Bar, clearly
from versions.replacing import replace_rows


class Command(BaseCommand):
    """Opens the dataset if it is not open; imports annotations all or nothing."""

    help = (
        "Open a platform dataset as a project and load its images and annotations; for a dataset that is open, list "
        "its images again and import the official file, or --file. Existing annotations are replaced only with "
        "--force, after a working save."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What to import, and over what."""
        parser.add_argument("dataset", help="the dataset's id on the platform")
        parser.add_argument("--owner", help="user id of the new project's owner (needed when it is not open yet)")
        parser.add_argument("--name", help="name of the new project (default: the dataset's)")
        parser.add_argument(
            "--task", choices=TaskType.values, help="task of the new project, or to import into (default: the first)"
        )
        parser.add_argument("--file", type=Path, help="import this DICE or COCO file, not the official one")
        parser.add_argument("--force", action="store_true", help="replace annotations that are there (saved first)")
        parser.add_argument("--dry-run", action="store_true", help="read and check everything, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Open or find the project, list images, import annotations."""
        with clearly():
            project = self._project(options)
            found = {} if options["dry_run"] else opening.load_images(project, report=Bar(self, "images"))
            task = task_of(project, options["task"])
            reading = self._import(project, task, options)
        self._say(project, found, reading, options["dry_run"])

    def _project(self, options: dict[str, Any]) -> Project:
        project = Project.objects.alive().filter(dataset_id=options["dataset"]).first()
        if project is not None:
            return project
        dataset = PlatformDataset.objects.filter(pk=options["dataset"]).first()
        if dataset is None:
            raise CommandError(f"The platform has no dataset {options['dataset']}.")
        if not options["owner"] or options["dry_run"]:
            raise CommandError("The dataset is not open; say whose the project will be with --owner (no --dry-run).")
        project = create_project(
            dataset_id=dataset.pk,
            dataset_name=dataset.name,
            name=options["name"] or dataset.name,
            by=options["owner"],
            task_types=[options["task"] or TaskType.DETECTION.value],
            status="active",
        )
        opening.raise_floor(task_of(project, None))
        self.stdout.write(f"Opened {dataset.pk} as {project.pk}.")
        return project

    def _import(self, project: Project, task: ProjectTask, options: dict[str, Any]) -> importing.Reading:
        by, force = options["owner"] or project.owner_id, options["force"]
        work.refuse_over_annotations(task, force=force)
        if options["dry_run"]:
            return _try(project, task, options["file"], by)
        if options["file"] is None:
            return opening.import_official(project, task, by=by, remove=force)
        return opening.import_file(_existing(options["file"]), task, by=by, remove=force)

    def _say(self, project: Project, found: dict[str, Any], reading: importing.Reading, dry_run: bool) -> None:
        for entry in reading.errors + reading.warnings:
            self.stderr.write(f"{entry['where']}: {entry['reason']}")
        if found:
            self.stdout.write(
                f"{found['images']} images ({found['new_images']} new, {found['unknown_size_count']} of unknown size)."
            )
        done = "would be imported" if dry_run else "imported"
        self.stdout.write(
            self.style.SUCCESS(f"{project.pk}: {reading.staged} annotations {done}, {reading.skipped} skipped.")
        )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CommandError(f"There is no file {path}.")
    return path


def _try(project: Project, task: ProjectTask, path: Path | None, by: str) -> importing.Reading:
    """Everything an import does, taken back."""
    with artifacts.scratch() as folder:
        source = _existing(path) if path else opening.fetch_official(task, folder / "annotations.json")
        if source is None:
            return importing.Reading()
        return replace_rows(
            task, lambda: importing.stage_file(source, task, by=by), by=by, action="import", dry_run=True
        )[1]
