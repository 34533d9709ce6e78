"""The objects of this room's answers as the OpenAPI document shows them; a test holds them against ``answers``."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers as s

from annotations.shapes import ImageShape, ProjectShape
from annotations.states import AnnotationState
from versions.publishing import ALL_FORMATS
from versions.states import JobState, PlatformState, PublishState, SaveTrigger, VersionType


class OpenedProjectShape(ProjectShape):
    """A project just opened; its images and annotations are loaded by the job."""

    job_id = s.UUIDField()


class DatasetShape(s.Serializer):
    """A platform dataset; ``project_id`` only for members of its project."""

    id = s.CharField()
    name = s.CharField()
    num_items = s.IntegerField(allow_null=True)
    is_open = s.BooleanField()
    project_id = s.CharField(allow_null=True)


@extend_schema_serializer(many=False)
class ImageListShape(s.Serializer):
    """A page of images, by path."""

    images = ImageShape(many=True)
    total = s.IntegerField()
    offset = s.IntegerField()
    position = s.IntegerField(allow_null=True, help_text="where the image of ``around`` stands in the list, from 0")
    dataset_id = s.CharField()
    project_id = s.CharField()


class AutoSaveShape(s.Serializer):
    """What is unsaved."""

    queued = s.BooleanField()
    confirmed_since_save = s.IntegerField()
    threshold = s.IntegerField()


class ConfirmationShape(s.Serializer):
    """What confirming and unconfirming an image answer."""

    image_id = s.CharField()
    is_confirmed = s.BooleanField()
    confirmed_at = s.DateTimeField(allow_null=True)
    confirmed_by = s.CharField(allow_null=True)
    status = s.CharField()
    total_annotations = s.IntegerField()
    confirmed_annotations = s.IntegerField()
    auto_save = AutoSaveShape()


class BulkImageConfirmShape(s.Serializer):
    """What confirming many images did."""

    confirmed = s.IntegerField()
    failed = s.IntegerField()
    results = s.ListField(child=s.DictField())
    errors = s.ListField(child=s.DictField())  # type: ignore[assignment]
    auto_save = AutoSaveShape()


class FileShape(s.Serializer):
    """A file of a version; the link works for 7 days and is renewed with every read."""

    format = s.ChoiceField(ALL_FORMATS)
    s3_key = s.CharField()
    size_bytes = s.IntegerField()
    sha256 = s.CharField()
    download_url = s.URLField()
    download_url_expires_at = s.DateTimeField()


class PlatformSyncShape(s.Serializer):
    """Whether the version is official."""

    status = s.ChoiceField(PlatformState.choices)
    keys = s.ListField(child=s.CharField())
    synced_at = s.DateTimeField(allow_null=True)
    attempts = s.IntegerField()
    last_error = s.CharField(allow_null=True)


class WarningShape(s.Serializer):
    """Why something is not in a file as it was drawn."""

    code = s.CharField()
    count = s.IntegerField()
    sample = s.ListField()
    detail = s.CharField(required=False)


class WaiverShape(s.Serializer):
    """A warning somebody took responsibility for when publishing; ``count`` is what it covered."""

    code = s.CharField()
    reason = s.CharField()
    by = s.CharField()
    at = s.DateTimeField()
    count = s.IntegerField()


class VersionShape(s.Serializer):
    """A version; a published one has files once it is ``ready``."""

    id = s.IntegerField()
    project_id = s.CharField()
    task_type = s.CharField()
    version_number = s.CharField()
    version_type = s.ChoiceField(VersionType.choices)
    description = s.CharField()
    created_at = s.DateTimeField()
    created_by = s.CharField()
    created_by_name = s.CharField(allow_null=True)
    created_by_email = s.CharField(allow_null=True)
    annotation_count = s.IntegerField()
    image_count = s.IntegerField()
    export_format = s.CharField()
    export_path = s.CharField(allow_null=True)
    download_url = s.URLField(allow_null=True)
    download_url_expires_at = s.DateTimeField(allow_null=True)
    status = s.ChoiceField(PublishState.choices)
    last_error = s.CharField(allow_null=True)
    content_hash = s.CharField(allow_null=True)
    include_draft = s.BooleanField()
    trigger = s.ChoiceField(SaveTrigger.choices, allow_null=True)
    exports = FileShape(many=True)
    platform_sync = PlatformSyncShape()
    verified_only = s.BooleanField()
    warnings = WarningShape(many=True)
    waivers = WaiverShape(many=True)


@extend_schema_serializer(many=False)
class VersionListShape(s.Serializer):
    """Versions, newest first."""

    versions = VersionShape(many=True)
    total = s.IntegerField()
    project_id = s.CharField()


class SnapshotShape(s.Serializer):
    """One frozen annotation."""

    annotation_id = s.IntegerField()
    image_id = s.CharField()
    snapshot_data = s.JSONField()


class SnapshotListShape(s.Serializer):
    """A page of frozen annotations."""

    snapshots = SnapshotShape(many=True)
    next_cursor = s.CharField(allow_null=True)


class StateShape(s.Serializer):
    """One annotation as a side of a comparison has it; ``class_name`` is what that side calls the class."""

    id = s.IntegerField()
    image_id = s.CharField()
    annotation_type = s.CharField()
    geometry = s.JSONField()
    bbox = s.ListField(child=s.FloatField(), allow_null=True, help_text="the envelope [x, y, width, height] in pixels")
    area = s.FloatField(allow_null=True, help_text="in square pixels")
    class_id = s.CharField(allow_null=True)
    class_name = s.CharField(allow_null=True)
    attributes = s.JSONField()
    confidence = s.FloatField(allow_null=True, help_text="0 to 100")
    notes = s.CharField(allow_null=True)
    annotation_state = s.ChoiceField(AnnotationState.choices)
    is_verified = s.BooleanField()
    version = s.IntegerField(allow_null=True)
    created_by = s.CharField(allow_null=True)
    created_at = s.DateTimeField(allow_null=True)
    updated_by = s.CharField(allow_null=True)
    updated_at = s.DateTimeField(allow_null=True)
    confirmed_by = s.CharField(allow_null=True)
    confirmed_at = s.DateTimeField(allow_null=True)


class ChangesShape(s.Serializer):
    """What differs between two states of an annotation; old and new values are null where they are equal."""

    class_changed = s.BooleanField()
    old_class = s.CharField(allow_null=True)
    new_class = s.CharField(allow_null=True)
    geometry_changed = s.BooleanField()
    position_changed = s.BooleanField()
    size_changed = s.BooleanField()
    old_geometry = s.JSONField(allow_null=True)
    new_geometry = s.JSONField(allow_null=True)
    confidence_changed = s.BooleanField()
    attributes_changed = s.BooleanField()
    old_attributes = s.JSONField(allow_null=True)
    new_attributes = s.JSONField(allow_null=True)


class ModifiedShape(s.Serializer):
    """One annotation in both states; the ids differ where a shape was drawn anew."""

    old = StateShape()
    new = StateShape()
    changes = ChangesShape()


class ImageCountsShape(s.Serializer):
    """How many annotations of an image differ; ``listing`` says if only one side lists the image."""

    listing = s.ChoiceField(["both", "added", "removed"])
    added = s.IntegerField()
    removed = s.IntegerField()
    modified = s.IntegerField()
    unchanged = s.IntegerField()
    total_changes = s.IntegerField()


class ImageDiffShape(s.Serializer):
    """One image; ``unchanged`` lists rows only where one image was asked for, ``summary`` always counts them."""

    added = StateShape(many=True)
    removed = StateShape(many=True)
    modified = ModifiedShape(many=True)
    unchanged = StateShape(many=True)
    summary = ImageCountsShape()


class ClassRenameShape(s.Serializer):
    """A class the sides call differently."""

    class_id = s.CharField()
    old_name = s.CharField()
    new_name = s.CharField()


class ClassNameShape(s.Serializer):
    """A class only one side has in use."""

    class_id = s.CharField()
    name = s.CharField()


class ClassChangesShape(s.Serializer):
    """What became of the class list; no annotation counts as changed for it."""

    renamed = ClassRenameShape(many=True)
    added = ClassNameShape(many=True)
    removed = ClassNameShape(many=True)


class CompareTotalsShape(s.Serializer):
    """All figures of a comparison."""

    images_with_changes = s.IntegerField()
    total_images = s.IntegerField(help_text="images either side lists")
    images_added = s.IntegerField()
    images_removed = s.IntegerField()
    total_added = s.IntegerField()
    total_removed = s.IntegerField()
    total_modified = s.IntegerField()
    total_unchanged = s.IntegerField()
    total_changes = s.IntegerField()


class ClassCountsShape(s.Serializer):
    """Changes of one class; a changed class counts under the new one."""

    added = s.IntegerField()
    removed = s.IntegerField()
    modified = s.IntegerField()


class CompareSummaryShape(s.Serializer):
    """What was compared (a is the older side, -1 the live rows) and all figures."""

    version_a = s.IntegerField()
    version_b = s.IntegerField()
    version_a_number = s.CharField()
    version_b_number = s.CharField()
    swapped = s.BooleanField(help_text="the request named the newer one first")
    states_a = s.ListField(child=s.ChoiceField(AnnotationState.choices))
    states_b = s.ListField(child=s.ChoiceField(AnnotationState.choices))
    project_id = s.CharField()
    task_type = s.CharField()
    classes = ClassChangesShape()
    summary = CompareTotalsShape()
    class_stats = s.DictField(child=ClassCountsShape())


class CompareShape(CompareSummaryShape):
    """A page of changed images in full, by path."""

    image_diffs = s.DictField(child=ImageDiffShape())
    limit = s.IntegerField()
    offset = s.IntegerField()


class ChangedImageShape(s.Serializer):
    """One changed image without its rows."""

    image_id = s.CharField()
    listing = s.ChoiceField(["both", "added", "removed"])
    added = s.IntegerField()
    removed = s.IntegerField()
    modified = s.IntegerField()


class ChangedImageListShape(s.Serializer):
    """A page of changed images, by path."""

    images = ChangedImageShape(many=True)
    total = s.IntegerField()
    version_a = s.IntegerField()
    version_b = s.IntegerField()
    swapped = s.BooleanField()


class PreviewShape(s.Serializer):
    """What a publish would hold, what stands in its way and what it would leave out."""

    next_version_number = s.CharField()
    annotation_count = s.IntegerField()
    image_count = s.IntegerField()
    draft_annotations = s.IntegerField()
    not_started = s.IntegerField()
    in_progress = s.IntegerField()
    completed = s.IntegerField()
    blockers = WarningShape(many=True)
    warnings = WarningShape(many=True)
    needs_waivers = s.BooleanField()


class DownloadShape(s.Serializer):
    """A link to one file."""

    download_url = s.URLField()
    download_url_expires_at = s.DateTimeField()
    format = s.CharField()
    size_bytes = s.IntegerField()
    sha256 = s.CharField()
    filename = s.CharField()


class WorkingVersionShape(s.Serializer):
    """The last save, what is unsaved, and the token of a closing page."""

    version = VersionShape(allow_null=True)
    last_saved_at = s.DateTimeField(allow_null=True)
    dirty = s.BooleanField()
    confirmed_since_save = s.IntegerField()
    next_due_at = s.DateTimeField(allow_null=True)
    image_threshold = s.IntegerField()
    interval_seconds = s.IntegerField()
    attempts = s.IntegerField()
    last_error = s.CharField(allow_null=True)
    beacon_token = s.CharField(allow_null=True)
    beacon_token_expires_at = s.DateTimeField(allow_null=True)


class SaveShape(s.Serializer):
    """What became of a wish to save."""

    status = s.ChoiceField(["queued", "coalesced", "unchanged"])
    job_id = s.UUIDField(allow_null=True)
    version_number = s.CharField(allow_null=True)
    last_saved_at = s.DateTimeField(allow_null=True)


class AcceptedShape(s.Serializer):
    """The work goes on; ``GET /jobs/{job_id}`` tells how far."""

    job_id = s.UUIDField()
    status = s.ChoiceField(JobState.choices)
    progress = s.FloatField()


class JobShape(s.Serializer):
    """Long work."""

    id = s.UUIDField()
    kind = s.CharField()
    project_id = s.CharField(allow_null=True)
    status = s.ChoiceField(JobState.choices)
    progress = s.FloatField(help_text="0 to 1")
    result = s.JSONField(allow_null=True)
    error = s.CharField(allow_null=True)
    created_at = s.DateTimeField()
    finished_at = s.DateTimeField(allow_null=True)


class ExportShape(s.Serializer):
    """A finished export: the first format's file on top."""

    export_path = s.CharField()
    download_url = s.URLField()
    download_url_expires_at = s.DateTimeField()
    export_format = s.ChoiceField(ALL_FORMATS)
    annotation_count = s.IntegerField()
    image_count = s.IntegerField()
    file_size_bytes = s.IntegerField()
    exports = s.ListField(child=s.DictField())
    expires_at = s.DateTimeField()
    job_id = s.UUIDField()


class RestoredShape(s.Serializer):
    """What a restore changed, or would change."""

    added = s.IntegerField()
    updated = s.IntegerField()
    removed = s.IntegerField()
    unchanged = s.IntegerField()
    skipped = s.IntegerField()
    errors = s.ListField(child=s.DictField())  # type: ignore[assignment]
    dry_run = s.BooleanField()
    job_id = s.UUIDField()


class ImportedShape(s.Serializer):
    """What an import did, entry by entry where it could not."""

    status = s.CharField()
    project_id = s.CharField()
    imported = s.IntegerField()
    skipped = s.IntegerField()
    total = s.IntegerField()
    warned = s.IntegerField()
    errors = s.ListField(child=s.DictField())  # type: ignore[assignment]
    warnings = s.ListField(child=s.DictField())
    job_id = s.UUIDField()


class ImportedFileShape(ImportedShape):
    """An import and what it changed; the lists hold the first 1,000, the job's report all."""

    added = s.IntegerField()
    updated = s.IntegerField()
    removed = s.IntegerField()
    unchanged = s.IntegerField()
    dry_run = s.BooleanField()


class LinkShape(s.Serializer):
    """A way to a file, and until when it works."""

    download_url = s.URLField()
    download_url_expires_at = s.DateTimeField()
