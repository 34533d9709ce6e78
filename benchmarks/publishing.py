"""Rows 1 to 6, 9 and 10: publishing, exporting and saving a project of one size, each round beside a raw COPY."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import projects
from benchmarks.projects import BY, Loaded
from benchmarks.rounds import Samples
from benchmarks.servers import Statements, database_bytes, forget_versions, vacuum

FORMATS = ("dice", "coco", "yolo")
CHANGED = 0.005
SAVED_AFTER, SAVES, PUBLISHES = 10, 3, 3


def measure(loaded: Loaded, rounds: int, statements: Statements, scratch: Path, samples: Samples) -> None:
    """All jobs of a size, ``rounds`` times; every round begins with a project that was never published."""
    for number in range(rounds):
        forget_versions()
        _first_publish(loaded, samples)
        _further_publishes(loaded, samples, number)
        _saves(loaded, samples, number)
        _exports(loaded, samples, scratch)
    _queries(loaded, samples, statements, scratch)


def _first_publish(loaded: Loaded, samples: Samples) -> None:
    """Nothing is prepared: freeze, then all that a worker does, then the three files alone."""
    samples.unit(loaded.project.pk)
    versions = samples.time("first freeze", lambda: _freeze(loaded))
    samples.time("first files, nobody helping", lambda: _alone(lambda: _build(loaded, versions)))
    samples.time("first files", lambda: _build(loaded, versions))
    samples.unit(loaded.project.pk)
    samples.time("first advance", lambda: _advance(versions))
    vacuum()


def _further_publishes(loaded: Loaded, samples: Samples, number: int) -> None:
    """Half a percent of the images changed, and a fixed number of them."""
    few = max(1, round(projects.SIZE_M * CHANGED))
    samples.note("rows changed (few)", projects.change(loaded, min(few, loaded.images), f"few {number}"))
    samples.unit(loaded.project.pk)
    versions = samples.time("freeze of few", lambda: _freeze(loaded))
    _advance(versions)
    # One after the other: a freeze of a tenth of a second is as long as the disk lets a commit wait.
    for further in range(PUBLISHES):
        _second_publish(loaded, samples, f"half {number} {further}")


def _second_publish(loaded: Loaded, samples: Samples, name: str) -> None:
    changed = projects.change(loaded, max(1, round(loaded.images * CHANGED)), name)
    vacuum()
    samples.note("rows changed", changed)
    samples.note("bytes of the changed rows", projects.bytes_of_changed(loaded, name))
    before = database_bytes()
    versions = samples.time("second freeze", lambda: _freeze(loaded))
    samples.time("second files", lambda: _build(loaded, versions))
    samples.unit(loaded.project.pk)
    samples.time("second advance", lambda: _advance(versions))
    samples.note("bytes added", database_bytes() - before)


def _saves(loaded: Loaded, samples: Samples, number: int) -> None:
    # A round begins without a save before, so one of everything comes first.
    samples.time("first save", lambda: save(loaded))
    vacuum()
    # One after the other, as a team makes them due.
    for further in range(SAVES):
        projects.change(loaded, SAVED_AFTER, f"save {number} {further}")
        samples.unit(loaded.project.pk)
        samples.time("save", lambda: save(loaded))


def _exports(loaded: Loaded, samples: Samples, scratch: Path) -> None:
    samples.time("export of live rows", lambda: _export(loaded, scratch))


def _queries(loaded: Loaded, samples: Samples, statements: Statements, scratch: Path) -> None:
    """Statements PostgreSQL was sent for each job, of one task."""
    task = loaded.tasks[0]
    projects.change(loaded, SAVED_AFTER, "queries")
    jobs: dict[str, Callable[[], Any]] = {
        "publish": lambda: _advance(_freeze(loaded, task)),
        "save": lambda: save(loaded, task),
        "export": lambda: _export(loaded, scratch, task),
    }
    for name, act in jobs.items():
        samples.note(f"statements of a {name}", statements.count(act))


# What is measured ---------------------------------------------------------------------------


def _tasks(loaded: Loaded, only: Any) -> list[Any]:
    return loaded.tasks if only is None else [only]


def _freeze(loaded: Loaded, only: Any = None) -> list[Any]:
    from versions.publishing import PublishWish, request_publish

    return [request_publish(task, PublishWish(), by=BY) for task in _tasks(loaded, only)]


def _build(loaded: Loaded, versions: list[Any]) -> None:
    """The three files on local disk, as a publish makes them, with the list of their pieces for the next one."""
    from versions import artifacts, publishing

    for version, task in zip(versions, loaded.tasks, strict=True):
        before = publishing.with_all_it_needs(version.pk).before
        with artifacts.scratch() as folder:
            artifacts.build_next(version, task, folder, before)


def _alone(act: Callable[[], Any]) -> Any:
    """As where there is but one processor."""
    from django.test import override_settings

    with override_settings(LABELER_RENDERERS=0):
        return act()


def _advance(versions: list[Any]) -> None:
    """Files, uploads to a folder, records, official files."""
    from versions import publishing
    from versions.states import PublishState

    for version in versions:
        done = publishing.advance(version.pk)
        assert done.status == PublishState.READY, done.last_error


def save(loaded: Loaded, only: Any = None) -> None:
    """A working save of each task."""
    from versions import autosave

    for task in _tasks(loaded, only):
        autosave.save_working(task, trigger="manual", by=BY)


def _export(loaded: Loaded, scratch: Path, only: Any = None) -> None:
    import tempfile

    from versions import exporting, snapshots

    for task in _tasks(loaded, only):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            exporting.write(
                task, Path(folder), formats=FORMATS, states=snapshots.SETTLED, image_paths=None, version=None
            )
