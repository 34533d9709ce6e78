"""People at work, over HTTP as their browsers do it: every answer's time is kept, and what was acknowledged."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import data

BOX = {"annotation_type": "bbox", "class_name": "class 1"}
# Seconds without a request after which a client opens a new connection: the server closes one after 75.
IDLE = 60


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Web, worker and beat on the benchmark's servers, as ``make run`` starts them; yields the port."""
    import os

    from labeler.embedded.broker import Broker
    from labeler.embedded.processes import Child, free_port
    from labeler.embedded.up import programs

    with ExitStack() as until_done:
        broker = Broker(folder / "broker", port=free_port(), password="only-here", log=folder / "broker.log")  # noqa: S106
        until_done.callback(broker.stop)
        broker.start()
        (folder / "tmp").mkdir(exist_ok=True)
        port = free_port()
        environment = {
            **os.environ,
            "LABELER_MODE": "embedded",
            "REDIS_URL": broker.url(),
            "LABELER_SWEEP_SECONDS": "5",
        }
        for name, command in programs("127.0.0.1", port, folder).items():
            child = Child(name, command, environment, folder / f"{name}.log", echo=False)
            until_done.callback(child.stop)
        _wait_for(port)
        yield port


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            if Person(port, "", "").ask("GET", "/health/live")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The web server did not answer within 30 s.")


@dataclass
class Person:
    """One client with a connection of its own; ``seconds`` of every answer by kind of request."""

    port: int
    token: str
    project: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    acknowledged: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.asked = time.monotonic()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer; the connection is kept for a minute, as a browser does."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if time.monotonic() - self.asked > IDLE:
            self.line.close()
        try:
            self.line.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self.line.getresponse()
            content = answer.read()
        except (http.client.HTTPException, OSError):
            self.line.close()
            raise
        finally:
            self.asked = time.monotonic()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(content) if kind.startswith("application/json") and content else content

    def timed(self, kind: str, method: str, path: str, body: Any = None) -> Any:
        """As ``ask`` below ``/api/v1``, its time kept under ``kind``; None when it was refused, which is kept too."""
        began = time.perf_counter()
        status, answer = self.ask(method, f"/api/v1{path}", body)
        self.seconds.setdefault(kind, []).append(time.perf_counter() - began)
        if status >= 400:
            self.refused.append(f"{kind}: {status} {str(answer)[:200]}")
            return None
        return answer

    def draw(self, image: str, dice: random.Random) -> int | None:
        """A new box on an image; its id once acknowledged."""
        box = [dice.randrange(1000), dice.randrange(500), dice.randrange(10, 200), dice.randrange(10, 200)]
        wish = {**BOX, "project_id": self.project, "image_id": image, "geometry": {"type": "bbox", "bbox": box}}
        made = self.timed("save", "POST", "/annotations", wish)
        if made is None:
            return None
        self.acknowledged[made["id"]] = box
        return made["id"]

    def move(self, annotation: int, dice: random.Random) -> None:
        """Another place for a box."""
        box = [dice.randrange(1000), dice.randrange(500), dice.randrange(10, 200), dice.randrange(10, 200)]
        wish = {"geometry": {"type": "bbox", "bbox": box}}
        if self.timed("update", "PATCH", f"/annotations/{annotation}", wish) is not None:
            self.acknowledged[annotation] = box

    def confirm(self, image: str) -> None:
        """The image is done."""
        self.timed(
            "confirm", "POST", f"/projects/{self.project}/images/{quote(image)}/confirm", {"task_type": "detection"}
        )

    def reopen(self, image: str) -> None:
        """The image is not done after all: what a shape added to a confirmed image asks for first."""
        wish = {"task_type": "detection"}
        self.timed("reopen", "POST", f"/projects/{self.project}/images/{quote(image)}/unconfirm", wish)


def people(port: int, project: Any, count: int) -> list[Person]:
    """Annotators of the project, each signed in by a token."""
    from annotations import projects
    from annotations.models import User
    from annotations.states import Role
    from annotations.tokens import issue_token
    from benchmarks.projects import BY

    made = []
    for number in range(count):
        name = f"annotator-{number}"
        user = User.objects.get_or_create(username=name)[0]
        projects.set_member(project, name, Role.ANNOTATOR, by=BY, by_role=Role.OWNER)
        made.append(Person(port, issue_token(user, name="benchmark")[0], project.pk))
    return made


def at_once(clients: Sequence[Person], work: Callable[[Person, int], None]) -> float:
    """Every client does its work at the same time; seconds until the last is done. Raises what stopped one of them."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as threads:
        for each in [threads.submit(work, client, number) for number, client in enumerate(clients)]:
            each.result()
    return time.perf_counter() - began


def images_for(number: int, images: int, team: int = 1) -> Iterator[str]:
    """Images of the detection task in an order of this client's own, one after another; in a team, nobody else's."""
    dice = random.Random(number)  # noqa: S311 - repeatable, not secret
    mine = [each for each in range(1, images + 1) if data.task_of(each) == "detection"][number % team :: team]
    while True:
        yield from map(data.image_path, dice.sample(mine, len(mine)))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
