"""What a browser may load and run on our pages: our own files, and pictures of the image store. Nothing inline."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.core.files.storage import storages
from django.http import HttpRequest
from django.http.response import HttpResponseBase

View = Callable[[HttpRequest], HttpResponseBase]

# Swagger writes styles into its page; it has no other page to itself.
DOCS = "/api/docs/"


def browser_policy(get_response: View) -> View:
    """Middleware: ``Content-Security-Policy`` on every answer, whoever made it."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        styles = "'self' 'unsafe-inline'" if request.path_info == DOCS else "'self'"
        response.headers.setdefault("Content-Security-Policy", policy(styles=styles))
        return response

    return answer


def policy(*, styles: str = "'self'") -> str:
    """The header's value."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src {styles}",
            " ".join(("img-src 'self' data: blob:", *store_origins())),
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def store_origins() -> list[str]:
    """Where browsers fetch images from: nothing beyond ourselves for a folder store, which we serve."""
    return _origins(storages["platform"])


@cache
def _origins(store: Any) -> list[str]:
    # Asked of a link itself: a bucket may stand in the host's name.
    found = urlsplit(store.link("any", seconds=1))
    return [f"{found.scheme}://{found.netloc}"] if found.netloc else []
