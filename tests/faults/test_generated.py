"""Deeds and faults drawn from a seed, on the running system, beside a ledger of what was acknowledged.

After each run everything is proved: live rows, every version's files, the official file, and check_invariants --deep.
``make soak`` does hundreds; a seed that failed there is added here.
"""

from __future__ import annotations

import pytest

from tests.faults import runs

SEEDS = range(1, 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_nothing_is_lost_half_made_or_given_out_twice(stage, seed):
    run = runs.generated(stage, seed)
    assert run.struck, run.log
