"""Looking back: what happened to annotations and classes, and how things stood at a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.db.models import QuerySet, prefetch_related_objects
from django.utils import timezone

from annotations import projects
from annotations.acting import acting
from annotations.answers import annotation_answer
from annotations.errors import ChangedSince, NotFound
from annotations.models import Annotation, AnnotationHistory, ClassHistory, Image, LabelClass, Project, ProjectTask, iso
from annotations.people import names_of
from annotations.progress import hold_task, not_for_long
from annotations.states import HistoryAction

Json = dict[str, Any]


# What happened --------------------------------------------------------------------------------


def history_of(project: Project, query: Mapping[str, Any]) -> QuerySet[AnnotationHistory]:
    """The project's history newest first; ``query`` may name image (primary key), changed_by, action, batch_id,
    since and until."""
    rows = AnnotationHistory.objects.of(project.pk)
    fields = {"image": "image_id", "changed_by": "changed_by", "action": "action", "batch_id": "batch_id",
              "since": "timestamp__gte", "until": "timestamp__lt"}  # fmt: skip
    given = {lookup: query[name] for name, lookup in fields.items() if query.get(name) is not None}
    return rows.filter(**given)


# How long a count is kept, in seconds, and how old the rows are that it takes in: what came since is counted at each
# call. What a transaction adds that is open for longer than that may be missing from a total for as long.
COUNTS = ((300, timedelta(minutes=5)), (10, timedelta(seconds=10)))


def history_total(project: Project, query: Mapping[str, Any]) -> int:
    """How many rows ``history_of`` finds. History is only appended, so what was counted is counted on from there:
    millions of rows are not counted for a page of fifty, nor those of an import that just ended. A part of the history
    is counted as it is."""
    rows = history_of(project, query)
    if any(query.get(name) is not None for name in ("image", "batch_id", "since", "until")):
        return rows.count()
    asked = {name: str(value) for name, value in sorted(query.items()) if value is not None}
    digest = hashlib.sha256(repr((project.pk, asked)).encode()).hexdigest()
    last = counted = 0
    for kept, age in COUNTS:
        last, counted = _counted_on(project, rows, f"history:{digest}:{kept}", kept, age, (last, counted))
    return counted + rows.filter(pk__gt=last).count()


def _counted_on(
    project: Project, rows: QuerySet[AnnotationHistory], key: str, kept: int, age: timedelta, before: tuple[int, int]
) -> tuple[int, int]:
    """The newest row of the project that is older than ``age``, and how many of ``rows`` there are up to it, counted on
    from ``before``; as it was within the last ``kept`` seconds."""
    found: tuple[int, int] | None = cache.get(key)
    if found is None:
        old = AnnotationHistory.objects.filter(project_id=project.pk, timestamp__lt=timezone.now() - age)
        # The newest by key: rows are counted by key, and an index leads from the newest back to one that is old enough.
        last = old.order_by("-pk").values_list("pk", flat=True).first() or 0
        found = before
        if last > before[0]:
            found = last, before[1] + rows.filter(pk__gt=before[0], pk__lte=last).count()
        cache.set(key, found, kept)
    return found


def history_of_annotation(annotation_id: int) -> QuerySet[AnnotationHistory]:
    """What happened to one annotation, newest first, all of one project; works after it was deleted. Raises
    NotFound."""
    rows = AnnotationHistory.objects.filter(annotation_id=annotation_id).order_by("-id")
    newest = rows.only("project_id").first()
    if newest is None:
        raise NotFound("No such annotation.")
    return rows.filter(project_id=newest.project_id)


def history_answers(rows: Iterable[AnnotationHistory]) -> list[Json]:
    """History entries of api.md section 2; states are whole Annotations, classes under today's names."""
    rows = list(rows)
    states = [state for row in rows for state in (row.previous_state, row.new_state) if state]
    shown = {row.image_id for row in rows} | {state["image_id"] for state in states}
    images = Image.objects.only("path").in_bulk(shown)
    before = {id(state): annotation for state, annotation in zip(states, _annotations(states, images), strict=True)}
    paths = {key: image.path for key, image in images.items()}
    people: set[str | None] = {row.changed_by for row in rows}
    for each in before.values():
        people |= {each.created_by, each.updated_by, each.confirmed_by}
    names = names_of(people)
    return [_history_answer(row, before, paths, names) for row in rows]


def _history_answer(
    row: AnnotationHistory, states: Mapping[int, Annotation], paths: Mapping[int, str], names: Mapping[str, str | None]
) -> Json:
    def shown(state: Json | None) -> Json | None:
        return annotation_answer(states[id(state)], names) if state else None

    return {
        "id": row.pk,
        "annotation_id": row.annotation_id,
        "project_id": row.project_id,
        "image_id": paths.get(row.image_id),
        "task_type": row.task_type,
        "action": row.action,
        "previous_state": shown(row.previous_state),
        "new_state": shown(row.new_state),
        "changed_by": row.changed_by,
        "changed_by_name": names.get(row.changed_by),
        "changed_by_email": None,
        "timestamp": iso(row.timestamp),
        "batch_id": str(row.batch_id),
        "undoes": row.undoes,
        "is_undo": row.is_undo,
    }


TIMES = ("created_at", "updated_at", "confirmed_at")


def _annotations(states: list[Json], images: Mapping[int, Image]) -> list[Annotation]:
    """Recorded rows as annotations, with their images, and their classes in one query."""
    rows = [_annotation(state) for state in states]
    classes = LabelClass.objects.in_bulk({row.label_class_id for row in rows if row.label_class_id is not None})
    for row in rows:
        row.image, row.label_class = images[row.image_id], classes.get(row.label_class_id)
    return rows


