"""Comparing two versions of a task, or one with the live rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from annotations.access import image_for
from annotations.models import Image
from annotations.paging import checked, page_of
from versions import comparing, listing
from versions.comparing import Comparison, ImageChange
from versions.difference_answers import diff_answers, images_answer, summary_answer
from versions.models import Version
from versions.serializers import ChangedImagesQuery, CompareQuery
from versions.shapes import ChangedImageListShape, CompareShape, CompareSummaryShape
from versions.sides import LIVE

MOST_IMAGES = 100
PAGE = [OpenApiParameter("limit", int, description="Images, at most 100"), OpenApiParameter("offset", int)]


class CompareViewSet(viewsets.ViewSet):
    """``/version-diff/versions/{a}/compare/{b}``; the older of the two is always ``version_a`` of the answer."""

    @extend_schema(parameters=[CompareQuery, *PAGE], responses=CompareShape)
    def retrieve(self, request: Request, a: str, b: str) -> Response:
        """What differs, a page of changed images at a time; with ``image_id`` everything about that image alone."""
        page = page_of(request, most=MOST_IMAGES, default=20)
        with _compared(request, a, b) as (comparison, image):
            found = comparison.overview(limit=page.limit, offset=page.offset, image=image)
            shown = found.page or ([ImageChange(image.pk, image.path)] if image else [])
            diffs = comparison.details([change.pk for change in shown], whole=image is not None)
            answer = {
                **summary_answer(comparison, found, asked_first=int(a)),
                "image_diffs": diff_answers(comparison, shown, diffs),
                "limit": page.limit,
                "offset": page.offset,
            }
        return Response(answer)

    @extend_schema(parameters=[CompareQuery], responses=CompareSummaryShape)
    def summary(self, request: Request, a: str, b: str) -> Response:
        """All figures of a comparison without its images."""
        with _compared(request, a, b) as (comparison, image):
            return Response(summary_answer(comparison, comparison.overview(image=image), asked_first=int(a)))

    @extend_schema(operation_id="version_diff_images_list", parameters=[ChangedImagesQuery, *PAGE],
                   responses=ChangedImageListShape)  # fmt: skip
    def images(self, request: Request, a: str, b: str) -> Response:
        """The changed images with counts, by path, without their rows; those with one kind of change if ``change``."""
        page = page_of(request, most=MOST_IMAGES, default=20)
        kind = checked(ChangedImagesQuery, request.query_params)["change"]
        with _compared(request, a, b) as (comparison, image):
            found = comparison.overview(limit=page.limit, offset=page.offset, image=image, kind=kind)
            return Response(images_answer(comparison, found, asked_first=int(a)))


@contextmanager
def _compared(request: Request, a: str, b: str) -> Iterator[tuple[Comparison, Image | None]]:
    query: dict[str, Any] = checked(CompareQuery, request.query_params)
    one, other = _side(request, a), _side(request, b)
    task = comparing.check_pair(one, other)
    comparing.refuse_large_files(a=one, b=other)
    image = None if query["image_id"] is None else image_for(task.project, query["image_id"])
    with comparing.compared(one, other, task, include_draft=query["include_draft"]) as comparison:
        yield comparison, image


def _side(request: Request, version_id: str) -> Version | None:
    return None if int(version_id) == LIVE else listing.version_for(request.user, int(version_id))
