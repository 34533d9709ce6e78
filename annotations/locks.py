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
    lock: ImageLock | None = None
    # None: given back meanwhile.
    while lock is None:
        taken = _take(image.project_id, [image.pk], by)
        lock = ImageLock.objects.filter(image=image).first()
    if lock.user_id != by:
        return "already_locked", lock
    return ("acquired" if taken.get(image.pk) else "refreshed"), lock


def heartbeat(image: Image, *, by: str) -> tuple[str, ImageLock | None]:
    """Renew one's own lock: ``updated``, ``not_locked``, or ``not_owner`` with the other's lock."""
    now = timezone.now()
    locks = living(image.project_id).filter(image=image)
    locks.filter(user_id=by).update(heartbeat_at=now, expires_at=now + timedelta(seconds=SECONDS))
    lock = locks.first()
    if lock is None:
        return "not_locked", None
    return ("updated" if lock.user_id == by else "not_owner"), lock


def release(image: Image, *, by: str | None) -> str:
    """Give one's lock back (``by`` None: anybody's): ``released``, ``not_locked`` or ``not_owner``."""
    locks = living(image.project_id).filter(image=image)
    given, _ = (locks if by is None else locks.filter(user_id=by)).delete()
    if given:
        return "released"
    return "not_owner" if by is not None and locks.exists() else "not_locked"


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
    while refused := set(images) - _take(project_id, images, by).keys():
        # None: somebody gave it back meanwhile.
        lock = ImageLock.objects.filter(image__in=refused).select_related("image").order_by("image__path").first()
        if lock is not None:
            raise _locked(lock.image.path, lock.user_id)


# Of the deed this transaction is: what it changed is in the histories.
TOUCHED = """
WITH deed AS MATERIALIZED (SELECT labeler_actor() AS actor, labeler_batch() AS batch)
SELECT i.path, l.user_id
FROM deed, image_locks l
JOIN projects p ON p.id = l.project_id AND p.settings->'image_locks' = 'true'
JOIN dataset_images i ON i.id = l.image_id
WHERE l.project_id = %(project)s AND l.user_id <> deed.actor AND l.expires_at > %(now)s
  AND (EXISTS (SELECT FROM annotation_history h WHERE h.batch_id = deed.batch AND h.image_id = l.image_id)
    OR EXISTS (SELECT FROM image_history h WHERE h.batch_id = deed.batch AND h.image_id = l.image_id))
ORDER BY i.path LIMIT 1"""


def refuse_touched(project_id: str) -> None:
    """At the end of a deed on many images (a restore, an import), in its transaction: raises ImageLocked if it changed
    anything of an image that somebody else has locked, where the project's locks are on."""
    with connection.cursor() as cursor:
        cursor.execute(TOUCHED, {"project": project_id, "now": timezone.now()})
        if found := cursor.fetchone():
            raise _locked(*found)


def _locked(path: str, user_id: str) -> ImageLocked:
    return ImageLocked(
        f"{user_id} has locked {path}; try again when they are done, or ask an admin to free it.",
        image_id=path,
        locked_by=user_id,
    )


def _take(project_id: str, images: Sequence[int], by: str) -> dict[int, bool]:
    """The images that are now locked by ``by``, and whether that is new."""
    now = timezone.now()
    values: dict[str, Any] = {"project": project_id, "images": sorted(set(images)), "by": by, "now": now,
              "until": now + timedelta(seconds=SECONDS)}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(TAKE, values)
        return dict(cursor.fetchall())
