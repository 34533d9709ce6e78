"""Looking in: versions with their files, frozen rows, saves and jobs; and asking for work again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Func, IntegerField, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import re_path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from annotations import drawing
from annotations.errors import AnnotationError
from annotations.models import Annotation, AnnotationHistory, Image, Project
from annotations.tables import IndexedSearch, KnownWords, ReadOnly
from exports.errors import ExportError
from exports.keys import FILES
from versions import autosave, comparing, jobs, publishing, restoring, tasks, work
from versions.difference_answers import diff_answers, summary_answer
from versions.errors import InvalidRequest, VersionError
from versions.models import Artifact, FrozenAnnotations, Job, SaveState, Version, VersionImage
from versions.sides import LIVE
from versions.states import VersionType

REFUSALS = (AnnotationError, VersionError, ExportError)


def refuse_deleted(project: Project) -> None:
    """Work is only asked for where the sweep does it: raises InvalidRequest for a tombstone."""
    if project.deleted_at is not None:
        raise InvalidRequest("its project is deleted; bring the project back first.")


IMAGES_A_PAGE = 10


def page_of_pair(a: int, b: int) -> str:
    """Where two versions are compared."""
    return reverse("admin:versions_version_compare", args=[a, b])


def comparing_page(a: Version | None, b: Version | None, asked: Mapping[str, str]) -> dict[str, Any]:
    """What the page of a comparison shows: ``p`` is the page, from 0 on, ``drafts`` 0 or 1 where it is said."""
    task = comparing.check_pair(a, b)
    comparing.refuse_large_files(a=a, b=b)
    number = int(asked.get("p", "0")[:9]) if asked.get("p", "0").isdecimal() else 0
    drafts = {"0": False, "1": True}.get(asked.get("drafts", ""))
    with comparing.compared(a, b, task, include_draft=drafts) as comparison:
        found = comparison.overview(limit=IMAGES_A_PAGE, offset=number * IMAGES_A_PAGE)
        summary = summary_answer(comparison, found, asked_first=a.pk if a else LIVE)
        keys = [change.pk for change in found.page]
        diffs = diff_answers(comparison, found.page, comparison.details(keys))
        sizes = {row[0]: row[1:] for row in Image.objects.filter(pk__in=keys).values_list("path", "width", "height")}
    return {
        "title": f"{summary['version_a_number']} and {summary['version_b_number']} compared",
        "task": task,
        "compared": summary,
        "images": [_image_shown(path, diff, sizes[path]) for path, diff in diffs.items()],
        "choosable": {comparison.old.kind, comparison.new.kind} != {"frozen"},
        "drafts": asked.get("drafts", "") if drafts is not None else "",
        "number": number,
        "last": max(0, (found.images_with_changes - 1) // IMAGES_A_PAGE),
    }


def _image_shown(path: str, diff: dict[str, Any], size: tuple[int | None, int | None]) -> dict[str, Any]:
    return {
        "path": path,
        "summary": diff["summary"],
        "drawing": drawing.drawing(diff, *size),
        "label": f"What differs on {path}",
        "rows": [
            *({"before": drawing.title(row), "id": row["id"], "tone": "removed"} for row in diff["removed"]),
            *(
                {"before": drawing.title(pair["old"]), "after": drawing.title(pair["new"]), "id": pair["new"]["id"],
                 "words": drawing.words(pair), "tone": "modified"}
                for pair in diff["modified"]
            ),
            *({"after": drawing.title(row), "id": row["id"], "tone": "added"} for row in diff["added"]),
        ],
    }  # fmt: skip


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
        "image_count", "created_by", "created_at", "trouble",
    )  # fmt: skip
    list_select_related = ("project",)
    heavy = ("manifest", "warnings", "pieces")
    readonly_fields = ("frozen_rows", "compared_with")
    list_filter = ("version_type", "status", "platform_status", "task_type")
    search_fields = ("=project__id", "project__name", "=version_number", "=created_by")
    ordering = ("-id",)
    inlines = (ArtifactInline,)
    actions = ("compare", "retry_publish", "sync_platform", "restore")

    @admin.display(description="last error")
    def trouble(self, version: Version) -> str:
        """What went wrong last, with the files or with the platform."""
        return Truncator(version.last_error or version.platform_error).chars(200)

    @admin.display(description="frozen rows")
    def frozen_rows(self, version: Version) -> str:
        """Where they are; a working save is only a file."""
        if version.version_type != VersionType.PUBLISHED:
            return "-"
        lists = [reverse(f"admin:versions_{name}_changelist") for name in ("frozenannotations", "versionimage")]
        link = '<a href="{}?in_version={}">annotations</a>, <a href="{}?in_version={}">images</a>'
        return format_html(link, lists[0], version.pk, lists[1], version.pk)

    @admin.display(description="compare")
    def compared_with(self, version: Version) -> str:
        """With the one before, and with the live rows."""
        before = Version.objects.of(version.project_id, version.task_type).filter(version_type=version.version_type)
        last = before.filter(created_at__lt=version.created_at).newest_first().first()
        links = [(page_of_pair(version.pk, LIVE), "with the live rows")]
        if last is not None:
            links.insert(0, (page_of_pair(last.pk, version.pk), f"with {last.version_number}"))
        return format_html_join(", ", '<a href="{}">{}</a>', links)

    def get_urls(self) -> list[Any]:
        """The comparison of two versions has a page of its own."""
        page = self.admin_site.admin_view(self.compare_view)
        return [
            re_path(r"^compare/(?P<a>-1|\d{1,18})/(?P<b>-1|\d{1,18})/$", page, name="versions_version_compare"),
            *super().get_urls(),
        ]

    def compare_view(self, request: HttpRequest, a: str, b: str) -> HttpResponse:
        """Figures, classes, and the changed images in full, a few at a time; looking only."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        sides = [None if int(pk) == LIVE else get_object_or_404(Version, pk=int(pk)) for pk in (a, b)]
        try:
            found = comparing_page(sides[0], sides[1], request.GET)
        except REFUSALS as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:versions_version_changelist"))
        context = {**self.admin_site.each_context(request), "opts": self.opts, **found}
        return TemplateResponse(request, "admin/compare_versions.html", context)

    @admin.action(description="Compare (two versions, or one with the live rows)", permissions=["view"])
    def compare(self, request: HttpRequest, queryset: QuerySet[Version]) -> HttpResponse | None:
        """Goes to the page of the two."""
        chosen = list(queryset.order_by("pk").values_list("pk", flat=True)[:3])
        if len(chosen) > 2:
            self.message_user(request, "Choose two versions, or one to hold against the live rows.", messages.ERROR)
            return None
        return HttpResponseRedirect(page_of_pair(*chosen, *[LIVE][: 2 - len(chosen)]))

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
        if not self._one_of_each_task(request, queryset):
            return None
        if "confirmed" not in request.POST:
            context = {**self.admin_site.each_context(request), "versions": queryset, "title": "Restore"}
            return TemplateResponse(request, "admin/restore_version.html", context)

        def start(version: Version) -> str:
            task = publishing.task_of(version)
            restoring.check_wish(task, source="version", version=version, image_paths=None)
            params = {"task_type": version.task_type, "source": "version", "version_id": version.pk, "dry_run": False}
            job = jobs.start("restore", by=request.user.get_username(), project=version.project, params=params)
            tasks.nudge(tasks.run_job, job.pk)
            return f"is being restored by job {job.pk}"

        self._each(request, queryset, start)
        return None

    def _one_of_each_task(self, request: HttpRequest, queryset: QuerySet[Version]) -> bool:
        chosen = Counter(queryset.order_by().values_list("project_id", "task_type"))
        if max(chosen.values(), default=0) > 1:
            self.message_user(request, "Choose one version of each task to restore.", messages.ERROR)
            return False
        return True

    def _each(self, request: HttpRequest, queryset: QuerySet[Version], act: Callable[[Version], str]) -> None:
        if not request.user.has_perm("versions.change_version"):
            self.message_user(request, "This needs the permission to change versions.", messages.ERROR)
            return
        for version in queryset.select_related("project"):
            try:
                refuse_deleted(version.project)
                self.message_user(request, f"{version} {act(version)}.")
            except REFUSALS as error:
                self.message_user(request, f"{version}: {error}", messages.ERROR)


