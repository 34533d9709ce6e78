"""Looking in: versions with their files, frozen rows, saves and jobs; and asking for work again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from annotations.tables import ReadOnly
from exports.errors import ExportError
from versions import autosave, jobs, publishing, tasks
from versions.errors import VersionError
from versions.models import Artifact, Job, SaveState, Snapshot, Version, VersionImage


class ArtifactInline(admin.TabularInline):
    """The files of a version."""

    model = Artifact
    extra = 0
    can_delete = False
    fields = readonly_fields = ("format", "s3_key", "size_bytes", "sha256", "created_at", "removed_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Files are made by the writers."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Files are final."""
        return False


@admin.register(Version)
class VersionAdmin(ReadOnly):
    """Working and published versions."""

    list_display = (
        "version_number", "version_type", "project", "task_type", "status", "platform_status", "annotation_count",
        "image_count", "created_by", "created_at",
    )  # fmt: skip
    list_select_related = ("project",)
    list_filter = ("version_type", "status", "platform_status", "task_type")
    search_fields = ("=project__id", "project__name", "=version_number", "=created_by")
    ordering = ("-id",)
    inlines = (ArtifactInline,)
    actions = ("retry_publish", "sync_platform", "restore")

    @admin.action(description="Retry publish", permissions=["view"])
    def retry_publish(self, request: HttpRequest, queryset: QuerySet[Version]) -> None:
        """Put failed versions and failed syncs back to work."""

        def retry(version: Version) -> str:
            if not publishing.retry(version):
                return "nothing had failed"
            tasks.nudge(tasks.advance_publish, version.pk)
            return "is tried again"

        self._each(request, queryset, retry)

    @admin.action(description="Sync platform file", permissions=["view"])
    def sync_platform(self, request: HttpRequest, queryset: QuerySet[Version]) -> None:
        """Write the official file from the newest version again."""

        def sync(version: Version) -> str:
            publishing.request_sync(version)
            tasks.nudge(tasks.advance_publish, version.pk)
            return "will be written to the platform"

        self._each(request, queryset, sync)

    @admin.action(description="Restore (live rows become those of the version)", permissions=["view"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Version]) -> HttpResponse | None:
        """Asks first; what is replaced is saved before anything changes."""
        if "confirmed" not in request.POST:
            context = {**self.admin_site.each_context(request), "versions": queryset, "title": "Restore"}
            return TemplateResponse(request, "admin/restore_version.html", context)

        def start(version: Version) -> str:
            params = {"task_type": version.task_type, "source": "version", "version_id": version.pk, "dry_run": False}
            job = jobs.start("restore", by=request.user.get_username(), project=version.project, params=params)
            tasks.nudge(tasks.run_job, job.pk)
            return f"is being restored by job {job.pk}"

        self._each(request, queryset, start)
        return None

    def _each(self, request: HttpRequest, queryset: QuerySet[Version], act: Callable[[Version], str]) -> None:
        if not request.user.has_perm("versions.change_version"):
            self.message_user(request, "This needs the permission to change versions.", messages.ERROR)
            return
        for version in queryset.select_related("project"):
            try:
                self.message_user(request, f"{version} {act(version)}.")
            except (VersionError, ExportError) as error:
                self.message_user(request, f"{version}: {error}", messages.ERROR)


@admin.register(Artifact)
class ArtifactAdmin(ReadOnly):
    """Files with sizes and hashes."""

    list_display = ("s3_key", "format", "size_bytes", "sha256", "created_at", "removed_at")
    list_filter = ("format", ("removed_at", admin.EmptyFieldListFilter))
    search_fields = ("s3_key", "=sha256")
    ordering = ("-id",)


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnly):
    """Frozen annotations: each state once, open from one version until another."""

    list_display = ("annotation_id", "image_id", "version", "until_version", "opened", "closed")
    list_select_related = ("version", "until_version")
    search_fields = ("=annotation_id", "=image_id", "=version__project__id")
    ordering = ("-id",)


@admin.register(VersionImage)
class VersionImageAdmin(ReadOnly):
    """Frozen images."""

    list_display = ("path", "version", "until_version", "width", "height", "split")
    list_select_related = ("version", "until_version")
    search_fields = ("=image_id", "path", "=version__project__id")
    ordering = ("-id",)


@admin.register(SaveState)
class SaveStateAdmin(ReadOnly):
    """Working saves of each task: the last one, what is asked for, what went wrong."""

    list_display = ("task", "last_version", "last_saved_at", "requested_at", "attempts", "last_error")
    list_select_related = ("task", "last_version")
    search_fields = ("=task__project__id",)
    ordering = ("pk",)
    actions = ("save_now",)

    @admin.action(description="Save now", permissions=["view"])
    def save_now(self, request: HttpRequest, queryset: QuerySet[SaveState]) -> None:
        """Make a working save due, and wake a worker."""
        if not request.user.has_perm("versions.change_savestate"):
            self.message_user(request, "This needs the permission to change save states.", messages.ERROR)
            return
        for state in queryset.select_related("task__project"):
            SaveState.objects.filter(pk=state.pk).update(retry_at=None)
            said = autosave.request_save(state.task, "manual", by=request.user.get_username())
            tasks.nudge(tasks.save_if_due, state.task_id)
            self.message_user(request, f"{state.task}: {said}.")


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Long work: who asked, how far, what came of it."""

    list_display = ("id", "kind", "project", "created_by", "status", "progress", "attempts", "created_at", "error")
    list_select_related = ("project",)
    list_filter = ("status", "kind")
    search_fields = ("=id", "=project__id", "=created_by")
    ordering = ("-created_at",)
