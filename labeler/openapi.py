"""What the OpenAPI document says beyond what drf-spectacular finds by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def without_trailing_slashes(endpoints: Iterable[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Paths as clients write them: a trailing slash is accepted everywhere and shown nowhere."""
    return [(path.rstrip("/"), regex, method, view) for path, regex, method, view in endpoints]


ERROR = {
    "type": "object",
    "description": "What went wrong, for people and for programs.",
    "required": ["detail", "code"],
    "properties": {
        "detail": {"type": "string", "description": "One sentence with what to do."},
        "code": {"type": "string", "description": "One word a program may act on."},
        "errors": {
            "description": "By field, what is wrong with it; of a batch, the entries that are wrong.",
            "anyOf": [{"type": "object", "additionalProperties": {}}, {"type": "array", "items": {"type": "object"}}],
        },
    },
}
CONFLICT = {
    "type": "object",
    "description": "Somebody changed the annotation since the version that was sent.",
    "required": ["detail", "code", "current"],
    "properties": {
        "code": {"type": "string", "enum": ["conflict"]},
        "detail": {
            "type": "object",
            "properties": {
                "error": {"type": "string"},
                "message": {"type": "string"},
                "current_version": {"type": "integer"},
                "your_version": {"type": "integer"},
                "last_updated_by": {"type": "string"},
                "last_updated_at": {"type": "string", "format": "date-time"},
            },
        },
        "current": {"$ref": "#/components/schemas/AnnotationShape"},
    },
}
ALWAYS = {
    "400": "Something in the request is wrong; `errors` names the field.",
    "401": "Nobody is signed in, or the token does not work.",
    "403": "The role is too low.",
    "404": "No such thing, or not for you: both are told the same.",
    "429": "Too often; `Retry-After` says when again.",
    "503": "The database, the broker or a store does not answer; nothing was changed.",
}
OF_CHANGES = {
    "409": "The present state does not allow it, or it was changed since you looked.",
    "413": "The body is too large.",
    "415": "The body is not of a type that is taken here.",
    "423": "Somebody else works on the image.",
}


def with_errors(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The answers every route may give when it does not do what was asked, all of one shape but a conflict."""
    result["components"]["schemas"] |= {"Error": ERROR, "Conflict": CONFLICT}
    error, conflict = ({"$ref": f"#/components/schemas/{name}"} for name in ("Error", "Conflict"))
    for routes in result["paths"].values():
        for method, route in routes.items():
            told = ALWAYS if method == "get" else {**ALWAYS, **OF_CHANGES}
            for status, description in told.items():
                schema = {"anyOf": [error, conflict]} if status == "409" else error
                content = {"application/json": {"schema": schema}}
                route["responses"].setdefault(status, {"description": description, "content": content})
    return result
