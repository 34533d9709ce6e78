"""The database is lost: bring projects, versions and live rows back from the labeler store alone.

Each project comes back in one transaction, so a run that is stopped is simply started again; projects
that are in the database learn only what it does not know (``versions/catching_up.py``). Read are the records of
dice-format.md section 1: ``project.json`` with the image list, the version records in order, the retained working
saves, and the journal, which is replayed over the newest of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.db import DataError, IntegrityError, transaction

from annotations.acting import acting
from annotations.errors import AnnotationError
from annotations.models import Project
from exports.errors import ExportError
from versions import artifacts
from versions.catching_up import UNCHANGED, at_rest, catch_up
from versions.errors import NothingInStores, VersionError
from versions.found import Found, high_waters, highest, look, raise_sequences
from versions.returning import ACTOR, Rebuilt, ReturningProject

LOST = (
    "history from before the oldest kept working save",
    "accounts, passwords and tokens (members are kept by their user id)",
    "the audit log, idempotency keys and sessions",
    "jobs, and the rows of ad-hoc exports (their files are still in the store)",
    "changes of the last seconds before the loss, which the journal had not taken yet",
)

Say = Callable[[str], None]


def rebuild(project_id: str | None = None, *, dry_run: bool = False, say: Say) -> list[Rebuilt]:
    """Bring back every project of the store (or one) that the database does not have; says how far it is."""
    everything = look()
    if not dry_run:
        # Above every project's ids before any row comes: one rebuilt today takes no id of one rebuilt tomorrow.
        raise_sequences(highest(high_waters(everything)))
    listed = {each: found for each, found in everything.items() if project_id in (None, each)}
    if not listed:
        raise NothingInStores(f"The labeler store holds no records of {project_id}.")
    done = []
    for number, (each, found) in enumerate(listed.items(), start=1):
        say(f"[{number}/{len(listed)}] {each} ...")
        done.append(_rebuild_one(each, found, dry_run))
    return done


def _rebuild_one(project_id: str, found: Found, dry_run: bool) -> Rebuilt:
    present = Project.objects.prefetch_related("tasks").filter(pk=project_id).first()
    if present is None and found.record is None:
        return Rebuilt(project_id, "not rebuilt", missing=["project.json: without it nothing else can be placed"])
    try:
        with artifacts.scratch() as folder, at_rest(present), acting(ACTOR, action="restore"):
            result = _bring(present, project_id, found, folder)
            if dry_run:
                transaction.set_rollback(True)
                result.state = f"would be {result.state}" if result.state != UNCHANGED else UNCHANGED
            else:
                raise_sequences({})
    except (ExportError, VersionError, AnnotationError) as error:
        # All or nothing for this project; the others go on.
        return Rebuilt(project_id, "not rebuilt", missing=[str(error)])
    except (IntegrityError, DataError, KeyError, TypeError, ValueError) as error:
        return Rebuilt(project_id, "not rebuilt", missing=[f"a record does not fit ({type(error).__name__}: {error})"])
    return result


def _bring(present: Project | None, project_id: str, found: Found, folder: Path) -> Rebuilt:
    if present is None:
        return ReturningProject(project_id, found, folder).bring_back()
    return catch_up(present, found, folder)
