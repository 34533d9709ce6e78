"""Dumps of the whole database in the labeler store: accounts, tokens and old history too, which no record holds.

PostgreSQL's own programs make and read them. A dump is complete when its ``metadata.json`` lies beside it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import connection
from django.utils import timezone

from exports import keys, stores
from exports.errors import ExportError, StoreRefused
from labeler.embedded.postgres import ServerFailed, find_binaries
from versions import artifacts
from versions.alone import alone

# Sessions let somebody in and caches are made again: their rows stay out, their tables come.
WITHOUT_ROWS = ("django_session", "undo_targets", "told_statuses", "idempotency_keys")
DUMP_TYPE = "application/octet-stream"


class DumpError(ExportError):
    """A dump could not be made or brought back; the message says why and what to do."""


@dataclass(frozen=True)
class Dump:
    """A complete dump in the store."""

    name: str
    taken_at: datetime
    size: int
    sha256: str


def dump() -> Dump | None:
    """Dump the database into the store, then let old dumps go; None while another process is at it.

    Raises DumpError when a program is missing or fails, StoreError when the store does.
    """
    with alone("dump", "database") as mine:
        if not mine:
            return None
        taken_at = timezone.now().astimezone(UTC).replace(microsecond=0)
        with artifacts.scratch() as folder:
            made = _upload(_run_dump(folder / "database.dump"), taken_at)
        prune()
        return made


def _run_dump(path: Path) -> Path:
    without = [f"--exclude-table-data={name}" for name in WITHOUT_ROWS]
    _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", *without, f"--file={path}")
    return path


def _upload(path: Path, taken_at: datetime) -> Dump:
    name = taken_at.strftime("%Y%m%dT%H%M%SZ")
    made = Dump(name, taken_at, path.stat().st_size, stores.sha256_of_file(path))
    artifacts.put_new(keys.dump(name), path, DUMP_TYPE, made.sha256)
    metadata = {"dump": 1, "taken_at": taken_at.isoformat(), "size_bytes": made.size, "sha256": made.sha256}
    artifacts.put_bytes(keys.dump_metadata(name), orjson.dumps(metadata))
    return made


def restore(name: str | None = None) -> Dump:
    """Bring a dump (the newest if none is named) into the database, which must be empty, all of it or nothing.

    Raises DumpError for a database with tables, a name that is not there, other bytes than were written.
    """
    _refuse_tables()
    found = _chosen(name)
    with artifacts.scratch() as folder:
        path = folder / "database.dump"
        digest = stores.download("labeler", keys.dump(found.name), path)
        if digest != found.sha256:
            raise StoreRefused(f"The dump {found.name} holds other bytes than were written; take another one.")
        _run("pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error",
             f"--dbname={connection.settings_dict['NAME']}", str(path))  # fmt: skip
    return found


def _refuse_tables() -> None:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    if tables:
        raise DumpError(
            f"The database {connection.settings_dict['NAME']} has {len(tables)} tables; a dump is brought into an empty"
            " one only. Make a new database (createdb), point DATABASE_URL at it and do not migrate it first."
        )


def _chosen(name: str | None) -> Dump:
    there = listed()
    if not there:
        raise DumpError("The labeler store holds no complete dump; is it the right store?")
    if name is None:
        return there[-1]
    for each in there:
        if each.name == name:
            return each
    raise DumpError(f"There is no dump {name}; there are {', '.join(each.name for each in there)}.")


def listed() -> list[Dump]:
    """Complete dumps, the oldest first."""
    names = [stored.key.split("/")[1] for stored in stores.listing("labeler", keys.DUMPS)
             if stored.key.endswith("/metadata.json")]  # fmt: skip
    return [_described(name) for name in sorted(names)]


def _described(name: str) -> Dump:
    found: dict[str, Any] = orjson.loads(stores.read_small("labeler", keys.dump_metadata(name)))
    return Dump(name, datetime.fromisoformat(found["taken_at"]), found["size_bytes"], found["sha256"])


def prune() -> list[str]:
    """Keep the dumps of the last LABELER_KEEP_DUMP_DAYS days that have any, always the newest; the others' names."""
    there = listed()
    # Days that have dumps are counted, not days of the calendar: a clock that leaps takes one of them, not all.
    days = sorted({each.taken_at.date() for each in there})[-max(settings.LABELER_KEEP_DUMP_DAYS, 1) :]
    gone = [each.name for each in there if each.taken_at.date() not in days]
    for name in gone:
        # The metadata first: half a dump is none.
        stores.remove("labeler", keys.dump_metadata(name))
        stores.remove("labeler", keys.dump(name))
    return gone


# PostgreSQL's programs ------------------------------------------------------------------------


def program(name: str) -> str:
    """Where a program of PostgreSQL lies: beside the server's, or on the PATH; raises DumpError."""
    try:
        beside = find_binaries().folder / name
    except ServerFailed:
        beside = Path(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise DumpError(f"{name} was not found: set PG_BIN to the folder of PostgreSQL's programs.")
    return found


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [program(name), *arguments], env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise DumpError(f"{name} failed: {done.stderr.strip()[-2000:]}")


def _environment() -> Mapping[str, str]:
    """The database's address as libpq reads it; the password never stands in a command line."""
    place = connection.settings_dict
    named = {"PGHOST": place["HOST"], "PGPORT": place["PORT"], "PGUSER": place["USER"], "PGPASSWORD": place["PASSWORD"],
             "PGDATABASE": place["NAME"]}  # fmt: skip
    return {**os.environ, **{name: str(value) for name, value in named.items() if value}}
