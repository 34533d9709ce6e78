"""Pages of lists: ``limit`` and ``offset`` (or ``skip``), checked, never above the route's maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response


@dataclass(frozen=True)
class Page:
    """Which stretch of a list is wanted."""

    limit: int
    offset: int

    def of(self, rows: QuerySet) -> list[Any]:
        """The rows of the page. Those before it are passed over by their keys alone: their columns, and what is joined
        to them, are not read."""
        stretch = rows[self.offset : self.offset + self.limit]
        return list(rows.filter(pk__in=list(stretch.values_list("pk", flat=True))) if self.offset else stretch)


def page_of(request: Request, *, most: int, default: int = 50, start: str = "offset") -> Page:
    """The page a request asks for; ValidationError naming ``limit`` or the start when out of range."""
    return Page(
        limit=_number(request, "limit", default=min(default, most), least=1, most=most),
        offset=_number(request, start, default=0, least=0, most=2**31),
    )


def _number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    said = request.query_params.get(name)
    if said is None:
        return default
    if not said.isascii() or not said.isdigit() or not least <= int(said[:12]) <= most:
        raise serializers.ValidationError({name: [f"must be a whole number from {least} to {most}."]})
    return int(said)


def bare_list(answers: list[Any], total: int) -> Response:
    """A bare array with its total in ``X-Total-Count``."""
    return Response(answers, headers={"X-Total-Count": str(total)})


def checked(serializer: type[serializers.Serializer], data: Any) -> dict[str, Any]:
    """The validated values of a body or query; ValidationError (400) by field."""
    wanted = serializer(data=data)
    wanted.is_valid(raise_exception=True)
    return wanted.validated_data
