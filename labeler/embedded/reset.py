"""``python -m labeler.embedded.reset --yes``: forget everything a data folder holds."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from pathlib import Path

from labeler.embedded.up import ROOT


def main() -> int:
    """Remove the data folder unless a run uses it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m labeler.embedded.reset", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="really delete database, queue and folder stores")
    confirmed = parser.parse_args().yes
    data = Path(os.environ.get("LABELER_DATA", ROOT / "var")).resolve()
    if not (data / "state.json").exists():
        print(f"{data} holds no Labeler data; nothing to do.")
        return 0
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"A run uses {data}; stop it first.", file=sys.stderr)
            return 1
        if not confirmed:
            print(f"This deletes everything in {data}. Say so with --yes.", file=sys.stderr)
            return 2
        shutil.rmtree(data)
    print(f"{data} is gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
