"""Repeating a request with the same ``Idempotency-Key`` gives the same answer and one effect, for a day.

The key's row is written in the transaction of the effect: either both are there or neither. A second
request at the same time waits for the first and then finds its answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotations.errors import AnnotationError, Duplicate
from annotations.models import IdempotencyKey

HOURS = 24
MAX_KEY = 200


def once(user_id: str, key: str | None, request: Any, act: Callable[[], Any]) -> Any:
    """The JSON result of ``act``; of the earlier call if ``key`` was used for the same ``request`` already.

    Raises Duplicate when the key was used for another request, AnnotationError for a key too long. In a
    transaction that sees one moment IntegrityError, when the key was used after it: outside of it ``earlier_answer``
    tells the answer.
    """
    if not key:
        return act()
    if len(key) > MAX_KEY or not key.isprintable():
        reason = "takes at most 200 printable characters."
        raise AnnotationError(f"Idempotency-Key {reason}", errors={"Idempotency-Key": [reason]})
    fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    with transaction.atomic():
        forget_old(user_id, key)
        row, new = IdempotencyKey.objects.get_or_create(user_id=user_id, key=key, defaults={"fingerprint": fingerprint})
        if not new:
            return _earlier(row, fingerprint)
        row.answer = act()
        row.save(update_fields=["answer"])
        return row.answer


def _earlier(row: IdempotencyKey, fingerprint: str) -> Any:
    if row.fingerprint != fingerprint:
        raise Duplicate("This Idempotency-Key was used for another request; use a new one.")
    return row.answer


def earlier_answer(user_id: str, key: str | None, request: Any) -> Any:
    """The answer of an earlier call, or None; for actions whose own transaction remembers the key."""
    fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    row = IdempotencyKey.objects.filter(user_id=user_id, key=key).first() if key else None
    return _earlier(row, fingerprint) if row else None


def forget_old(user_id: str, key: str) -> None:
    """A key older than a day may be used anew."""
    limit = timezone.now() - timedelta(hours=HOURS)
    IdempotencyKey.objects.filter(user_id=user_id, key=key, created_at__lt=limit).delete()
