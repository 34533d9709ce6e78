"""What one data folder remembers between runs: ports, passwords, the secret key."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from labeler.embedded.postgres import ServerFailed
from labeler.embedded.processes import free_port


@dataclass
class State:
    """Made at the first start, kept in ``state.json``, readable by its owner only."""

    postgres_port: int
    postgres_password: str
    reader_password: str
    broker_port: int
    broker_password: str
    secret_key: str

    @classmethod
    def load(cls, data: Path) -> State:
        """The folder's state; a new one if there is none."""
        path = data / "state.json"
        if path.exists():
            return cls._read(path)
        state = cls(free_port(), _password(), _password(), free_port(), _password(), secrets.token_urlsafe(60))
        state.save(data)
        return state

    @classmethod
    def _read(cls, path: Path) -> State:
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ServerFailed(
                f"{path} cannot be read ({error}). It holds the passwords of the data beside it: bring it back from"
                " a backup, or forget all data with `make reset`."
            ) from error

    def save(self, data: Path) -> None:
        """Write the state for the next start."""
        write_private(data / "state.json", json.dumps(asdict(self), indent=1))


def _password() -> str:
    return secrets.token_hex(16)


def write_private(path: Path, text: str) -> None:
    """A file nobody else may read, written whole: a crash leaves the old one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
