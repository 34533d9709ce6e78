"""The web server's worker process: new connections are spread evenly, and the garbage of the start is looked at once.

All processes listen on one socket, and whoever looks first takes a connection; kept open, most of the clients would be
served by one process while another idles beside it.
"""

from __future__ import annotations

import gc
import mmap
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# Seconds a process leaves a new connection to the one that holds fewer, which may be too busy to take it.
PATIENCE = 0.05
# Seconds between two looks whether it still holds fewer.
STEP = 0.005
# Seconds after which a process that said nothing is gone; a living one speaks each second.
SILENT = 3.0
# Processes that can be told apart: those of now, and those that end while others take their place.
SLOTS = 64
# A request makes some thousand objects and lets go of them by itself; looking for cycles after each 700 costs more.
COLLECT_AFTER = 50_000

# One memory for all processes, as it is made before they are forked: when each spoke last, and its connections then.
_board = memoryview(mmap.mmap(-1, 16 * SLOTS)).cast("d")


class EvenWorker(ThreadWorker):
    """gunicorn's worker with threads, which leaves a new connection to whichever process holds the fewest."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.slot = self.age % SLOTS
        self.left_at: float | None = None

    def run(self) -> None:
        """As gunicorn's; what was loaded until now stays, so the collector need not look at it again."""
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 10, 10)
        super().run()

    def accept(self, listener: Any) -> None:
        """As gunicorn's, unless another holds fewer: that one has ``PATIENCE`` to take the connection."""
        now = time.monotonic()
        if self._leaves_it(now):
            return
        self.left_at = None
        super().accept(listener)
        self._tell()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As gunicorn's, deaf to new connections while one is left to another."""
        self._tell()
        now = time.monotonic()
        if self.left_at is not None and now - self.left_at > 2 * PATIENCE:
            self.left_at = None
        if self.left_at is not None and self._leaves_it(now):
            self.set_accept_enabled(False)
            timeout = min(timeout, STEP)
        super().wait_for_and_dispatch_events(timeout)

    def _leaves_it(self, now: float) -> bool:
        """Whether a connection is another's to take; from the first time on, for ``PATIENCE``."""
        if not self._another_holds_fewer(now):
            self.left_at = None
            return False
        if self.left_at is None:
            self.left_at = now
        return now - self.left_at < PATIENCE

    def _tell(self) -> None:
        """Say how many connections are held; one who stops takes no more, so he is not waited for."""
        spoke = time.monotonic() if self.alive else 0.0
        _board[2 * self.slot], _board[2 * self.slot + 1] = spoke, self.nr_conns

    def _another_holds_fewer(self, now: float) -> bool:
        return any(
            _board[2 * slot + 1] < self.nr_conns
            for slot in range(SLOTS)
            if slot != self.slot and now - _board[2 * slot] < SILENT
        )
