"""A benchmark's project: images listed, its two official files loaded, images changed, all through the product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.rounds import Samples
from benchmarks.servers import vacuum

BY = "bench"
SIZE_M = data.SIZES["M"]


@dataclass
class Loaded:
    """A project of one size, with its tasks."""

    size: str
    project: Any
    tasks: list[Any]
    images: int

    @property
    def annotations(self) -> int:
        """How many annotations it has."""
        return self.images * data.PER_IMAGE


def load(size: str, folder: Path, samples: Samples | None = None) -> Loaded:
    """A project of size S, M or L, first-loaded from its official files; what that cost goes to ``samples``."""
    from annotations import images, projects
    from annotations.images import FoundImage
    from annotations.models import Project

    count, name = data.SIZES[size], f"ds_{size}"
    made = projects.create_project(
        dataset_id=name, dataset_name=name, name=name, by=BY, task_types=["detection", "segmentation"]
    )
    project = Project.objects.prefetch_related("tasks").get(pk=made.pk)
    numbers = range(1, count + 1)
    found = [FoundImage(data.image_path(n), data.WIDTH, data.HEIGHT, 3, 1, "", None) for n in numbers]
    for start in range(0, count, 1000):
        images.register_images(project, found[start : start + 1000])
    projects.activate(project, by=BY)
    tasks = [projects.task_of(project, task) for task in ("detection", "segmentation")]
    files = data.write_files(folder, name, count)
    vacuum()
    (samples or Samples(size)).time("first load", lambda: [_import(task, files[task.task_type]) for task in tasks])
    for path in files.values():
        path.unlink()
    _journal_is_kept()
    vacuum()
    return Loaded(size, project, tasks, count)


def _journal_is_kept() -> None:
    """As if the keeper of the journal, which runs beside web and worker, had caught up with the load: a working save
    notes what waits for it, and would look through a mark for each annotation."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE history_marks")


def _import(task: Any, path: Path) -> None:
    from versions import opening

    reading = opening.import_file(path, task, by=BY, remove=False)
    assert reading.skipped == 0 and reading.staged > 0, reading.errors[:3]


# All annotations of a number of images, spread over the project and over its tasks: numbers with the same remainder by
# ten are of the same task (see data.py).
CHOSEN = """
    JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM dataset_images WHERE project_id = %(project)s) i
    ON i.id = x.image_id AND i.n %% %(step)s = i.n / %(step)s %% least(%(step)s, 10) WHERE x.project_id = %(project)s"""


def change(loaded: Loaded, count: int, mark: str) -> int:
    """Change all annotations of ``count`` images, spread over the project, still confirmed; returns how many rows."""
    from django.db import connection

    from annotations.acting import acting

    values = {"mark": mark, "project": loaded.project.pk, "step": loaded.images // count}
    with acting(BY), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE annotations a SET notes = %(mark)s, version = version + 1"
            f" FROM (SELECT x.id FROM annotations x {CHOSEN}) chosen WHERE a.id = chosen.id",
            values,
        )
        return cursor.rowcount


def move(loaded: Loaded, count: int, corner: float) -> None:
    """Move a corner of all annotations of ``count`` images, which a comparison shows; still confirmed."""
    from django.db import connection

    from annotations.acting import acting

    values = {"corner": corner, "project": loaded.project.pk, "step": loaded.images // count}
    with acting(BY), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE annotations a SET geometry = jsonb_set(a.geometry, CASE WHEN a.annotation_type = 'bbox'"
            " THEN ARRAY['bbox', '0'] ELSE ARRAY['rings', '0', '0', '0'] END, to_jsonb(%(corner)s::numeric))"
            f" FROM (SELECT x.id FROM annotations x {CHOSEN}) chosen WHERE a.id = chosen.id",
            values,
        )


def bytes_of_changed(loaded: Loaded, mark: str) -> int:
    """What the rows changed under that mark take in their table."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_column_size(a)) FROM annotations a WHERE project_id = %s AND notes = %s",
            [loaded.project.pk, mark],
        )
        return cursor.fetchone()[0]
