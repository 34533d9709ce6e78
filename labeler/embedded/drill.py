"""``python -m labeler.embedded.drill``: lose a database on purpose, bring it back, and measure both.

A system of its own, in a folder of its own that is gone afterwards: nothing of yours is touched. Somebody draws,
corrects, deletes and publishes over HTTP and writes down every answer; in the middle of it PostgreSQL is killed and
its files are removed. What docs/recovery.md says for that day is done, and the result is compared with what was
written down.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from labeler.embedded.postgres import ServerFailed
from labeler.embedded.processes import free_port
from labeler.embedded.up import PYTHON, ROOT, manage, start_servers

OURS = ("LABELER_", "PLATFORM_", "DATABASE_URL", "REDIS_URL")
# A loss of more than this many seconds of work is a failed drill: the journal's interval, and a slow machine.
BEARABLE = 30.0


@dataclass
class Ledger:
    """What was acknowledged: the boxes of each annotation (None: deleted) and when it was last heard of, images with
    the time, versions."""

    boxes: dict[int, list[list[float] | None]] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)
    confirmed: dict[str, float] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)

    def note(self, annotation_id: int, box: list[float] | None) -> None:
        """An answer came."""
        self.boxes.setdefault(annotation_id, []).append(box)
        self.heard[annotation_id] = time.monotonic()


@dataclass
class Outcome:
    """What the drill found; times in seconds."""

    acknowledged: int = 0
    lost: int = 0
    lost_seconds: float = 0.0
    wrong: int = 0
    versions: list[str] = field(default_factory=list)
    versions_lost: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Nothing wrong, no version gone, seconds of work at most."""
        return not (self.wrong or self.versions_lost) and self.lost_seconds <= BEARABLE