def _annotation(state: Json) -> Annotation:
    values = {("label_class_id" if name == "class_id" else name): value for name, value in state.items()}
    for name in TIMES:
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    return Annotation(**values)


# How things stood -----------------------------------------------------------------------------

# The first change after the moment found the row as it was then; a row nothing happened to since is as it is.
AS_OF = """
WITH changed AS (
    SELECT DISTINCT ON (h.annotation_id) h.annotation_id, h.previous_state FROM annotation_history h
    WHERE h.project_id = %(project)s AND h.timestamp > %(moment)s
      AND (%(image)s::bigint IS NULL OR h.image_id = %(image)s)
    ORDER BY h.annotation_id, h.id),
stood AS (
    SELECT a.* FROM annotations a
    WHERE a.project_id = %(project)s AND (%(image)s::bigint IS NULL OR a.image_id = %(image)s)
      AND NOT EXISTS (SELECT FROM changed c WHERE c.annotation_id = a.id)
    UNION ALL
    SELECT r.* FROM changed c CROSS JOIN LATERAL json_populate_record(NULL::annotations, c.previous_state) r
    WHERE c.previous_state IS NOT NULL)
SELECT {what} FROM stood s
WHERE (%(task_type)s::text IS NULL OR s.task_type = %(task_type)s)
  AND (%(state)s::text IS NULL OR s.state = %(state)s)
  AND (%(updated_since)s::timestamptz IS NULL OR s.updated_at >= %(updated_since)s)"""


def as_of(
    project: Project, moment: datetime, query: Mapping[str, Any], *, limit: int, offset: int
) -> tuple[list[Annotation], int]:
    """The annotations as they stood at ``moment``, by id, and how many there were. ``query`` may name image (primary
    key), task_type, annotation_state and updated_since. Class names are today's."""
    values = {
        "project": project.pk,
        "moment": moment,
        "image": query.get("image"),
        "task_type": query.get("task_type"),
        "state": query.get("annotation_state"),
        "updated_since": query.get("updated_since"),
    }
    with connection.cursor() as cursor:
        cursor.execute(AS_OF.format(what="count(*)"), values)
        total = cursor.fetchone()[0]
    page = AS_OF.format(what="s.*") + " ORDER BY s.id LIMIT %(limit)s OFFSET %(offset)s"
    rows = list(Annotation.objects.raw(page, {**values, "limit": limit, "offset": offset}))
    prefetch_related_objects(rows, "image", "label_class")
    return rows, total


# Classes --------------------------------------------------------------------------------------

CLASS_STATE = ("class_id", "index", "name", "color", "description", "supercategory", "keypoints", "skeleton",
               "order", "retired_at")  # fmt: skip
CHANGEABLE = ("name", "color", "description", "supercategory", "keypoints", "skeleton", "order", "retired_at")


def history_of_classes(task: ProjectTask) -> QuerySet[ClassHistory]:
    """What happened to the classes of a task, newest first."""
    return ClassHistory.objects.filter(project_id=task.project_id, task_type=task.task_type).order_by("-id")


def class_history_answers(rows: Iterable[ClassHistory]) -> list[Json]:
    """Changes of classes, with the class before and after."""
    rows = list(rows)
    names = names_of(row.changed_by for row in rows)
    return [
        {
            "id": row.pk,
            "class_id": row.new_state["class_id"],
            "task_type": row.task_type,
            "action": _class_action(row),
            "previous_state": _class_state(row.previous_state),
            "new_state": _class_state(row.new_state),
            "changed_by": row.changed_by,
            "changed_by_name": names.get(row.changed_by),
            "timestamp": iso(row.timestamp),
        }
        for row in rows
    ]


def _class_action(row: ClassHistory) -> str:
    if row.previous_state is None:
        return HistoryAction.CREATE
    retired = row.previous_state["retired_at"], row.new_state["retired_at"]
    if all(retired) or not any(retired):
        return HistoryAction.UPDATE
    return HistoryAction.DELETE if retired[1] else HistoryAction.RESTORE


def _class_state(state: Json | None) -> Json | None:
    return None if state is None else {name: state[name] for name in CLASS_STATE}


def undo_class_change(task: ProjectTask, history_id: int, *, by: str, force: bool = False) -> LabelClass:
    """Give a class the values it had before a change; undoing its creation retires it.

    Raises NotFound, ChangedSince (unless ``force``), Duplicate for a name in use, ClassInUse.
    """
    row = history_of_classes(task).filter(pk=history_id).first()
    if row is None:
        raise NotFound("No such change.")
    with acting(by):
        # Before the class's own row, as everybody does who gives names.
        with not_for_long():
            hold_task(task.project_id, task.task_type)
        entry = LabelClass.objects.select_for_update(no_key=True).get(pk=row.label_class_id)
        later = history_of_classes(task).filter(label_class_id=entry.pk, pk__gt=row.pk)
        if later.exists() and not force:
            raise ChangedSince("The class was changed since; look at it, or send force to overwrite.")
        before = row.previous_state
        if before is None or (before["retired_at"] and not entry.retired_at):
            projects.remove_class(entry, by=by)
            return entry
        changed = {name: before[name] for name in CHANGEABLE if before[name] != row.new_state[name]}
        return projects.change_class(entry, by=by, **changed)
