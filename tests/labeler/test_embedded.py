"""The servers of one command: made, found again, killed, never two on one folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from annotations.models import PlatformDataset
from labeler.embedded.processes import free_port, port_is_taken
from tests.system import ROOT


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
