"""Charts as plain figures for SVG templates: where each bar stands, in units of the drawing's view box.

Nothing here knows colours: parts carry the name of their series, and the stylesheet paints it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 10, 24
GAP = 0.28


def column_chart(columns: Sequence[Mapping[str, Any]], series: Sequence[str]) -> Json:
    """Stacked columns with a scale: each column has a ``label`` ("" for none), a ``title`` and a count per series."""
    ticks = scale(max((sum(column[name] for name in series) for column in columns), default=0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(columns))
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "floor": HEIGHT - BOTTOM,
        "label_y": HEIGHT - 6,
        "ticks": [{"value": tick, "y": rounded(_y(tick, ticks[-1]))} for tick in ticks],
        "columns": [
            _column(column, series, left=LEFT + number * step, step=step, top=ticks[-1])
            for number, column in enumerate(columns)
        ],
    }  # fmt: skip


def _column(column: Mapping[str, Any], series: Sequence[str], *, left: float, step: float, top: int) -> Json:
    parts, below = [], 0
    for name in series:
        if column[name]:
            upper, lower = _y(below + column[name], top), _y(below, top)
            parts.append({"series": name, "y": rounded(upper), "height": rounded(lower - upper)})
        below += column[name]
    return {
        "label": column["label"],
        "title": column["title"],
        "left": rounded(left),
        "step": rounded(step),
        "x": rounded(left + step * GAP / 2),
        "width": rounded(step * (1 - GAP)),
        "middle": rounded(left + step / 2),
        "parts": parts,
    }


def _y(value: float, top: int) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top


def scale(most: int) -> list[int]:
    """Round whole numbers from 0 to at least ``most``: at most five, in steps of 1, 2 or 5 times a power of ten."""
    step = next(
        factor * 10**power for power in range(20) for factor in (1, 2, 5) if 4 * factor * 10**power >= max(1, most)
    )
    return list(range(0, max(1, -(-most // step)) * step + 1, step))


def bar(counts: Sequence[tuple[str, int]], whole: int, *, length: int = 1000) -> list[Json]:
    """Parts of one horizontal bar of ``length`` units that stands for ``whole``, from the left."""
    parts, before = [], 0
    for name, count in counts:
        if count:
            parts.append(
                {"series": name, "x": rounded(length * before / whole), "width": rounded(length * count / whole)}
            )
        before += count
    return parts


def rounded(value: float) -> str:
    """A coordinate with one digit after the point, as SVG reads it in every language."""
    return f"{value:.1f}".removesuffix(".0")
