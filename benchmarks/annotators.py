"""``make load``: many annotators at work on one project while it is published; was anything acknowledged lost?

Each has a connection and images of their own, draws two boxes, moves one, confirms, and thinks between any two steps
(exponentially distributed, ``--think`` seconds on average). Afterwards every acknowledged box must be in the database
as it was acknowledged, with its history. Exit code 1 when one is missing or a request was refused.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import clients, data, latency, projects
from benchmarks.clients import Person, percentile
from benchmarks.servers import servers

KINDS = ("save", "update", "confirm")


def main() -> int:
    """Load a project, let each number of annotators work on it, print times and losses."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--size", choices=list(data.SIZES), default="M")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 50, 200])
    parser.add_argument("--seconds", type=float, default=60, help="how long each number of annotators works")
    parser.add_argument("--think", type=float, default=2, help="seconds between two steps of a person, on average")
    asked = parser.parse_args()
    with servers() as folder:
        print(f"loading {data.SIZES[asked.size] * data.PER_IMAGE:,} annotations ...", flush=True)
        loaded = projects.load(asked.size, folder)
        with clients.running(folder) as port:
            lost = sum(_shift(port, loaded, count, asked) for count in asked.clients)
    return 1 if lost else 0


def _shift(port: int, loaded: Any, count: int, asked: argparse.Namespace) -> int:
    """One number of annotators for a while; prints what it was like and returns how much was lost or refused."""
    team = clients.people(port, loaded.project, count)
    publishing = threading.Thread(target=_publish, args=(port, loaded))
    publishing.start()
    until = time.monotonic() + asked.seconds
    seconds = clients.at_once(
        team,
        lambda person, number: _work(
            person, number, clients.images_for(number, loaded.images, count), until, asked.think
        ),
    )
    publishing.join()
    lost = _missing(team)
    refused = [each for person in team for each in person.refused]
    acknowledged = sum(len(person.acknowledged) for person in team)
    print(f"{count} annotators, {seconds:.0f} s: {acknowledged} boxes acknowledged, {lost} missing afterwards, "
          f"{len(refused)} requests refused{': ' + refused[0] if refused else ''}", flush=True)  # fmt: skip
    for kind in KINDS:
        times = [each for person in team for each in person.seconds.get(kind, [])]
        told = (
            " ".join(f"p{share} {percentile(times, share / 100) * 1000:.0f} ms" for share in (50, 95, 99))
            if times
            else "none"
        )
        print(f"  {kind}: {len(times)} requests, {told}", flush=True)
    return lost + len(refused)


def _work(person: Person, number: int, mine: Iterator[str], until: float, think: float) -> None:
    dice = random.Random(number)  # noqa: S311 - repeatable, not secret

    def pause() -> bool:
        time.sleep(min(dice.expovariate(1 / think), 5 * think))
        return time.monotonic() < until

    while pause():
        image = next(mine)
        person.reopen(image)
        for _ in range(2):
            made = person.draw(image, dice)
            if not pause():
                return
        if made is not None:
            person.move(made, dice)
        person.confirm(image)


def _publish(port: int, loaded: Any) -> None:
    owner = latency.owner_of(port, loaded)
    for task in ("detection", "segmentation"):
        latency.publish(owner, task)


def _missing(team: list[Person]) -> int:
    """How many acknowledged boxes are not there as acknowledged, or have no history of it."""
    from annotations.models import Annotation, AnnotationHistory

    wanted = {key: box for person in team for key, box in person.acknowledged.items()}
    there = dict(Annotation.objects.filter(pk__in=wanted).values_list("pk", "geometry"))
    last = (
        AnnotationHistory.objects.filter(annotation_id__in=wanted)
        .order_by("pk")
        .values_list("annotation_id", "new_state")
    )
    told = {key: state["geometry"] for key, state in last}
    return sum(_box(there.get(key)) != box or _box(told.get(key)) != box for key, box in wanted.items())


def _box(geometry: Any) -> list[float] | None:
    return geometry and geometry["bbox"]


if __name__ == "__main__":
    sys.exit(main())
