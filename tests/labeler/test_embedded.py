"""The servers of one command: made, found again, killed, never two on one folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys

import psycopg
import pytest

from annotations.models import PlatformDataset
from labeler.embedded.broker import Broker
from labeler.embedded.postgres import Postgres, ServerFailed, find_binaries
from labeler.embedded.processes import free_port, port_is_taken
from labeler.embedded.state import State
from tests.system import ROOT


@pytest.fixture
def server(tmp_path):
    made = Postgres(tmp_path / "data", port=free_port(), user="labeler", password="pw-1", log=tmp_path / "log")
    made.start()
    yield made
    made.stop()


def test_rows_survive_a_kill_and_a_restart(server):
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000)")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.start()
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)


def test_a_wrong_password_is_refused(server):
    wrong = server.url("postgres").replace("pw-1", "pw-2")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(wrong)


def test_the_server_never_runs_as_root(server):
    told = subprocess.run(["ps", "-o", "args=", "-p", str(server.process.pid)], capture_output=True, text=True)
    assert "postgres" in told.stdout
    assert server.binaries.found_by and find_binaries().major >= 15


def test_data_of_another_major_is_named_and_not_touched(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    made = Postgres(data, port=free_port(), user="labeler", password="pw", log=tmp_path / "log")
    with pytest.raises(ServerFailed, match="was made by PostgreSQL 9"):
        made.start()


def test_the_broker_wants_its_password_and_keeps_its_queue(tmp_path):
    import redis

    broker = Broker(tmp_path / "broker", port=free_port(), password="pw-3", log=tmp_path / "log")
    broker.start()
    try:
        with redis.Redis.from_url(broker.url()) as client:
            client.rpush("celery", "task")
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=broker.port) as stranger:
            stranger.ping()
        os.kill(broker.process.pid, signal.SIGKILL)
        broker.process.wait()
        broker.start()
        with redis.Redis.from_url(broker.url()) as client:
            assert client.lrange("celery", 0, -1) == [b"task"]
    finally:
        broker.stop()


def test_what_a_folder_remembers_is_for_its_owner_only_and_stays(tmp_path):
    state = State.load(tmp_path)
    assert State.load(tmp_path) == state
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert (
        State.load(tmp_path / "..").secret_key != state.secret_key
        if (tmp_path / ".." / "state.json").exists()
        else True
    )


@pytest.mark.django_db
def test_postgresql_itself_refuses_to_write_the_platforms_database(platform_rows):
    platform_rows(datasets=[("d", "n", 1)])
    from django.db import connections
    from django.db.utils import DatabaseError

    with pytest.raises(DatabaseError, match=r"read-only|permission"):
        PlatformDataset.objects.filter(pk="d").update(name="x")
    with pytest.raises(DatabaseError), connections["platform"].cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off; UPDATE datasets SET name = 'x'")
    connections["platform"].close()


# The one command ------------------------------------------------------------------------------------


def up(data, port: int, *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LABELER_", "PLATFORM_"))}
    for name in ("DATABASE_URL", "REDIS_URL"):
        kept.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "labeler.embedded.up", "--quiet", *arguments],
        env={**kept, "LABELER_DATA": str(data), "LABELER_PORT": str(port)}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def read_until(running: subprocess.Popen[str], said: str) -> str:
    lines = []
    for line in running.stdout:
        lines.append(line)
        if said in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_a_taken_port_is_a_clear_message(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port_is_taken("127.0.0.1", port)
        done = up(tmp_path, port)
        told, _ = done.communicate(timeout=30)
    assert done.returncode == 1 and f"port {port} is taken" in told and "LABELER_PORT" in told
    assert not (tmp_path / "postgres").exists()


def test_one_command_runs_stops_cleanly_and_starts_again_with_all_data(tmp_path):
    data, port = tmp_path / "var", free_port()
    running = up(data, port)
    try:
        told = read_until(running, "Ctrl+C")
        assert f"http://127.0.0.1:{port}/" in told and "login    demo" in told and "token" in told
        second = up(data, free_port())
        assert "another run uses" in second.communicate(timeout=30)[0] and second.returncode == 1
        reset = subprocess.run(
            [sys.executable, "-m", "labeler.embedded.reset", "--yes"], cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, "LABELER_DATA": str(data)},
        )  # fmt: skip
        assert reset.returncode == 1 and "stop it first" in reset.stderr
    finally:
        running.send_signal(signal.SIGINT)
        rest = running.communicate(timeout=60)[0]
    assert running.returncode == 0 and "all data is kept" in rest
    left = subprocess.run(["pgrep", "-f", str(data)], capture_output=True, text=True).stdout.split()
    assert left == [], "something still runs"
    again = up(data, port)
    try:
        assert read_until(again, "Ctrl+C").count("Opened") == 0, "the demo is there"
    finally:
        again.send_signal(signal.SIGINT)
        again.communicate(timeout=60)
    reset = subprocess.run(
        [sys.executable, "-m", "labeler.embedded.reset", "--yes"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "LABELER_DATA": str(data)},
    )  # fmt: skip
    assert reset.returncode == 0 and not data.exists()
    shutil.rmtree(data, ignore_errors=True)
