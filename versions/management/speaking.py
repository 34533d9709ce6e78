"""How commands of this room speak: progress in lines, errors in one clear sentence, exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from annotations import projects
from annotations.errors import AnnotationError
from annotations.models import Project, ProjectTask
from exports.errors import ExportError
from versions.errors import VersionError


@contextmanager
def clearly() -> Iterator[None]:
    """Domain errors end the command with their sentence and exit code 1, without a trace."""
    try:
        yield
    except (AnnotationError, VersionError, ExportError) as error:
        fields = getattr(error, "errors", None)
        raise CommandError(f"{error}{f' {fields}' if fields else ''}") from error
    except OperationalError as error:
        raise CommandError(f"The database does not answer: {error}") from error


class Bar:
    """How far a piece of work is: one line that grows on a terminal, a line each tenth in a log."""

    def __init__(self, command: BaseCommand, name: str) -> None:
        self.command, self.name, self.tenth = command, name, -1

    def __call__(self, share: float) -> None:
        """Say that ``share`` (0 to 1) is done."""
        percent = min(100, round(share * 100))
        if sys.stdout.isatty():
            self.command.stdout.write(f"\r{self.name}: {percent:3d} %", ending="\n" if percent == 100 else "")
        elif percent // 10 > self.tenth:
            self.tenth = percent // 10
            self.command.stdout.write(f"{self.name}: {percent} %")


class Count:
    """How many of something are done, where nobody knows how many there are: a line each ``step``, on stderr."""

    def __init__(self, command: BaseCommand, what: str, step: int = 10_000) -> None:
        self.command, self.what, self.step, self.said = command, what, step, 0

    def __call__(self, count: int) -> None:
        """Say that ``count`` are done."""
        if count >= self.said + self.step:
            self.said = count - count % self.step
            self.command.stderr.write(f"{self.said:,} {self.what}")


def add_project(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a task."""
    parser.add_argument("project", help="the project's id (proj_...)")
    parser.add_argument("--task", default=None, help="the task's name (default: the project's first task)")


def add_by(parser: argparse.ArgumentParser) -> None:
    """Who is to be named in the history."""
    parser.add_argument("--by", default="command", help="the user id the history names (default: command)")


def task_of(options: dict[str, Any]) -> ProjectTask:
    """The task the arguments name; raises CommandError."""
    project = Project.objects.alive().prefetch_related("tasks").filter(pk=options["project"]).first()
    if project is None:
        raise CommandError(f"There is no project {options['project']}.")
    with clearly():
        return projects.task_of(project, options["task"])