class FormatFilter(KnownWords):
    """Files by format; the manifest is the version's own record."""

    title, parameter_name, words = "format", "format", (*FILES, "manifest")


@admin.register(Artifact)
class ArtifactAdmin(ReadOnly):
    """Files with sizes and hashes."""

    list_display = ("s3_key", "format", "size_bytes", "sha256", "created_at", "removed_at")
    list_filter = (FormatFilter, ("removed_at", admin.EmptyFieldListFilter))
    search_fields = ("s3_key", "=sha256")
    ordering = ("-id",)


class InVersion(admin.SimpleListFilter):
    """All frozen rows of one version, wherever they were opened; pages of versions link here."""

    title, parameter_name = "version", "in_version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The version that is looked at; nobody lists them all."""
        asked = self.value()
        return [] if asked is None else [(asked, str(self._version() or "unknown"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows open at its ordinal."""
        version = self._version()
        if version is None:
            return queryset.none()
        still_open = Q(closed=None) | Q(closed__gt=version.ordinal)
        return queryset.filter(still_open, task=publishing.task_of(version), opened__lte=version.ordinal)

    def _version(self) -> Version | None:
        asked = self.value() or ""
        return Version.objects.published().filter(pk=asked).first() if asked.isdecimal() else None


class ReadFor(InVersion):
    """Of frozen annotations those that are read for a version: some states of them may be older than the version's."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of the images it lists, from the newest on that tells of all there is on its image."""
        version = self._version()
        if version is None:
            return queryset.none()
        same = {"task": OuterRef("task"), "image_id": OuterRef("image_id")}
        newest = FrozenAnnotations.objects.filter(opened__lte=version.ordinal, **same).order_by("-opened")
        still_open = Q(closed=None) | Q(closed__gt=version.ordinal)
        listed = VersionImage.objects.filter(still_open, opened__lte=version.ordinal, **same)
        return queryset.filter(
            Exists(listed), task=publishing.task_of(version), opened__lte=version.ordinal,
            opened__gte=Subquery(newest.values("whole_since")[:1]),
        )  # fmt: skip


@admin.register(FrozenAnnotations)
class FrozenAnnotationsAdmin(ReadOnly, IndexedSearch):
    """Frozen annotations by image: each state once, with the version it first appeared in."""

    list_display = ("image_id", "version", "opened", "annotations", "gone")
    list_select_related = ("version",)
    sortable_by = ()
    heavy = ("annotation_ids", "snapshots")
    readonly_fields = ("states",)
    exclude = ("annotation_ids", "snapshots")
    list_filter = (ReadFor,)
    led = {"image_id": "task"}
    named = {"task": "project__id"}
    search_help_text = "Annotation id, image id or project id."
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[FrozenAnnotations]:
        """Counted by PostgreSQL: the texts of a page of images are megabytes."""
        gone = Func("snapshots", Value(None, output_field=TextField()), function="array_positions")
        return super().get_queryset(request).annotate(
            told=Func("annotation_ids", function="cardinality", output_field=IntegerField()),
            ended=Func(gone, function="cardinality", output_field=IntegerField()),
        )  # fmt: skip

    @admin.display(description="annotations")
    def annotations(self, row: Any) -> int:
        """Of how many there is a new state."""
        return row.told - row.ended

    @admin.display(description="gone")
    def gone(self, row: Any) -> int:
        """How many are part of the task no more."""
        return row.ended

    @admin.display(description="states")
    def states(self, row: FrozenAnnotations) -> str:
        """Each annotation with its full row as JSON, or that it is gone."""
        lines = [(pk, text or "gone") for pk, text in zip(row.annotation_ids, row.snapshots, strict=True)]
        return format_html("<dl>{}</dl>", format_html_join("", "<dt>{}</dt><dd><code>{}</code></dd>", lines))

    def _knows(self, word: str) -> Q:
        known = super()._knows(word)
        if not self._takes("image_id", word):
            return known
        # Frozen rows lie by image; of which one an annotation is or was, its own row knows or its history.
        live = Annotation.objects.filter(pk=word).values_list("image_id", flat=True)
        past = AnnotationHistory.objects.filter(annotation_id=word).values_list("image_id", flat=True)[:1]
        of_it = Q(image_id__in={*live, *past}, annotation_ids__contains=[int(word)])
        return known | Q(of_it, task__in=self._keys("task"))


@admin.register(VersionImage)
class VersionImageAdmin(ReadOnly, IndexedSearch):
    """Frozen images."""

    list_display = ("path", "version", "until_version", "width", "height", "split")
    list_select_related = ("version", "until_version")
    sortable_by = ()
    heavy = ("metadata",)
    list_filter = (InVersion,)
    led = {"image_id": "task"}
    named = {"task": "project__id"}
    otherwise = ("path",)
    search_help_text = "Image id or project id; else a whole path."
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
            try:
                refuse_deleted(state.task.project)
            except VersionError as error:
                self.message_user(request, f"{state.task}: {error}", messages.ERROR)
                continue
            SaveState.objects.filter(pk=state.pk).update(retry_at=None)
            said = autosave.request_save(state.task, "manual", by=request.user.get_username())
            tasks.nudge(tasks.save_if_due, state.task_id)
            self.message_user(request, f"{state.task}: {said}.")


class KindFilter(KnownWords):
    """Jobs by kind."""

    title, parameter_name, words = "kind", "kind", tuple(work.HANDLERS)


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Long work: who asked, how far, what came of it."""

    list_display = ("id", "kind", "project", "created_by", "status", "progress", "attempts", "created_at", "error")
    list_select_related = ("project",)
    heavy = ("params", "result")
    list_filter = ("status", KindFilter)
    search_fields = ("=id", "=project__id", "=created_by")
    ordering = ("-created_at",)
