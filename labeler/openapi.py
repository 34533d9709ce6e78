"""What the OpenAPI document says beyond what drf-spectacular finds by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def without_trailing_slashes(endpoints: Iterable[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Paths as clients write them: a trailing slash is accepted everywhere and shown nowhere."""
    return [(path.rstrip("/"), regex, method, view) for path, regex, method, view in endpoints]
