"""The shape of what comes in at the doors of this room; nothing here saves."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from annotations.errors import sentence
from annotations.fields import ClassBody, ImageIdField, OneOf, SearchField, TaskField, TaskQuery
from annotations.states import Progress
from exports.readers import READABLE
from versions.publishing import ALL_FORMATS
from versions.states import SaveTrigger, VersionType

CLIENT_TRIGGERS = [
    SaveTrigger.MANUAL.value,
    SaveTrigger.TIMER.value,
    SaveTrigger.IMAGES.value,
    SaveTrigger.BEFOREUNLOAD.value,
]
MAX_SETTINGS = 64 * 1024


class ImageListQuery(TaskQuery):
    """Filters of the image list; ``search`` is a part of the path, ``around`` asks for the page with that image."""

    status = OneOf(Progress.choices, required=False, default=None)
    search = SearchField()
    around = ImageIdField(required=False, default=None)


class NextImageQuery(TaskQuery):
    """From where to look for the next image, and in which state it must be."""

    status = OneOf(Progress.choices, required=False, default=Progress.NOT_STARTED)
    after = ImageIdField(required=False, default=None)


class WaitQuery(serializers.Serializer):
    """``?wait`` seconds for the work to finish; the work goes on either way."""

    wait = serializers.IntegerField(required=False, default=None, min_value=0)

    def validate_wait(self, value: int | None) -> int | None:
        """At most what the settings allow."""
        if value is not None and value > settings.LABELER_WAIT_SECONDS:
            raise serializers.ValidationError(f"must be at most {settings.LABELER_WAIT_SECONDS} seconds.")
        return value


# Projects -----------------------------------------------------------------------------------


def _small_object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise serializers.ValidationError("must be an object.")
    if len(str(value)) > MAX_SETTINGS:
        raise serializers.ValidationError(f"must be at most {MAX_SETTINGS // 1024} KiB.")
    return value


def _known_settings(value: Any) -> Any:
    """The settings the server goes by are checked; others belong to the client."""
    _small_object(value)
    for name in ("strict_publish", "flat_mirror", "image_locks"):
        if not isinstance(value.get(name, False), bool):
            raise serializers.ValidationError(f"{name} must be true or false.")
    ratios = value.get("split_ratios")
    numbers = isinstance(ratios, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each <= 1 for each in ratios
    )
    if ratios is not None and not (numbers and len(ratios) == 3 and abs(sum(ratios) - 1) < 1e-9):
        raise serializers.ValidationError("split_ratios must be three shares (train, val, test) that add up to 1.")
    return value


class GivenClass(ClassBody):
    """A class a new project comes with; its id is the name it has in the body."""

    class_id = None  # type: ignore[assignment]
    color = serializers.CharField(required=False, max_length=7)
    order = serializers.IntegerField(required=False, min_value=0, max_value=1_000_000)


def _classes(value: Any) -> Any:
    entries = value if isinstance(value, dict) else None
    if entries is None or not all(isinstance(entry, dict) for entry in entries.values()):
        raise serializers.ValidationError("must be an object: {class_id: {name, color, ...}}.")
    return {class_id: _class(class_id, entry) for class_id, entry in entries.items()}


def _class(class_id: str, entry: dict[str, Any]) -> dict[str, Any]:
    """As the route that makes a class would take it; what is empty is left to its default."""
    wanted = GivenClass(data={field: given for field, given in entry.items() if given not in (None, "")})
    if not wanted.is_valid():
        raise serializers.ValidationError(f"{class_id[:64]}: {sentence(wanted.errors)}")
    return wanted.validated_data


class ProjectBody(serializers.Serializer):
    """A dataset to open. ``classes`` are those of the first task, ``task_classes`` those of each."""

    name = serializers.CharField(max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    dataset_id = serializers.CharField(max_length=100)
    task_types = serializers.ListField(child=TaskField(), min_length=1, max_length=6)
    task_config = serializers.JSONField(required=False, validators=[_small_object])
    settings = serializers.JSONField(required=False, validators=[_known_settings])
    classes = serializers.JSONField(required=False, validators=[_small_object])
    task_classes = serializers.JSONField(required=False, validators=[_small_object])

    def validate_task_types(self, value: list[str]) -> list[str]:
        """Each task once; the first one stays first."""
        if len(set(value)) != len(value):
            raise serializers.ValidationError("names a task twice.")
        return value

    def validate_classes(self, value: dict[str, Any]) -> dict[str, Any]:
        """Each as the route that makes a class takes it."""
        return _classes(value)

    def validate_task_classes(self, value: dict[str, Any]) -> dict[str, Any]:
        """By normalised task name."""
        named = {TaskField().to_internal_value(task): _classes(entries) for task, entries in value.items()}
        if len(named) != len(value):
            raise serializers.ValidationError("names a task twice.")
        return named

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One way of giving classes, only for tasks the project has."""
        first, listed = attrs.pop("classes", None), attrs.get("task_classes", {})
        if first and listed:
            raise serializers.ValidationError({"classes": "send classes or task_classes, not both."})
        strangers = [task for task in listed if task not in attrs["task_types"]]
        if strangers:
            raise serializers.ValidationError({"task_classes": f"names tasks not in task_types: {strangers}."})
        if first:
            attrs["task_classes"] = {attrs["task_types"][0]: first}
        return attrs


