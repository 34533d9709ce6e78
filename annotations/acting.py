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

    ``action`` (import, restore) overrides what the triggers would call the change; ``batch`` ties
    the rows of one deed together, so that it is one undo. Nested calls give back the outer words.
    """
    nested = connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        outer = None
        if nested:
            cursor.execute(SHOW)
            outer = cursor.fetchone()
        cursor.execute(SET, [by, action, str(batch or "")])
        yield
        if outer is not None and not transaction.get_rollback():
            cursor.execute(SET, list(outer))
