"""``make bench``: what loading, publishing, saving, exporting, restoring and comparing cost, against a raw COPY.

Prints every raw sample, then each target with what was reached. Exit code 1 when row 2, 3, 4, 5 or 9 is missed. Needs
nothing but the packages; the servers are its own and gone afterwards.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import data, table
from benchmarks.rounds import Samples
from benchmarks.servers import Statements, alone, servers


def main() -> int:
    """Measure each size on a server of its own, print, judge."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(data.SIZES), default=list(data.SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rows = table.rows({size: alone(_measured, size, asked.rounds) for size in asked.sizes})
    print("\n".join(["", " row     reached    target  unit         verdict what", *map(str, rows)]), flush=True)
    return any(row.gate and not row.met for row in rows)


def _measured(size: str, rounds: int) -> Samples:
    with servers() as folder:
        from benchmarks import loading, publishing

        print(f"{size}: loading {data.SIZES[size] * data.PER_IMAGE:,} annotations ...", flush=True)
        loaded, samples = loading.load(size, folder, rounds)
        publishing.measure(loaded, rounds, Statements(folder / "log"), folder, samples)
        loading.measure(loaded, rounds, samples)
    print("\n".join(samples.raw()), flush=True)
    return samples


if __name__ == "__main__":
    sys.exit(main())
