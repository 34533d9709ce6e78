"""The site for staff: Django's own, whose list of all tables is put together once for people who may do the same."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.apps import AdminConfig
from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject


class StaffSite(AdminSite):
    """Every page has the list of all tables at its side: asking each table, and writing what it answers, was a fifth of
    the time of a page."""

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """As Django's, but asked for only where it is shown; a kept sidebar (admin/nav_sidebar.html) does not."""
        return SimpleLazyObject(lambda: super(StaffSite, self).get_app_list(request, app_label))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """As Django's, with what the sidebar depends on beside language: where one is, and what one may do."""
        return {**super().each_context(request), "here": _here(request), "may": _may(request.user)}


def _may(user: Any) -> str:
    """All that somebody may do, as a text. Read with each page, so a change of permissions shows at once."""
    return "everything" if user.is_active and user.is_superuser else ",".join(sorted(user.get_all_permissions()))


def _here(request: HttpRequest) -> str:
    """The address of the table, or of the room, that a page is about: pages of its rows have one sidebar."""
    root = reverse("admin:index")
    return root + "".join(f"{part}/" for part in request.path.removeprefix(root).split("/")[:2] if part)


class StaffConfig(AdminConfig):
    """The admin, with our site."""

    default_site = "labeler.staff.StaffSite"
