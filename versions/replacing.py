"""Replacing the live rows of a task: restore, rollback and import with ``force`` all go through here.

What is replaced is saved in the same transaction, after every writer of the task has been made to wait: a change
that was acknowledged is either in that save or comes after it, never lost between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from annotations.acting import acting
from annotations.models import ProjectTask
from annotations.progress import hold_task, lock_task
from exports.errors import StoreError
from versions import autosave, importing, staging
from versions.alone import alone
from versions.errors import RestoreRefused
from versions.models import SaveState
from versions.states import SaveTrigger


def nobody(*done: Any) -> None:
    """Who is to hear of work that no job asked for."""


@dataclass(frozen=True)
class Scope:
    """Which images (primary keys; None: all) rows are replaced on, and how many rows of the source lie ``beside``, on
    images that are as they were: they count as unchanged."""

    images: list[int] | None = None
    beside: int = 0


def everywhere(reading: importing.Reading) -> Scope:
    """All that is staged, on every image."""
    return Scope()


def replace_rows(
    task: ProjectTask,
    stage: Callable[[], importing.Reading],
    *,
    by: str,
    action: str,
    held: Callable[[importing.Reading], Scope] = everywhere,
    dry_run: bool = False,
    merge: bool = False,
    tell: Callable[[staging.Changes, importing.Reading], None] = nobody,
) -> tuple[staging.Changes, importing.Reading]:
    """Make the live rows those that ``stage`` stages, in one transaction; what they replace is saved inside it.

    With ``merge`` what is there stays and only what is missing is added. ``held`` is done once nobody writes any more
    and all is saved, and says on which images rows are replaced: who draws holds an image and then waits for its class,
    so no class is renamed before. ``tell`` hears what was done as the last thing in the transaction: what it writes is
    there if, and only if, the rows are.
    Raises RestoreRefused if the present rows cannot be saved; ``dry_run`` takes everything back.
    """
    with alone("save", task.pk, wait=True), acting(by, action=action):
        # Staging makes classes and learns sizes: the task's row comes before those.
        hold_task(task.project_id, task.task_type)
        reading = stage()
        lock_task(task.project_id, task.task_type)
        if not dry_run:
            save_held(task, by)
        scope = held(reading)
        changes = staging.apply(task, images=scope.images, merge=merge)
        changes.unchanged += scope.beside
        if dry_run:
            transaction.set_rollback(True)
        else:
            SaveState.objects.want(task, SaveTrigger.RESTORE, by=by)
            tell(changes, reading)
    return changes, reading


def save_held(task: ProjectTask, by: str) -> None:
    """Save what is about to be replaced, while every writer waits; raises RestoreRefused if that fails."""
    try:
        autosave.save_held(task, trigger=SaveTrigger.RESTORE, by=by)
    except StoreError as error:
        raise RestoreRefused(
            f"What would be replaced could not be saved first, so nothing was changed: {error}"
        ) from error
