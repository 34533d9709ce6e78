"""What a comparison costs: ``.venv/bin/python -m benchmarks.compare --annotations 100000 --changes 500``.

Prints seconds as multiples of a raw COPY of the annotations table on the same machine in the same minute, and of a
comparison of everything; and the memory Python itself took for each. Needs nothing but the packages; the server is its
own and gone afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.versions import PER_IMAGE, copy_out, generate, prepare, start_server, timed

REPEATS = 3


def main() -> None:
    """Start a server, generate a project with two versions, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=500)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="labeler-benchmark-"))
    server = start_server(folder)
    try:
        prepare(folder, server)
        measure(asked.annotations, asked.changes)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(count: int, changes: int) -> None:
    """Two versions, the live rows and a save, each compared; every step against everything and a COPY."""
    from versions import autosave, publishing
    from versions.publishing import PublishWish

    task = generate(count)
    first = publishing.request_publish(task, PublishWish(), by="bench")
    change_boxes(changes)
    second = publishing.request_publish(task, PublishWish(), by="bench")
    save = autosave.save_working(task, trigger="manual", by="bench")
    analyze()
    copy = best(copy_out)
    naive, naive_memory = best(lambda: everything(task, first, second)), memory(lambda: everything(task, first, second))
    print(f"{count:,} annotations on {count // PER_IMAGE:,} images, {changes:,} changed")
    print(f"a raw COPY of them takes {copy:.3f} s; comparing everything takes {naive:.2f} s and {naive_memory:.1f} MB")
    print("   x COPY  x everything  memory  x everything")
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("two versions, all figures", lambda: overview(task, first, second)),
        ("two versions, all figures and a page of 20 images in full", lambda: page(task, first, second)),
        ("one image of two versions", lambda: one_image(task, first, second)),
        ("a version and the live rows", lambda: overview(task, second, None)),
        ("a version, and a save that is read from its file", lambda: overview(task, first, save)),
    ]
    for name, act in steps:
        seconds, used = best(act), memory(act)
        print(
            f"{seconds / copy:9.2f}  {seconds / naive:12.3f}  {used:6.2f}  {used / naive_memory:12.3f}  {name}",
            flush=True,
        )
    assert overview(task, first, second).modified == changes == everything(task, first, second)


def change_boxes(changes: int) -> None:
    """Move that many boxes, spread over the project; they stay confirmed."""
    from django.db import connection

    from annotations.acting import acting

    with acting("bench"), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE annotations a"
            " SET geometry = jsonb_set(geometry, '{bbox,0}', '7'), bbox = jsonb_set(bbox, '{0}', '7')"
            " FROM (SELECT id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS total FROM annotations) of"
            " WHERE of.id = a.id AND (n - 1) %% (total / %s) = 0 AND n <= total / %s * %s",
            [changes, changes, changes],
        )
        cursor.execute("UPDATE image_annotation_status SET status = 'completed', is_image_confirmed = true"
                       " WHERE NOT is_image_confirmed")  # fmt: skip


def analyze() -> None:
    """As autovacuum would by and by."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def everything(task: Any, first: Any, second: Any) -> int:
    """The plain way: read one version, then hold the other against it row by row; returns how many differ."""
    from versions import artifacts, snapshots

    with artifacts.one_instant():
        known = {row.id: row for image in snapshots.frozen_rows(first, task) for row in image.annotations}
        seen = (known.get(row.id) != row for image in snapshots.frozen_rows(second, task) for row in image.annotations)
        return sum(seen)


def overview(task: Any, a: Any, b: Any) -> Any:
    """All figures of a comparison."""
    from versions.comparing import compared

    with compared(a, b, task) as comparison:
        return comparison.overview()


def page(task: Any, a: Any, b: Any) -> Any:
    """What the route answers for its first page."""
    from versions.comparing import compared

    with compared(a, b, task) as comparison:
        found = comparison.overview(limit=20)
        return comparison.details([change.pk for change in found.page])


def one_image(task: Any, a: Any, b: Any) -> Any:
    """What the route answers for one image."""
    from annotations.models import Image
    from versions.comparing import compared

    image = Image.objects.filter(project_id=task.project_id).order_by("pk")[0]
    with compared(a, b, task) as comparison:
        return comparison.overview(image=image), comparison.details([image.pk], whole=True)


def best(act: Callable[[], Any]) -> float:
    """Seconds of the fastest of a few runs: what else runs on the machine only ever adds."""
    return min(timed("", act)[0] for _ in range(REPEATS))


def memory(act: Callable[[], Any]) -> float:
    """The most that Python held at once meanwhile, in MB."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
