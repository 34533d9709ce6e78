"""Children: each in a process group of its own, ended with us, their output told apart by a name in front."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1


def ends_with_us(stop_signal: int) -> Callable[[], None]:
    """For ``preexec_fn``: the kernel sends the child ``stop_signal`` when this process dies, however it dies."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, stop_signal)

    return prepare


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_is_taken(host: str, port: int) -> bool:
    """True if somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


class Child:
    """One long-running program; its lines go to a file and, prefixed, to our output."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        echo: bool = True,
    ) -> None:
        self.name, self.echo = name, echo
        # A group, so that all of it can be killed; no session, as a kernel that groups processes by session looks at
        # no niceness between those.
        self.process = subprocess.Popen(
            list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, process_group=0, preexec_fn=ends_with_us(signal.SIGTERM),
        )  # fmt: skip
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._copy, args=(self.process.stdout, log), daemon=True)
        self._reader.start()

    def _copy(self, lines: IO[bytes], log: Path) -> None:
        with log.open("ab", buffering=0) as out:
            for line in lines:
                out.write(line)
                if self.echo:
                    sys.stdout.write(f"{self.name:<7}| {line.decode(errors='replace')}")
                    sys.stdout.flush()

    def stop(self, grace: float = 20) -> None:
        """One TERM (beat deadlocks on a second), then KILL for what does not listen."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._reader.join(5)
