"""How the admin shows large tables: no full counts, read-only where the product itself writes, history naming staff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property

from annotations.acting import acting
from annotations.errors import AnnotationError

ENOUGH = 10_000


class BoundedPaginator(Paginator):
    """Counts at most ``ENOUGH`` rows; beyond that PostgreSQL's own estimate of the table is good enough."""

    @cached_property
    def count(self) -> int:
        """The number of rows, exact up to ``ENOUGH``."""
        rows: Any = self.object_list
        counted = rows.order_by()[: ENOUGH + 1].count()
        return counted if counted <= ENOUGH else max(counted, self._estimate(rows.model))

    def _estimate(self, model: type[Model]) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [model._meta.db_table])
            return cursor.fetchone()[0]


class LargeTable(admin.ModelAdmin):
    """A changelist that stays fast whatever the number of rows."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50


class ReadOnly(LargeTable):
    """Rows the product writes: staff looks, nobody types."""

    actions: Any = []

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes by hand."""
        return False


class ActsByName(admin.ModelAdmin):
    """Every change is one transaction in which the history names the staff user; refusals are messages."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Add and change."""
        return self._acting(request, lambda: super(ActsByName, self).changeform_view(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Delete one."""
        return self._acting(request, lambda: super(ActsByName, self).delete_view(request, *args, **kwargs))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The list and its actions."""
        return self._acting(request, lambda: super(ActsByName, self).changelist_view(request, *args, **kwargs))

    def _acting(self, request: HttpRequest, act: Callable[[], HttpResponse]) -> HttpResponse:
        if request.method != "POST":
            return act()
        try:
            with acting(request.user.get_username()):
                return act()
        except AnnotationError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
