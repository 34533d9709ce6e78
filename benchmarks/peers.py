"""``make bench-peers``: what the same annotations cost other people's converters and us, in the same rounds.

Every job runs in a process of its own, one at a time; imports are not measured. Prints every raw sample, then medians,
in seconds and in multiples of a raw COPY of the project's rows, and what each one wrote. Exit code 1
when a peer is missing or fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import data, ours, peer_files
from benchmarks.measured import measured
from benchmarks.ours import THREE
from benchmarks.servers import copy_out, forget_versions, servers

ROOT = Path(__file__).parent.parent
THEIRS = ROOT / ".venv-peers" / "bin" / "python"
COPY = "raw COPY"
Cost = dict[str, float]


class JobFailed(Exception):
    """A job of ours or of a peer ended with an error; the message is what it said."""


def main() -> int:
    """Load once, let everybody write it ``--rounds`` times, print."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--size", choices=["S", "M"], default="S", help="10,000 or 100,000 annotations")
    parser.add_argument("--rounds", type=_at_least_one, default=3)
    asked = parser.parse_args()
    try:
        _measure(asked.size, asked.rounds)
    except JobFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _at_least_one(said: str) -> int:
    if not said.isdecimal() or int(said) < 1:
        raise argparse.ArgumentTypeError(f"{said!r} is not a whole number from 1.")
    return int(said)


def _measure(size: str, rounds: int) -> None:
    installed = _installed()
    with servers() as folder:
        from benchmarks import projects

        print(f"{size}: loading {data.SIZES[size] * data.PER_IMAGE:,} annotations ...", flush=True)
        loaded = projects.load(size, folder)
        print(", ".join([f"PostgreSQL {_postgres()}", *(f"{name} {number}" for name, number in installed.items())]))
        sources = _sources(size, folder)
        costs: dict[str, list[Cost]] = {}
        written: dict[str, str] = {}
        for _ in range(rounds):
            for name, cost, found in _round(loaded, folder, sources):
                print(f"{size}  {name}: " + " ".join(f"{value:.4g} {unit}" for unit, value in cost.items()), flush=True)
                costs.setdefault(name, []).append(cost)
                written[name] = found
    print("\n".join(["", *_table(costs, written)]), flush=True)


def _installed() -> dict[str, str]:
    """Versions of the peers; raises JobFailed naming what is missing."""
    if not THEIRS.exists():
        raise JobFailed(f"There is no {THEIRS.relative_to(ROOT)}; `make bench-peers` makes it.")
    installed = _run(str(THEIRS), "benchmarks.peer", "versions")
    if missing := [name for name, number in installed.items() if number is None]:
        raise JobFailed(f"Not installed in .venv-peers: {', '.join(missing)}; remove it and run `make bench-peers`.")
    return installed


def _postgres() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return cursor.fetchone()[0]


# The jobs of a round ------------------------------------------------------------------------


def _round(loaded: Any, folder: Path, sources: dict[str, Path]) -> Iterator[tuple[str, Cost, str]]:
    """Name, cost and what was written of every job; ours begin with a project that was never published."""
    forget_versions()
    yield COPY, measured(lambda: copy_out(loaded.project.pk), ours.server()), ""
    for name, cost in _run(sys.executable, "benchmarks.ours", "publish", loaded.size).items():
        yield name, cost, ""
    forget_versions()
    for formats in (THREE, *([each] for each in THREE)):
        words = [sys.executable, "benchmarks.ours", ",".join(formats), loaded.size]
        yield _written(folder, formats, words, loaded.annotations)
    for peer, source in sources.items():
        for wanted in ("coco", "yolo"):
            words = [str(THEIRS), "benchmarks.peer", peer, wanted, str(source)]
            yield _written(folder, [wanted], words, loaded.annotations)


def _written(folder: Path, formats: Sequence[str], words: list[str], annotations: int) -> tuple[str, Cost, str]:
    """A job that writes into a folder, which is counted and emptied."""
    target = folder / "written"
    target.mkdir()
    ((name, cost),) = _run(*words, str(target)).items()
    told: dict[str, list[str]] = {}
    for each in formats:
        told.setdefault(_told(peer_files.counted(target, each), annotations), []).append(each)
    shutil.rmtree(target)
    return name, cost, "; ".join(f"{', '.join(names)} with {counts}" for counts, names in told.items())


def _told(shapes: Counter[str], annotations: int) -> str:
    lost = annotations - shapes.total()
    return f"{shapes['box']:,} boxes, {shapes['polygon']:,} polygons" + (f", {lost:,} lost" if lost else "")


def _sources(size: str, folder: Path) -> dict[str, Path]:
    """What each peer reads."""
    made = folder / "made"
    made.mkdir()
    _run(sys.executable, "benchmarks.ours", "coco", size, str(made))
    return peer_files.sources(made, folder)


def _run(python: str, *words: str) -> dict[str, Any]:
    """What a module printed last, as JSON; raises JobFailed with what it said."""
    ended = subprocess.run([python, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise JobFailed(f"{' '.join(words)} failed:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def _table(costs: dict[str, list[Cost]], written: dict[str, str]) -> list[str]:
    """Medians of every job; memory is the most of all rounds."""
    unit = _medians(costs[COPY])
    lines = [f"{'seconds':>9}{'x COPY':>9}{'processor':>11}{'x COPY':>9}{'most MiB':>10}  what"]
    for name, samples in costs.items():
        seconds, processor, memory = _medians(samples)
        lines.append(
            f"{seconds:9.3f}{seconds / unit[0]:9.1f}{processor:11.3f}{processor / unit[1]:9.1f}{memory:10.1f}"
            f"  {name}{': ' if written[name] else ''}{written[name]}"
        )
    return lines


def _medians(samples: list[Cost]) -> tuple[float, float, float]:
    seconds, processor = (median(each[unit] for each in samples) for unit in ("seconds", "processor"))
    return seconds, processor, max(each["mebibytes"] for each in samples)


if __name__ == "__main__":
    sys.exit(main())
