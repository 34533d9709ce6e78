"""Who is working on which image right now: advice for people. What protects the data is each row's version.

A lock lasts five minutes and is renewed by its owner. Where the project's setting ``image_locks`` is true, a write
to an image somebody else has locked is refused (423), and any other write takes or renews the lock; else nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from annotations.errors import ImageLocked
from annotations.models import Image, ImageLock, ImageStatus, Project

SECONDS = 300

# One statement: two people at once get one lock, and an expired one is taken over.
TAKE = """
INSERT INTO image_locks (image_id, project_id, user_id, locked_at, heartbeat_at, expires_at)
SELECT image, %(project)s, %(by)s, %(now)s, %(now)s, %(until)s FROM unnest(%(images)s::bigint[]) AS image ORDER BY image
ON CONFLICT (image_id) DO UPDATE SET
    user_id = excluded.user_id, heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at,
    locked_at = CASE WHEN image_locks.user_id = excluded.user_id AND image_locks.expires_at > excluded.locked_at
                THEN image_locks.locked_at ELSE excluded.locked_at END
WHERE image_locks.user_id = excluded.user_id OR image_locks.expires_at <= excluded.locked_at
RETURNING image_id, locked_at = %(now)s"""


def acquire(image: Image, *, by: str) -> tuple[str, ImageLock]:
    """Lock the image for five minutes: ``acquired``, ``refreshed``, or ``already_locked`` with the other's lock."""
    taken = _take(image.project_id, [image.pk], by)
    lock = ImageLock.objects.get(image=image)
    if image.pk not in taken:
        return "already_locked", lock
    return ("acquired" if taken[image.pk] else "refreshed"), lock


def heartbeat(image: Image, *, by: str) -> tuple[str, ImageLock | None]:
    """Renew one's own lock: ``updated``, ``not_locked``, or ``not_owner`` with the other's lock."""
    now = timezone.now()
    lock = living(image.project_id).filter(image=image).first()
    if lock is None:
        return "not_locked", None
    if lock.user_id != by:
        return "not_owner", lock
    lock.heartbeat_at, lock.expires_at = now, now + timedelta(seconds=SECONDS)
    lock.save(update_fields=["heartbeat_at", "expires_at"])
    return "updated", lock


def release(image: Image, *, by: str | None) -> str:
    """Give one's lock back (``by`` None: anybody's): ``released``, ``not_locked`` or ``not_owner``."""
    lock = living(image.project_id).filter(image=image).first()
    if lock is None:
        return "not_locked"
    if by is not None and lock.user_id != by:
        return "not_owner"
    lock.delete()
    return "released"


def living(project_id: str) -> QuerySet[ImageLock]:
    """Locks of a project that have not expired, by image."""
    locks = ImageLock.objects.filter(project_id=project_id, expires_at__gt=timezone.now())
    return locks.select_related("image").order_by("image__path")


def are_a_rule(project_id: str) -> bool:
    """Whether the project wants locks respected (its setting ``image_locks``)."""
    return Project.objects.filter(pk=project_id, settings__image_locks=True).exists()


def claim(statuses: Sequence[ImageStatus], *, by: str) -> None:
    """Before a write to the images of progress rows (from ``lock_progress``): as ``claim_images``, where the project's
    locks are on."""
    ruled = [status for status in statuses if status.locks_are_a_rule is True]
    if ruled:
        claim_images(ruled[0].project_id, [status.image_id for status in ruled], by=by)


def claim_images(project_id: str, images: Sequence[int], *, by: str) -> None:
    """Take or renew the locks of images (primary keys); raises ImageLocked if somebody else has one of them."""
    taken = _take(project_id, images, by)
    refused = [image for image in images if image not in taken]
    if refused:
        lock = ImageLock.objects.select_related("image").get(image_id=refused[0])
        raise ImageLocked(
            f"{lock.user_id} has locked {lock.image.path}; try again when they are done, or ask an admin to free it.",
            image_id=lock.image.path,
            locked_by=lock.user_id,
        )


def _take(project_id: str, images: Sequence[int], by: str) -> dict[int, bool]:
    """The images that are now locked by ``by``, and whether that is new."""
    now = timezone.now()
    values: dict[str, Any] = {"project": project_id, "images": sorted(set(images)), "by": by, "now": now,
              "until": now + timedelta(seconds=SECONDS)}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(TAKE, values)
        return dict(cursor.fetchall())
