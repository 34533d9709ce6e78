"""The targets, row by row, and what was reached of each."""

from __future__ import annotations

from benchmarks import loading
from benchmarks.rounds import Row, Samples

JOBS = ("first freeze", "first files", "second freeze", "second files", "first save", "save", "export of live rows")
ALONE = "first files, nobody helping"
WORKER = ("first files", "second files", "first advance", "second advance", "save", "export of live rows")


def rows(by_size: dict[str, Samples]) -> list[Row]:
    """Every row the measured sizes allow; absolute targets are those of the largest."""
    largest = max(by_size, key="SML".index)
    return _publishing(by_size[largest]) + loading.rows(by_size[largest]) + _growing(by_size)


def _publishing(at: Samples) -> list[Row]:
    size = at.size
    listed = [
        Row("1", f"first publish of {size}: freeze and three files", at.ratio("first freeze", "first files"), 10),
        Row("1", f"its three files alone ({size})", at.ratio("first files"), 4),
        Row("1", f"its three files alone, rendered by the worker alone ({size})", at.ratio(ALONE), 4),
        Row("1", f"all of it, with uploads and records ({size})", at.ratio("first freeze", "first advance"), 20),
        Row("2", f"second publish of {size}, 0.5 % changed: freeze and three files",
            at.ratio("second freeze", "second files"), 1, gate=True),
        Row("2", f"all of it, with uploads and records ({size})", at.ratio("second freeze", "second advance"), 4),
        Row("3", f"freeze of 0.5 % of the images ({size})", at.ratio("second freeze"), 0.05, gate=True),
        Row("4", f"most memory of a job, its renderers included ({size})", _most(at), 48, "MiB", gate=True),
        Row("9", f"bytes a second publish adds ({size})",
            _middle(at, "bytes added") / _middle(at, "bytes of the changed rows"), 3, "x rows", gate=True),
        Row("10", f"working save of {size} after ten images", at.ratio("save"), 1),
    ]  # fmt: skip
    return listed + [
        Row("5", f"statements of a {name} ({size})", _middle(at, f"statements of a {name}"), 20, "", gate=True)
        for name in ("publish", "save", "export")
    ]


def _growing(by_size: dict[str, Samples]) -> list[Row]:
    listed: list[Row] = []
    if {"M", "L"} <= by_size.keys():
        m, l = by_size["M"], by_size["L"]  # noqa: E741
        listed.append(Row("3", "freeze of 50 images, L against M",
                          l.median("freeze of few") / m.median("freeze of few"), 2, "x", gate=True))  # fmt: skip
        listed.append(Row("4", "memory, its renderers included, L against M", _most(l) / _most(m), 1.1, "x", gate=True))
        listed += [Row("6", f"{job}, L against M", l.median(job) / m.median(job), 11, "x") for job in JOBS]
    if {"S", "L"} <= by_size.keys():
        growth = _most_alone(by_size["L"]) / max(_most_alone(by_size["S"]), 1)
        listed.append(Row("4", "memory where nobody helps, L against S", growth, 1.1, "x", gate=True))
        listed.append(Row("4", "memory, L against S, which is too small for renderers",
                          _most(by_size["L"]) / _most(by_size["S"]), 1.1, "x"))  # fmt: skip
    return listed


def _most(at: Samples) -> float:
    """Renderers help after the worker grew to what it takes alone."""
    return _most_alone(at) + at.most(*WORKER)


def _most_alone(at: Samples) -> float:
    return max(at.mebibytes[ALONE])


def _middle(at: Samples, name: str) -> float:
    values = sorted(at.numbers[name])
    return values[len(values) // 2]
