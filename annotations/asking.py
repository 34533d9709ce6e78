"""Rows of questions that are written out as SQL (``querysets.py`` tells why they are)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import connection, models
from django.db.transaction import TransactionManagementError


def asked(
    model: type[models.Model], sql: str, values: Any, *, only: tuple[str, ...] = (), also: Sequence[str] = ()
) -> list[Any]:
    """The rows of ``model`` that a question finds. In it ``{columns}`` stands for the columns of the table it calls t:
    all of them, or those of the attributes ``only``. What it asks after them becomes attributes called ``also``.

    As ``raw`` does it, in less time: which column is which is worked out once, not at each call.
    """
    text, names, kept_as_text = _prepared(model, sql, only)
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        found = cursor.fetchall()
    rows = []
    for line in map(list, found):
        for place, field in kept_as_text:
            line[place] = field.from_db_value(line[place], None, connection)
        row = model.from_db(connection.alias, names, line[: len(names)])
        for name, value in zip(also, line[len(names) :], strict=True):
            setattr(row, name, value)
        rows.append(row)
    return rows


def first(model: type[models.Model], sql: str, values: Any, *, also: Sequence[str] = ()) -> Any:
    """The first row of ``asked``, or None."""
    return next(iter(asked(model, sql, values, also=also)), None)


def must_be_atomic() -> None:
    """Raises TransactionManagementError where there is no transaction until whose end a row could stay locked."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("A row is locked inside a transaction only.")


@cache
def _prepared(
    model: type[models.Model], sql: str, only: tuple[str, ...]
) -> tuple[str, list[str], list[tuple[int, Any]]]:
    """The question with its columns, their attributes, and which of them Django reads from a text (documents)."""
    fields = [field for field in model._meta.concrete_fields if not only or field.attname in only]
    columns = ", ".join(f't."{field.column}"' for field in fields)
    kept_as_text = [(place, field) for place, field in enumerate(fields) if hasattr(field, "from_db_value")]
    return sql.replace("{columns}", columns), [field.attname for field in fields], kept_as_text


def insert(row: models.Model) -> None:
    """Store a new row as ``save(force_insert=True)`` does; it knows its key afterwards."""
    text, fields = _insertion(type(row))
    with connection.cursor() as cursor:
        cursor.execute(text, [_stored(field, getattr(row, field.attname)) for field in fields])
        (row.pk,) = cursor.fetchone()
    row._state.adding, row._state.db = False, connection.alias


def update(row: models.Model, values: dict[str, Any]) -> None:
    """Store values by attribute (of a foreign key: the row it refers to) and set them on the row, as it was read."""
    fields: list[Any] = [row._meta.get_field(name) for name in values]
    columns = ", ".join(f'"{field.column}" = %s' for field in fields)
    stored = [_stored(field, getattr(each, "pk", each)) for field, each in zip(fields, values.values(), strict=True)]
    with connection.cursor() as cursor:
        # Names of tables and columns are the models' own.
        cursor.execute(f"UPDATE {row._meta.db_table} SET {columns} WHERE id = %s", [*stored, row.pk])
    for name, value in values.items():
        setattr(row, name, value)


def _stored(field: Any, value: Any) -> Any:
    return field.get_db_prep_save(value, connection)


@cache
def _insertion(model: type[models.Model]) -> tuple[str, list[Any]]:
    fields: list[Any] = [field for field in model._meta.concrete_fields if not field.primary_key]
    columns, places = ", ".join(f'"{field.column}"' for field in fields), ", ".join(["%s"] * len(fields))
    return f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({places}) RETURNING id", fields
