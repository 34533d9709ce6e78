"""How the admin shows large tables: no full counts, read-only where the product itself writes, history naming staff."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_list import result_headers
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import display_for_field, display_for_value, lookup_field, quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.paginator import Page, Paginator
from django.db import connection
from django.db.models import DateTimeField, ForeignKey, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import get_script_prefix, reverse
from django.utils.formats import get_format
from django.utils.functional import cached_property
from django.utils.html import conditional_escape, escape
from django.utils.safestring import SafeString
from django.utils.text import smart_split, unescape_string_literal
from django.utils.translation import gettext

from annotations.acting import acting
from annotations.errors import AnnotationError

ENOUGH = 10_000
# Rows of another table that a search takes as a list; a word that finds more is looked up in place.
SHORT = 1_000
# What shows more of a time than its minute, in Django's formats.
SECONDS = set("crsuU")


def address_of(route: str, key: Any) -> str:
    """The address of a row's page; looking through the routes for each row of a list takes long."""
    before, after = _around_key(route, get_script_prefix())
    return f"{before}{quote(key)}{after}"


@cache
def _around_key(route: str, below: str) -> tuple[str, str]:
    before, _, after = reverse(route, args=("0",)).rpartition("0")
    return before, after


class BoundedPaginator(Paginator):
    """Counts at most ``ENOUGH`` rows; beyond that PostgreSQL's own estimate of the table is good enough."""

    @cached_property
    def count(self) -> int:
        """The number of rows, exact up to ``ENOUGH``."""
        rows: Any = self.object_list
        counted = rows.order_by()[: ENOUGH + 1].count() if rows.query.where else self._few(rows.model)
        return counted if counted <= ENOUGH else max(counted, self._estimate(rows.model))

    def _few(self, model: type[Model]) -> int:
        """Rows of a whole table, which each list opens with: asked directly, as Django takes long to put it in SQL."""
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"SELECT count(*) FROM (SELECT FROM {table} LIMIT %s) AS few", [ENOUGH + 1])
            return cursor.fetchone()[0]

    def _get_page(self, *args: Any, **kwargs: Any) -> Page:
        """As in ``paging.Page``: what a list shows and joins is not read for the pages before."""
        rows, number, paginator = args
        if number > 1:
            rows = paginator.object_list.filter(pk__in=list(rows.values_list("pk", flat=True)))
        return super()._get_page(rows, number, paginator, **kwargs)  # type: ignore[misc]

    def _estimate(self, model: type[Model]) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [model._meta.db_table])
            return cursor.fetchone()[0]


class QuickList(ChangeList):
    """The admin's list, for tables that are not edited in place, have one linked column, name their columns by text and
    show no documents: its own asks much for each cell that is the same for all of a column, and hands each to the
    template by itself."""

    def headers(self) -> list[dict[str, Any]]:
        """What stands above the columns."""
        return list(result_headers(self))

    def rows(self) -> list[str]:
        """The cells of each row, like the admin's own, as one text."""
        cells = [self._cell(str(name)) for name in self.list_display]
        return ["".join([cell(row) for cell in cells]) for row in self.result_list]

    def body(self) -> list[list[SafeString]]:
        """All rows, as the only cell of what the admin's template takes for the only row: it asks each much in vain."""
        rows = self.rows()
        return [[SafeString("</tr>\n<tr>".join(rows))]] if rows else []

    def url_for_result(self, result: Model) -> str:
        """As the admin's own, which asks all routes for each row."""
        return address_of(self._route, result.pk)

    @property
    def _route(self) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_change"

    @cached_property
    def _kept(self) -> str:
        """What a link to a row ends with, so that the way back leads to the list as it was."""
        kept: Any = {"preserved_filters": self.preserved_filters, "opts": self.opts}
        address = address_of(self._route, 0)
        return add_preserved_filters(kept, address).removeprefix(address) if self.preserved_filters else ""

    def _cell(self, name: str) -> Callable[[Model], str]:
        """How the cells of a column are written."""
        field, text = self._field(name), self._text(name)
        style = "action-checkbox" if name == "action_checkbox" else f"field-{name}"
        if isinstance(field, DateTimeField | ForeignKey):
            style += " nowrap"
        if name == next(each for each in self.list_display if each in self.list_display_links):
            return lambda row: (
                f'<th class="{style}"><a href="{escape(self.url_for_result(row) + self._kept)}">{text(row)}</a></th>'
            )
        return lambda row: f'<td class="{style}">{text(row)}</td>'

    def _field(self, name: str) -> Any:
        """The field of a column; None where a method, or the key of another row, is shown."""
        try:
            field = self.opts.get_field(name)
        except FieldDoesNotExist:
            return None
        return None if field.is_relation and field.name != name else field

    def _text(self, name: str) -> Callable[[Model], str]:
        """What a column says of a row, as HTML."""
        field, empty = self._field(name), self.model_admin.get_empty_value_display()
        if name == "action_checkbox":
            return self._checkbox()
        if field is None:
            return self._told(name, empty)
        if field.is_relation:
            return lambda row: conditional_escape(empty if (other := getattr(row, name)) is None else other)

        # Rows of a page have much in common: what a value looks like is asked once.
        @cache
        def shown(value: Any) -> str:
            return conditional_escape(display_for_field(value, field, empty))

        if isinstance(field, DateTimeField) and not SECONDS & set(get_format("DATETIME_FORMAT")):
            return lambda row: shown((at := getattr(row, name)) and at.replace(second=0, microsecond=0))
        return lambda row: shown(getattr(row, name))

    def _told(self, name: str, empty: str) -> Callable[[Model], str]:
        def told(row: Model) -> str:
            _, attribute, value = lookup_field(name, row, self.model_admin)
            return conditional_escape(display_for_value(value, empty, getattr(attribute, "boolean", False)))

        return told

    def _checkbox(self) -> Callable[[Model], str]:
        """As the admin's own, without a widget and its template for every row."""
        label = gettext("Select this object for an action - {}")
        return lambda row: (
            f'<input type="checkbox" name="{ACTION_CHECKBOX_NAME}" value="{escape(row.pk)}" class="action-select"'
            f' aria-label="{escape(label.format(row))}">'
        )


