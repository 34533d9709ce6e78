"""What a version, its platform file and a job may be."""

from __future__ import annotations

from django.db import models


class VersionType(models.TextChoices):
    """Working versions are safety copies, published ones are final."""

    WORKING = "working"
    PUBLISHED = "published"


class PublishState(models.TextChoices):
    """exporting -> ready | failed; failed may be retried."""

    EXPORTING = "exporting"
    READY = "ready"
    FAILED = "failed"


class PlatformState(models.TextChoices):
    """pending -> synced | failed | superseded; not_applicable for working versions."""

    PENDING = "pending"
    SYNCED = "synced"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    NOT_APPLICABLE = "not_applicable"


class JobState(models.TextChoices):
    """Long work a client may ask about."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class SaveTrigger(models.TextChoices):
    """Why a working save was made."""

    MANUAL = "manual"
    TIMER = "timer"
    IMAGES = "images"
    BEFOREUNLOAD = "beforeunload"
    PUBLISH = "publish"
    RESTORE = "restore"
