"""Where the system's browser is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoBrowser(Exception):
    """There is none; the message says how to get one."""


def chromium() -> str:
    """The system's Chromium, or the one ``LABELER_CHROMIUM`` names; raises NoBrowser."""
    found = os.environ.get("LABELER_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None or not Path(found).exists():
        raise NoBrowser(
            f"No browser: {found or ' or '.join(NAMES)} is not there. The page is looked at in a real one: apt install "
            "chromium (or set LABELER_CHROMIUM to the program of a Chromium or Chrome)."
        )
    return found
