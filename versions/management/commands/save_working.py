"""``manage.py save_working``: make working saves now."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotations.models import ProjectTask
from exports.errors import StoreError
from versions import autosave
from versions.management.speaking import add_by, clearly, task_of
from versions.states import SaveTrigger


class Command(BaseCommand):
    """One task, or every task with unsaved changes."""

    help = "Save the live rows of a task, or of every task with unsaved changes, as the next working version."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which tasks."""
        parser.add_argument("project", nargs="?", help="the project's id; without it every task with changes is saved")
        parser.add_argument("--task", default=None, help="the task's name (default: the project's first task)")
        parser.add_argument("--due", action="store_true", help="only what is due by the rules of autosave")
        add_by(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Save; exit code 1 when one could not be saved."""
        failed = 0
        for task in [task_of(options)] if options["project"] else _changed(due=options["due"]):
            try:
                with clearly():
                    self._save(task, options["by"])
            except CommandError as error:
                if not isinstance(error.__cause__, StoreError):
                    raise
                failed += 1
                self.stderr.write(f"{task}: {error}")
        if failed:
            raise CommandError(f"{failed} tasks could not be saved.")

    def _save(self, task: ProjectTask, by: str) -> None:
        version = autosave.save_working(task, trigger=SaveTrigger.MANUAL, by=by)
        if version is None:
            self.stdout.write(f"{task}: unchanged since the last save")
        else:
            self.stdout.write(f"{task}: {version.version_number}, {version.annotation_count} annotations")


def _changed(*, due: bool) -> list[ProjectTask]:
    tasks = ProjectTask.objects.filter(project__deleted_at=None).select_related("project").order_by("pk")
    return [task for task in tasks if (autosave.is_due(task) if due else autosave.status_of(task).dirty)]
