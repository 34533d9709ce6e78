"""The words rows may hold: tasks, shapes, states, roles."""

from __future__ import annotations

from django.db import models


class TaskType(models.TextChoices):
    """What a project's annotations are for; each has its own classes, statuses and versions."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    KEYPOINT = "keypoint"
    LINE = "line"
    GEOMETRY = "geometry"


TASK_ALIASES = {
    "object_detection": TaskType.DETECTION,
    "image_classification": TaskType.CLASSIFICATION,
    "instance_segmentation": TaskType.SEGMENTATION,
    "pose": TaskType.KEYPOINT,
    "pose_estimation": TaskType.KEYPOINT,
    "keypoints": TaskType.KEYPOINT,
    "keypoint_detection": TaskType.KEYPOINT,
    "line_detection": TaskType.LINE,
    "geometry_detection": TaskType.GEOMETRY,
}


class AnnotationState(models.TextChoices):
    """draft -> confirmed -> verified; only the last two are published."""

    DRAFT = "draft"
    CONFIRMED = "confirmed"
    VERIFIED = "verified"


class Progress(models.TextChoices):
    """How far one image is for one task."""

    NOT_STARTED = "not-started"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"


class Role(models.TextChoices):
    """Roles in rising order; each may do all that the ones before it may."""

    VIEWER = "viewer"
    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """0 for viewer up to 4 for owner."""
        return list(Role).index(self)


class ProjectStatus(models.TextChoices):
    """loading until the images are listed, failed if that could not be done."""

    LOADING = "loading"
    ACTIVE = "active"
    FAILED = "failed"
    ARCHIVED = "archived"


class HistoryAction(models.TextChoices):
    """What a history row says happened."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RESTORE = "restore"
    CONFIRM = "confirm"
    UNCONFIRM = "unconfirm"
    VERIFY = "verify"
    IMPORT = "import"
