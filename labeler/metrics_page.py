"""What Prometheus may ask: requests, tasks, the stores' errors and bytes, and what is owed and how late it is.

Each process of web and worker counts into files of ``LABELER_DATA/metrics``; whoever is asked adds all of them up.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator

from django.conf import settings
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from annotations.tokens import BearerAuthentication
from versions import autosave
from versions.models import Job, Version


class OwedWork:
    """What rows say is owed, asked at the moment of the question."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        now = timezone.now()
        yield _counted("labeler_publishes", "Published versions by state.", ["state"], _publishes("status"))
        yield _counted("labeler_official_files", "Official files of published versions by state.", ["state"],
                       _publishes("platform_status"))  # fmt: skip
        yield _counted("labeler_jobs", "Jobs not yet done, by state.", ["state"], _jobs())
        ages = [(now - moment).total_seconds() for moment in autosave.due_since()]
        late = [age for age in ages if age > 2 * settings.LABELER_SWEEP_SECONDS]
        yield GaugeMetricFamily("labeler_saves_due", "Working saves that are due now.", value=len(ages))
        yield GaugeMetricFamily("labeler_saves_late", "Of these, due for longer than two sweeps.", value=len(late))
        yield GaugeMetricFamily(
            "labeler_oldest_due_save_seconds", "How long the oldest is due; 0: none.", max(ages, default=0)
        )
        oldest = Version.objects.unfinished().aggregate(first=Min("created_at"))["first"]
        age = (now - oldest).total_seconds() if oldest else 0
        yield GaugeMetricFamily(
            "labeler_oldest_unfinished_publish_seconds", "Age of the oldest unfinished publish; 0: none.", age
        )


def _publishes(field: str) -> dict[str, int]:
    rows = Version.objects.published().filter(project__deleted_at=None).values_list(field).annotate(Count("pk"))
    return dict(rows.order_by(field))


def _jobs() -> dict[str, int]:
    return dict(Job.objects.unfinished().values_list("status").annotate(Count("pk")).order_by("status"))


def _counted(name: str, told: str, labels: list[str], counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, told, labels=labels)
    for label, count in counts.items():
        family.add_metric([label], count)
    return family


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """All figures as text, for who brings ``LABELER_METRICS_TOKEN`` or a staff member's token as bearer; else 403."""
    if not _may_read(request):
        said = "Bring LABELER_METRICS_TOKEN, or the token of a staff member: Authorization: Bearer <token>.\n"
        return HttpResponse(said, status=403, content_type="text/plain")
    registry = CollectorRegistry()
    registry.register(OwedWork())
    registries = [registry, REGISTRY]
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registries = [registry]
        MultiProcessCollector(registry)
    return HttpResponse(b"".join(generate_latest(each) for each in registries), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    brought = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    wanted = settings.LABELER_METRICS_TOKEN.encode()
    if wanted and hmac.compare_digest(brought, wanted):
        return True
    try:
        found = BearerAuthentication().authenticate(Request(request))
    except AuthenticationFailed:
        return False
    return found is not None and found[0].is_staff
