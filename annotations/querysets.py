"""Questions about rows, each asked in one place so that no two answers disagree.

What nearly every request asks (who is it, may they, which image, lock its progress) is written out as SQL: putting such
a question together anew takes four times as long as asking it. How it is asked is in ``asking.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connection, models
from django.db.models import F

from annotations.asking import asked, first, must_be_atomic
from annotations.states import AnnotationState, Progress

VISIBLE_PROJECT = """
SELECT {columns}, m.role FROM projects t JOIN project_members m ON m.project_id = t.id
WHERE t.id = %s AND m.user_id = %s AND t.deleted_at IS NULL"""
ROLE_AT = """
SELECT m.role FROM annotations a
JOIN projects p ON p.id = a.project_id JOIN project_members m ON m.project_id = p.id
WHERE a.id = %s AND m.user_id = %s AND p.deleted_at IS NULL"""
TOKENS_USER = """
SELECT {columns} FROM accounts t JOIN api_tokens k ON k.user_id = t.id
WHERE k.digest = %s AND k.revoked_at IS NULL AND k.expires_at > %s AND t.is_active"""
IMAGE = "SELECT {columns} FROM dataset_images t WHERE project_id = %s AND path = %s"
# By id, the one order of all writers.
LOCK = """
SELECT {{columns}}, p.settings->'image_locks' = 'true'
FROM image_annotation_status t JOIN projects p ON p.id = t.project_id {which} ORDER BY t.id FOR UPDATE OF t"""
LOCK_IMAGES = LOCK.format(which="WHERE t.project_id = %s AND t.image_id = ANY(%s) AND t.task_type = ANY(%s)")
LOCK_OF = LOCK.format(
    which="JOIN annotations a ON (a.image_id, a.task_type) = (t.image_id, t.task_type) WHERE a.id = %s"
)
ANNOTATION = "SELECT {columns} FROM annotations t WHERE id = %s FOR UPDATE"
BY_KEY = "SELECT {{columns}} FROM {table} t WHERE id = %s"
STATUSES = "SELECT {columns} FROM image_annotation_status t WHERE id = ANY(%s)"
DRAFTS = """
SELECT {columns} FROM annotations t
WHERE project_id = %s AND task_type = %s AND image_id = ANY(%s) AND state = 'draft' ORDER BY id FOR UPDATE"""


class ProjectQuerySet(models.QuerySet):
    """Projects, the deleted ones (tombstones) included unless asked otherwise."""

    def alive(self) -> ProjectQuerySet:
        """Not deleted."""
        return self.filter(deleted_at=None)

    def visible_to(self, user: Any) -> ProjectQuerySet:
        """Alive and the user is a member; membership is by platform user id."""
        return self.alive().filter(members__user_id=user.get_username())

    def with_my_role(self) -> ProjectQuerySet:
        """After visible_to: each project with the user's role in it, as ``my_role``."""
        return self.annotate(my_role=F("members__role"))

    def one_visible_to(self, user: Any, project_id: str) -> Any:
        """One project as ``visible_to(user).with_my_role()`` gives it; None if it is not among those."""
        return first(self.model, VISIBLE_PROJECT, [project_id, user.get_username()], also=["my_role"])


class ImageQuerySet(models.QuerySet):
    """Images of projects."""

    def at(self, project_id: str, path: str) -> Any:
        """The image of a project with that path, or None."""
        return first(self.model, IMAGE, [project_id, path])

    def in_list_order(self) -> ImageQuerySet:
        """The one order of image lists and status lists: by path, code point by code point."""
        return self.order_by("path")


