"""The live tables. Rules that must hold on every write path are triggers in the migrations."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from annotations.querysets import (
    AnnotationQuerySet,
    HistoryQuerySet,
    ImageQuerySet,
    ImageStatusQuerySet,
    ProjectQuerySet,
)
from annotations.states import AnnotationState, HistoryAction, Progress, ProjectStatus, Role, TaskType


class RecordedField(models.JSONField):
    """A row as a trigger wrote it down: ``json`` and not ``jsonb``, which takes twice as long to make and half as much
    room again. It is written once, for each change, and seldom read; SQL that looks into it makes it jsonb."""

    def db_type(self, connection: Any) -> str:
        """The type of its column."""
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """The driver has read it already."""
        return value


class User(AbstractUser):
    """A person who may sign in. ``username`` is the platform user id wherever a row names a person."""

    class Meta:
        db_table = "accounts"
        permissions = [("open_dataset", "Can open a dataset as a project")]

    def may_open_datasets(self) -> bool:
        """Staff may, and whoever was given the permission."""
        return self.is_staff or self.has_perm("annotations.open_dataset")


class ApiToken(models.Model):
    """A bearer token, kept only as its SHA-256; it expires and can be revoked."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "api_tokens"

    def __str__(self) -> str:
        return f"{self.name} of {self.user.get_username()}"


class PlatformDataset(models.Model):
    """A dataset as the platform's own database lists it; read-only for us."""

    lives_on_platform = True
    id = models.CharField(primary_key=True, max_length=100)
    name = models.CharField(max_length=500)
    num_items = models.IntegerField(null=True)

    class Meta:
        managed = False
        db_table = "datasets"


class PlatformUser(models.Model):
    """A person as the platform's own database lists them; read-only for us."""

    lives_on_platform = True
    id = models.CharField(primary_key=True, max_length=150)
    name = models.CharField(max_length=500, null=True)
    email = models.CharField(max_length=500, null=True)

    class Meta:
        managed = False
        db_table = "users"


def new_project_id() -> str:
    """A fresh project id, never given out twice."""
    return f"proj_{secrets.token_hex(6)}"


