"""The objects of answers as the OpenAPI document shows them (api.md section 2); a test holds them against ``answers``.

Nothing is serialised through these: ``answers`` makes the objects.
"""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers as s

from annotations.states import AnnotationState, HistoryAction, Progress, ProjectStatus, Role, TaskType


class AnnotationShape(s.Serializer):
    """An annotation. Coordinates are pixels from the top left corner, boxes [x, y, width, height]."""

    id = s.IntegerField()
    project_id = s.CharField()
    image_id = s.CharField(help_text="the image's path below the image root")
    annotation_type = s.CharField()
    task_type = s.ChoiceField(TaskType.choices)
    geometry = s.JSONField()
    class_id = s.CharField(allow_null=True)
    class_name = s.CharField(allow_null=True)
    attributes = s.JSONField()
    confidence = s.FloatField(allow_null=True, help_text="0 to 100")
    notes = s.CharField(allow_null=True)
    annotation_state = s.ChoiceField(AnnotationState.choices)
    is_verified = s.BooleanField()
    confirmed_at = s.DateTimeField(allow_null=True)
    confirmed_by = s.CharField(allow_null=True)
    confirmed_by_name = s.CharField(allow_null=True)
    version = s.IntegerField(help_text="grows by 1 with every change; send it back to be told of conflicts")
    created_by = s.CharField()
    created_by_name = s.CharField(allow_null=True)
    created_at = s.DateTimeField()
    updated_by = s.CharField()
    updated_by_name = s.CharField(allow_null=True)
    updated_at = s.DateTimeField()
    client_id = s.UUIDField(allow_null=True)


class AnnotationStateShape(s.Serializer):
    """What confirming, unconfirming and verifying answer."""

    annotation_id = s.IntegerField()
    annotation_state = s.ChoiceField(AnnotationState.choices)
    confirmed_at = s.DateTimeField(allow_null=True)
    confirmed_by = s.CharField(allow_null=True)
    confirmed_by_name = s.CharField(allow_null=True)
    version = s.IntegerField()


class ItemErrorShape(s.Serializer):
    """One entry of a batch that failed."""

    index = s.IntegerField()
    id = s.IntegerField(required=False)
    code = s.CharField()
    detail = s.CharField()
    errors = s.DictField(required=False)  # type: ignore[assignment]


class BatchShape(s.Serializer):
    """What a batch of creates did."""

    created = s.IntegerField()
    failed = s.IntegerField()
    annotation_ids = s.ListField(child=s.IntegerField())
    errors = ItemErrorShape(many=True)  # type: ignore[assignment]


class BatchUpdateShape(s.Serializer):
    """What a batch of changes did."""

    updated = s.IntegerField()
    failed = s.IntegerField()
    annotations = AnnotationShape(many=True)
    errors = ItemErrorShape(many=True)  # type: ignore[assignment]
    conflicts = s.ListField(child=s.DictField())


class BatchDeleteShape(s.Serializer):
    """What a batch of deletes did; ``batch_id`` names the deed in history."""

    deleted = s.IntegerField()
    failed = s.IntegerField()
    errors = ItemErrorShape(many=True)  # type: ignore[assignment]
    batch_id = s.UUIDField()


class BulkConfirmShape(s.Serializer):
    """What confirming many did."""

    confirmed = s.IntegerField()
    failed = s.IntegerField()
    results = AnnotationStateShape(many=True)
    errors = s.ListField(child=s.DictField())  # type: ignore[assignment]
    failed_ids = s.ListField(child=s.IntegerField())


class ClassShape(s.Serializer):
    """A class; ``index`` is its id in every file."""

    class_id = s.CharField()
    index = s.IntegerField()
    name = s.CharField()
    color = s.CharField()
    description = s.CharField()
    supercategory = s.CharField()
    keypoints = s.ListField(child=s.CharField())
    skeleton = s.ListField(child=s.ListField(child=s.IntegerField()))
    order = s.IntegerField()
    image_count = s.IntegerField()
    bbox_count = s.IntegerField(help_text="annotations of any type")


