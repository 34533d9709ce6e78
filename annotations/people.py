"""Names of people, from the platform's database: cached, and never the reason an answer fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice

from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.db import DatabaseError

from annotations.models import PlatformUser, User

log = logging.getLogger(__name__)

KEEP = 300
KEEP_FAILURE = 15
DOWN = "people:down"


def names_of(ids: Iterable[str | None]) -> dict[str, str | None]:
    """Names by platform user id; None for people the platform does not know or cannot tell now."""
    wanted = {each for each in ids if each}
    known = cache.get_many([_key(each) for each in wanted])
    names = {each: known[_key(each)] for each in wanted if _key(each) in known}
    missing = wanted - set(names)
    if missing and not cache.get(DOWN):
        names |= _ask(missing)
    return {each: names.get(each) or None for each in wanted}


def _ask(ids: set[str]) -> dict[str, str]:
    try:
        found = dict(PlatformUser.objects.filter(pk__in=ids).values_list("pk", "name"))
    except DatabaseError as error:
        # Asked again in a moment; until then answers come without names, not late.
        cache.set(DOWN, True, KEEP_FAILURE)
        log.warning("The platform database does not tell names: %s", error)
        return {}
    names = {each: found.get(each) or "" for each in ids}
    cache.set_many({_key(each): name for each, name in names.items()}, KEEP)
    return names


def _key(user_id: str) -> str:
    return f"people:{user_id.encode().hex()}"


def make_accounts(*, dry_run: bool = False) -> int:
    """Accounts without a password for platform users who have none; returns how many. Raises DatabaseError."""
    made = 0
    for ids in _batches(PlatformUser.objects.order_by("pk").values_list("pk", flat=True).iterator(), 1000):
        known = set(User.objects.filter(username__in=ids).values_list("username", flat=True))
        fresh = [User(username=each, password=make_password(None)) for each in ids if each not in known]
        if not dry_run:
            User.objects.bulk_create(fresh, ignore_conflicts=True)
        made += len(fresh)
    return made


def _batches(entries: Iterable[str], size: int) -> Iterable[list[str]]:
    entries = iter(entries)
    while batch := list(islice(entries, size)):
        yield batch
