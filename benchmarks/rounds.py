"""Rounds of measurements: every job beside a raw COPY of the same rows, all raw samples kept, medians compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.servers import copy_out, memory, timed


@dataclass
class Samples:
    """What was measured of a size: seconds by name of the job (``copy`` is the unit), MiB of growth, plain numbers."""

    size: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    mebibytes: dict[str, list[float]] = field(default_factory=dict)
    # MiB of renderers, which are gone afterwards.
    beside: dict[str, list[float]] = field(default_factory=dict)
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, act: Callable[[], Any]) -> Any:
        """Run, keep the seconds and the memory it took, and say them; returns what ``act`` returns."""
        grown, beside, (seconds, result) = memory(lambda: timed(act))
        print(f"{self.size}  {name}: {seconds:.4g} s, {grown:.4g} and {beside:.4g} MiB", flush=True)
        self.seconds.setdefault(name, []).append(seconds)
        self.mebibytes.setdefault(name, []).append(grown)
        self.beside.setdefault(name, []).append(beside)
        return result

    def unit(self, project_id: str) -> None:
        """One more sample of the unit."""
        self.seconds.setdefault("copy", []).append(timed(lambda: copy_out(project_id))[0])

    def most(self, *names: str) -> float:
        """MiB at the highest of some jobs, renderers included."""
        both = [zip(self.mebibytes[name], self.beside[name], strict=True) for name in names]
        return max(grown + beside for pairs in both for grown, beside in pairs)

    def note(self, name: str, value: float) -> None:
        """Keep a plain number."""
        self.numbers.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Median seconds of a job."""
        return median(self.seconds[name])

    def ratio(self, *names: str) -> float:
        """Medians of some jobs together, in multiples of the unit's."""
        return sum(self.median(name) for name in names) / self.median("copy")

    def raw(self) -> list[str]:
        """Every sample as lines of text."""
        lines = [f"{self.size}  {name}: {_list(values, 's')}" for name, values in self.seconds.items()]
        lines += [f"{self.size}  memory of {name}: {_list(values, 'MiB')}" for name, values in self.mebibytes.items()]
        lines += [f"{self.size}  renderers of {name}: {_list(values, 'MiB')}" for name, values in self.beside.items()]
        return lines + [f"{self.size}  {name}: {_list(values, '')}" for name, values in self.numbers.items()]


def _list(values: Sequence[float], unit: str) -> str:
    return " ".join(f"{value:.4g}{unit}" for value in values)


@dataclass(frozen=True)
class Row:
    """A line of the table: ``reached`` and ``limit`` in ``unit``; ``gate``: missing it fails the run."""

    number: str
    what: str
    reached: float
    limit: float
    unit: str = "x COPY"
    gate: bool = False
    at_least: bool = False

    @property
    def met(self) -> bool:
        """True if the target is reached."""
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "met" if self.met else "MISSED"
        return f"{self.number:>4}  {self.reached:10.3f} {sign} {self.limit:<7g} {self.unit:12} {verdict:7} {self.what}"
