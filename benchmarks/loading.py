"""Row 11: the first load of a project from its official files, its restore, and two of its versions compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import data, projects
from benchmarks.projects import BY, Loaded
from benchmarks.rounds import Row, Samples
from benchmarks.servers import forget_everything, vacuum

CHANGED = 0.005
JOBS = ("first load", "restore of everything", "restore of 0.5 %", "compare")


def load(size: str, folder: Path, rounds: int) -> tuple[Loaded, Samples]:
    """Load a project of that size anew, ``rounds`` times; the last one stays for what is measured next."""
    samples = Samples(size)
    for number in range(rounds):
        if number:
            forget_everything()
        loaded = projects.load(size, folder, samples)
        samples.unit(loaded.project.pk)
        samples.unit(loaded.project.pk)
    return loaded, samples


def measure(loaded: Loaded, rounds: int, samples: Samples) -> None:
    """Two versions with half a percent of the images changed between them: compared, and the first one restored, over
    what changed and over nothing at all. After everything else, as it replaces the rows."""
    for number in range(rounds):
        _round(loaded, samples, number)


def _round(loaded: Loaded, samples: Samples, number: int) -> None:
    first = _published(loaded)
    # Where no corner of the data is: those have two decimals at most.
    projects.move(loaded, max(1, round(loaded.images * CHANGED)), number + 0.125)
    second = _published(loaded)
    vacuum()
    samples.unit(loaded.project.pk)
    samples.time("compare", lambda: _compare(loaded, first, second))
    samples.time("restore of 0.5 %", lambda: _restore(loaded, first))
    _delete(loaded)
    vacuum()
    samples.time("restore of everything", lambda: _restore(loaded, first))
    vacuum()
    samples.unit(loaded.project.pk)


def rows(at: Samples) -> list[Row]:
    """Row 11 of a size."""
    size = at.size
    return [
        Row("11", f"first load of {size} from its official files", at.ratio("first load"), 12),
        Row("11", f"restore of all of {size}, nothing being left", at.ratio("restore of everything"), 12),
        Row("11", f"restore of {size}, 0.5 % of the images changed", at.ratio("restore of 0.5 %"), 12),
        Row("11", f"compare two versions of {size}, 0.5 % changed", at.ratio("compare"), 1),
        Row("11", f"most memory of these ({size})", at.most(*JOBS), 48, "MiB"),
    ]


# What is measured ---------------------------------------------------------------------------


def _published(loaded: Loaded) -> list[Any]:
    """A published version of each task; the last one where nothing changed since."""
    from versions import publishing
    from versions.publishing import PublishWish

    made = [publishing.request_publish(task, PublishWish(), by=BY) for task in loaded.tasks]
    return [publishing.advance(version.pk) for version in made]


def _compare(loaded: Loaded, first: list[Any], second: list[Any]) -> None:
    """All figures, and the first page of changed images in full, as the route answers them."""
    from versions.comparing import compared

    modified = 0
    for task, old, new in zip(loaded.tasks, first, second, strict=True):
        with compared(old, new, task) as comparison:
            found = comparison.overview(limit=20)
            comparison.details([change.pk for change in found.page])
            modified += found.modified
    assert modified == max(1, round(loaded.images * CHANGED)) * data.PER_IMAGE, modified


def _restore(loaded: Loaded, versions: list[Any]) -> None:
    """With all that belongs to it: what it replaces is saved first."""
    from versions import restoring

    changed = 0
    for task, version in zip(loaded.tasks, versions, strict=True):
        done = restoring.restore(task, source="version", by=BY, version=version)
        changed += done.changes.added + done.changes.updated
    assert changed > 0


def _delete(loaded: Loaded) -> None:
    from django.db import connection

    from annotations.acting import acting

    with acting(BY), connection.cursor() as cursor:
        cursor.execute("DELETE FROM annotations WHERE project_id = %s", [loaded.project.pk])