class ProjectChange(serializers.Serializer):
    """What may change of a project."""

    name = serializers.CharField(required=False, max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    task_config = serializers.JSONField(required=False, validators=[_small_object])
    settings = serializers.JSONField(required=False, validators=[_known_settings])
    status = OneOf(["active", "archived"], required=False)


class DatasetQuery(serializers.Serializer):
    """A part of a dataset's id or name."""

    search = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)


class ForceQuery(serializers.Serializer):
    """``?force=true``."""

    force = serializers.BooleanField(required=False, default=False)


# Images -------------------------------------------------------------------------------------


class ConfirmImageBody(serializers.Serializer):
    """``allow_empty`` says that nothing is on the image."""

    allow_empty = serializers.BooleanField(required=False, default=False)


class UnconfirmImageBody(serializers.Serializer):
    """``keep_annotations`` leaves the annotations confirmed."""

    keep_annotations = serializers.BooleanField(required=False, default=False)


class BulkConfirmBody(ConfirmImageBody):
    """Up to 500 images of one task."""

    image_ids = serializers.ListField(child=ImageIdField(), max_length=500, allow_empty=False)
    task_type = TaskField(required=False, default=None)


# Saves, versions, exports -------------------------------------------------------------------------


class SaveBody(serializers.Serializer):
    """Why to save; ``beacon_token`` is the identity of a closing page."""

    trigger = OneOf(CLIENT_TRIGGERS, required=False, default=SaveTrigger.MANUAL.value)
    task_type = TaskField(required=False, default=None)
    beacon_token = serializers.CharField(required=False, max_length=2000)


