"""What happened to an annotation or an image, for people to read: who, when, in words, drawn before and after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from annotations import drawing
from annotations.drawing import ARROW, differences, said
from annotations.history import history_answers, history_of_annotation
from annotations.models import AnnotationHistory, Image, ImageHistory, iso
from annotations.people import names_of

Json = dict[str, Any]
PAGE = 25
# Fields told by name; class, geometry and attributes are told in other words.
FIELDS = ("annotation_state", "confidence", "notes")
STATUS_FIELDS = ("status", "confirmed_by")


def annotation_story(annotation_id: int, page: int = 0) -> Json:
    """One annotation, newest first, ``PAGE`` entries at a time. Raises NotFound if nothing ever happened to it."""
    rows = history_of_annotation(annotation_id)
    entries = _entries(rows[page * PAGE : (page + 1) * PAGE])
    return {"entries": entries, "total": rows.count(), "last": (rows.count() - 1) // PAGE}


def image_story(image: Image, page: int = 0) -> Json:
    """Everything on one image, newest first; with the first page how its status changed, the newest 100."""
    rows = AnnotationHistory.objects.filter(image_id=image.pk).order_by("-id")
    total = rows.count()
    entries = _entries(rows[page * PAGE : (page + 1) * PAGE])
    statuses = [] if page else _status_entries(image)
    return {"entries": entries, "total": total, "last": max(0, total - 1) // PAGE, "statuses": statuses}


def _entries(rows: Iterable[AnnotationHistory]) -> list[Json]:
    rows = list(rows)
    ids = {row.image_id for row in rows}
    sizes = {pk: size for pk, *size in Image.objects.filter(pk__in=ids).values_list("pk", "width", "height")}
    answers = history_answers(rows)
    return [
        _entry(row, answer, *sizes.get(row.image_id, (None, None))) for row, answer in zip(rows, answers, strict=True)
    ]


def _entry(row: AnnotationHistory, answer: Json, width: int | None, height: int | None) -> Json:
    before, after = _boxed(answer["previous_state"], row.previous_state), _boxed(answer["new_state"], row.new_state)
    shapes = {
        "removed": [before] if before and not after else [],
        "added": [after] if after and not before else [],
        "modified": [{"old": before, "new": after}] if before and after else [],
    }
    return {
        **answer,
        "before": drawing.title(before) if before else "",
        "after": drawing.title(after) if after else "",
        "words": change_words(before, after) if before and after else [],
        "drawing": drawing.drawing(shapes, width, height),
    }


def _boxed(state: Json | None, recorded: Json | None) -> Json | None:
    """A state as clients see it, with the envelope of its shape."""
    return {**state, "bbox": recorded["bbox"]} if state and recorded else None


def change_words(before: Json, after: Json) -> list[str]:
    """What differs between two states of an annotation; coordinates in pixels."""
    told = []
    if before["class_name"] != after["class_name"]:
        told.append(f"class {said(before['class_name'])} {ARROW} {said(after['class_name'])}")
    if before["geometry"] != after["geometry"]:
        told.append(_moved(before["bbox"], after["bbox"]))
    told += differences(before, after, FIELDS)
    return told + differences(before["attributes"], after["attributes"])


def _moved(before: list[float] | None, after: list[float] | None) -> str:
    if not before or not after or before == after:
        return "reshaped"
    resized = before[2:] != after[2:]
    return ("resized" if resized else "moved") if before[:2] == after[:2] or not resized else "moved and resized"


def _status_entries(image: Image) -> list[Json]:
    rows = list(ImageHistory.objects.filter(image_id=image.pk).order_by("-id")[:100])
    names = names_of({row.changed_by for row in rows})
    return [
        {
            "timestamp": iso(row.timestamp),
            "changed_by": row.changed_by,
            "changed_by_name": names.get(row.changed_by),
            "task_type": row.task_type,
            "batch_id": str(row.batch_id),
            "words": differences(row.previous_state, row.new_state, STATUS_FIELDS),
        }
        for row in rows
    ]