class Project(models.Model):
    """One dataset being labeled. Deleting leaves the row as a tombstone."""

    id = models.CharField(primary_key=True, max_length=64, default=new_project_id, editable=False)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    dataset_id = models.CharField(max_length=100)
    dataset_name = models.CharField(max_length=500)
    owner_id = models.CharField(max_length=150)
    task_config = models.JSONField(default=dict, blank=True)
    settings = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=20, choices=ProjectStatus, default=ProjectStatus.LOADING)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_by = models.CharField(max_length=150, blank=True, default="")
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Raised by triggers with every change the project record must carry; the sweep writes the record.
    record_revision = models.BigIntegerField(default=1, editable=False)
    recorded_revision = models.BigIntegerField(default=0, editable=False)
    images_revision = models.BigIntegerField(default=1, editable=False)
    images_recorded_revision = models.BigIntegerField(default=0, editable=False)

    objects = ProjectQuerySet.as_manager()
    # The asking user's role, where ``access`` looked it up.
    my_role: str

    class Meta:
        db_table = "projects"
        constraints = [
            models.UniqueConstraint(
                fields=["dataset_id"], condition=Q(deleted_at=None), name="one_living_project_per_dataset"
            ),
            models.CheckConstraint(condition=Q(status__in=ProjectStatus.values), name="project_status_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def image_root(self) -> str:
        """Key prefix of the images in the platform store; ends with ``/``."""
        return f"datasets/{self.dataset_id}/images/"


class ProjectTask(models.Model):
    """One task of a project; position 0 is the first task and never changes."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="tasks")
    task_type = models.CharField(max_length=20, choices=TaskType)
    position = models.PositiveSmallIntegerField()
    # Majors up to this one were given out elsewhere (an older project of the dataset, a lost database).
    number_floor = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "project_tasks"
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["project", "task_type"], name="one_row_per_task"),
            models.UniqueConstraint(fields=["project", "position"], name="one_task_per_position"),
            models.CheckConstraint(condition=Q(task_type__in=TaskType.values), name="task_type_known"),
        ]

    def __str__(self) -> str:
        return f"{self.project_id} {self.task_type}"

    @property
    def is_first(self) -> bool:
        """The first task uses the plain keys and writes the generic official file."""
        return self.position == 0


class Member(models.Model):
    """Who may do what in a project; by platform user id, so that it survives a lost database."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="members")
    user_id = models.CharField(max_length=150)
    role = models.CharField(max_length=20, choices=Role)
    added_at = models.DateTimeField(default=timezone.now, editable=False)
    added_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        db_table = "project_members"
        constraints = [
            models.UniqueConstraint(fields=["project", "user_id"], name="one_role_per_member"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="role_known"),
        ]
        indexes = [models.Index(fields=["user_id"], name="members_by_user")]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.role}"


class LabelClass(models.Model):
    """A class of one task. ``index`` is its id in every file, given once; ``order`` is only for display."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="classes")
    task_type = models.CharField(max_length=20, choices=TaskType)
    class_id = models.CharField(max_length=64)
    index = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    color = models.CharField(max_length=7, default="#808080")
    description = models.TextField(blank=True, default="")
    supercategory = models.CharField(max_length=200, default="object")
    order = models.PositiveIntegerField(default=0)
    keypoints = models.JSONField(default=list, blank=True)
    skeleton = models.JSONField(default=list, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "classes"
        verbose_name_plural = "label classes"
        constraints = [
            models.UniqueConstraint(fields=["project", "task_type", "class_id"], name="one_class_per_key"),
            models.UniqueConstraint(fields=["project", "task_type", "name"], name="one_class_per_name"),
            models.UniqueConstraint(fields=["project", "task_type", "index"], name="one_class_per_index"),
            models.UniqueConstraint(fields=["id", "project", "task_type"], name="class_of_its_task"),
            models.CheckConstraint(condition=Q(color__regex=r"^#[0-9A-Fa-f]{6}$"), name="class_color_is_rrggbb"),
            models.CheckConstraint(
                condition=~Q(name="__background__") & ~Q(class_id="__background__") & ~Q(name=""),
                name="class_name_not_reserved",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Image(models.Model):
    """One image of a dataset; ``id`` is the DICE image id. ``width`` and ``height`` are what a viewer
    shows, that is after EXIF orientation; unknown is null, never 0."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="images")
    path = models.CharField(max_length=900, db_collation="C")
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    depth = models.PositiveSmallIntegerField(default=3)
    size = models.BigIntegerField(default=0)
    etag = models.CharField(max_length=200, blank=True, default="")
    last_modified = models.DateTimeField(null=True, blank=True)
    split = models.CharField(max_length=5, null=True, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = ImageQuerySet.as_manager()

    class Meta:
        db_table = "dataset_images"
        constraints = [
            models.UniqueConstraint(fields=["project", "path"], name="one_image_per_path"),
            models.UniqueConstraint(fields=["id", "project"], name="image_of_its_project"),
            models.CheckConstraint(
                # "is not null" is said: a comparison with null would let half a size pass.
                condition=Q(width__isnull=True, height__isnull=True)
                | Q(width__isnull=False, height__isnull=False, width__gte=1, height__gte=1),
                name="image_size_real",
            ),
            models.CheckConstraint(condition=Q(depth__gte=1, depth__lte=4), name="image_depth_1_to_4"),
            models.CheckConstraint(
                condition=Q(split=None) | Q(split__in=["train", "val", "test"]), name="image_split_known"
            ),
        ]

    def __str__(self) -> str:
        return self.path


class ImageStatus(models.Model):
    """Progress of one image for one task; counters are kept by triggers and by nothing else.

    Its keys need no indexes of their own: a constraint and ``status_by_progress`` begin with them.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_index=False)
    image = models.ForeignKey(Image, on_delete=models.PROTECT, related_name="statuses", db_index=False)
    task_type = models.CharField(max_length=20, choices=TaskType)
    status = models.CharField(max_length=20, choices=Progress, default=Progress.NOT_STARTED)
    first_modified_at = models.DateTimeField(null=True, blank=True)
    last_modified_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=150, null=True, blank=True)
    is_image_confirmed = models.BooleanField(default=False)
    total_annotations = models.IntegerField(default=0)
    confirmed_annotations = models.IntegerField(default=0)
    draft_annotations = models.IntegerField(default=0)
    verified_annotations = models.IntegerField(default=0)
    no_object_markers = models.IntegerField(default=0)
    # The state's own number: grows with every change, names a state in caches and saves.
    revision = models.BigIntegerField(default=0)
    saved_revision = models.BigIntegerField(default=0)
    confirmed_revision = models.BigIntegerField(default=0)

    objects = ImageStatusQuerySet.as_manager()
    # Whether the project's image locks are a rule, on rows from ``locked``.
    locks_are_a_rule: bool | None

    class Meta:
        db_table = "image_annotation_status"
        verbose_name_plural = "image statuses"
        constraints = [
            models.UniqueConstraint(fields=["image", "task_type"], name="one_status_per_image_and_task"),
            models.CheckConstraint(
                condition=Q(total_annotations=F("confirmed_annotations") + F("draft_annotations"))
                & Q(verified_annotations__gte=0, draft_annotations__gte=0, no_object_markers__gte=0)
                & Q(confirmed_annotations__gte=F("verified_annotations")),
                name="status_counters_add_up",
            ),
            models.CheckConstraint(
                condition=Q(status=Progress.COMPLETED, is_image_confirmed=True)
                | Q(status__in=[Progress.NOT_STARTED, Progress.IN_PROGRESS], is_image_confirmed=False),
                name="status_completed_is_confirmed",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "task_type", "status"], name="status_by_progress"),
            models.Index(
                fields=["project", "task_type"],
                condition=Q(revision__gt=F("saved_revision")),
                name="status_unsaved",
            ),
            models.Index(
                fields=["project", "task_type", "image"],
                condition=Q(is_image_confirmed=True, confirmed_revision__gt=F("saved_revision")),
                name="status_newly_confirmed",
            ),
            models.Index(
                fields=["project", "task_type", "image"],
                condition=Q(confirmed_annotations__gt=F("verified_annotations"), status=Progress.COMPLETED),
                name="status_to_review",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.image_id} {self.task_type}: {self.status}"

    @property
    def has_no_object(self) -> bool:
        """Somebody said that nothing is on this image."""
        return self.no_object_markers > 0


def guarded_key(to: type[models.Model], **options: Any) -> Any:
    """A reference that a rule of its own guards (migration 0002) and an index of its own finds."""
    return models.ForeignKey(to, on_delete=models.PROTECT, db_constraint=False, db_index=False, **options)


class Annotation(models.Model):
    """One shape or label. ``bbox`` is the envelope ``[x, y, w, h]`` in pixels, computed with ``area`` at write.

    Its three keys are guarded by its triggers (migration 0002), which hold each of them to the same project and task
    and ask once for all rows of a statement; foreign keys would ask for each row, a third of what an insert costs.
    """

    project = guarded_key(Project, related_name="+")
    image = guarded_key(Image, related_name="annotations")
    task_type = models.CharField(max_length=20, choices=TaskType)
    annotation_type = models.CharField(max_length=20)
    geometry = models.JSONField()
    bbox = models.JSONField(null=True)
    area = models.FloatField(null=True)
    label_class = guarded_key(LabelClass, null=True, blank=True, related_name="+", db_column="class_id")
    attributes = models.JSONField(default=dict)
    confidence = models.FloatField(null=True, blank=True)
    notes = models.TextField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=AnnotationState, default=AnnotationState.DRAFT)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=150, null=True, blank=True)
    version = models.PositiveIntegerField(default=1)
    client_id = models.UUIDField(null=True, blank=True)
    created_by = models.CharField(max_length=150, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_by = models.CharField(max_length=150, null=True)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = AnnotationQuerySet.as_manager()
    # The asking user's role in the project, where ``access`` looked it up.
    my_role: str

    class Meta:
        db_table = "annotations"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=AnnotationState.values), name="annotation_state_known"),
            models.CheckConstraint(condition=Q(version__gte=1), name="annotation_version_from_1"),
            # Without those that have none, as what came from a file.
            models.UniqueConstraint(
                fields=["client_id"], condition=Q(client_id__isnull=False), name="annotation_client_id_once"
            ),
            models.CheckConstraint(
                condition=Q(confidence=None) | Q(confidence__gte=0, confidence__lte=100),
                name="annotation_confidence_0_to_100",
            ),
            models.CheckConstraint(
                condition=~Q(state=AnnotationState.DRAFT) | Q(confirmed_at=None, confirmed_by=None),
                name="annotation_draft_is_unconfirmed",
            ),
            models.CheckConstraint(
                condition=Q(state=AnnotationState.DRAFT)
                | Q(label_class__isnull=False)
                | Q(annotation_type="no_object"),
                name="annotation_settled_has_class",
            ),
            models.CheckConstraint(
                condition=Q(annotation_type="no_object")
                | Q(task_type="detection", annotation_type__in=["bbox", "rotated_bbox"])
                | Q(task_type="segmentation", annotation_type__in=["polygon", "mask"])
                | Q(task_type="keypoint", annotation_type="keypoints")
                | Q(task_type="line", annotation_type="line")
                | Q(task_type="geometry", annotation_type__in=["polyline", "circle"])
                | Q(task_type="classification", annotation_type="classification"),
                name="annotation_type_fits_task",
            ),
            models.CheckConstraint(
                condition=Q(annotation_type__in=["classification", "no_object"]) | Q(bbox__isnull=False, area__gte=0),
                name="annotation_shape_has_bbox",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "image", "task_type"], name="annotation_by_image"),
            models.Index(fields=["project", "task_type", "state"], name="annotation_by_state"),
            models.Index(fields=["project", "updated_at"], name="annotation_by_update"),
            # With the image, as every list of classes says on how many images each is.
            models.Index(fields=["label_class", "image"], name="annotation_by_class"),
            # Whether there is any: every file asks, and most projects have none.
            models.Index(
                fields=["project", "task_type", "annotation_type", "state"],
                condition=Q(annotation_type__in=["no_object", "rotated_bbox"]),
                name="annotation_seldom",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.annotation_type} {self.id}"

    @property
    def annotation_state(self) -> str:
        """The contract's name for ``state``."""
        return self.state


class AnnotationHistory(models.Model):
    """What happened to an annotation; written by a trigger on every path, never by code."""

    annotation_id = models.BigIntegerField()
    project_id = models.CharField(max_length=64)
    image_id = models.BigIntegerField()
    task_type = models.CharField(max_length=20)
    action = models.CharField(max_length=10, choices=HistoryAction)
    previous_state = RecordedField(null=True)
    new_state = RecordedField(null=True)
    changed_by = models.CharField(max_length=150)
    timestamp = models.DateTimeField()
    batch_id = models.UUIDField()
    # The row this one takes back; ``is_undo`` is false again for a redo, which takes back an undo.
    undoes = models.BigIntegerField(null=True)
    is_undo = models.BooleanField(default=False)

    objects = HistoryQuerySet.as_manager()

    class Meta:
        db_table = "annotation_history"
        verbose_name_plural = "annotation history"
        indexes = [
            models.Index(fields=["project_id", "id"], name="history_by_project"),
            # Rows lie in the order of time, so the first and last time of each few pages find them.
            BrinIndex(fields=["timestamp"], pages_per_range=16, autosummarize=True, name="history_by_time"),
            models.Index(fields=["project_id", "changed_by", "id"], name="history_by_person"),
            models.Index(fields=["annotation_id", "id"], name="history_by_annotation"),
            models.Index(fields=["image_id", "id"], name="history_by_image"),
            models.Index(fields=["batch_id"], name="history_by_batch"),
            models.Index(fields=["undoes"], condition=Q(undoes__isnull=False), name="history_taken_back"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.annotation_id}"


class ImageHistory(models.Model):
    """When the status of an image changed, by whom, and what it was; written by a trigger. An undo brings it back."""

    image_id = models.BigIntegerField()
    project_id = models.CharField(max_length=64)
    task_type = models.CharField(max_length=20)
    previous_state = models.JSONField()
    new_state = models.JSONField()
    changed_by = models.CharField(max_length=150)
    timestamp = models.DateTimeField()
    batch_id = models.UUIDField()

    class Meta:
        db_table = "image_history"
        verbose_name_plural = "image history"
        indexes = [
            models.Index(fields=["image_id", "task_type", "id"], name="image_history_by_image"),
            models.Index(fields=["batch_id"], name="image_history_by_batch"),
        ]

    def __str__(self) -> str:
        return f"{self.image_id} {self.task_type}"


class ClassHistory(models.Model):
    """What happened to a class; written by a trigger."""

    label_class_id = models.BigIntegerField()
    project_id = models.CharField(max_length=64)
    task_type = models.CharField(max_length=20)
    previous_state = models.JSONField(null=True)
    new_state = models.JSONField()
    changed_by = models.CharField(max_length=150)
    timestamp = models.DateTimeField()

    class Meta:
        db_table = "class_history"
        verbose_name_plural = "class history"
        indexes = [models.Index(fields=["project_id", "-id"], name="class_history_by_project")]


class AuditEntry(models.Model):
    """One deed that matters to who answers for the data; written by triggers, only ever appended.

    ``action`` is ``noun.verb`` (``version.published``), ``subject`` what it was done to, by the name people know.
    """

    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=40)
    project_id = models.CharField(max_length=64, null=True)
    subject = models.CharField(max_length=255)
    detail = models.JSONField(default=dict)

    class Meta:
        db_table = "audit_entries"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["project_id", "-id"], name="audit_by_project")]

    def __str__(self) -> str:
        return f"{self.action} {self.subject} by {self.actor}"