class ProjectShape(s.Serializer):
    """A project."""

    id = s.CharField()
    name = s.CharField()
    description = s.CharField()
    dataset_id = s.CharField()
    dataset_name = s.CharField()
    dataset_num_items = s.IntegerField()
    owner_id = s.CharField()
    task_types = s.ListField(child=s.ChoiceField(TaskType.choices))
    task_config = s.JSONField()
    task_classes = s.DictField(child=s.DictField(child=ClassShape()))
    classes = s.DictField(child=ClassShape())
    settings = s.JSONField()
    total_images = s.IntegerField()
    annotated_images = s.IntegerField()
    total_annotations = s.IntegerField()
    status = s.ChoiceField(ProjectStatus.choices)
    created_at = s.DateTimeField()
    updated_at = s.DateTimeField()
    last_updated_by = s.CharField()
    last_updated_by_name = s.CharField(allow_null=True)
    last_updated_by_email = s.CharField(allow_null=True)


class TaskStatsShape(s.Serializer):
    """Images of one task by progress."""

    task_type = s.ChoiceField(TaskType.choices)
    total_images = s.IntegerField()
    not_started = s.IntegerField()
    in_progress = s.IntegerField()
    completed = s.IntegerField()
    confirmed = s.IntegerField()


class StatsShape(s.Serializer):
    """A project's images by progress."""

    project_id = s.CharField()
    total_images = s.IntegerField()
    task_stats = TaskStatsShape(many=True)


class MemberShape(s.Serializer):
    """A person and what they may do."""

    user_id = s.CharField()
    user_name = s.CharField(allow_null=True)
    role = s.ChoiceField(Role.choices)
    added_at = s.DateTimeField()
    added_by = s.CharField()


class ImageShape(s.Serializer):
    """An image; ``url`` works for an hour. Width and height are what a viewer shows."""

    id = s.CharField(help_text="the path below the image root")
    pk = s.IntegerField(help_text="the image id in files")
    file_name = s.CharField()
    filename = s.CharField()
    key = s.CharField()
    size = s.IntegerField()
    last_modified = s.DateTimeField(allow_null=True)
    url = s.URLField()
    thumbnail_url = s.URLField(allow_null=True)
    width = s.IntegerField(allow_null=True)
    height = s.IntegerField(allow_null=True)
    depth = s.IntegerField()
    split = s.CharField(allow_null=True)
    missing_since = s.DateTimeField(allow_null=True)


class ImageStatusShape(s.Serializer):
    """Progress of one image for one task."""

    id = s.IntegerField()
    project_id = s.CharField()
    image_id = s.CharField()
    task_type = s.ChoiceField(TaskType.choices)
    status = s.ChoiceField(Progress.choices)
    first_modified_at = s.DateTimeField(allow_null=True)
    last_modified_at = s.DateTimeField(allow_null=True)
    confirmed_at = s.DateTimeField(allow_null=True)
    confirmed_by = s.CharField(allow_null=True)
    total_annotations = s.IntegerField()
    confirmed_annotations = s.IntegerField()
    verified_annotations = s.IntegerField()
    draft_annotations = s.IntegerField()
    is_image_confirmed = s.BooleanField()
    has_no_object = s.BooleanField()


class LockShape(s.Serializer):
    """Who works on an image."""

    image_id = s.CharField()
    user_id = s.CharField()
    user_name = s.CharField(allow_null=True)
    user_email = s.CharField(allow_null=True)
    locked_at = s.DateTimeField()
    expires_at = s.DateTimeField()
    heartbeat_at = s.DateTimeField()


@extend_schema_serializer(many=False)
class LockListShape(s.Serializer):
    """Locks that have not expired."""

    locks = LockShape(many=True)


class AcquiredShape(s.Serializer):
    """One's own lock, or who has the image."""

    status = s.ChoiceField(["acquired", "refreshed", "already_locked"])
    lock = LockShape(allow_null=True)
    locked_by = LockShape(allow_null=True)


class HeartbeatShape(s.Serializer):
    """What became of a heartbeat; ``lock`` is whoever's it is now."""

    status = s.ChoiceField(["updated", "not_locked", "not_owner"])
    lock = LockShape(allow_null=True)


