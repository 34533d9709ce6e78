"""Looking in: people, projects, classes, images, annotations and their history."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from annotations import editing, images, projects, story, tokens
from annotations.errors import AnnotationError
from annotations.geometry import TYPES
from annotations.models import (
    Annotation,
    AnnotationHistory,
    ApiToken,
    AuditEntry,
    ClassHistory,
    Image,
    ImageStatus,
    LabelClass,
    Member,
    Project,
    ProjectTask,
    User,
)
from annotations.states import Role
from annotations.tables import ActsByName, IndexedSearch, KnownWords, LargeTable, ReadOnly, address_of
from annotations.throttles import PatientStaffSignIn

admin.site.site_header = admin.site.site_title = "Labeler"
admin.site.index_title = "Staff"
admin.site.login_form = PatientStaffSignIn


def page_number(request: HttpRequest) -> int:
    """``?p``, from 0; what is no number is the first page."""
    said = request.GET.get("p", "0")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 7 else 0


def row_number(object_id: str) -> int:
    """The primary key in an address of the admin; Http404 for what is none."""
    said = unquote(object_id)
    if not said.isascii() or not said.isdigit():
        raise Http404
    return int(said)


def story_link(annotation_id: int) -> str:
    """A link to the story of an annotation."""
    address = address_of("admin:annotations_annotation_story", annotation_id)
    return format_html('<a href="{}">{}</a>', address, annotation_id)


def story_page(
    shown: admin.ModelAdmin, request: HttpRequest, told: dict[str, Any], title: str, number: int
) -> HttpResponse:
    """A story as a page of the admin."""
    meta = shown.model._meta
    context = {
        **shown.admin_site.each_context(request),
        **told,
        "opts": meta,
        "title": title,
        "number": number,
        "list_name": str(meta.verbose_name_plural).capitalize(),
        "list_address": reverse(f"admin:annotations_{meta.model_name}_changelist"),
    }
    return TemplateResponse(request, "admin/story.html", context)


# People -------------------------------------------------------------------------------------


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Accounts; the name is the platform user id."""

    list_display = ("username", "is_staff", "is_active", "last_login")


