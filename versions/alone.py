"""Doing a thing at most once at a time, across all processes, without a lease that must be renewed.

A session-level advisory lock of PostgreSQL: when the process dies, its connection closes and the
lock is free at once; when its host or the network vanishes, two minutes later (keepalives in
labeler/settings.py). It keeps work from being done twice; that a twice-done step does no harm is
the stores' business (create-only writes, compare-and-swap).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

# If the wait is given up, PostgreSQL takes the setting back with the statement.
WAIT = """SELECT set_config('lock_timeout', %s, false), pg_advisory_lock(%s, %s),
    set_config('lock_timeout', '0', false)"""


def _key(kind: str, subject: object) -> tuple[int, int]:
    return _signed(zlib.crc32(kind.encode())), _signed(zlib.crc32(str(subject).encode()))


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


@contextmanager
def alone(kind: str, subject: object, *, wait: bool = False, seconds: int = 0) -> Iterator[bool]:
    """True while this process is the only one doing ``kind`` for ``subject``; with ``wait`` it queues for it, at most
    ``seconds`` (0: without end) and then raises OperationalError."""
    key = _key(kind, subject)
    with connection.cursor() as cursor:
        if wait:
            cursor.execute(WAIT, [f"{seconds}s", *key])
            mine = True
        else:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
            mine = cursor.fetchone()[0]
    try:
        yield mine
    finally:
        if mine:
            _release(key)


def is_held(kind: str, subject: object) -> bool:
    """True while some process does ``kind`` for ``subject``; only looks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid::bigint = %s AND objid::bigint = %s)",
            [part & 0xFFFFFFFF for part in _key(kind, subject)],
        )
        return cursor.fetchone()[0]


def _release(key: tuple[int, int]) -> None:
    # A lost connection has given the lock back already.
    if connection.connection is None or connection.connection.closed:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
