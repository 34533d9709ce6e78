"""Train, val or test: a person's choice, else decided by the file name alone (dice-format.md 4.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def split_of(file_name: str, explicit: str | None, ratios: Sequence[float] = (0.7, 0.2, 0.1)) -> str:
    """The explicit choice if there is one, else ``md5(file_name) mod 10000 / 10000`` against the ratios."""
    if explicit:
        return explicit
    share = int.from_bytes(hashlib.md5(file_name.encode(), usedforsecurity=False).digest()) % 10_000 / 10_000
    if share < ratios[0]:
        return "train"
    # Summed in hundredths of a percent: 0.7 + 0.2 is a hair above 0.9 in binary.
    return "val" if share * 10_000 < round((ratios[0] + ratios[1]) * 10_000) else "test"
