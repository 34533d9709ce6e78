"""A task in numbers, for people who want to see how it goes: by status, class, person, day and size.

A fixed number of queries each, whatever the project holds. Where the answer need not be whole the rows looked at are
bounded: activity reads the last days only, sizes the shapes changed last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from annotations.models import Annotation, AnnotationHistory, ImageStatus, LabelClass
from annotations.people import names_of
from annotations.states import AnnotationState, HistoryAction, Progress

Json = dict[str, Any]
DAYS = 30
MOST_PEOPLE = 50
MOST_SHAPES = 20_000
# The edges of the size groups in pixels: below 8, 8 to below 16, ... 1024 and more.
SIZE_EDGES = (8, 16, 32, 64, 128, 256, 512, 1024)
KINDS = {
    "drawn": (HistoryAction.CREATE, HistoryAction.IMPORT),
    "changed": (HistoryAction.UPDATE, HistoryAction.DELETE, HistoryAction.RESTORE, HistoryAction.UNCONFIRM),
    "confirmed": (HistoryAction.CONFIRM, HistoryAction.VERIFY),
}


def progress_figures(project_id: str, task_type: str) -> Json:
    """Images by status, and annotations by state, as the progress rows count them."""
    statuses = {
        value.replace("-", "_"): Count("pk", filter=Q(status=value))
        for value in (Progress.NOT_STARTED, Progress.IN_PROGRESS, Progress.COMPLETED)
    }
    sums = {
        "drafts": Sum("draft_annotations", default=0),
        "settled": Sum("confirmed_annotations", default=0),
        "verified": Sum("verified_annotations", default=0),
        "annotations": Sum("total_annotations", default=0),
    }
    return ImageStatus.objects.of(project_id, task_type).aggregate(images=Count("pk"), **statuses, **sums)


def class_figures(project_id: str, task_type: str) -> list[Json]:
    """Every living class with its drafts and settled annotations, the most frequent first; annotations without a class
    yet come last, under the name None. "Nothing here" is no annotation of a class and is not counted."""
    states = _shapes(project_id, task_type).values("label_class_id").annotate(**STATES)
    counted: dict[int | None, Json] = {row["label_class_id"]: dict(row) for row in states}
    living = LabelClass.objects.filter(project_id=project_id, task_type=task_type, retired_at=None)
    rows = [_class(entry.name, entry.color, counted.get(entry.pk, NONE)) for entry in living.order_by("order", "index")]
    rows.sort(key=lambda row: -row["total"])
    return rows + ([_class(None, None, counted[None])] if None in counted else [])


STATES = {
    "drafts": Count("pk", filter=Q(state=AnnotationState.DRAFT)),
    "settled": Count("pk", filter=~Q(state=AnnotationState.DRAFT)),
}
NONE = {"drafts": 0, "settled": 0}


def _shapes(project_id: str, task_type: str) -> QuerySet[Annotation]:
    rows = Annotation.objects.filter(project_id=project_id, task_type=task_type)
    return rows.exclude(annotation_type="no_object")


def _class(name: str | None, color: str | None, counts: Json) -> Json:
    drafts, settled = counts["drafts"], counts["settled"]
    return {"name": name, "color": color, "drafts": drafts, "settled": settled, "total": drafts + settled}


def people_figures(project_id: str, task_type: str) -> list[Json]:
    """Per person: living annotations drawn, annotations and images confirmed; at most 50 people, the busiest first."""
    living = Annotation.objects.filter(project_id=project_id, task_type=task_type)
    images = ImageStatus.objects.of(project_id, task_type).completed()
    counts = {
        "drawn": _by_person(living, "created_by"),
        "confirmed": _by_person(living.settled(), "confirmed_by"),
        "images": _by_person(images, "confirmed_by"),
    }
    everybody = {person for each in counts.values() for person in each}
    busiest = sorted(everybody, key=lambda person: (-sum(each.get(person, 0) for each in counts.values()), person))
    names = names_of(busiest[:MOST_PEOPLE])
    return [
        {"user_id": person, "name": names[person], **{what: each.get(person, 0) for what, each in counts.items()}}
        for person in busiest[:MOST_PEOPLE]
    ]


def _by_person(rows: QuerySet, field: str) -> dict[str, int]:
    known = rows.exclude(**{field: None}).exclude(**{field: ""})
    return dict(known.values_list(field).annotate(count=Count("pk")).order_by())


def activity_figures(project_id: str, task_type: str, *, days: int = DAYS) -> list[Json]:
    """What was drawn, changed and confirmed on each of the last ``days`` days (UTC), today last."""
    today = timezone.now().astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    rows = AnnotationHistory.objects.filter(
        project_id=project_id, task_type=task_type, timestamp__gte=datetime.combine(first, time.min, tzinfo=UTC)
    )
    counts = {
        kind: Count("pk", filter=Q(action__in=[action.value for action in actions])) for kind, actions in KINDS.items()
    }
    by_day: dict[Any, Json] = {
        row["day"]: dict(row) for row in rows.values(day=TruncDate("timestamp")).annotate(**counts).order_by()
    }
    listed = [first + timedelta(days=number) for number in range(days)]
    return [{"day": day, **{kind: by_day.get(day, {}).get(kind, 0) for kind in KINDS}} for day in listed]


# Cut off before they are measured, along the index by update: the cost does not grow with the task.
SIZES = """
SELECT width_bucket(sqrt((bbox->>2)::float * (bbox->>3)::float), %(edges)s::float[]) AS size, count(*)
FROM (SELECT bbox FROM annotations WHERE project_id = %(project)s AND task_type = %(task)s AND bbox IS NOT NULL
      ORDER BY updated_at DESC LIMIT %(limit)s) AS newest
GROUP BY size"""


def size_figures(project_id: str, task_type: str, *, limit: int = MOST_SHAPES) -> list[Json]:
    """How many of the ``limit`` shapes changed last are how large; the size is the side of a square of the envelope's
    area, in pixels: ``{"least": 8, "below": 16, "count": n}``, the last group without an upper edge (None)."""
    values: Json = {"edges": list(SIZE_EDGES), "project": project_id, "task": task_type, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(SIZES, values)
        counts = dict(cursor.fetchall())
    edges: Iterable[tuple[int, int | None]] = zip((0, *SIZE_EDGES), (*SIZE_EDGES, None), strict=True)
    return [
        {"least": least, "below": below, "count": counts.get(group, 0)} for group, (least, below) in enumerate(edges)
    ]
