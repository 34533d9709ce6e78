"""Servers of a benchmark's own: started for it, gone afterwards; and what every benchmark measures with."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any


def alone(act: Callable[..., Any], *arguments: Any) -> Any:
    """What ``act`` gives, in a process of its own: Django reads once where its servers are; each size has others."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(act, *arguments).result()


@contextmanager
def servers() -> Iterator[Path]:
    """A PostgreSQL with Labeler's tables, folder stores; Django is set up. Yields the folder all of it lies in."""
    folder = Path(tempfile.mkdtemp(prefix="labeler-benchmark-"))
    server = _postgres(folder)
    try:
        _set_up(folder, server.url("postgres"))
        yield folder
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _postgres(folder: Path) -> Any:
    from labeler.embedded.postgres import Postgres
    from labeler.embedded.processes import free_port

    server = Postgres(folder / "postgres", port=free_port(), user="labeler", password="only-here", log=folder / "log")  # noqa: S106
    server.start()
    return server


def _set_up(folder: Path, database: str) -> None:
    os.environ |= {
        "LABELER_MODE": "test", "LABELER_SECRET_KEY": "only-here", "DATABASE_URL": database,
        "PLATFORM_DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0",
        "LABELER_STORE_FOLDER": str(folder / "labeler"), "PLATFORM_STORE_FOLDER": str(folder / "platform"),
        "LABELER_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "labeler.settings", "LABELER_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


def memory(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """By how many MiB the process grew above what it was before, at the highest; how many its renderers held beside,
    looked at ten times a second; and the result."""
    Path("/proc/self/clear_refs").write_text("5")
    before, is_over = _status("VmRSS"), Event()
    with ThreadPoolExecutor(1) as watcher:
        beside = watcher.submit(_held_beside, is_over)
        try:
            result = act()
        finally:
            is_over.set()
        return max(0.0, _status("VmHWM") - before), beside.result(), result


def _held_beside(is_over: Event) -> float:
    most = 0.0
    while not is_over.wait(0.1):
        most = max(most, sum(map(_held_by_renderer, _children())))
    return most


def _children() -> list[str]:
    """Of all threads: a process belongs to the one that began it."""
    found = []
    for each in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found += each.read_text().split()
    return found


def _held_by_renderer(process: str) -> float:
    """MiB that would be free without it."""
    at = Path(f"/proc/{process}")
    try:
        # Asked first: before it is what it is to be, it is a copy of ours.
        is_one = "exports.renderers" in (at / "cmdline").read_text()
        held = (at / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in held if line.startswith("Private_")) / 1024 if is_one else 0.0


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


class Statements:
    """Counts what PostgreSQL is sent, in its own log: through whichever cursor, COPY included. A FETCH only takes more
    of a query's rows, so it is not counted."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def count(self, act: Callable[[], Any]) -> int:
        """How many statements ``act`` sends."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SET log_statement = 'all'")
        before = self.log.stat().st_size
        act()
        with connection.cursor() as cursor:
            cursor.execute("SET log_statement = 'none'")
        with self.log.open("rb") as file:
            file.seek(before)
            lines = file.read().decode(errors="replace").splitlines()
        said = [line for line in lines if ": " in line and ("statement: " in line or "execute " in line)]
        return sum("FETCH FORWARD" not in line and "log_statement" not in line for line in said)


def database_bytes() -> int:
    """The size of the database on disk."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return cursor.fetchone()[0]


def vacuum() -> None:
    """As autovacuum would after a bulk change."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def forget_versions() -> None:
    """As if the only project of this database had never been published or saved: its triggers are off meanwhile."""
    from django.conf import settings
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE save_states SET last_version_id = NULL, content_hash = '', last_saved_at = NULL")
        cursor.execute("TRUNCATE frozen_annotations, version_images")
        for table in ("version_exports", "frozen_versions", "annotation_versions"):
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("SET session_replication_role = origin")
    shutil.rmtree(Path(settings.STORAGES["labeler"]["OPTIONS"]["location"]), ignore_errors=True)
    vacuum()


def forget_everything() -> None:
    """As if there had never been a project: all tables but those that migrations fill are emptied."""
    from django.conf import settings
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "TRUNCATE projects, annotations, annotation_history, image_history, class_history, image_marks CASCADE"
        )
        cursor.execute("SET session_replication_role = origin")
    shutil.rmtree(Path(settings.STORAGES["labeler"]["OPTIONS"]["location"]), ignore_errors=True)
    vacuum()


def copy_out(project_id: str) -> None:
    """The unit: all annotations of a project as PostgreSQL hands them out, to nowhere."""
    from django.db import connection
    from psycopg.sql import SQL, Literal

    wanted = SQL("COPY (SELECT * FROM annotations WHERE project_id = {}) TO STDOUT").format(Literal(project_id))
    with connection.cursor() as cursor, cursor.copy(wanted) as copy:
        for _ in copy:
            pass
