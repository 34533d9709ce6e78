"""The token of a closing page: signed, bound to a user, a project and one purpose, good for a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.core import signing
from django.utils import timezone

SALT = "labeler.beacon.save"
SECONDS = 24 * 3600


class Beacon(NamedTuple):
    """Whom a token speaks for, and in which project."""

    user_id: str
    project_id: str


def token_for(user_id: str, project_id: str) -> tuple[str, datetime]:
    """A fresh token and when it ends."""
    return signing.dumps([user_id, project_id], salt=SALT), timezone.now() + timedelta(seconds=SECONDS)


def read_token(token: str) -> Beacon | None:
    """What a token says; None for one that is changed, expired or made for something else."""
    try:
        return Beacon(*signing.loads(token, salt=SALT, max_age=SECONDS))
    except signing.BadSignature:
        return None