class ImageStatusQuerySet(models.QuerySet):
    """Progress rows, one per image and task."""

    def of(self, project_id: str, task_type: str) -> ImageStatusQuerySet:
        """The rows of one task."""
        return self.filter(project_id=project_id, task_type=task_type)

    def unsaved(self) -> ImageStatusQuerySet:
        """Changed since the last working save covered them."""
        return self.filter(revision__gt=F("saved_revision"))

    def newly_confirmed(self) -> ImageStatusQuerySet:
        """Confirmed since the last working save covered them; each image counts once."""
        return self.filter(is_image_confirmed=True, confirmed_revision__gt=F("saved_revision"))

    def locked(self, project_id: str, images: Iterable[int], tasks: Iterable[str]) -> list[Any]:
        """Rows of images (primary keys) and tasks, locked for a writer, with what it asks next: whether the project's
        image locks are a rule."""
        must_be_atomic()
        return asked(self.model, LOCK_IMAGES, [project_id, list(images), list(tasks)], also=["locks_are_a_rule"])

    def locked_of(self, annotation_id: int) -> Any:
        """As ``locked``, the row of the image and task of an annotation; None if there is no such annotation."""
        must_be_atomic()
        return first(self.model, LOCK_OF, [annotation_id], also=["locks_are_a_rule"])

    def again(self, keys: Iterable[int]) -> list[Any]:
        """Rows (primary keys) as they are now, after triggers had their say."""
        return asked(self.model, STATUSES, [list(keys)])

    def to_review(self) -> ImageStatusQuerySet:
        """Confirmed as a whole, with annotations that nobody verified."""
        return self.completed().filter(confirmed_annotations__gt=F("verified_annotations"))

    def completed(self) -> ImageStatusQuerySet:
        """Confirmed as a whole."""
        return self.filter(status=Progress.COMPLETED)


class AnnotationQuerySet(models.QuerySet):
    """Live annotations."""

    def visible_to(self, user: Any) -> AnnotationQuerySet:
        """Of living projects the user is a member of, each with the user's role there, as ``my_role``."""
        mine = self.filter(project__deleted_at=None, project__members__user_id=user.get_username())
        return mine.annotate(my_role=F("project__members__role"))

    def role_of(self, user: Any, annotation_id: int) -> str | None:
        """The user's role where an annotation is, as ``visible_to`` gives it; None if it is not among those."""
        with connection.cursor() as cursor:
            cursor.execute(ROLE_AT, [annotation_id, user.get_username()])
            found = cursor.fetchone()
        return found and found[0]

    def locked(self, annotation_id: int) -> Any:
        """An annotation, locked; None if there is none."""
        must_be_atomic()
        return first(self.model, ANNOTATION, [annotation_id])

    def read_names(self, row: Any) -> None:
        """Read what ``with_names`` joins, for a row that came from ``locked``."""
        row.image, row.label_class = _by_key(row, "image"), _by_key(row, "label_class")

    def locked_drafts(self, project_id: str, task_type: str, images: Iterable[int]) -> list[Any]:
        """The drafts of images (primary keys), locked by id: their id, image, type and class."""
        must_be_atomic()
        only = ("id", "image_id", "annotation_type", "label_class_id")
        return asked(self.model, DRAFTS, [project_id, task_type, list(images)], only=only)

    def drafts(self) -> AnnotationQuerySet:
        """Not settled yet."""
        return self.filter(state=AnnotationState.DRAFT)

    def settled(self) -> AnnotationQuerySet:
        """Confirmed or verified: what a published version may contain."""
        return self.filter(state__in=[AnnotationState.CONFIRMED, AnnotationState.VERIFIED])

    def on(self, status: Any) -> AnnotationQuerySet:
        """The annotations one progress row counts."""
        return self.filter(image_id=status.image_id, task_type=status.task_type)

    def with_names(self) -> AnnotationQuerySet:
        """Joined with what an answer shows: the image's path and the class."""
        return self.select_related("image", "label_class")


class HistoryQuerySet(models.QuerySet):
    """What happened to annotations."""

    def of(self, project_id: str) -> HistoryQuerySet:
        """Of one project, newest first."""
        return self.filter(project_id=project_id).order_by("-id")


def _by_key(row: Any, name: str) -> Any:
    """What a foreign key of a row refers to."""
    key, to = getattr(row, f"{name}_id"), row._meta.get_field(name).related_model
    if key is None:
        return None
    return first(to, BY_KEY.format(table=to._meta.db_table), [key])
