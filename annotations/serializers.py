"""The shape of what comes in; nothing here saves. Unknown fields are left aside, as the contract says."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotations.fields import ImageIdField, OneOf, SearchField, TaskField, TaskQuery
from annotations.states import HistoryAction, Progress, Role


class StrictInteger(serializers.IntegerField):
    """A whole number; ``true`` and texts are not."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse what only looks like a number."""
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class StatusQuery(TaskQuery):
    """Filters of image lists; ``search`` is a part of the path, in whichever case."""

    status = OneOf(Progress.choices, required=False, default=None)
    search = SearchField()


class NextQuery(TaskQuery):
    """Where to go on from."""

    status = OneOf(Progress.choices, required=False, default=Progress.NOT_STARTED)
    after = ImageIdField(required=False, default=None)


class AnnotationQuery(TaskQuery):
    """Filters of annotation lists."""

    image_id = ImageIdField(required=False, default=None)
    annotation_state = OneOf(["draft", "confirmed", "verified"], required=False, default=None)
    updated_since = serializers.DateTimeField(required=False, default=None)
    as_of = serializers.DateTimeField(required=False, default=None)


class HistoryQuery(serializers.Serializer):
    """Filters of histories; ``since`` is included, ``until`` is not."""

    image_id = ImageIdField(required=False, default=None)
    changed_by = serializers.CharField(max_length=150, required=False, default=None)
    action = OneOf(HistoryAction.choices, required=False, default=None)
    batch_id = serializers.UUIDField(required=False, default=None)
    since = serializers.DateTimeField(required=False, default=None)
    until = serializers.DateTimeField(required=False, default=None)


class SplitBody(serializers.Serializer):
    """Up to 500 images and the split they are to be in; null gives them back to the ratios."""

    image_ids = serializers.ListField(child=ImageIdField(), min_length=1, max_length=500)
    split = OneOf(["train", "val", "test"], allow_null=True)


class ForceBody(serializers.Serializer):
    """Overwrite what changed since?"""

    force = serializers.BooleanField(required=False, default=False)


class UndoBody(ForceBody):
    """What to take back: the last ``steps`` deeds (``redo``: undos), mine or anybody's, or one deed."""

    image_id = ImageIdField(required=False, allow_null=True, default=None)
    batch_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    steps = serializers.IntegerField(required=False, default=1, min_value=1, max_value=100)
    mine = serializers.BooleanField(required=False, default=True)
    redo = serializers.BooleanField(required=False, default=False)


class RestoreDeletedBody(serializers.Serializer):
    """Which deleted annotations; nothing named means all of the project."""

    by = serializers.CharField(max_length=150, required=False, allow_null=True, default=None)
    since = serializers.DateTimeField(required=False, allow_null=True, default=None)
    until = serializers.DateTimeField(required=False, allow_null=True, default=None)
    image_ids = serializers.ListField(
        child=ImageIdField(), required=False, allow_null=True, default=None, min_length=1, max_length=500
    )
    annotation_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False, allow_null=True, default=None, min_length=1, max_length=1000,
    )  # fmt: skip
    batch_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    dry_run = serializers.BooleanField(required=False, default=True)


class AnnotationBody(serializers.Serializer):
    """A new annotation. Geometry, attributes and the like are checked by ``editing``, which knows the image."""

    project_id = serializers.CharField(max_length=64)
    image_id = ImageIdField()
    annotation_type = serializers.CharField(max_length=20)
    geometry = serializers.JSONField(required=False)
    class_id = serializers.CharField(required=False, allow_null=True, max_length=64)
    class_name = serializers.CharField(required=False, allow_null=True, max_length=200)
    attributes = serializers.JSONField(required=False)
    confidence = serializers.JSONField(required=False, allow_null=True)
    notes = serializers.JSONField(required=False, allow_null=True)
    client_id = serializers.UUIDField(required=False, allow_null=True)


