"""Who is acting, told to PostgreSQL: the triggers write it into history with every change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, transaction

SETTINGS = ("labeler.actor", "labeler.action", "labeler.batch")
SET = "SELECT " + ", ".join(f"set_config('{name}', %s, true)" for name in SETTINGS)
SHOW = "SELECT " + ", ".join(f"coalesce(current_setting('{name}', true), '')" for name in SETTINGS)


@contextmanager
def acting(by: str, *, action: str = "", batch: UUID | None = None) -> Iterator[None]:
    """One transaction in which every history row names ``by``.

    ``action`` (import, restore) overrides what the triggers would call the change; ``batch`` names the
    deed, which is undone as one (by default the triggers give each transaction a batch of its own).
    A nested call keeps the outer action and batch unless it says its own, and gives them back.
    """
    nested = connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        outer = ("", "", "")
        if nested:
            cursor.execute(SHOW)
            outer = cursor.fetchone()
        cursor.execute(SET, [by, action or outer[1], str(batch or outer[2])])
        yield
        if nested and not transaction.get_rollback():
            cursor.execute(SET, list(outer))