def main() -> int:
    """Run the drill and print its figures; returns the exit code."""
    options = _options()
    # Told to stop, it ends its servers and removes its folder all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="labeler-drill-"))
    try:
        outcome = drill(folder, seconds=options.seconds)
    except (ServerFailed, OSError) as error:
        print(f"The drill could not be held: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(asdict(outcome)) if options.json else _told(outcome), flush=True)
    return 0 if outcome.passed else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m labeler.embedded.drill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="how long to work before the loss (20)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def drill(folder: Path, *, seconds: float) -> Outcome:
    """Work, lose the database, bring it back, compare."""
    outcome, ledger = Outcome(), Ledger()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    os.environ.clear()
    os.environ.update(environment, LABELER_DATA=str(folder), LABELER_PORT=str(free_port()))
    with _running(folder) as run:
        work(_Client(folder), ledger, seconds)
        lost_at = time.monotonic()
        lose_the_database(folder)
        run.wait(60)
    began = time.monotonic()
    with ExitStack() as servers:
        bring_back(folder, servers, outcome)
        compare(folder, ledger, lost_at, outcome)
    outcome.seconds["all"] = round(time.monotonic() - began, 1)
    return outcome


@contextmanager
def _running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The whole system, as ``make run`` starts it, with the demo dataset."""
    log = (folder / "run.log").open("wb")
    run = subprocess.Popen(
        [PYTHON, "-m", "labeler.embedded.up", "--quiet"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        _wait_until_greeted(folder / "run.log", run)
        yield run
    finally:
        run.terminate()
        run.wait(60)
        log.close()


def _wait_until_greeted(log: Path, run: subprocess.Popen[bytes]) -> None:
    for _ in range(1800):
        if "Labeler is running" in log.read_text(errors="replace"):
            return
        if run.poll() is not None:
            break
        time.sleep(0.1)
    raise ServerFailed(f"the system did not start:\n{log.read_text(errors='replace')[-2000:]}")


# Working ----------------------------------------------------------------------------------------


class _Client:
    """The demo's person at the API."""

    def __init__(self, folder: Path) -> None:
        self.address = f"http://127.0.0.1:{os.environ['LABELER_PORT']}/api/v1"
        self.token = json.loads((folder / "demo.json").read_text())["token"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """The answer; raises OSError for any other than success."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None


def work(api: _Client, ledger: Ledger, seconds: float) -> None:
    """Two thirds of the time before a publish, one after it; every answer is written down."""
    project = api("GET", "/projects")[0]["id"]
    images = [image["id"] for image in api("GET", f"/projects/{project}/images?limit=200")["images"]]
    label(api, ledger, project, images[14:27], seconds * 2 / 3)
    version = api("POST", f"/projects/{project}/versions/publish?wait=20", {})
    ledger.versions.append(version["version_number"])
    label(api, ledger, project, images[27:], seconds / 3)


def label(api: _Client, ledger: Ledger, project: str, images: list[str], seconds: float) -> None:
    """Draw on one image after the other until the time is over: four boxes, one corrected, one deleted, confirmed."""
    until, turn = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        image = images[turn % len(images)]
        ids = [_draw(api, ledger, project, image, turn + number) for number in range(4)]
        box = [3.5, 4.25, 20.0 + turn, 30.0]
        api("PATCH", f"/annotations/{ids[0]}", {"geometry": {"type": "bbox", "bbox": box}})
        ledger.note(ids[0], box)
        api("DELETE", f"/annotations/{ids[1]}")
        ledger.note(ids[1], None)
        api("POST", f"/projects/{project}/images/{quote(image)}/confirm", {})
        ledger.confirmed[image] = time.monotonic()
        turn += 1


def _draw(api: _Client, ledger: Ledger, project: str, image: str, number: int) -> int:
    box = [10.0 + number % 200, 20.0, 30.0, 40.0]
    geometry = {"type": "bbox", "bbox": box}
    body = {"project_id": project, "image_id": image, "annotation_type": "bbox", "geometry": geometry}
    made = api("POST", "/annotations", {**body, "class_name": "RBC"})
    ledger.note(made["id"], box)
    return made["id"]


# Losing and bringing back -------------------------------------------------------------------------


def lose_the_database(folder: Path) -> None:
    """Kill PostgreSQL and remove all its files."""
    data = folder / "postgres"
    os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    shutil.rmtree(data, ignore_errors=True)
    # Children of the killed server may write while they end.
    time.sleep(0.5)
    shutil.rmtree(data, ignore_errors=True)


def bring_back(folder: Path, servers: ExitStack, outcome: Outcome) -> None:
    """As docs/recovery.md says: an empty database, migrate, rebuild, proof."""
    environment, _ = _timed(outcome, "new server", lambda: start_servers(folder, servers))
    os.environ.update(environment)
    for command in (["migrate", "--verbosity", "0"], ["rebuild_from_stores"], ["verify_artifacts"]):
        _timed(outcome, command[0], lambda command=command: manage(environment, *command))  # type: ignore[misc]


def _timed(outcome: Outcome, name: str, do: Any) -> Any:
    began = time.monotonic()
    done = do()
    outcome.seconds[name] = round(time.monotonic() - began, 1)
    return done


def compare(folder: Path, ledger: Ledger, lost_at: float, outcome: Outcome) -> None:
    """Every answer against what is there now."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        found = database.execute("SELECT id, geometry->'bbox' FROM annotations").fetchall()
        boxes: dict[int, list[float]] = dict(found)
        done = {path for (path,) in database.execute(
            "SELECT i.path FROM image_annotation_status s JOIN dataset_images i ON i.id = s.image_id"
            " WHERE s.status = 'completed'")}  # fmt: skip
        versions = {number for (number,) in database.execute(
            "SELECT version_number FROM annotation_versions WHERE version_type = 'published'")}  # fmt: skip
    outcome.acknowledged = len(ledger.boxes)
    lost = [ledger.heard[key] for key, said in ledger.boxes.items() if boxes.get(key) != said[-1]]
    outcome.lost = len(lost)
    lost += [heard for image, heard in ledger.confirmed.items() if image not in done]
    outcome.lost_seconds = round(lost_at - min(lost), 1) if lost else 0.0
    outcome.wrong = sum(key in ledger.boxes and box not in ledger.boxes[key] for key, box in boxes.items())
    outcome.versions = sorted(versions)
    outcome.versions_lost = [number for number in ledger.versions if number not in versions]


def _told(outcome: Outcome) -> str:
    times = ", ".join(f"{name} {seconds} s" for name, seconds in outcome.seconds.items())
    return "\n".join(
        [
            f"annotations acknowledged    {outcome.acknowledged}",
            f"of these lost or older      {outcome.lost}; other than they ever were: {outcome.wrong}",
            f"work lost, at most          {outcome.lost_seconds} s before the loss",
            f"published versions          {', '.join(outcome.versions)}; lost: {len(outcome.versions_lost)}",
            f"time to bring it back       {times}",
            "PASSED" if outcome.passed else "FAILED",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
