"""Which database answers for which table."""

from __future__ import annotations

from typing import Any


class PlatformRouter:
    """The platform's tables are read from their own alias; nothing is ever migrated there."""

    def _is_platform(self, model: Any) -> bool:
        return bool(getattr(model, "lives_on_platform", False))

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "platform" if self._is_platform(model) else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        # Sent there on purpose: PostgreSQL refuses it, which is clearer than a missing table.
        return "platform" if self._is_platform(model) else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if db == "platform" else None
