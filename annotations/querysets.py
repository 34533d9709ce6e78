"""Questions about rows, each asked in one place so that no two answers disagree."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F

from annotations.states import AnnotationState, Progress


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


class ImageQuerySet(models.QuerySet):
    """Images of projects."""

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

    def to_lock(self) -> ImageStatusQuerySet:
        """To be locked by a writer, with what it asks next: whether the project's image locks are a rule."""
        return self.select_for_update(of=("self",)).annotate(locks_are_a_rule=F("project__settings__image_locks"))

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