@admin.register(ApiToken)
class TokenAdmin(admin.ModelAdmin):
    """Bearer tokens: the text is shown once, when one is made."""

    list_display = ("name", "user", "created_at", "expires_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    autocomplete_fields = ("user",)
    fields = ("user", "name", "created_at", "expires_at", "revoked_at")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new token has a user and a name; the rest is given."""
        return self.fields if obj else ("user", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A token that was made is only revoked."""
        return self.fields if obj else ()

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Issue it, and show its text."""
        if change:
            return
        plain, row = tokens.issue_token(obj.user, name=obj.name, by=request.user.get_username())
        obj.pk, obj.digest, obj.expires_at, obj.created_at = row.pk, row.digest, row.expires_at, row.created_at
        self.message_user(request, f"The token, shown only now: {plain}", messages.WARNING)

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """They work no more."""
        for token in queryset:
            tokens.revoke_token(token, by=request.user.get_username())
        self.message_user(request, f"{len(queryset)} tokens revoked.")


# Projects -----------------------------------------------------------------------------------

SHOWN = 100


class MemberForm(forms.ModelForm):
    """One member; a line stays with its person."""

    class Meta:
        model = Member
        fields = ("user_id", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user_id"].disabled = self.instance.pk is not None


class MemberInline(admin.TabularInline):
    """Who may do what; giving a member the role of owner hands the project over, and the old owner stays as admin."""

    model = Member
    form = MemberForm
    extra = 0
    ordering = ("pk",)
    fields = ("user_id", "role", "added_at", "added_by")
    readonly_fields = ("added_at", "added_by")


class TaskInline(admin.TabularInline):
    """The tasks; the first one stays first."""

    model = ProjectTask
    extra = 0
    can_delete = False
    fields = readonly_fields = ("task_type", "position", "number_floor")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tasks are added through the API."""
        return False


@admin.register(Project)
class ProjectAdmin(ActsByName, LargeTable):
    """Projects with members; deleted ones are tombstones that can come back."""

    list_display = ("name", "id", "dataset_id", "owner_id", "status", "created_at", "deleted_at")
    list_filter = ("status", ("deleted_at", admin.EmptyFieldListFilter))
    search_fields = ("id", "name", "dataset_id", "owner_id")
    fields = (
        "id", "name", "description", "dataset_id", "dataset_name", "owner_id", "status", "settings", "task_config",
        "classes_link", "created_at", "updated_at", "updated_by", "deleted_at",
    )  # fmt: skip
    readonly_fields = (
        "id", "dataset_id", "dataset_name", "owner_id", "classes_link", "created_at", "updated_at", "updated_by",
        "deleted_at",
    )  # fmt: skip
    inlines = (MemberInline, TaskInline)
    actions = ("bring_back",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A project is opened from a dataset, through the API or manage.py import_dataset."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deleting goes through the API, which asks about versions."""
        return False

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        """Only what changed, with who changed it."""
        values = {name: form.cleaned_data[name] for name in form.changed_data if name in form.cleaned_data}
        projects.change_project(obj, by=request.user.get_username(), **values)

    @admin.display(description="classes")
    def classes_link(self, project: Project) -> str:
        """Their names, and where they are changed."""
        names = list(project.classes.order_by("task_type", "order", "index").values_list("name", flat=True)[:SHOWN])
        address = reverse("admin:annotations_labelclass_changelist")
        return format_html('<a href="{}?project__id__exact={}">{}</a>', address, project.pk, ", ".join(names) or "none")

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Members by the rules that hold for members; staff acts as the owner could."""
        by, project = request.user.get_username(), form.instance
        formset.save(commit=False)
        for gone in formset.deleted_objects:
            projects.remove_member(project, gone.user_id, by=by, by_role=Role.OWNER)
        for member in [*formset.new_objects, *(changed for changed, _ in formset.changed_objects)]:
            if member.role == Role.OWNER:
                projects.hand_over(project, member.user_id, by=by, by_staff=True)
            else:
                projects.set_member(project, member.user_id, Role(member.role), by=by, by_role=Role.OWNER)

    @admin.action(description="Bring deleted projects back", permissions=["change"])
    def bring_back(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        """Take tombstones away."""
        for project in queryset.exclude(deleted_at=None):
            try:
                projects.undelete_project(project, by=request.user.get_username())
                self.message_user(request, f"{project} is back.")
            except AnnotationError as error:
                self.message_user(request, f"{project}: {error}", messages.ERROR)


@admin.register(LabelClass)
class ClassAdmin(ActsByName, LargeTable):
    """Classes; the index is their id in every file and never changes."""

    list_display = ("name", "project_id", "task_type", "index", "class_id", "color", "retired_at")
    list_filter = ("task_type", ("retired_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "class_id", "project__id", "project__name")
    readonly_fields = ("project", "task_type", "class_id", "index", "retired_at")
    actions = ("retire",)

    def save_model(self, request: HttpRequest, obj: LabelClass, form: Any, change: bool) -> None:
        """Only what changed, by the rules that hold for members."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        projects.change_class(obj, by=request.user.get_username(), **values)

    @admin.action(description="Retire the selected classes", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[LabelClass]) -> None:
        """They keep their index in every file; classes that annotations name stay."""
        for entry in queryset.filter(retired_at=None):
            try:
                projects.remove_class(entry, by=request.user.get_username())
                self.message_user(request, f"{entry} is retired.")
            except AnnotationError as error:
                self.message_user(request, f"{entry}: {error}", messages.ERROR)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Classes are added through the API, which gives them their index."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Classes are retired, never deleted."""
        return False


class DeedFilter(KnownWords):
    """Audit entries by what was done."""

    title, parameter_name = "action", "action"
    words = (
        "version.published", "annotations.imported", "annotations.restored", "annotations.deleted", "project.created",
        "project.deleted", "project.restored", "class.deleted", "class.restored", "member.added", "member.changed",
        "member.removed", "token.issued", "token.revoked",
    )  # fmt: skip


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    """Who did what."""

    list_display = ("at", "actor", "action", "subject", "project_id")
    heavy = ("detail",)
    list_filter = (DeedFilter,)
    search_fields = ("=project_id", "=actor", "=subject")
    ordering = ("-id",)


@admin.register(ClassHistory)
class ClassHistoryAdmin(ReadOnly):
    """What happened to classes."""

    list_display = ("timestamp", "project_id", "task_type", "label_class_id", "changed_by")
    heavy = ("previous_state", "new_state")
    search_fields = ("=project_id", "=changed_by")
    ordering = ("-id",)


# Images -------------------------------------------------------------------------------------


SPLITS = ("train", "val", "test")


class SplitFilter(KnownWords):
    """Images by split."""

    title, parameter_name, words = "split", "split", SPLITS

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Every split, and none."""
        return [*super().lookups(request, model_admin), ("none", "without a split")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Image]) -> QuerySet[Image]:
        """Images of the split."""
        return queryset.filter(split=None) if self.value() == "none" else super().queryset(request, queryset)


class ImageForm(forms.ModelForm):
    """What may be corrected: both sides of the size or none, and a split there is."""

    split = forms.TypedChoiceField(
        choices=[("", "-"), *((word, word) for word in SPLITS)], required=False, empty_value=None
    )

    def clean(self) -> dict[str, Any]:
        """Half a size says nothing."""
        values = super().clean() or self.cleaned_data
        if (values.get("width") is None) != (values.get("height") is None) and not self.errors:
            raise forms.ValidationError("Give width and height, or neither.")
        return values


@admin.register(Image)
class ImageAdmin(ActsByName, LargeTable):
    """Images; size and split may be corrected, and every version made afterwards has it so."""

    form = ImageForm
    list_display = ("path", "project_id", "width", "height", "split", "size", "missing_since")
    sortable_by = ()
    list_filter = (SplitFilter,)
    search_fields = ("=id", "path", "=project__id")
    readonly_fields = ("history_link", "project", "path", "size", "etag", "last_modified", "missing_since")
    ordering = ("id",)

    def save_model(self, request: HttpRequest, obj: Image, form: Any, change: bool) -> None:
        """Only what changed, with who changed it."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        images.change_image(obj, by=request.user.get_username(), **values)

    @admin.display(description="history")
    def history_link(self, row: Image) -> str:
        """Where its history is."""
        address = reverse("admin:annotations_image_story", args=[row.pk])
        return format_html('<a href="{}">What happened on it</a>', address)

    def get_urls(self) -> list[Any]:
        """The story of an image has a page of its own."""
        page = self.admin_site.admin_view(self.story_view)
        return [path("<int:image_id>/story/", page, name="annotations_image_story"), *super().get_urls()]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The button "History" leads to the story."""
        return HttpResponseRedirect(reverse("admin:annotations_image_story", args=[row_number(object_id)]))

    def story_view(self, request: HttpRequest, image_id: int) -> HttpResponse:
        """How the image's status changed, and what happened to every annotation that ever was on it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        image, number = get_object_or_404(Image, pk=image_id), page_number(request)
        return story_page(self, request, story.image_story(image, number), image.path, number)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Images come from the platform store."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Images are never deleted."""
        return False


@admin.register(ImageStatus)
class StatusAdmin(ReadOnly, IndexedSearch):
    """Progress; counters follow the annotations."""

    list_display = (
        "image", "task_type", "status", "total_annotations", "confirmed_annotations", "draft_annotations",
        "confirmed_by", "last_modified_at",
    )  # fmt: skip
    list_select_related = ("image",)
    read = (*list_display, "image__path")
    sortable_by = ()
    list_filter = ("task_type", "status")
    whole = ("project",)
    named = {"image": "path"}
    search_help_text = "Part of an image's path, or a project id."
    ordering = ("id",)


# Annotations --------------------------------------------------------------------------------


class TypeFilter(KnownWords):
    """Annotations by type."""

    title, parameter_name, words = "type", "annotation_type", TYPES


@admin.register(Annotation)
class AnnotationAdmin(ActsByName, ReadOnly, IndexedSearch):
    """Annotations: looked at here, drawn in the labeling page; deleting leaves their history."""

    list_display = ("id", "image", "annotation_type", "label_class", "state", "version", "updated_by", "updated_at")
    list_select_related = ("image", "label_class")
    read = (*list_display, "image__path", "label_class__name")
    sortable_by = ("id",)
    list_filter = ("state", "task_type", TypeFilter)
    whole = ("id", "project")
    named = {"image": "path", "label_class": "name"}
    otherwise = ("created_by",)
    search_help_text = "Id, project id, part of an image's path or of a class name; else who drew it."
    ordering = ("-id",)
    readonly_fields = ("history_link",)
    actions = ("delete_them",)

    @admin.display(description="history")
    def history_link(self, row: Annotation) -> str:
        """Where its history is."""
        return story_link(row.pk)

    def get_urls(self) -> list[Any]:
        """The story of an annotation has a page of its own, which is still there when the annotation is not."""
        page = self.admin_site.admin_view(self.story_view)
        return [
            path("<int:annotation_id>/story/", page, name="annotations_annotation_story"),
            *super().get_urls(),
        ]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The button "History" leads to the story."""
        return HttpResponseRedirect(reverse("admin:annotations_annotation_story", args=[row_number(object_id)]))

    def story_view(self, request: HttpRequest, annotation_id: int) -> HttpResponse:
        """What happened to one annotation, before and after, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        number = page_number(request)
        try:
            told = story.annotation_story(annotation_id, number)
        except (AnnotationError, OverflowError) as error:
            raise Http404 from error
        return story_page(self, request, told, f"Annotation {annotation_id}", number)

    @admin.action(description="Delete the selected annotations (their history stays)", permissions=["view"])
    def delete_them(self, request: HttpRequest, queryset: QuerySet[Annotation]) -> None:
        """One deed, one batch in the history."""
        if not request.user.has_perm("annotations.delete_annotation"):
            self.message_user(request, "This needs the permission to delete annotations.", messages.ERROR)
            return
        ids = list(queryset.values_list("pk", flat=True))
        deleted, batch = editing.delete_batch(ids, by=request.user.get_username())
        self.message_user(request, f"{deleted} annotations deleted; batch {batch} in the history.")


@admin.register(AnnotationHistory)
class HistoryAdmin(ReadOnly, IndexedSearch):
    """Who did what, when, and what it was before."""

    list_display = ("timestamp", "action", "annotation", "project_id", "changed_by", "batch_id")
    sortable_by = ("timestamp",)
    heavy = ("previous_state", "new_state")
    list_filter = ("action",)
    whole = ("annotation_id", "project_id")
    otherwise = ("changed_by", "batch_id")
    search_help_text = "Annotation id or project id; else who did it, or the batch."
    ordering = ("-id",)

    @admin.display(description="annotation")
    def annotation(self, row: AnnotationHistory) -> str:
        """The way to everything that happened to it."""
        return story_link(row.annotation_id)
