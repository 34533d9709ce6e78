"""The table of docs/formats.md names tests that are there, for every type and format."""

from __future__ import annotations

import re
from pathlib import Path

from tests.exports.builders import TASKS

ROOT = Path(__file__).parent.parent.parent
TABLE = [line for line in (ROOT / "docs" / "formats.md").read_text().splitlines() if line.startswith("| `")]


def test_every_type_has_a_row_and_every_cell_a_test_that_is_there():
    code = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))
    rows = {cells[1].strip(" `"): cells[2:5] for cells in (line.split("|") for line in TABLE)}
    assert set(rows) == {kind for kinds in TASKS.values() for kind in kinds} | {"no_object"}
    for kind, cells in rows.items():
        for cell in cells:
            named = re.findall(r"`(test_\w+)`", cell)
            assert named and set(named) <= known, (kind, cell)
