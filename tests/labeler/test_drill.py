"""The recovery drill, short: a database is lost in the middle of work, and seconds are what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.system import ROOT


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_lost_database_costs_seconds_of_work():
    said = subprocess.run(
        [sys.executable, "-m", "labeler.embedded.drill", "--seconds", "6", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=560, env={**os.environ, "LABELER_LOG_LEVEL": "WARNING"},
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["acknowledged"] > 0 and found["wrong"] == 0
    assert found["versions"] == ["v1.0"] and found["versions_lost"] == []
    assert found["lost_seconds"] <= 30
