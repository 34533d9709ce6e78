"""Questions about versions and jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from versions.states import JobState, PlatformState, PublishState, VersionType

# No pause is longer; one that seems so was written by a clock that ran ahead.
LONGEST_PAUSE = timedelta(minutes=10)


def pause_is_over() -> Q:
    """Rows whose ``retry_at`` does not keep them waiting."""
    now = timezone.now()
    return Q(retry_at=None) | Q(retry_at__lte=now) | Q(retry_at__gt=now + LONGEST_PAUSE)


class VersionQuerySet(models.QuerySet):
    """Versions of projects."""

    def of(self, project_id: str, task_type: str) -> VersionQuerySet:
        """The versions of one task."""
        return self.filter(project_id=project_id, task_type=task_type)

    def published(self) -> VersionQuerySet:
        """Final versions, whatever their export state."""
        return self.filter(version_type=VersionType.PUBLISHED)

    def working(self) -> VersionQuerySet:
        """Safety copies."""
        return self.filter(version_type=VersionType.WORKING)

    def unfinished(self) -> VersionQuerySet:
        """Published versions whose files or official copy are still owed."""
        owed = Q(status=PublishState.EXPORTING) | Q(status=PublishState.READY, platform_status=PlatformState.PENDING)
        return self.published().filter(owed, project__deleted_at=None)

    def failed(self) -> VersionQuerySet:
        """Those a person must look after."""
        refused = Q(status=PublishState.FAILED) | Q(platform_status=PlatformState.FAILED)
        return self.filter(refused, project__deleted_at=None).order_by("pk")

    def newest_first(self) -> VersionQuerySet:
        """By number, the highest first."""
        return self.order_by("-major", "-minor", "-id")


class SaveStateQuerySet(models.QuerySet):
    """What is known of working saves."""

    def want(self, task: Any, trigger: str, *, by: str) -> None:
        """Make a save of the task due now."""
        self.filter(task=task).update(requested_at=timezone.now(), requested_trigger=trigger, requested_by=by)


class JobQuerySet(models.QuerySet):
    """Long work."""

    def unfinished(self) -> JobQuerySet:
        """Not yet done or given up."""
        return self.filter(status__in=[JobState.QUEUED, JobState.RUNNING])
