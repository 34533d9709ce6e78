"""Waiting in a request for work that goes on elsewhere: no transaction and no database connection is held."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import connection

PAUSES = (0.05, 0.1, 0.2, 0.3, 0.5)


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Ask ``done`` again and again for at most ``seconds``; True as soon as it is."""
    until = time.monotonic() + seconds
    for turn in range(10_000):
        if done():
            return True
        pause = PAUSES[min(turn, len(PAUSES) - 1)]
        if time.monotonic() + pause > until:
            return False
        _let_go()
        time.sleep(pause)
    return False


def _let_go() -> None:
    # Inside a transaction (a test's) there is nothing to give back.
    if not connection.in_atomic_block:
        connection.close()
