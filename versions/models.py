"""Versions and what belongs to them. Triggers in the migrations keep frozen content frozen."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import Project, ProjectTask
from annotations.states import TaskType
from versions.querysets import JobQuerySet, SaveStateQuerySet, VersionQuerySet
from versions.states import JobState, PlatformState, PublishState, SaveTrigger, VersionType


class Version(models.Model):
    """A numbered state of one task: ``v0.N`` working, ``vN.M`` published. ``ordinal`` orders the
    published ones of a task; frozen rows are open from one ordinal until another closes them."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="versions")
    task_type = models.CharField(max_length=20, choices=TaskType)
    version_number = models.CharField(max_length=20)
    major = models.PositiveIntegerField()
    minor = models.PositiveIntegerField()
    version_type = models.CharField(max_length=10, choices=VersionType)
    ordinal = models.PositiveIntegerField(null=True, blank=True)
    description = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=150)
    annotation_count = models.IntegerField(default=0)
    image_count = models.IntegerField(default=0)
    include_draft = models.BooleanField(default=False)
    trigger = models.CharField(max_length=20, choices=SaveTrigger, blank=True, default="")
    formats = models.JSONField(default=list)
    manifest = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=PublishState, default=PublishState.EXPORTING)
    content_hash = models.CharField(max_length=80, blank=True, default="")
    warnings = models.JSONField(default=list)
    last_error = models.TextField(blank=True, default="")
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    platform_status = models.CharField(max_length=20, choices=PlatformState, default=PlatformState.NOT_APPLICABLE)
    platform_keys = models.JSONField(default=list)
    platform_synced_at = models.DateTimeField(null=True, blank=True)
    platform_attempts = models.PositiveIntegerField(default=0)
    platform_error = models.TextField(blank=True, default="")
    # Where the pieces of its images lie in its files: a cache, see versions/ready.py.
    pieces = models.JSONField(null=True, editable=False)

    objects = VersionQuerySet.as_manager()

    class Meta:
        db_table = "annotation_versions"
        constraints = [
            models.UniqueConstraint(fields=["project", "task_type", "version_number"], name="one_version_per_number"),
            models.UniqueConstraint(
                fields=["project", "task_type", "major", "minor"], name="one_version_per_major_minor"
            ),
            models.UniqueConstraint(fields=["project", "task_type", "ordinal"], name="one_version_per_ordinal"),
            models.CheckConstraint(
                condition=Q(version_type=VersionType.WORKING, major=0, minor__gte=1, ordinal=None)
                | Q(version_type=VersionType.PUBLISHED, major__gte=1, ordinal__gte=1),
                name="version_number_fits_type",
            ),
            models.CheckConstraint(condition=Q(status__in=PublishState.values), name="version_status_known"),
            models.CheckConstraint(
                condition=Q(platform_status__in=PlatformState.values), name="version_platform_status_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["status"],
                condition=Q(version_type="published") & (Q(status="exporting") | Q(platform_status="pending")),
                name="versions_unfinished",
            ),
            # Every list of versions is a page of this one.
            models.Index(fields=["project", "version_type", "major", "minor", "id"], name="versions_by_number"),
        ]

    def __str__(self) -> str:
        return f"{self.project_id} {self.task_type} {self.version_number}"


