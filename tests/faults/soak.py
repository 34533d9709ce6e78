"""``make soak``: as many generated fault runs and kills as one has time for; a line each, a table at the end.

Exit code 1 when something was lost, half-made or given out twice, or did not heal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import servers
from tests.faults import runs
from tests.faults.runs import NotStruck, Run
from tests.faults.stage import Broken, Stage

ROWS_OF_ONE_STAGE = 40


def main() -> int:
    """Run, write down, say."""
    options = _options()
    servers.start_servers(ceph=False)
    servers._settle_worker("main")
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with out.open("a") as file:
            _all(options, lambda told: _write(file, told))
    finally:
        servers.pytest_unconfigure(None)
    told = [json.loads(line) for line in out.read_text().splitlines()]
    print(table(told))
    return int(any(each["broken"] for each in told))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--seeds", type=int, default=200, help="how many generated runs (default: 200)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--kills", type=int, default=20, help="how many kills at each step (default: 20)")
    parser.add_argument("--out", default="var/soak.jsonl", help="a line for each run is added here")
    return parser.parse_args()


def _write(file: Any, told: dict[str, Any]) -> None:
    file.write(json.dumps(told) + "\n")
    file.flush()
    said = f"{told['what']}: {told['fault']}: " + (told["broken"] or f"healed in {told['healed']:.1f} s")
    print(f"{time.strftime('%H:%M:%S')} {said}", flush=True)


def _all(options: argparse.Namespace, say: Callable[[dict[str, Any]], None]) -> None:
    tried, stage, job = 0, None, None
    for what, run in _wanted(options):
        if stage is None or tried >= ROWS_OF_ONE_STAGE:
            if stage is not None:
                stage.close()
            stage, tried = Stage(Path(tempfile.mkdtemp(prefix="labeler-soak-"))).start(), 0
            job = stage.project()
        tried += 1
        told = _one(what, run, stage, job)
        say(told)
        if told["broken"]:
            # What is broken stays for whoever looks; the next run gets a fresh one.
            (stage.system.folder / "broken.log").write_text(f"{told}\n{stage.system.logs()}")
            tried = ROWS_OF_ONE_STAGE
    if stage is not None:
        stage.close()


def _wanted(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Stage, Any], Run]]]:
    for number in range(options.kills):
        # Every fourth time the whole program dies, else its children.
        whole = number % 4 == 3
        for step in runs.PUBLISH_STEPS:
            yield f"kill {step}", lambda s, j, step=step, whole=whole: runs.kill_in_publish(s, j, step, whole=whole)
        for step in runs.SAVE_STEPS:
            yield f"kill {step}", lambda s, j, step=step, whole=whole: runs.kill_in_save(s, j, step, whole=whole)
    for seed in range(options.first, options.first + options.seeds):
        yield f"seed {seed}", lambda s, j, seed=seed: runs.generated(s, seed)


def _one(what: str, run: Callable[[Stage, Any], Run], stage: Stage, job: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"what": what, "fault": "", "struck": False, "healed": 0.0, "broken": "", "kinds": []}
    try:
        done = run(stage, job)
    except NotStruck as error:
        return told | {"fault": f"struck nothing: {error}"}
    except Broken as error:
        return told | {"struck": True, "broken": str(error), "kinds": sorted(error.kinds)}
    except Exception as error:
        # Whatever it was, the run is broken, and told as such.
        return told | {"struck": True, "broken": f"{type(error).__name__}: {error}", "kinds": ["not healed"]}
    return told | {"fault": done.fault, "struck": True, "healed": done.healed, "log": done.log}


def table(told: list[dict[str, Any]]) -> str:
    """The table of docs/reliability.md: by fault, how often, what came of it. Runs that struck nothing do not count."""
    by_fault: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in told:
        if each["struck"]:
            names = [each["fault"] or each["what"]] if each["what"].startswith("kill") else each["fault"].split(", ")
            for name in names:
                by_fault[name].append(each)
    lines = ["| fault | times | lost | half-made | repeated numbers | not healed | seconds to heal: median, most |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, each in sorted(by_fault.items()):
        healed = [one["healed"] for one in each if not one["broken"]] or [0.0]
        counts = [sum(kind in one["kinds"] for one in each) for kind in ("lost", "half-made", "repeated")]
        other = sum(bool({"found", "not healed"} & set(one["kinds"])) for one in each)
        cells = [name, len(each), *counts, other, f"{statistics.median(healed):.1f}, {max(healed):.1f}"]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    seeds = sum(each["struck"] and each["what"].startswith("seed") for each in told)
    kills = sum(each["struck"] and each["what"].startswith("kill") for each in told)
    idle = sum(not each["struck"] for each in told)
    return "\n".join(
        [*lines, "", f"{seeds} generated runs and {kills} kills; {idle} more struck nothing and do not count."]
    )


if __name__ == "__main__":
    sys.exit(main())
