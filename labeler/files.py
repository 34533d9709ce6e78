"""Files of folder stores behind signed links: the link is the permission, as with a presigned one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from django.core import signing
from django.core.files.storage import storages
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET

from exports.errors import ObjectMissing, StoreRefused, StoreUnavailable
from labeler.storage import LINK_SALT

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")
BITE = 256 * 1024


@require_GET
def file_link(request: HttpRequest) -> HttpResponseBase:
    """Serve the file a link names; 403 for a changed or expired link, 404 for a missing file.

    The token comes in the query, which access logs leave out: it is a permission.
    """
    try:
        alias, key, until, filename = signing.loads(request.GET.get("token", ""), salt=LINK_SALT)
    except signing.BadSignature:
        return _refusal(403, "forbidden", "This link is not valid.")
    if until < time.time():
        return _refusal(403, "forbidden", "This link has expired; ask for a new one.")
    try:
        store: Any = storages[alias]
        stored, body = store.head(key), store.open_read(key)
    except (ObjectMissing, StoreRefused):
        return _refusal(404, "not_found", "The file is gone.")
    except StoreUnavailable:
        return _refusal(503, "storage_unavailable", "The store does not answer; try again in a moment.")
    response = _ranged(request, body, stored.size)
    response["Content-Type"] = stored.content_type if filename else _shown_type(key)
    response["X-Content-Type-Options"] = "nosniff"
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, max-age=3600"
    if filename:
        response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    return response


def _refusal(status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse({"detail": detail, "code": code}, status=status)


def _shown_type(key: str) -> str:
    """Images are shown in the page; anything else is bytes, never something a browser runs."""
    types = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp",
             "bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff"}  # fmt: skip
    return types.get(PurePosixPath(key).suffix.lower().removeprefix("."), "application/octet-stream")


def _ranged(request: HttpRequest, body: BinaryIO, size: int) -> HttpResponseBase:
    wanted = RANGE.match(request.headers.get("Range", ""))
    if wanted is None or wanted.groups() == ("", ""):
        return FileResponse(body)
    first, last = wanted.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or end < start:
        body.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    body.seek(start)
    response = StreamingHttpResponse(_bites(body, end - start + 1), status=206)
    response["Content-Range"] = f"bytes {start}-{end}/{size}"
    response["Content-Length"] = str(end - start + 1)
    return response


def _bites(body: BinaryIO, left: int) -> Iterator[bytes]:
    with body:
        while left > 0 and (bite := body.read(min(BITE, left))):
            left -= len(bite)
            yield bite
