"""What staff does in the admin, for tests: sign in, open pages, send forms as a browser does, run actions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.world import a_user


def the_boss() -> Client:
    """A superuser called boss, signed in."""
    client = Client()
    client.force_login(a_user("boss", is_staff=True, is_superuser=True))
    return client


def somebody_with(*permissions: str) -> Client:
    """A member of staff who has only these permissions."""
    person = a_user("looker", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(person)
    return client


def address(model: type[Model], page: str = "changelist", row: Model | None = None) -> str:
    """Where a page of the admin is; the admin reads ``_23`` in an address as another character, so ids are quoted."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    return reverse(name, args=[quote(row.pk)] if row else [])


def act(client: Client, action: str, rows: Iterable[Model], **further: Any) -> HttpResponse:
    """Tick the rows in their list and run an action on them."""
    rows = list(rows)
    body = {"action": action, "_selected_action": [row.pk for row in rows], **further}
    return client.post(address(type(rows[0])), body, follow=True)


def told(answer: HttpResponse) -> list[tuple[str, str]]:
    """The messages on the page: each with its level (error is red)."""
    return [(message.level_tag, str(message)) for message in answer.context["messages"]]


def the_form(client: Client, row: Model) -> dict[str, Any]:
    """What a browser would send for a row's page if nothing were typed, inlines included."""
    page = client.get(address(type(row), "change", row))
    forms = [page.context["adminform"].form]
    for inline in page.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    fields = (form[name] for form in forms for name in form.fields)
    return {field.html_name: "" if field.value() is None else field.value() for field in fields}


def send(client: Client, row: Model, **typed: Any) -> HttpResponse:
    """Open a row's page, type something, save."""
    return client.post(address(type(row), "change", row), the_form(client, row) | typed, follow=True)


def queries_of(client: Client, url: str, **asked: Any) -> list[str]:
    """The SQL that opening a page takes."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url, asked).status_code == 200
    return [query["sql"] for query in queries]