class Artifact(models.Model):
    """A file of a version in the labeler store, with the hash that proves it."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="artifacts")
    format = models.CharField(max_length=20)
    s3_key = models.CharField(max_length=500)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "version_exports"
        constraints = [models.UniqueConstraint(fields=["version", "format"], name="one_file_per_format")]

    def __str__(self) -> str:
        return self.s3_key


class FrozenVersion(models.Model):
    """A version rows were frozen for, once for each freeze; its keys are checked at the end.

    ``images`` are the ids of those it looked at, null for all of the task: it opened and closed rows of no others, so
    they lead to what it changed.
    """

    version = models.OneToOneField(Version, on_delete=models.PROTECT, primary_key=True, related_name="+")
    task = models.ForeignKey(ProjectTask, on_delete=models.PROTECT, related_name="+", db_index=False)
    images = ArrayField(models.BigIntegerField(), null=True)

    class Meta:
        db_table = "frozen_versions"

    def __str__(self) -> str:
        return str(self.version_id)


def frozen_key(to: type[models.Model], *, null: bool = False) -> Any:
    """A reference of a frozen row. Foreign keys would be checked row by row, a million times for one version; the
    table ``frozen_versions`` is checked instead, once for each freeze (migration 0002)."""
    return models.ForeignKey(
        to, on_delete=models.PROTECT, related_name="+", null=null, db_index=False, db_constraint=False
    )


class FrozenAnnotations(models.Model):
    """What a version found changed on one image: the states of its annotations that first appeared with it, stored once
    and never touched again. One row for each image that changed, ``opened`` being the version's ordinal.

    ``annotation_ids`` and ``snapshots`` belong together, one for one: a snapshot is the full row as JSON text, null if
    the annotation is part of the task no more. A state lasts until a later row of the image tells of its annotation.
    ``whole_since`` is the ordinal of the newest row that tells of all there is on the image, this one or an earlier:
    what is older need not be read.
    """

    version = frozen_key(Version)
    task = frozen_key(ProjectTask)
    opened = models.IntegerField()
    whole_since = models.IntegerField()
    image_id = models.BigIntegerField()
    annotation_ids = ArrayField(models.BigIntegerField())
    snapshots = ArrayField(models.TextField(null=True))

    class Meta:
        db_table = "frozen_annotations"
        verbose_name_plural = "frozen annotations"
        constraints = [
            # Rows are read in this order. And a version tells of an image once.
            models.UniqueConstraint(fields=["task", "image_id", "opened"], name="snapshots_in_file_order"),
            models.CheckConstraint(
                condition=Q(annotation_ids__len__gt=0, annotation_ids__len=models.F("snapshots__len")),
                name="a_snapshot_for_each_annotation",
            ),
            models.CheckConstraint(
                condition=Q(whole_since__gte=1, whole_since__lte=models.F("opened")), name="whole_since_then"
            ),
        ]

    def __str__(self) -> str:
        return f"image {self.image_id} since {self.opened}"


class Snapshot(models.Model):
    """A frozen state of one annotation, part of every version from ``opened`` on until ``closed``, as everybody reads
    it: a view of ``FrozenAnnotations`` (migration 0002)."""

    pk = models.CompositePrimaryKey("task_id", "image_id", "annotation_id", "opened")
    version = frozen_key(Version)
    until_version = frozen_key(Version, null=True)
    task = frozen_key(ProjectTask)
    opened = models.IntegerField()
    closed = models.IntegerField(null=True)
    annotation_id = models.BigIntegerField()
    image_id = models.BigIntegerField()
    snapshot_data = models.TextField()

    class Meta:
        managed = False
        db_table = "annotation_snapshots"


class VersionImage(models.Model):
    """One frozen state of one listed image, stored once like the snapshots. ``metadata`` holds who
    labeled and reviewed it, its status and its times, as JSON text."""

    version = frozen_key(Version)
    until_version = frozen_key(Version, null=True)
    task = frozen_key(ProjectTask)
    opened = models.IntegerField()
    closed = models.IntegerField(null=True)
    image_id = models.BigIntegerField()
    path = models.CharField(max_length=900, db_collation="C")
    width = models.PositiveIntegerField(null=True)
    height = models.PositiveIntegerField(null=True)
    depth = models.PositiveSmallIntegerField()
    split = models.CharField(max_length=5, null=True)
    metadata = models.TextField()

    class Meta:
        db_table = "version_images"
        constraints = [
            models.UniqueConstraint(fields=["task", "image_id", "opened"], name="images_in_file_order"),
            models.CheckConstraint(
                condition=Q(closed__isnull=True, until_version__isnull=True)
                | Q(closed__isnull=False, until_version__isnull=False, closed__gt=models.F("opened")),
                name="image_closes_after_it_opens",
            ),
        ]


class SaveState(models.Model):
    """What is known of a task's working saves; "due" is derived from this and the progress rows."""

    task = models.OneToOneField(ProjectTask, on_delete=models.PROTECT, primary_key=True, related_name="save_state")
    last_version = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, related_name="+")
    last_saved_at = models.DateTimeField(null=True)
    content_hash = models.CharField(max_length=80, blank=True, default="")
    requested_at = models.DateTimeField(null=True)
    requested_trigger = models.CharField(max_length=20, choices=SaveTrigger, blank=True, default="")
    requested_by = models.CharField(max_length=150, blank=True, default="")
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True, default="")

    objects = SaveStateQuerySet.as_manager()

    class Meta:
        db_table = "save_states"


class JournalSegment(models.Model):
    """A piece of a project's journal in the labeler store (docs/decisions/0013-journal.md).

    The row comes first and says which rows of history the segment holds (``rows``: ranges of ids by kind); the object
    follows, and ``sha256`` proves it. ``previous`` is the hash of the segment before, so that they make a chain; empty
    where a chain begins.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_index=False)
    number = models.PositiveIntegerField()
    previous = models.CharField(max_length=64, blank=True, default="")
    rows = models.JSONField(default=dict)
    count = models.PositiveIntegerField(default=0)
    high_water = models.JSONField(default=dict)
    begun_at = models.DateTimeField(default=timezone.now)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    size_bytes = models.BigIntegerField(default=0)
    sealed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "journal_segments"
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="one_segment_per_number")]
        # Each round of the journal asks for these, of whichever project: there are none, or one.
        indexes = [models.Index(fields=["project"], condition=Q(sealed_at=None), name="journal_unsealed")]

    def __str__(self) -> str:
        return f"journal of {self.project_id}, segment {self.number}"


class Job(models.Model):
    """Long work as a row: who asked, what for, how far, what came of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=30)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="jobs", null=True)
    created_by = models.CharField(max_length=150)
    status = models.CharField(max_length=10, choices=JobState, default=JobState.QUEUED)
    params = models.JSONField(default=dict)
    progress = models.FloatField(default=0)
    result = models.JSONField(null=True)
    error = models.TextField(blank=True, default="")
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "jobs"
        constraints = [models.CheckConstraint(condition=Q(status__in=JobState.values), name="job_status_known")]
        indexes = [
            models.Index(fields=["created_at"], condition=Q(status__in=["queued", "running"]), name="jobs_unfinished")
        ]

    @property
    def is_over(self) -> bool:
        """Done or failed, for good."""
        return self.status in (JobState.DONE, JobState.FAILED)

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
