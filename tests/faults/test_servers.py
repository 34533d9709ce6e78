"""What happens to the servers beneath: the database restarted or away, a clock that jumps, a full disk.

The database here is a server of our own, as the others share theirs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from labeler.embedded.postgres import Postgres
from labeler.embedded.processes import free_port
from tests.faults.stage import Stage
from tests.servers import start_template, wait_for_template

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A PostgreSQL of our own that keeps its promises (fsync on)."""
    folder = tmp_path_factory.mktemp("server")
    made = Postgres(folder / "postgres", port=free_port(), user="labeler", password="tests-only-3",
                    log=folder / "postgres.log")  # fmt: skip
    made.start()
    wait_for_template(start_template(made.url("postgres"), folder))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def stage(server, tmp_path_factory):
    """The running system on that server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SERVER_URL", server.url("postgres"))
        made = Stage(tmp_path_factory.mktemp("stage"))
        try:
            yield made.start()
        finally:
            made.close()


def restart_at_once(server: Postgres) -> None:
    """As a power cut: no session ends in an orderly way, and what was committed is found in the log."""
    assert server.process is not None
    server.process.send_signal(signal.SIGQUIT)
    server.process.wait(30)
    server.start()


def test_a_database_restarted_in_the_middle_costs_nothing_acknowledged(server, stage, job):
    held = stage.labeler.strike("hold", "PUT", rf"exports/{job.id}/v1\.0/annotations_coco")
    job.draw(1, 1)
    job.confirm(1)
    job.publish()
    assert held.held.wait(30)
    restart_at_once(server)
    held.release.set()
    job.draw(2, 2)
    restart_at_once(server)
    job.confirm(2)
    job.publish()
    job.heal()
    job.prove()


def test_without_a_database_a_request_is_refused_soon_and_leaves_nothing(stage, job):
    job.draw(1, 1)
    stage.database.mode = "refuse"
    stage.database.cut()
    begun = time.monotonic()
    body = {"project_id": job.id, "image_id": "2.png", "annotation_type": "bbox", "class_id": "cell",
            "geometry": {"type": "bbox", "bbox": [1, 1, 5, 5]}}  # fmt: skip
    status, answer, _ = stage.olga.send("POST", "/annotations", body)
    assert (status, answer["code"]) == (503, "unavailable") and time.monotonic() - begun < 5
    assert stage.database.did("refuse") > 0
    stage.database.heal()
    stage.database.cut()
    job.draw(3, 3)
    job.heal()
    job.prove()


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (apt-get install libfaketime)")
def test_a_worker_whose_clock_runs_two_days_ahead_and_comes_back_orders_by_number(stage, job):
    ahead = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+2d", "DONT_FAKE_MONOTONIC": "1"}
    synced = "SELECT finished_at > now() + interval '1 day' FROM annotation_versions WHERE project_id = %s" \
             " AND platform_status = 'synced'"  # fmt: skip
    _new_worker(stage, ahead)
    try:
        job.draw(1, 1)
        job.confirm(1)
        job.publish()
        # To this worker the scheduler's messages are two days old and not worth doing; what a request asks for is done.
        assert stage.system.wait(lambda: stage.query(synced, job.id), "the publish") == [(True,)], "the clock did jump"
    finally:
        _new_worker(stage, dict.fromkeys(ahead))
    job.draw(2, 2)
    job.confirm(2)
    job.publish()
    job.save()
    job.heal()
    job.prove()
    saves = stage.query(
        "SELECT version_number FROM annotation_versions WHERE project_id = %s AND major = 0 ORDER BY minor", job.id
    )
    assert saves and [number for (number,) in saves] == [f"v0.{n}" for n in range(1, len(saves) + 1)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_scratch_disk_is_waited_for(stage, job, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        filler = small / "filler"
        filler.write_bytes(b"x" * 200_000)
        with filler.open("ab") as out:
            while shutil.disk_usage(small).free:
                out.write(b"x" * 4096)
                out.flush()
        _new_worker(stage, {"LABELER_SCRATCH": str(small)})
        job.draw(1, 1)
        job.confirm(1)
        number = job.publish()
        where = f"/projects/{job.id}/versions/{job.version_ids[number]}"
        stuck = stage.system.wait(lambda: (v := stage.olga("GET", where))["last_error"] and v, "a build that fails")
        assert stuck["status"] == "exporting" and stuck["exports"] == []
        filler.unlink()
        job.heal()
        job.prove()
    finally:
        _new_worker(stage, {"LABELER_SCRATCH": None})
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def _new_worker(stage: Stage, changed: Mapping[str, str | None]) -> None:
    """Another worker in place of the present one, with other variables in its environment (None: without them)."""
    stage.system.kill("worker")
    stage.wired = {name: value for name, value in {**stage.wired, **changed}.items() if value is not None}
    stage.restart("worker")