class ThrottleCount(models.Model):
    """How often a person or an address did something limited in the present window; see annotations/throttles.py."""

    key = models.CharField(max_length=255, primary_key=True)
    window_number = models.BigIntegerField()
    count = models.PositiveIntegerField()

    class Meta:
        db_table = "throttle_counts"

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"


class ImageMark(models.Model):
    """This image changed since the last publish looked; appended by triggers, removed by the freeze
    that saw it (docs/decisions/0003-marks.md)."""

    project_id = models.CharField(max_length=64)
    task_type = models.CharField(max_length=20)
    image_id = models.BigIntegerField()

    class Meta:
        db_table = "image_marks"
        indexes = [models.Index(fields=["project_id", "task_type", "image_id"], name="marks_by_task")]


class HistoryMark(models.Model):
    """These rows of history are not in the journal yet, those with the ids from the first to the last: appended by a
    trigger with the rows themselves, removed when a segment takes it (docs/decisions/0013-journal.md). ``kind`` is
    annotation, image or class."""

    kind = models.CharField(max_length=10)
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()
    project_id = models.CharField(max_length=64)

    class Meta:
        db_table = "history_marks"


class ImageLock(models.Model):
    """Who works on an image, until when; advice, unless the project's setting ``image_locks`` makes it a rule."""

    image = models.OneToOneField(Image, on_delete=models.CASCADE, primary_key=True, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    user_id = models.CharField(max_length=150)
    locked_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "image_locks"


class IdempotencyKey(models.Model):
    """The answer to a request that a client may repeat within a day."""

    user_id = models.CharField(max_length=150)
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    answer = models.JSONField(null=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "idempotency_keys"
        constraints = [models.UniqueConstraint(fields=["user_id", "key"], name="one_answer_per_key")]


def iso(moment: datetime | None) -> str | None:
    """UTC with six digits and ``Z``, as every answer and file writes times; None stays None."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
