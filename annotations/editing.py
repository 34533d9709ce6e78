"""Drawing, changing and deleting annotations: one transaction each, history written by triggers.

Locks are taken in one order by everyone: progress rows by id, then images, then annotations by id.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotations.acting import acting
from annotations.asking import first, insert, update
from annotations.errors import AnnotationError, Duplicate, NotFound, VersionConflict
from annotations.geometry import ALIASES, TASK_OF, TYPES, Shape, checked
from annotations.locks import claim
from annotations.models import Annotation, Image, ImageStatus, LabelClass, Project
from annotations.progress import lock_progress, lock_progress_of
from annotations.states import TASK_ALIASES, AnnotationState

EDITABLE = ("geometry", "class_id", "class_name", "attributes", "confidence", "notes")
MAX_ATTRIBUTES = 64 * 1024
MAX_NOTES = 10_000
# Nobody retires the class until the transaction ends: the lock a foreign key takes, before the row is written.
HELD_CLASS = """
SELECT {{columns}} FROM classes t WHERE project_id = %s AND task_type = %s AND {column} = %s AND retired_at IS NULL
FOR KEY SHARE"""

Fields = dict[str, Any]
ItemError = dict[str, Any]


def _wrong(field: str, reason: str) -> AnnotationError:
    return AnnotationError(f"{field} {reason}", errors={field: [reason]})


# Create -------------------------------------------------------------------------------------


def create_annotation(project: Project, image: Image, fields: Fields, *, by: str) -> tuple[Annotation, bool]:
    """A new draft (``no_object``: confirmed), and whether it is new: a repeated ``client_id`` gives the row it made.

    Raises BrokenGeometry and AnnotationError naming fields, Duplicate for a marker beside objects or a
    ``client_id`` another annotation has.
    """
    repeated = _by_client_id(project, image, fields)
    if repeated is not None:
        return repeated, False
    try:
        with acting(by):
            return _create(project, image, fields, by), True
    except IntegrityError as error:
        # The same request twice at once: the other one made it.
        repeated = _by_client_id(project, image, fields) if "client_id" in str(error) else None
        if repeated is None:
            raise
        return repeated, False


def _by_client_id(project: Project, image: Image, fields: Fields) -> Annotation | None:
    client_id = fields.get("client_id")
    found = Annotation.objects.with_names().filter(client_id=client_id).first() if client_id else None
    if found is not None and (found.project_id, found.image_id) != (project.pk, image.pk):
        raise Duplicate(
            "client_id is taken by another annotation; send a new UUID.", errors={"client_id": ["is taken."]}
        )
    return found


def _create(project: Project, image: Image, fields: Fields, by: str) -> Annotation:
    kind = _kind(fields)
    task_type = _task_type(kind, fields)
    status = _lock(image, kind, task_type)
    claim([status], by=by)
    if image.width is None:
        # The size may have become known while we waited for the lock.
        image.refresh_from_db(fields=["width", "height"])
    shape = checked(kind, fields.get("geometry", {"type": kind}), width=image.width, height=image.height)
    _learn_size(image, shape)
    marker = kind == "no_object"
    _settle_markers(status, marker)
    now = timezone.now()
    confirmed = {"state": AnnotationState.CONFIRMED, "confirmed_at": now, "confirmed_by": by} if marker else {}
    values = _plain_values(fields)
    if marker:
        values["attributes"]["task_type"] = task_type
    label_class = None if marker else _class(project.pk, task_type, fields)
    _refuse_other_points(shape.geometry, label_class)
    row = Annotation(
        project=project,
        image=image,
        task_type=task_type,
        annotation_type=kind,
        geometry=shape.geometry,
        bbox=shape.bbox,
        area=shape.area,
        label_class=label_class,
        client_id=fields.get("client_id"),
        created_by=by,
        created_at=now,
        updated_by=by,
        updated_at=now,
        **values,
        **confirmed,
    )
    insert(row)
    return row


def _kind(fields: Fields) -> str:
    said = fields.get("annotation_type")
    kind = ALIASES.get(said, said) if isinstance(said, str) else said
    if kind not in TYPES:
        raise _wrong("annotation_type", f"must be one of {', '.join(TYPES)}.")
    return kind


def _task_type(kind: str, fields: Fields) -> str:
    if kind != "no_object":
        return TASK_OF[kind]
    attributes = fields.get("attributes")
    said = attributes.get("task_type") if isinstance(attributes, dict) else None
    if not isinstance(said, str):
        raise _wrong("attributes.task_type", "is required: the task for which nothing is on the image.")
    return str(TASK_ALIASES.get(said, said))


def _lock(image: Image, kind: str, task_type: str) -> ImageStatus:
    """Every image has a progress row for each task of its project; where there is none, there is no such task."""
    for status in lock_progress(image.project_id, [(image.pk, task_type)]):
        return status
    field = "attributes.task_type" if kind == "no_object" else "annotation_type"
    raise _wrong(field, f"belongs to the task {task_type}, which this project does not have.")


def _settle_markers(status: ImageStatus, marker: bool) -> None:
    """An image says "nothing here" or has objects, never both."""
    if marker and Annotation.objects.on(status).exists():
        raise Duplicate("The image has annotations for this task; delete them to say that nothing is on it.")
    if not marker and status.no_object_markers:
        Annotation.objects.on(status).filter(annotation_type="no_object").delete()


def _learn_size(image: Image, shape: Shape) -> None:
    if shape.image_width and shape.image_height and image.width is None:
        Image.objects.filter(pk=image.pk, width=None).update(width=shape.image_width, height=shape.image_height)
        image.refresh_from_db(fields=["width", "height"])


def _class(project_id: str, task_type: str, fields: Fields) -> LabelClass | None:
    """The class a body names by id, else by name; both None is a draft without class."""
    for field, column in (("class_id", "class_id"), ("class_name", "name")):
        value = fields.get(field)
        if value is None:
            continue
        if not isinstance(value, str):
            raise _wrong(field, "must be a text.")
        found: LabelClass | None = first(LabelClass, HELD_CLASS.format(column=column), [project_id, task_type, value])
        if found is None:
            raise _wrong(field, f"names no class of the task {task_type}.")
        return found
    return None


def _refuse_other_points(geometry: Fields, label_class: LabelClass | None) -> None:
    """Keypoints are as many as the class names; a class that names none takes any number (dice-format.md section 5)."""
    points, names = geometry.get("keypoints"), label_class.keypoints if label_class else []
    if points is not None and names and len(points) != len(names):
        raise _wrong("geometry.keypoints", f"must be the {len(names)} points of the class; v 0 leaves one out.")


def _plain_values(fields: Fields) -> Fields:
    """attributes, confidence and notes, checked; only those present."""
    values: Fields = {}
    if "attributes" in fields:
        values["attributes"] = _attributes(fields["attributes"])
    if "confidence" in fields:
        values["confidence"] = _confidence(fields["confidence"])
    if "notes" in fields:
        values["notes"] = _notes(fields["notes"])
    return values


def _attributes(value: Any) -> Fields:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong("attributes", "must be an object.")
    if len(str(value)) > MAX_ATTRIBUTES:
        raise _wrong("attributes", f"must be at most {MAX_ATTRIBUTES // 1024} KiB.")
    return value


def _confidence(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong("confidence", "must be a number from 0 to 100.")
    if not 0 <= value <= 100:
        raise _wrong("confidence", "must be from 0 to 100.")
    return float(value)


def _notes(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > MAX_NOTES):
        raise _wrong("notes", f"must be a text of at most {MAX_NOTES} characters.")
    return value


# Update -------------------------------------------------------------------------------------


def update_annotation(annotation_id: int, fields: Fields, *, by: str) -> Annotation:
    """Change the fields that are present; a confirmed or verified one goes back to draft unless only notes change.

    With ``version`` the row must still have it: raises VersionConflict with the row as it stands. Without
    it the change wins. A change that changes nothing writes nothing. Raises NotFound.
    """
    with acting(by):
        row = locked(annotation_id, by=by)
        Annotation.objects.read_names(row)
        _check_version(row, fields.get("version"))
        values = _changed(row, fields)
        if not values:
            return row
        if set(values) - {"notes"} and row.state != AnnotationState.DRAFT and row.annotation_type != "no_object":
            values |= {"state": AnnotationState.DRAFT, "confirmed_at": None, "confirmed_by": None}
        write(row, by=by, **values)
        return row


def write(row: Annotation, *, by: str, **values: Any) -> None:
    """Write values into a row from ``locked``, as its next version; in memory it is as it is stored then."""
    values |= {"version": row.version + 1, "updated_by": by, "updated_at": timezone.now()}
    update(row, values)


def locked(annotation_id: int, *, by: str) -> Annotation:
    """The annotation, its progress row locked first and then itself; raises NotFound, and ImageLocked."""
    status = lock_progress_of(annotation_id)
    if status is None:
        raise NotFound("No such annotation.")
    claim([status], by=by)
    row = Annotation.objects.locked(annotation_id)
    if row is None:
        raise NotFound("No such annotation.")
    return row


def _check_version(row: Annotation, version: Any) -> None:
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int):
        raise _wrong("version", "must be a whole number.")
    if row.version != version:
        raise VersionConflict(row, version)


def _changed(row: Annotation, fields: Fields) -> Fields:
    values = _plain_values(fields)
    if row.annotation_type == "no_object" and "attributes" in values:
        values["attributes"]["task_type"] = row.task_type
    if "geometry" in fields:
        shape = checked(row.annotation_type, fields["geometry"], width=row.image.width, height=row.image.height)
        _learn_size(row.image, shape)
        values |= {"geometry": shape.geometry, "bbox": shape.bbox, "area": shape.area}
    if {"class_id", "class_name"} & set(fields) and row.annotation_type != "no_object":
        values["label_class"] = _class(row.project_id, row.task_type, fields)
    if {"geometry", "label_class"} & set(values):
        _refuse_other_points(values.get("geometry", row.geometry), values.get("label_class", row.label_class))
    return {name: value for name, value in values.items() if _differs(getattr(row, name), value)}


def _differs(old: Any, new: Any) -> bool:
    # To Python 1 equals True; to JSON they are two values, and an edit from one to the other must not be lost.
    if isinstance(new, dict):
        return json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True)
    return old != new


# Delete -------------------------------------------------------------------------------------


def delete_annotation(annotation_id: int, *, by: str, version: int | None = None) -> None:
    """Delete one annotation; its history stays. Raises NotFound and VersionConflict."""
    with acting(by):
        row = locked(annotation_id, by=by)
        _check_version(row, version)
        Annotation.objects.filter(pk=row.pk).delete()


def delete_batch(ids: Sequence[int], *, by: str) -> tuple[int, uuid.UUID]:
    """Delete annotations of one project; returns how many, and the batch that names them in history."""
    batch = uuid.uuid4()
    with acting(by, batch=batch):
        lock_all(ids, by=by)
        deleted = Annotation.objects.filter(pk__in=list(ids)).delete()[0]
    return deleted, batch


def lock_all(ids: Sequence[int], *, by: str) -> None:
    """Lock the progress rows of many annotations, in the common order; raises ImageLocked."""
    places = Annotation.objects.filter(pk__in=list(ids)).values_list("project_id", "image_id", "task_type")
    by_project: dict[str, set[tuple[int, str]]] = {}
    for project_id, image_id, task_type in places:
        by_project.setdefault(project_id, set()).add((image_id, task_type))
    for project_id in sorted(by_project):
        claim(lock_progress(project_id, by_project[project_id]), by=by)


# Many at once -------------------------------------------------------------------------------


def each_item(
    items: Sequence[Any], act: Callable[[Any], Annotation], *, by: str, atomic: bool
) -> tuple[list[tuple[int, Annotation]], list[ItemError]]:
    """Run ``act`` on every item: what succeeded with its position, and an error for each that did not.

    ``atomic`` undoes everything when one fails. All changes share one batch in history.
    """
    done: list[tuple[int, Annotation]] = []
    errors: list[ItemError] = []
    with acting(by, batch=uuid.uuid4()):
        for index, item in enumerate(items):
            try:
                with transaction.atomic():
                    done.append((index, act(item)))
            except AnnotationError as error:
                errors.append(item_error(index, item, error))
        if atomic and errors:
            transaction.set_rollback(True)
    return ([] if atomic and errors else done), errors


def item_error(index: int, item: Any, error: AnnotationError) -> ItemError:
    """One entry of ``errors[]``: position, id if there is one, code, sentence, fields."""
    values: ItemError = {"index": index, "code": error.code, "detail": str(error)}
    if isinstance(item, dict) and "id" in item:
        values["id"] = item["id"]
    return {**values, "errors": error.errors} if error.errors else values
