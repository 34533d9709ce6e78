"""``make bench-http``: saves, confirms and lists over HTTP, on a running system of one size (rows 7, 8 and 12).

Times are those of the client, signed in by token, on a kept connection: routing, permission, validation, history,
counters and commit. The clients share the machine's processors with the system.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from benchmarks import clients, data, projects, publishing
from benchmarks.clients import Person, percentile
from benchmarks.rounds import Row
from benchmarks.servers import alone, servers, vacuum

# Calls before any is counted: a template that was never read is no list that is slow.
WARM = 3
LISTS = {
    "first page of images": "/projects/{p}/images?limit=100",
    "a page in the middle": "/projects/{p}/images?limit=100&offset={middle}",
    "the last page": "/projects/{p}/images?limit=100&offset={last}",
    "status of images, last page": "/projects/{p}/images/status?task_type=detection&limit=100&offset={last}",
    "images in progress": "/projects/{p}/images?status=in-progress&limit=100",
    "search by name": "/projects/{p}/images?search={middle:07d}&limit=100",
    "next image": "/projects/{p}/images/next?task_type=detection&after={after}",
    "versions": "/projects/{p}/versions?limit=50",
    "statistics": "/projects/{p}/stats",
    "annotations of an image": "/annotations/project/{p}?image_id={after}",
    "history of the project": "/annotations/history/project/{p}?limit=50",
}
ADMIN = {
    "admin: images": "/admin/annotations/image/",
    "admin: annotations": "/admin/annotations/annotation/",
    "admin: image status, a page in the middle": "/admin/annotations/imagestatus/?p={page}",
    "admin: history": "/admin/annotations/annotationhistory/",
    "admin: versions": "/admin/versions/version/",
}


def main() -> int:
    """Measure each size on servers of its own, print every figure, and judge."""
    parser = argparse.ArgumentParser(prog="make bench-http", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(data.SIZES), default=["S", "L"])
    parser.add_argument("--saves", type=int, default=200, help="rounds of save, update, confirm by each client")
    asked = parser.parse_args()
    reached = {size: alone(_measured, size, asked.saves) for size in asked.sizes}
    rows = [row for size in asked.sizes for row in judged(size, reached[size])]
    if {"S", "L"} <= reached.keys():
        growth = reached["L"]["save p95, 1 client"] / reached["S"]["save p95, 1 client"]
        rows.append(Row("7", "p95 of a save, L against S", growth, 1.5, "x"))
    print("\n".join(["", " row     reached    target  unit         verdict what", *map(str, rows)]), flush=True)
    return not all(row.met for row in rows)


def judged(size: str, at: dict[str, float]) -> list[Row]:
    """The rows of the table that one size can answer."""
    rows = [
        Row("7", f"{kind} p95, {count} ({size})", 1000 * at[f"{kind} p95, {count}"], limit, "ms")
        for count, limit in (("1 client", 25), ("8 clients", 100))
        for kind in ("save", "update", "confirm")
    ]
    rows.append(
        Row("7", f"saves with 8 clients ({size})", at["saves each second, 8 clients"], 100, "a second", at_least=True)
    )
    during = at["save p95, publishing"] / at["save p95, 1 client"]
    rows.append(Row("8", f"p95 of a save while a publish runs ({size})", during, 4, "x idle"))
    return rows + [Row("12", f"{name} ({size})", 1000 * at[name], 50, "ms") for name in (*LISTS, *ADMIN)]


def _measured(size: str, saves: int) -> dict[str, float]:
    with servers() as folder:
        print(f"{size}: loading {data.SIZES[size] * data.PER_IMAGE:,} annotations ...", flush=True)
        loaded = projects.load(size, folder)
        # A first load makes a save of everything due: it is over before anybody is measured beside it.
        publishing.save(loaded)
        vacuum()
        with clients.running(folder) as port:
            reached = _told(size, _working(port, loaded, saves))
            reached |= _told(size, _lists(port, loaded))
            reached |= _told(size, _during_a_publish(port, loaded))
    return reached


def _told(size: str, reached: dict[str, float]) -> dict[str, float]:
    for name, value in reached.items():
        print(
            f"{size}  {name}: {value:.1f}" if "second" in name else f"{size}  {name}: {value * 1000:.1f} ms", flush=True
        )
    return reached


def _round(person: Person, image: str, dice: random.Random) -> None:
    """What one image costs an annotator: two shapes, one moved, confirmed."""
    person.reopen(image)
    made = person.draw(image, dice)
    if made is not None:
        person.move(made, dice)
    person.confirm(image)


def _working(port: int, loaded: Any, saves: int) -> dict[str, float]:
    reached: dict[str, float] = {}
    for count, name in ((1, "1 client"), (8, "8 clients")):
        team = clients.people(port, loaded.project, count)

        def work(person: Person, number: int, times: int = saves // count + 20, team: int = count) -> None:
            dice, images = random.Random(number), clients.images_for(number, loaded.images, team)  # noqa: S311
            for _ in range(times):
                _round(person, next(images), dice)

        seconds = clients.at_once(team, work)
        _no_refusals(team)
        for kind in ("save", "update", "confirm"):
            times = [each for person in team for each in person.seconds[kind][10:]]
            reached |= {f"{kind} p50, {name}": percentile(times, 0.5), f"{kind} p95, {name}": percentile(times, 0.95)}
        reached[f"changes each second, {name}"] = sum(len(t) for p in team for t in p.seconds.values()) / seconds
    reached["saves each second, 8 clients"] = _saves_alone(port, loaded)
    return reached


def _saves_alone(port: int, loaded: Any, seconds: float = 5) -> float:
    """Nothing but new boxes by eight clients, each on images of its own."""
    team = clients.people(port, loaded.project, 8)
    until = time.perf_counter() + seconds

    def work(person: Person, number: int) -> None:
        dice, images = random.Random(number), clients.images_for(number, loaded.images, len(team))  # noqa: S311
        image = next(images)
        person.reopen(image)
        while time.perf_counter() < until:
            person.draw(image, dice)

    took = clients.at_once(team, work)
    _no_refusals(team)
    return sum(len(person.seconds["save"]) for person in team) / took


def _no_refusals(team: list[Person]) -> None:
    refused = [each for person in team for each in person.refused if not each.startswith("reopen")]
    if refused:
        raise SystemExit(f"{len(refused)} requests were refused, the first: {refused[0]}")


def _lists(port: int, loaded: Any, times: int = 100) -> dict[str, float]:
    (person,) = clients.people(port, loaded.project, 1)
    values = {"p": loaded.project.pk, "middle": loaded.images // 2, "last": loaded.images - 100,
              "after": data.image_path(loaded.images // 2)}  # fmt: skip
    reached = {}
    for name, path in LISTS.items():
        for _ in range(WARM + times):
            answer = person.timed(name, "GET", path.format(**values))
        if not _is_the_page(answer, path.format(**values)):
            raise SystemExit(f"{name}: another page than was asked for.")
        reached[name] = percentile(person.seconds[name][WARM:], 0.95)
    _no_refusals([person])
    return reached | _admin(times, loaded.images // 50)


def _is_the_page(answer: Any, path: str) -> bool:
    """Whether something was answered, and begins where ``offset`` says."""
    listed = answer if isinstance(answer, list) else answer.get("images", answer.get("statuses", [answer]))
    offset = int(dict(parse_qsl(urlsplit(path).query)).get("offset", 0))
    first = listed[0].get("image_id", listed[0].get("id")) if listed else None
    return bool(listed) and (not offset or first == data.image_path(offset + 1))


def _admin(times: int, page: int) -> dict[str, float]:
    """Inside this process: the admin has no tokens, and its pages cost the same wherever they are made."""
    from django.test import Client

    from annotations.models import User

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("staff"))
    return {name: _p95(lambda path=path: client.get(path.format(page=page)), times) for name, path in ADMIN.items()}


def _p95(act: Callable[[], Any], times: int) -> float:
    seconds = []
    for _ in range(WARM + times):
        began = time.perf_counter()
        answer = act()
        if answer.status_code != 200:
            raise SystemExit(f"A page of the admin answered {answer.status_code}.")
        seconds.append(time.perf_counter() - began)
    return percentile(seconds[WARM:], 0.95)


def _during_a_publish(port: int, loaded: Any) -> dict[str, float]:
    """One client saves for as long as the first publish of both tasks takes."""
    owner = owner_of(port, loaded)
    done = threading.Event()
    (person,) = clients.people(port, loaded.project, 1)

    def save() -> None:
        dice, images = random.Random(5), clients.images_for(5, loaded.images)  # noqa: S311
        while not done.is_set():
            _round(person, next(images), dice)

    saving = threading.Thread(target=save)
    saving.start()
    began = time.perf_counter()
    for task in ("detection", "segmentation"):
        publish(owner, task)
    done.set()
    saving.join()
    _no_refusals([person])
    return {"save p95, publishing": percentile(person.seconds["save"], 0.95),
            "saves each second, publishing": len(person.seconds["save"]) / (time.perf_counter() - began),
            "the publish": time.perf_counter() - began}  # fmt: skip


def owner_of(port: int, loaded: Any) -> Person:
    """The project's owner, signed in."""
    from annotations.models import User
    from annotations.tokens import issue_token

    user = User.objects.get_or_create(username=loaded.project.owner_id)[0]
    return Person(port, issue_token(user, name="benchmark")[0], loaded.project.pk)


def publish(owner: Person, task: str) -> None:
    """Publish a task and wait until its files are there."""
    path = f"/projects/{owner.project}/versions"
    made = owner.timed("publish", "POST", f"{path}/publish", {"task_type": task})
    assert made is not None, owner.refused
    while (version := owner.timed("ask", "GET", f"{path}/{made['id']}"))["status"] == "exporting":
        time.sleep(0.2)
    assert version["status"] == "ready", version


if __name__ == "__main__":
    sys.exit(main())
