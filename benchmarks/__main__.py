"""``make bench``: what publishing, saving, exporting, loading and serving cost, against a raw COPY of the same rows.

Prints every raw sample, then each target with what was reached. Exit code 1 when row 2, 3, 4, 5 or 9 is missed. Needs
nothing but the packages; the servers are its own and gone afterwards.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import data, table
from benchmarks.servers import Statements, servers


def main() -> int:
    """Measure each size on a server of its own, print, judge."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(data.SIZES), default=list(data.SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=["versions", "loading", "serving"], default=None)
    asked = parser.parse_args()
    wanted = asked.only or ["versions", "loading", "serving"]
    measured = {size: _size(size, asked.rounds, wanted) for size in asked.sizes}
    rows = table.rows(measured)
    print("\n".join(["", " row     reached    target  unit         verdict what", *map(str, rows)]), flush=True)
    return any(row.gate and not row.met for row in rows)


def _size(size: str, rounds: int, wanted: list[str]) -> dict[str, Any]:
    with servers() as folder:
        from benchmarks import loading, projects, publishing, serving

        print(f"{size}: loading {data.SIZES[size] * data.PER_IMAGE:,} annotations ...", flush=True)
        loaded = projects.load(size, folder)
        measures = {
            "versions": lambda: publishing.measure(loaded, rounds, Statements(folder / "log"), folder),
            "loading": lambda: loading.measure(loaded, rounds, folder),
            "serving": lambda: serving.measure(loaded, folder),
        }
        found = {name: measures[name]() for name in wanted}
    for samples in found.values():
        print("\n".join(samples.raw()), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
