"""What versions cost: ``.venv/bin/python -m benchmarks.versions --annotations 200000``.

Prints seconds as multiples of a raw COPY of the annotations table on the same machine in the same minute, and the
peak memory of this process. Needs nothing but the packages; the servers are its own and gone afterwards.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PER_IMAGE = 20


def main() -> None:
    """Start a server, generate a project, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=int, default=100_000)
    count = parser.parse_args().annotations
    folder = Path(tempfile.mkdtemp(prefix="labeler-benchmark-"))
    server = start_server(folder)
    try:
        prepare(folder, server)
        measure(count)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def start_server(folder: Path) -> Any:
    """A PostgreSQL of our own."""
    from labeler.embedded.postgres import Postgres
    from labeler.embedded.processes import free_port

    server = Postgres(folder / "postgres", port=free_port(), user="labeler", password="only-here", log=folder / "log")  # noqa: S106
    server.start()
    return server


def prepare(folder: Path, server: Any) -> None:
    """Settings, tables."""
    os.environ |= {
        "LABELER_MODE": "test", "LABELER_SECRET_KEY": "only-here", "DATABASE_URL": server.url("postgres"),
        "PLATFORM_DATABASE_URL": server.url("postgres"), "REDIS_URL": "redis://127.0.0.1:1/0",
        "LABELER_STORE_FOLDER": str(folder / "labeler"), "PLATFORM_STORE_FOLDER": str(folder / "platform"),
        "LABELER_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "labeler.settings", "LABELER_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def measure(count: int) -> None:
    """Generate, then time each step against a COPY."""
    from versions import artifacts, autosave, publishing
    from versions.publishing import PublishWish

    task = generate(count)
    base = timed("generated", lambda: copy_out())[0]
    print(f"{count:,} annotations on {count // PER_IMAGE:,} images; a raw COPY of them is 1.00")
    start = peak()

    def publish() -> Any:
        return publishing.request_publish(task, PublishWish(), by="bench")

    def files(version: Any) -> None:
        with artifacts.scratch() as out:
            artifacts.build_published(version, task, ["dice", "coco", "yolo"], out)

    first = report("first freeze (every row stored once)", base, publish)
    report("the three files of it, in one pass", base, lambda: files(first))
    touch(task)
    report("second freeze, 0.5 % of the images changed", base, publish)
    report("a working save, uploaded to a folder", base, lambda: autosave.save_working(task, trigger="manual", by="b"))
    print(f"peak memory of the process: {peak():.0f} MB, {peak() - start:.0f} MB of it since the rows were there")


def generate(count: int) -> Any:
    """A project with confirmed boxes, made in SQL."""
    from django.db import connection

    from annotations import images, projects
    from annotations.acting import acting
    from annotations.images import FoundImage
    from annotations.models import Project

    project = projects.create_project(
        dataset_id="ds_bench", dataset_name="Bench", name="Bench", by="bench", task_types=["detection"]
    )
    project = Project.objects.prefetch_related("tasks").get(pk=project.pk)
    task = projects.task_of(project, None)
    projects.create_class(task, name="Cell", by="bench")
    found = [FoundImage(f"{n // 1000:04}/{n:07}.jpg", 1920, 1080, 3, 1, "", None) for n in range(count // PER_IMAGE)]
    images.register_images(project, found)
    with acting("bench"), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id,"
            " attributes, state, version, created_by, created_at, updated_by, updated_at, confirmed_by, confirmed_at)"
            " SELECT i.project_id, i.id, 'detection', 'bbox', jsonb_build_object('type', 'bbox', 'bbox', b), b, 2400,"
            " c.id, '{}', 'confirmed', 1, 'ann', now(), 'ann', now(), 'ann', now() FROM dataset_images i, classes c,"
            " generate_series(1, %s) n, LATERAL (SELECT jsonb_build_array(n * 40, (i.id * 7) %% 900, 40.5, 60)) x(b)",
            [PER_IMAGE],
        )
        cursor.execute("UPDATE image_annotation_status SET status = 'completed', is_image_confirmed = true")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return task


def touch(task: Any) -> None:
    """Change one annotation on every two hundredth image, and confirm it again."""
    from django.db import connection

    from annotations.acting import acting

    with acting("bench"), connection.cursor() as cursor:
        cursor.execute("UPDATE annotations SET notes = 'x' WHERE image_id %% 200 = 0 AND id %% %s = 0", [PER_IMAGE])


def copy_out() -> None:
    """The whole table as PostgreSQL hands it out."""
    from django.db import connection

    with connection.cursor() as cursor, cursor.copy("COPY annotations TO STDOUT") as copy:
        for _ in copy:
            pass


def timed(name: str, act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


def report(name: str, base: float, act: Callable[[], Any]) -> Any:
    """Time a step and print its ratio."""
    seconds, result = timed(name, act)
    print(f"{seconds / base:8.2f}  {name}", flush=True)
    return result


def peak() -> float:
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
