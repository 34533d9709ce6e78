"""Real servers for the tests: PostgreSQL, Valkey and an S3 server, started once, gone with the run.

A pytest plugin (``-p tests.servers``): the process that starts pytest starts the servers and tells
them to its workers through the environment; nothing has to run beforehand.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from labeler.embedded import platform_db
from labeler.embedded.broker import Broker
from labeler.embedded.postgres import Postgres
from labeler.embedded.processes import ends_with_us, free_port
from tests.ceph import Ceph

ROOT = Path(__file__).resolve().parent.parent
READER_PASSWORD = "reader-of-the-tests"
# The database every other one with our tables is a copy of: migrations take longer than most tests.
TEMPLATE = "labeler_template"
_running: list = []


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config, parser, args):
    """Before Django reads its settings: servers and environment."""
    if "TEST_DATA" not in os.environ:
        start_servers()
    _settle_worker(os.environ.get("PYTEST_XDIST_WORKER", "main"))
    return (yield)


def start_servers(*, ceph: bool = True) -> None:
    """Start everything (Ceph where it is installed and wanted) in a temporary folder, named in the environment."""
    data = Path(tempfile.mkdtemp(prefix="labeler-tests-", dir=_memory()))
    server = Postgres(data / "postgres", port=free_port(), user="labeler", password="tests-only-1",
                      log=data / "postgres.log", durable=False)  # fmt: skip
    server.start()
    migrating = start_template(server.url("postgres"), data)
    broker = Broker(data / "broker", port=free_port(), password="tests-only-2", log=data / "broker.log")
    broker.start()
    moto, endpoint = _start_moto(data)
    _running.extend([data, server, broker, moto])
    os.environ.update(
        TEST_DATA=str(data),
        TEST_SERVER_URL=server.url("postgres"),
        TEST_BROKER_PORT=str(broker.port),
        TEST_S3_MOTO=endpoint,
        AWS_EC2_METADATA_DISABLED="true",
    )
    gateway = Ceph.start_if_installed(data) if ceph else None
    if gateway is not None:
        _running.append(gateway)
        os.environ["TEST_S3_CEPH"] = gateway.endpoint
    wait_for_template(migrating)


def start_template(server_url: str, data: Path) -> subprocess.Popen[str]:
    """Begin to make the database with our tables that others are copied from; ``wait_for_template`` ends it."""
    platform_db.create_database(server_url, TEMPLATE)
    database = f"{server_url.rsplit('/', 1)[0]}/{TEMPLATE}"
    environment = os.environ | {
        "LABELER_MODE": "test", "LABELER_SECRET_KEY": "only-for-tests-" * 5, "DATABASE_URL": database,
        "PLATFORM_DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0", "LABELER_DATA": str(data),
        "LABELER_STORE_FOLDER": str(data / "nothing"), "PLATFORM_STORE_FOLDER": str(data / "nothing"),
        # A migration writes it into the timetable of every copy.
        "LABELER_SWEEP_SECONDS": "1",
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_template(migrating: subprocess.Popen[str]) -> None:
    """Raises RuntimeError with what ``migrate`` said, if it failed."""
    said, _ = migrating.communicate()
    if migrating.returncode:
        raise RuntimeError(f"The migrations failed:\n{said}")


def copy_of_template(server_url: str, name: str) -> None:
    """A new database with our tables."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        words = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(words.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))


def _memory() -> str | None:
    """A folder in memory where there is plenty: nothing here must outlive the run, and a disk makes each write wait."""
    try:
        return "/dev/shm" if shutil.disk_usage("/dev/shm").free > 8 * 2**30 else None
    except FileNotFoundError:
        return None


def _start_moto(data: Path) -> tuple[subprocess.Popen, str]:
    port = free_port()
    with (data / "moto.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=ends_with_us(signal.SIGKILL),
        )  # fmt: skip
    endpoint = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
            return process, endpoint
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"moto did not start: {(data / 'moto.log').read_text()}")


def _settle_worker(worker: str) -> None:
    """Each worker has its own databases, queue and folders."""
    server = os.environ["TEST_SERVER_URL"].rsplit("/", 1)[0]
    platform = f"platform_{worker}"
    platform_db.create_database(os.environ["TEST_SERVER_URL"], platform)
    _create_platform(f"{server}/{platform}")
    address = server.rpartition("@")[2]
    folder = Path(os.environ["TEST_DATA"]) / worker
    queue = 0 if worker == "main" else 1 + int(worker.removeprefix("gw"))
    os.environ.update(
        LABELER_MODE="test",
        LABELER_SECRET_KEY="only-for-tests-" * 5,
        DATABASE_URL=f"{server}/labeler_{worker}",
        PLATFORM_DATABASE_URL=f"postgres://{platform_db.READER}:{READER_PASSWORD}@{address}/{platform}",
        PLATFORM_OWNER_URL=f"{server}/{platform}",
        REDIS_URL=f"redis://:tests-only-2@127.0.0.1:{os.environ['TEST_BROKER_PORT']}/{queue}",
        LABELER_STORE_FOLDER=str(folder / "labeler-store"),
        PLATFORM_STORE_FOLDER=str(folder / "platform-store"),
        LABELER_DATA=str(folder / "data"),
    )


def _create_platform(owner_url: str) -> None:
    # Roles belong to the whole server: two workers making the reader at once wait for each other.
    for attempt in range(10):
        try:
            platform_db.create_platform(owner_url, READER_PASSWORD)
            return
        except (
            psycopg.errors.UniqueViolation,
            psycopg.errors.InternalError_,
            psycopg.errors.DuplicateObject,
        ):
            time.sleep(0.1 * (attempt + 1))
    platform_db.create_platform(owner_url, READER_PASSWORD)


def pytest_unconfigure(config) -> None:
    """Stop what this process started."""
    if not _running:
        return
    data, *servers = _running
    for server in reversed(servers):
        if isinstance(server, subprocess.Popen):
            server.kill()
            server.wait()
        else:
            server.stop()
    shutil.rmtree(data, ignore_errors=True)
    _running.clear()


def pytest_terminal_summary(terminalreporter) -> None:
    """Say which S3 servers the tests spoke to."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    found = "moto and Ceph radosgw" if os.environ.get("TEST_S3_CEPH") else (
        "moto ONLY: Ceph radosgw is not installed here, so signatures and expiry of S3 links were NOT tested"
        " (apt-get install ceph-mon ceph-osd radosgw)"
    )  # fmt: skip
    terminalreporter.write_line(f"S3 servers: {found}", yellow="ONLY" in found)