class LargeTable(admin.ModelAdmin):
    """A changelist that stays fast whatever the number of rows."""

    change_list_template = "admin/large_table.html"
    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 30
    # Columns of documents, which a page of a list does not read.
    heavy: Sequence[str] = ()
    # Where a list joins other tables: the columns it reads, of its own rows and of those, with what they are called by.
    read: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Whole rows for a page of one row, light ones for a list."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        if match is None or not str(match.url_name).endswith("_changelist"):
            return rows
        return rows.only(*self.read) if self.read else rows.defer(*self.heavy)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Rows put together quickly."""
        return QuickList


class IndexedSearch(LargeTable):
    """Search that stays on indexes: every word is looked for in all of ``whole``, ``led`` and ``named`` at once,
    and only if none of them knows it, in the columns of ``otherwise``, which have no index."""

    # Columns with an index, by their whole value.
    whole: Sequence[str] = ()
    # Columns behind a foreign key in their index: ``{column: foreign key}``.
    led: Mapping[str, str] = {}
    # Foreign keys by a part of what the other row is called: ``{foreign key: column over there}``.
    named: Mapping[str, str] = {}
    otherwise: Sequence[str] = ()

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """What the box searches."""
        return [*self.whole, *self.led, *self.named, *self.otherwise]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows that know every word."""
        for word in smart_split(search_term):
            queryset = queryset.filter(self._knows(_bare(word)))
        return queryset, False

    def _knows(self, word: str) -> Q:
        known = self._whole(self.whole, word)
        for column, key in self.led.items():
            if self._takes(column, word):
                known |= Q(**{f"{key}__in": self._keys(key), column: word})
        for key, column in self.named.items():
            known |= Q(**{f"{key}__in": self._keys(key, **{f"{column}__icontains": word})})
        if self.otherwise and not self.model._default_manager.filter(known).exists():
            return self._whole(self.otherwise, word)
        return known

    def _whole(self, columns: Sequence[str], word: str) -> Q:
        nothing = Q(pk__in=[])
        return Q(nothing, *(Q(**{name: word}) for name in columns if self._takes(name, word)), _connector=Q.OR)

    def _takes(self, column: str, word: str) -> bool:
        field: Any = self.model._meta.get_field(column)
        try:
            (field.target_field if field.is_relation else field).run_validators(field.to_python(word))
        except ValidationError:
            return False
        return True

    def _keys(self, key: str, **found: Any) -> Any:
        other: Any = self.model._meta.get_field(key).related_model
        keys = other._default_manager.filter(**found).values_list("pk", flat=True)
        few = list(keys.order_by()[: SHORT + 1])
        return few if len(few) <= SHORT else keys


def _bare(word: str) -> str:
    quoted = word[0] in "\"'" and len(word) > 1 and word[0] == word[-1]
    return unescape_string_literal(word) if quoted else word


class KnownWords(admin.SimpleListFilter):
    """A filter on a column whose words are known beforehand, so that nobody reads the table for them."""

    words: Sequence[str] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Every word."""
        return [(word, word) for word in self.words]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows with the word."""
        word = self.value()
        return queryset if word is None else queryset.filter(**{str(self.parameter_name): word})


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
