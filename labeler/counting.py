"""Where the counters of all processes meet: files in one folder, one set for each process."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from django.conf import settings
from prometheus_client import values

WEEK = 7 * 24 * 3600


def share_counters() -> None:
    """Let this process and those it forks count into ``LABELER_DATA/metrics``; to be called before anything counts.

    Files nobody wrote to for a week, of processes long gone, are let go.
    """
    folder = Path(settings.DATA_DIR) / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.db"):
        if path.stat().st_mtime < time.time() - WEEK:
            path.unlink(missing_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    # The host too: containers that share the folder have the same process ids.
    host = socket.gethostname().replace("_", "-")
    values.ValueClass = values.MultiProcessValue(lambda: f"{host}-{os.getpid()}")
