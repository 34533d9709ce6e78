"""One job of ours in a process of its own, as peers have theirs: ``peers.py`` starts it and gives the settings.

``python -m benchmarks.ours publish SIZE`` freezes and makes the three files; ``python -m benchmarks.ours FORMATS SIZE
TARGET`` exports live rows. Either prints what it cost as JSON; PostgreSQL's processor time is in it, its memory is not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.measured import measured

THREE = ("dice", "coco", "yolo")


def main(arguments: list[str]) -> None:
    """Publish or export, as the docstring of the module says."""
    import django

    # One process, as peers are.
    os.environ["LABELER_RENDERERS"] = "0"
    django.setup()
    job, size, *target = arguments
    done = _publish(size) if job == "publish" else _export(job.split(","), size, Path(target[0]))
    print(json.dumps(done))


def server() -> int:
    """The first process of the benchmark's PostgreSQL."""
    return int((Path(os.environ["LABELER_DATA"]) / "postgres" / "postmaster.pid").read_text().split()[0])


def _publish(size: str) -> dict[str, Any]:
    from benchmarks import publishing

    loaded = _loaded(size)
    versions: list[Any] = []
    return {
        "ours, freeze of a first publish": _cost(lambda: versions.extend(publishing._freeze(loaded))),
        "ours, its three files": _cost(lambda: publishing._build(loaded, versions)),
    }


def _export(formats: list[str], size: str, target: Path) -> dict[str, Any]:
    from versions import exporting, snapshots

    loaded = _loaded(size)

    def export() -> None:
        for task in loaded.tasks:
            exporting.write(
                task, target / task.task_type,
                formats=formats, states=snapshots.SETTLED, image_paths=None, version=None,
            )  # fmt: skip

    for task in loaded.tasks:
        (target / task.task_type).mkdir(parents=True)
    return {f"ours, {formats[0].upper() if len(formats) == 1 else 'three files'} of live rows": _cost(export)}


def _loaded(size: str) -> Any:
    """The project that was loaded, with all imported that a job would import on its way: stores above all."""
    from django.core.files.storage import storages

    from annotations.models import Project
    from benchmarks.projects import Loaded
    from versions import artifacts, exporting, publishing  # noqa: F401 - as above

    assert storages["labeler"] and storages["platform"]
    project = Project.objects.prefetch_related("tasks").get()
    tasks = sorted(project.tasks.all(), key=lambda task: task.task_type)
    return Loaded(size, project, tasks, data.SIZES[size])


def _cost(act: Callable[[], Any]) -> dict[str, float]:
    return measured(act, server())


if __name__ == "__main__":
    main(sys.argv[1:])
