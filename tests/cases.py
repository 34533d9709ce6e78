"""How many made-up cases a test tries: enough for every day in ``make test``, many times more in ``make cases``."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

# How many times more cases than every day; 1 is every day.
SOAK = int(os.environ.get("LABELER_CASES", "1"))


def made_up(cases: int, **wish: Any) -> settings:
    """So many cases, the same ones every day, and other ones in each soak; each failure tells how to repeat it."""
    return settings(
        max_examples=cases * SOAK,
        derandomize=SOAK == 1,
        deadline=None,
        print_blob=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            # What a test is given it uses for all its cases, or empties by itself.
            HealthCheck.function_scoped_fixture,
        ],
        **wish,
    )
