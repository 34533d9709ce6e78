"""A running Labeler with a fault proxy before every server it speaks to, and a ledger of what it acknowledged."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from PIL import Image as Picture

from tests.proxy import Proxy, Wire
from tests.system import ROOT, RunningSystem, in_path

IMAGES = 4
NO_ANSWER = (urllib.error.URLError, http.client.HTTPException, OSError)
CHECKER = """
import sys, io, json, os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")
import django; django.setup()
from django.core.management import call_command, CommandError
from django.db import connections
for line in sys.stdin:
    out = io.StringIO()
    try:
        call_command("check_invariants", *json.loads(line), stdout=out, stderr=io.StringIO())
    except (SystemExit, CommandError) as ended:
        print(f"{ended}", file=sys.stderr, flush=True)
    connections.close_all()
    print(out.getvalue().strip() or json.dumps({"findings": [], "found": -1, "refused": "no answer"}), flush=True)
"""


def picture() -> bytes:
    """A small image."""
    out = BytesIO()
    Picture.new("RGB", (320, 240), (30, 90, 160)).save(out, "PNG")
    return out.getvalue()


def moved(url: str, port: int) -> str:
    """The URL at another port."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))


class Stage:
    """The system: its programs reach stores, database and broker through proxies, the tests reach them directly."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.system = RunningSystem(folder, "moto", **settings)
        self.direct = dict(self.system.environment)
        target = os.environ["TEST_S3_MOTO"]
        self.labeler, self.platform = Proxy(target), Proxy(target)
        database, broker = urlsplit(self.direct["DATABASE_URL"]), urlsplit(self.direct["REDIS_URL"])
        self.database = Wire(database.hostname or "", database.port or 0)
        self.broker = Wire(broker.hostname or "", broker.port or 0)
        self.wired = self.direct | {
            "LABELER_STORE_ENDPOINT": self.labeler.endpoint,
            "PLATFORM_STORE_ENDPOINT": self.platform.endpoint,
            "DATABASE_URL": moved(self.direct["DATABASE_URL"], self.database.port),
            "REDIS_URL": moved(self.direct["REDIS_URL"], self.broker.port),
        }
        self.checker: subprocess.Popen[str] | None = None
        self.datasets = 0

    def start(self) -> Stage:
        """Everything, with olga who may do all, and a small image to be used again."""
        self.system.put_platform_rows([], [("olga", "Olga", None)])
        (self.system.folder / "data" / "tmp").mkdir(parents=True, exist_ok=True)
        self.system.environment = self.wired
        for name in ("beat", "worker", "web"):
            self.system.start_program(name)
        self.system.environment = self.direct
        self.system.wait(lambda: self.system._answers(), "the page")
        self.olga = self.system.person("olga", staff=True)
        self.picture = picture()
        return self

    def restart(self, name: str) -> None:
        """Start a program that was killed."""
        self.system.environment = self.wired
        self.system.start_program(name)
        self.system.environment = self.direct

    def close(self) -> None:
        """Everything ends."""
        self.calm()
        if self.checker is not None:
            self.checker.kill()
            self.checker.wait()
        self.system.stop()
        for each in (self.labeler, self.platform, self.database, self.broker):
            each.stop()
        self.system.close()

    def calm(self) -> None:
        """No fault any more."""
        for proxy in (self.labeler, self.platform):
            proxy.calm()
        for wire in (self.database, self.broker):
            wire.heal()

    # Looking in, past all proxies

    def query(self, text: str, *values: Any) -> list[tuple]:
        """Rows."""
        return self.system.query(text, *values)

    @contextmanager
    def locked(self, table: str) -> Iterator[psycopg.Connection]:
        """Hold every writer of a table until the block ends."""
        with psycopg.connect(self.direct["DATABASE_URL"]) as connection:
            connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            yield connection

    def waiting(self, words: str) -> list[int]:
        """Pids of sessions whose statement holds these words and waits for a lock."""
        found = self.query(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE %s", f"%{words}%")  # fmt: skip
        return [pid for (pid,) in found]

    def end_sessions(self, pids: list[int]) -> None:
        """The server notices that these clients are gone."""
        self.query("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", pids)

    def findings(self, project: str | None = None, *, deep: bool = True) -> list[dict[str, str]]:
        """What check_invariants finds; one process does it again and again."""
        if self.checker is None:
            self.checker = subprocess.Popen([sys.executable, "-c", CHECKER], cwd=ROOT, env=self.direct, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=(self.system.folder / "checker.log").open("a"))  # fmt: skip
        assert self.checker.stdin is not None and self.checker.stdout is not None
        wanted = ["--json", *(["--project", project] if project else []), *(["--deep"] if deep else [])]
        self.checker.stdin.write(json.dumps(wanted) + "\n")
        self.checker.stdin.flush()
        told = json.loads(self.checker.stdout.readline())
        assert told["refused"] is None, told
        return told["findings"]

    def children(self, name: str) -> list[int]:
        """Pids of a program's child processes."""
        parent = self.system.children[name].process.pid
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(each) for each in found]

    def kill_children(self, name: str) -> None:
        """``kill -9`` of every child; the program itself goes on."""
        for pid in self.children(name):
            os.kill(pid, signal.SIGKILL)

    def project(self) -> Job:
        """A fresh dataset of a few images, opened as a project."""
        self.datasets += 1
        dataset = f"ds_{uuid.uuid4().hex[:8]}"
        for number in range(1, IMAGES + 1):
            self.system.put_object("platform", f"datasets/{dataset}/images/{number}.png", self.picture)
        self.system.put_platform_rows([(dataset, dataset, IMAGES)], [])
        body = {"name": dataset, "dataset_id": dataset, "task_types": ["detection"],
                "classes": {"cell": {"name": "Cell", "color": "#AA0000"}}}  # fmt: skip
        made = self.olga("POST", "/projects", body, expect=201)
        job = Job(self, made["id"], dataset)
        self.system.wait(lambda: self.olga("GET", f"/jobs/{made['job_id']}")["status"] == "done", "the first load")
        return job


