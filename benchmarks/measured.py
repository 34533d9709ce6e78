"""A job measured from within its own process: seconds by the clock, processor seconds, memory. The same for us and for
peers, so it needs nothing but Python."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def measured(act: Callable[[], Any], server: int | None = None) -> dict[str, float]:
    """``seconds`` by the clock, ``processor`` seconds of this process (and of the PostgreSQL whose first process is
    ``server``), ``mebibytes`` by which this process grew at the highest over what it was before."""
    Path("/proc/self/clear_refs").write_text("5")
    before, served = _status("VmRSS"), _served(server)
    worked, began = time.process_time(), time.perf_counter()
    act()
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    return {
        "seconds": seconds,
        "processor": processor + _served(server) - served,
        "mebibytes": max(0.0, _status("VmHWM") - before),
    }


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def _served(server: int | None) -> float:
    """Processor seconds of all processes a PostgreSQL has and had."""
    if server is None:
        return 0.0
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    ended = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[13:15]
    return sum(_on_processor(child) for child in children) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


def _on_processor(process: str) -> float:
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):  # ended since; it is counted next time
        return 0.0