class _Formats(serializers.Serializer):
    export_formats = serializers.ListField(child=OneOf(ALL_FORMATS), required=False, allow_empty=False, max_length=3)
    export_format = OneOf(ALL_FORMATS, required=False)
    include_draft = serializers.BooleanField(required=False, default=False)
    verified_only = serializers.BooleanField(required=False, default=False)
    task_type = TaskField(required=False, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The formats as one list, None when nothing was said."""
        _check_states(attrs)
        one, many = attrs.pop("export_format", None), attrs.pop("export_formats", None)
        if one is not None and many is not None and many != [one]:
            raise serializers.ValidationError({"export_formats": "send export_format or export_formats, not both."})
        attrs["formats"] = list(dict.fromkeys(many)) if many else [one] if one else None
        return attrs


def _check_states(attrs: dict[str, Any]) -> None:
    if attrs["include_draft"] and attrs["verified_only"]:
        raise serializers.ValidationError({"verified_only": "leaves drafts out; send it or include_draft, not both."})


class WaiverBody(serializers.Serializer):
    """A warning to publish in spite of, and why."""

    code = serializers.CharField(max_length=40)
    reason = serializers.CharField(max_length=500)


class PublishBody(_Formats):
    """How to publish."""

    waivers = WaiverBody(many=True, required=False, default=list)

    version_number = serializers.CharField(required=False, max_length=20)
    description = serializers.CharField(required=False, allow_blank=True, default="", max_length=10_000)
    allow_empty = serializers.BooleanField(required=False, default=False)


class PreviewQuery(TaskQuery):
    """What a publish would be asked for."""

    include_draft = serializers.BooleanField(required=False, default=False)
    verified_only = serializers.BooleanField(required=False, default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One choice of states."""
        _check_states(attrs)
        return attrs


class ExportBody(_Formats):
    """Which rows to write into files."""

    image_ids = serializers.ListField(child=ImageIdField(), required=False, allow_empty=False, max_length=10_000)
    version_id = serializers.CharField(required=False, max_length=20)


class VersionQuery(serializers.Serializer):
    """Filters of the version list."""

    task_type = TaskField(required=False, default=None)
    version_type = OneOf(VersionType.choices, required=False, default=None)


class SnapshotQuery(serializers.Serializer):
    """Which stretch of a version's frozen rows."""

    image_id = ImageIdField(required=False, default=None)
    cursor = serializers.RegexField(r"^\d{1,18}\.\d{1,18}$", required=False, default=None)


class CompareQuery(serializers.Serializer):
    """Which annotations count where a side is not published, and whether only one image is looked at."""

    image_id = ImageIdField(
        required=False, default=None, help_text="everything, the figures too, about this image alone"
    )
    include_draft = serializers.BooleanField(
        required=False,
        default=None,
        allow_null=True,
        help_text="whether drafts of live rows and working saves count; by default as the published side holds them, "
        "and all of them where no side is published",
    )


class ChangedImagesQuery(CompareQuery):
    """Which of the changed images to list."""

    change = OneOf(["added", "removed", "modified"], required=False, default=None)


class RedirectQuery(serializers.Serializer):
    """Whether to go to a link at once."""

    redirect = serializers.BooleanField(required=False, default=False)


class DownloadQuery(RedirectQuery):
    """Which file, and whether to go there at once."""

    format = serializers.CharField(required=False, default="dice", max_length=20)  # type: ignore[assignment]


class ImportBody(serializers.Serializer):
    """A file to import (multipart). The format is known by the file's first bytes where it is not named."""

    file = serializers.FileField(max_length=255)
    format = OneOf(READABLE, required=False, default=None)  # type: ignore[assignment]
    task_type = TaskField(required=False, default=None)
    mode = OneOf(["add", "replace"], required=False, default="add")
    atomic = serializers.BooleanField(required=False, default=False)
    dry_run = serializers.BooleanField(required=False, default=False)


class RestoreBody(serializers.Serializer):
    """What to go back to. Nothing changes unless ``dry_run`` is false."""

    source = OneOf(["working", "version", "platform"])  # type: ignore[assignment]
    version_id = serializers.CharField(required=False, default=None, max_length=20)
    mode = OneOf(["replace", "merge"], required=False, default="replace")
    image_ids = serializers.ListField(
        child=ImageIdField(),
        required=False,
        default=None,
        allow_empty=False,
        max_length=10_000,
    )
    dry_run = serializers.BooleanField(required=False, default=True)
    task_type = TaskField(required=False, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """``version_id`` exactly when a version is the source."""
        if (attrs["source"] == "version") != (attrs["version_id"] is not None):
            raise serializers.ValidationError({"version_id": "belongs to source: version, and is required there."})
        return attrs


class RollbackBody(serializers.Serializer):
    """Which published version to go back to."""

    version_id = serializers.CharField(max_length=20)
    description = serializers.CharField(required=False, allow_blank=True, default="", max_length=10_000)
    task_type = TaskField(required=False, default=None)