@dataclass
class Job:
    """One project and its ledger: what was acknowledged, and what may or may not have happened."""

    stage: Stage
    id: str
    dataset: str
    # By annotation id: its box and its state, as last acknowledged.
    boxes: dict[int, tuple[tuple[float, ...], str]] = field(default_factory=dict)
    # By annotation id: the row's version the API told last.
    versions: dict[int, int] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)
    # Of each publish that was acknowledged: number, and the boxes it must hold.
    published: dict[str, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    version_ids: dict[str, int] = field(default_factory=dict)
    half_seen: list[str] = field(default_factory=list)
    retries: int = 0

    # Requests: as a client of ours, which asks again with the same key until it is answered

    def send(self, method: str, path: str, body: Any, *, seconds: float = 60) -> tuple[int, Any]:
        """Status and answer; asked again, with the same keys, when none came or the server says 5xx."""
        until = time.monotonic() + seconds
        key = uuid.uuid4().hex
        while True:
            try:
                status, answer, _ = self.stage.olga.send(method, path, body, **{"Idempotency-Key": key})
                if status < 500:
                    return status, answer
                said: Any = (status, answer)
            except NO_ANSWER as error:
                said = error
            self.retries += 1
            assert time.monotonic() < until, f"{method} {path} was not answered: {said}\n{self.stage.system.logs()}"
            time.sleep(0.2)

    def draw(self, image: int, place: int) -> int:
        """A box, drawn once however often it is asked for (client_id)."""
        box = (float(place % 280), float(place // 280 % 200), 20.0, 30.0)
        body = {"project_id": self.id, "image_id": f"{image}.png", "annotation_type": "bbox", "class_id": "cell",
                "geometry": {"type": "bbox", "bbox": list(box)}, "client_id": str(uuid.uuid4())}  # fmt: skip
        status, answer = self.send("POST", "/annotations", body)
        assert status in (200, 201), answer
        pk = answer.get("annotation_id") or answer["id"]
        self._told(pk, answer)
        self.images[pk] = f"{image}.png"
        return pk

    def _told(self, pk: int, answer: Any) -> None:
        self.boxes[pk] = (tuple(float(each) for each in answer["geometry"]["bbox"]), answer["annotation_state"])
        self.versions[pk] = answer["version"]

    def move(self, pk: int, place: int) -> None:
        """Another place; a conflict after an unheard answer is settled by looking."""
        box = [float(place % 280), float(place // 280 % 200), 20.0, 30.0]
        body = {"geometry": {"type": "bbox", "bbox": box}, "version": self.versions[pk]}
        status, answer = self.send("PATCH", f"/annotations/{pk}", body)
        if status == 409:
            status, answer = self.send("GET", f"/annotations/{pk}", None)
            assert answer["geometry"]["bbox"] == box, f"{pk}: another's change? {answer}"
        assert status == 200, answer
        self._told(pk, answer)

    def delete(self, pk: int) -> None:
        """Gone; gone already, after an unheard answer, is as good."""
        status, answer = self.send("DELETE", f"/annotations/{pk}?version={self.versions[pk]}", None)
        assert status in (200, 204, 404), answer
        self.boxes.pop(pk)

    def on(self, image: int) -> list[int]:
        """Annotations of an image."""
        return [pk for pk in self.boxes if self.images[pk] == f"{image}.png"]

    def confirm(self, image: int) -> None:
        """All of an image."""
        status, answer = self.send("POST", f"/projects/{self.id}/images/{in_path(f'{image}.png')}/confirm",
                                   {"allow_empty": True})  # fmt: skip
        assert status == 200, answer
        self._now(image, "confirmed")

    def unconfirm(self, image: int) -> None:
        """Back to draft."""
        status, answer = self.send("POST", f"/projects/{self.id}/images/{in_path(f'{image}.png')}/unconfirm", {})
        assert status == 200, answer
        self._now(image, "draft")

    def _now(self, image: int, state: str) -> None:
        rows = {row["id"]: row for row in self.rows()}
        for pk in self.on(image):
            self.boxes[pk] = (self.boxes[pk][0], state)
            self.versions[pk] = rows[pk]["version"]

    def publish(self) -> str:
        """Published, once however often it is asked for; its number. What it must hold is written down."""
        status, version = self.send("POST", f"/projects/{self.id}/versions/publish", {"allow_empty": True})
        assert status in (200, 201), version
        number = version["version_number"]
        if number in self.published:
            raise Broken([("repeated", f"{number} was given out twice")])
        self.published[number] = {pk: box for pk, (box, state) in self.boxes.items() if state == "confirmed"}
        self.version_ids[number] = version["id"]
        return number

    def save(self) -> None:
        """Ask for a working save."""
        status, answer = self.send("POST", f"/projects/{self.id}/working-version/save", {})
        assert status in (200, 202), answer

    # What is there

    def rows(self) -> list[dict[str, Any]]:
        """Live rows, from the database itself."""
        found = self.stage.query(
            "SELECT id, geometry, state, version FROM annotations WHERE project_id = %s ORDER BY id", self.id
        )
        return [{"id": pk, "box": tuple(map(float, geometry["bbox"])), "state": state, "version": version}
                for pk, geometry, state, version in found]  # fmt: skip

    def watch(self) -> None:
        """As a reader: what is not ready has no file and cannot be fetched. While the database is away nothing is
        read (503)."""
        read = self.stage.olga.send
        status, listed, _ = read("GET", f"/projects/{self.id}/versions?version_type=published")
        assert status in (200, 503), listed
        for version in listed["versions"] if status == 200 else []:
            if version["status"] != "ready":
                status, answer, _ = read("GET", f"/versions/{version['id']}/download")
                told, again, _ = read("GET", f"/projects/{self.id}/versions/{version['id']}")
                if 503 not in (status, told) and again["status"] != "ready" and (status != 409 or again["exports"]):
                    self.half_seen.append(f"{version['version_number']}: {status} {answer}")

    def settled(self) -> bool:
        """Every version ready and official or superseded, and no save owed."""
        owed = self.stage.query(
            "SELECT (SELECT count(*) FROM annotation_versions WHERE project_id = %s AND version_type = 'published'"
            " AND (status <> 'ready' OR platform_status NOT IN ('synced', 'superseded')))"
            " + (SELECT count(*) FROM save_states s JOIN project_tasks t ON t.id = s.task_id"
            " WHERE t.project_id = %s AND s.requested_at IS NOT NULL)"
            " + (SELECT count(*) FROM projects WHERE id = %s AND (record_revision <> recorded_revision"
            " OR images_revision <> images_recorded_revision))", self.id, self.id, self.id)  # fmt: skip
        return not owed[0][0]

    def heal(self, seconds: float = 90) -> float:
        """Wait until nothing is owed; how long it took, in seconds."""
        begun = time.monotonic()
        until = begun + seconds
        while not self.settled():
            if time.monotonic() > until:
                owed = self.stage.query(
                    "SELECT version_number, status, platform_status, last_error, platform_error, retry_at"
                    " FROM annotation_versions WHERE project_id = %s", self.id)  # fmt: skip
                raise AssertionError(f"not healed in {seconds} s: {owed}\n{self.stage.system.logs()}")
            self.watch()
            time.sleep(0.2)
        return time.monotonic() - begun

    def prove(self) -> None:
        """The ledger against everything: live rows, versions, their files, the official file, the checker."""
        broken = [*self._lost(), *self._versions_wrong(), *(("half-made", each) for each in self.half_seen)]
        broken += [("found", str(each)) for each in self.stage.findings(self.id)]
        if broken:
            raise Broken(broken)

    def _lost(self) -> Iterator[tuple[str, str]]:
        live = {row["id"]: (row["box"], row["state"]) for row in self.rows()}
        for pk in sorted(live.keys() | self.boxes.keys()):
            if live.get(pk) != self.boxes.get(pk):
                yield "lost", f"annotation {pk} is {live.get(pk)}, {self.boxes.get(pk)} was acknowledged"

    def _versions_wrong(self) -> Iterator[tuple[str, str]]:
        listed = self.stage.query("SELECT version_number FROM annotation_versions WHERE project_id = %s AND"
                                  " version_type = 'published' ORDER BY major, minor", self.id)  # fmt: skip
        numbers = [number for (number,) in listed]
        if numbers != [f"v{n}.0" for n in range(1, len(self.published) + 1)]:
            yield "repeated", f"versions are {numbers}, acknowledged were {list(self.published)}"
        for number, held in self.published.items():
            version = self.stage.olga("GET", f"/projects/{self.id}/versions/{self.version_ids[number]}")
            if [file["format"] for file in version["exports"]] != ["dice", "coco", "yolo"]:
                yield "half-made", f"{number} has {version['exports']}"
            for file in version["exports"]:
                content = self.stage.olga.download(file["download_url"])
                if hashlib.sha256(content).hexdigest() != file["sha256"]:
                    yield "half-made", f"{number} {file['format']} is not what was recorded"
                if file["format"] == "dice" and dice_boxes(content) != held:
                    yield "lost", f"{number} holds {dice_boxes(content)}, {held} was published"
        if numbers:
            official = json.loads(
                self.stage.system.read_object("platform", f"datasets/{self.dataset}/annotations.json")
            )
            if official["version"] != numbers[-1]:
                yield "lost", f"official is {official['version']}, not {numbers[-1]}"


class Broken(AssertionError):
    """What is not as it was promised: (lost, half-made, repeated or found; what)."""

    def __init__(self, broken: list[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{kind}: {said}" for kind, said in broken))
        self.kinds = {kind for kind, _ in broken}


def dice_boxes(content: bytes) -> dict[int, tuple[float, ...]]:
    """Boxes of a DICE file by annotation id."""
    found = {}
    for image in json.loads(content)["images"]:
        for entry in image["annotations"]:
            found[entry["id"]] = tuple(map(float, entry.get("bbox") or entry["geometry"]["bbox"]))
    return found