class AnnotationChange(serializers.Serializer):
    """Any of the fields that may change; absent ones stay."""

    geometry = serializers.JSONField(required=False)
    class_id = serializers.CharField(required=False, allow_null=True, max_length=64)
    class_name = serializers.CharField(required=False, allow_null=True, max_length=200)
    attributes = serializers.JSONField(required=False)
    confidence = serializers.JSONField(required=False, allow_null=True)
    notes = serializers.JSONField(required=False, allow_null=True)
    version = StrictInteger(required=False, allow_null=True, min_value=1)


@extend_schema_field(AnnotationBody)
class CreateEntry(serializers.JSONField):
    """One create body of a batch, checked by itself: a wrong one fails alone."""


class BatchBody(serializers.Serializer):
    """Up to 1,000 create bodies."""

    annotations = serializers.ListField(child=CreateEntry(allow_null=True), max_length=1000, allow_empty=False)
    atomic = serializers.BooleanField(required=False, default=False)


class IdField(serializers.IntegerField):
    """An annotation id, as a number or its text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=2**63 - 1, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Refuse ``true`` and fractions."""
        if isinstance(data, bool | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class EntryChange(AnnotationChange):
    """A change in a batch: which annotation, and what of it."""

    id = IdField()


@extend_schema_field(EntryChange)
class ChangeEntry(serializers.JSONField):
    """One change of a batch, checked by itself: a wrong one fails alone."""


class BatchUpdateBody(serializers.Serializer):
    """Up to 1,000 changes, each with its ``id``."""

    updates = serializers.ListField(child=ChangeEntry(allow_null=True), max_length=1000, allow_empty=False)
    atomic = serializers.BooleanField(required=False, default=False)


class BatchDeleteBody(serializers.Serializer):
    """Either ids, or the images of a project."""

    annotation_ids = serializers.ListField(child=IdField(), max_length=1000, required=False)
    project_id = serializers.CharField(max_length=64, required=False)
    image_ids = serializers.ListField(child=ImageIdField(), max_length=1000, required=False)
    task_type = TaskField(required=False, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two ways, whole."""
        by_image = "project_id" in attrs and "image_ids" in attrs
        if ("annotation_ids" in attrs) == by_image:
            raise serializers.ValidationError("Send annotation_ids, or project_id with image_ids.")
        return attrs


class IdsBody(serializers.Serializer):
    """Up to 1,000 annotation ids."""

    annotation_ids = serializers.ListField(child=IdField(), max_length=1000, allow_empty=False)


class ConfirmBody(serializers.Serializer):
    """``{}`` or ``{confirmed: bool}``."""

    confirmed = serializers.BooleanField(required=False, default=True)


class VerifyBody(serializers.Serializer):
    """``{}`` or ``{verified: bool}``."""

    verified = serializers.BooleanField(required=False, default=True)


class ClassChange(serializers.Serializer):
    """What may change of a class."""

    name = serializers.CharField(required=False, max_length=200)
    color = serializers.CharField(required=False, max_length=7)
    description = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    order = serializers.IntegerField(required=False, min_value=0, max_value=1_000_000)


class ReorderBody(serializers.Serializer):
    """All class ids in their new order."""

    class_ids = serializers.ListField(child=serializers.CharField(max_length=64), max_length=10_000)


class MemberBody(serializers.Serializer):
    """A person and a role."""

    user_id = serializers.CharField(max_length=150)
    role = OneOf(Role.choices)


class RoleBody(serializers.Serializer):
    """A role, or handing the project over."""

    role = OneOf(Role.choices, required=False)
    hand_over = serializers.BooleanField(required=False, default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two."""
        if attrs["hand_over"] == ("role" in attrs):
            raise serializers.ValidationError("Send role, or hand_over: true.")
        return attrs


class TokenBody(serializers.Serializer):
    """A token to issue."""

    name = serializers.CharField(max_length=100)
    days = serializers.IntegerField(required=False, default=90, min_value=1, max_value=366)


class LoginBody(serializers.Serializer):
    """Name and password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=500, trim_whitespace=False)