class ReleasedShape(s.Serializer):
    """What became of giving a lock back."""

    status = s.ChoiceField(["released", "not_locked", "not_owner"])


@extend_schema_serializer(many=False)
class StatusListShape(s.Serializer):
    """A page of progress rows, in the order of the image list."""

    statuses = ImageStatusShape(many=True)
    total = s.IntegerField()
    project_id = s.CharField()


class MembershipShape(s.Serializer):
    """A project one is a member of."""

    project_id = s.CharField()
    role = s.ChoiceField(Role.choices)


class MeShape(s.Serializer):
    """Who is signed in."""

    id = s.CharField()
    name = s.CharField(allow_null=True)
    email = s.CharField(allow_null=True)
    is_staff = s.BooleanField()
    may_open_datasets = s.BooleanField()
    projects = MembershipShape(many=True)


class TokenShape(s.Serializer):
    """A token of one's own; its text is told only when it is made."""

    id = s.IntegerField()
    name = s.CharField()
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField()


class NewTokenShape(TokenShape):
    """A token just made."""

    token = s.CharField()


class SplitShape(s.Serializer):
    """How many images changed their split."""

    changed = s.IntegerField()


class HistoryShape(s.Serializer):
    """One change; states are whole Annotations, null before a create and after a delete. ``undoes`` is the change this
    one took back; ``is_undo`` is false again for a redo."""

    id = s.IntegerField()
    annotation_id = s.IntegerField()
    project_id = s.CharField()
    image_id = s.CharField()
    task_type = s.ChoiceField(TaskType.choices)
    action = s.ChoiceField(HistoryAction.choices)
    previous_state = AnnotationShape(allow_null=True)
    new_state = AnnotationShape(allow_null=True)
    changed_by = s.CharField()
    changed_by_name = s.CharField(allow_null=True)
    changed_by_email = s.CharField(allow_null=True)
    timestamp = s.DateTimeField()
    batch_id = s.UUIDField()
    undoes = s.IntegerField(allow_null=True)
    is_undo = s.BooleanField()


class UndoneChangeShape(s.Serializer):
    """A change taken back: what was written, and the annotation as it is now (null if it is gone)."""

    history = HistoryShape()
    annotation = AnnotationShape(allow_null=True)


class UndoneShape(s.Serializer):
    """How many annotations changed in how many steps; ``history`` shows the first 1,000."""

    undone = s.IntegerField()
    steps = s.IntegerField()
    batch_ids = s.ListField(child=s.UUIDField())
    history = HistoryShape(many=True)


class DeleterShape(s.Serializer):
    """Who deleted how many, from when to when, in which deeds (the first 100)."""

    user = s.CharField()
    count = s.IntegerField()
    first_at = s.DateTimeField()
    last_at = s.DateTimeField()
    batch_ids = s.ListField(child=s.UUIDField())


class RestoredDeletedShape(s.Serializer):
    """What came back, or would; ``annotation_ids`` and ``errors`` show the first 1,000."""

    restored = s.IntegerField()
    skipped = s.IntegerField()
    by = DeleterShape(many=True)
    annotation_ids = s.ListField(child=s.IntegerField())
    errors = s.ListField(child=s.DictField())  # type: ignore[assignment]
    batch_id = s.UUIDField(allow_null=True)
    dry_run = s.BooleanField()


class AuditShape(s.Serializer):
    """Who did what to whom or what."""

    id = s.IntegerField()
    at = s.DateTimeField()
    actor = s.CharField()
    actor_name = s.CharField(allow_null=True)
    action = s.CharField(help_text="noun.verb, as version.published")
    subject = s.CharField()
    detail = s.DictField()


class ClassHistoryShape(s.Serializer):
    """One change of a class, with the class before and after."""

    id = s.IntegerField()
    class_id = s.CharField()
    task_type = s.ChoiceField(TaskType.choices)
    action = s.ChoiceField(HistoryAction.choices)
    previous_state = s.DictField(allow_null=True)
    new_state = s.DictField(allow_null=True)
    changed_by = s.CharField()
    changed_by_name = s.CharField(allow_null=True)
    timestamp = s.DateTimeField()
