"""Rows as the contract's objects: plain functions, so that thousands of rows cost little.

The same functions serve this room's doors and those of ``versions``. Times end in ``Z``, ids of people
are strings, e-mail addresses are never told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection
from django.db.models import Count, Q, Sum

from annotations.models import Annotation, Image, ImageLock, ImageStatus, LabelClass, Member, Project, iso
from annotations.people import names_of

Json = dict[str, Any]


def annotation_answers(rows: Iterable[Annotation]) -> list[Json]:
    """Annotations with the names of people, asked for once."""
    rows = list(rows)
    names = names_of(person for row in rows for person in (row.created_by, row.updated_by, row.confirmed_by))
    return [annotation_answer(row, names) for row in rows]


def annotation_answer(row: Annotation, names: Mapping[str, str | None]) -> Json:
    """One Annotation of api.md section 2."""
    entry = row.label_class
    return {
        "id": row.pk,
        "project_id": row.project_id,
        "image_id": row.image.path,
        "annotation_type": row.annotation_type,
        "task_type": row.task_type,
        "geometry": row.geometry,
        "class_id": entry.class_id if entry else None,
        "class_name": entry.name if entry else None,
        "attributes": row.attributes,
        "confidence": row.confidence,
        "notes": row.notes,
        "annotation_state": row.state,
        "is_verified": row.state == "verified",
        "confirmed_at": iso(row.confirmed_at),
        "confirmed_by": row.confirmed_by,
        "confirmed_by_name": names.get(row.confirmed_by or ""),
        "version": row.version,
        "created_by": row.created_by,
        "created_by_name": names.get(row.created_by or ""),
        "created_at": iso(row.created_at),
        "updated_by": row.updated_by,
        "updated_by_name": names.get(row.updated_by or ""),
        "updated_at": iso(row.updated_at),
        "client_id": str(row.client_id) if row.client_id else None,
    }


def state_answer(row: Annotation) -> Json:
    """What confirming, unconfirming and verifying answer."""
    return {
        "annotation_id": row.pk,
        "annotation_state": row.state,
        "confirmed_at": iso(row.confirmed_at),
        "confirmed_by": row.confirmed_by,
        "confirmed_by_name": names_of([row.confirmed_by]).get(row.confirmed_by or ""),
        "version": row.version,
    }


def image_answer(image: Image, *, key: str, url: str) -> Json:
    """One Image; ``url`` is a signed link."""
    return {
        "id": image.path,
        "pk": image.pk,
        "file_name": image.path,
        "filename": image.path,
        "key": key,
        "size": image.size,
        "last_modified": iso(image.last_modified),
        "url": url,
        "thumbnail_url": None,
        "width": image.width,
        "height": image.height,
        "depth": image.depth,
        "split": image.split,
        "missing_since": iso(image.missing_since),
    }


def status_answer(row: ImageStatus) -> Json:
    """One ImageStatus."""
    return {
        "id": row.pk,
        "project_id": row.project_id,
        "image_id": row.image.path,
        "task_type": row.task_type,
        "status": row.status,
        "first_modified_at": iso(row.first_modified_at),
        "last_modified_at": iso(row.last_modified_at),
        "confirmed_at": iso(row.confirmed_at),
        "confirmed_by": row.confirmed_by,
        "total_annotations": row.total_annotations,
        "confirmed_annotations": row.confirmed_annotations,
        "verified_annotations": row.verified_annotations,
        "draft_annotations": row.draft_annotations,
        "is_image_confirmed": row.is_image_confirmed,
        "has_no_object": row.has_no_object,
    }


def confirmation_answer(row: ImageStatus, path: str) -> Json:
    """What confirming and unconfirming the image with that path answer."""
    return {
        "image_id": path,
        "is_confirmed": row.is_image_confirmed,
        "confirmed_at": iso(row.confirmed_at),
        "confirmed_by": row.confirmed_by,
        "status": row.status,
        "total_annotations": row.total_annotations,
        "confirmed_annotations": row.confirmed_annotations,
    }


def lock_answers(locks: Iterable[ImageLock]) -> list[Json]:
    """Locks with the names of people, asked for once."""
    locks = list(locks)
    names = names_of(lock.user_id for lock in locks)
    return [_lock(lock, names) for lock in locks]


def lock_answer(lock: ImageLock) -> Json:
    """One Lock."""
    return lock_answers([lock])[0]


def _lock(lock: ImageLock, names: Mapping[str, str | None]) -> Json:
    return {
        "image_id": lock.image.path,
        "user_id": lock.user_id,
        "user_name": names.get(lock.user_id),
        "user_email": None,
        "locked_at": iso(lock.locked_at),
        "expires_at": iso(lock.expires_at),
        "heartbeat_at": iso(lock.heartbeat_at),
    }


def class_answer(entry: LabelClass, counts: Mapping[int, tuple[int, int]]) -> Json:
    """One Class; ``counts`` gives (images, annotations) by primary key."""
    images, annotations = counts.get(entry.pk, (0, 0))
    return {
        "class_id": entry.class_id,
        "index": entry.index,
        "name": entry.name,
        "color": entry.color,
        "description": entry.description,
        "supercategory": entry.supercategory,
        "keypoints": entry.keypoints,
        "skeleton": entry.skeleton,
        "order": entry.order,
        "image_count": images,
        "bbox_count": annotations,
    }


# Class by class, so that each is a stretch of the index that holds both columns: neither rows nor a sort.
COUNTED = """
SELECT c.id, n.images, n.annotations FROM classes c CROSS JOIN LATERAL (
    SELECT count(DISTINCT a.image_id) AS images, count(*) AS annotations FROM annotations a WHERE a.class_id = c.id) n
WHERE c.project_id = ANY(%s)"""


def class_counts(project_ids: Iterable[str]) -> dict[int, tuple[int, int]]:
    """(images, annotations) of every class of the projects, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTED, [list(project_ids)])
        return {key: (images, annotations) for key, images, annotations in cursor.fetchall()}


def project_answers(projects: Iterable[Project]) -> list[Json]:
    """Projects with classes and totals, in a fixed number of queries."""
    projects = list(projects)
    ids = [project.pk for project in projects]
    counts = class_counts(ids)
    classes = list(LabelClass.objects.filter(project_id__in=ids, retired_at=None).order_by("order", "index"))
    images = _totals(Image.objects.filter(project_id__in=ids).values("project_id").annotate(total=Count("pk")))
    # The progress rows know the totals: nobody counts a million annotations for a list.
    progress = ImageStatus.objects.filter(project_id__in=ids).values("project_id")
    progress = progress.annotate(
        started=Count("image_id", filter=Q(total_annotations__gt=0), distinct=True), total=Sum("total_annotations")
    )
    counted = {row["project_id"]: row for row in progress}
    started = {project_id: row["started"] for project_id, row in counted.items()}
    annotations = _totals(counted.values())
    names = names_of(project.updated_by for project in projects)
    return [_project(project, classes, counts, images, started, annotations, names) for project in projects]


def _totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return {row["project_id"]: row["total"] for row in rows}


def _project(
    project: Project,
    classes: list[LabelClass],
    counts: Mapping[int, tuple[int, int]],
    images: Mapping[str, int],
    started: Mapping[str, int],
    annotations: Mapping[str, int],
    names: Mapping[str, str | None],
) -> Json:
    tasks = [task.task_type for task in project.tasks.all()]
    by_task: dict[str, Json] = {task: {} for task in tasks}
    for entry in classes:
        if entry.project_id == project.pk:
            by_task.setdefault(entry.task_type, {})[entry.class_id] = class_answer(entry, counts)
    return {
        "id": project.pk,
        "name": project.name,
        "description": project.description,
        "dataset_id": project.dataset_id,
        "dataset_name": project.dataset_name,
        "dataset_num_items": images.get(project.pk, 0),
        "owner_id": project.owner_id,
        "task_types": tasks,
        "task_config": project.task_config,
        "task_classes": by_task,
        "classes": by_task[tasks[0]] if tasks else {},
        "settings": project.settings,
        "total_images": images.get(project.pk, 0),
        "annotated_images": started.get(project.pk, 0),
        "total_annotations": annotations.get(project.pk, 0),
        "status": project.status,
        "created_at": iso(project.created_at),
        "updated_at": iso(project.updated_at),
        "last_updated_by": project.updated_by,
        "last_updated_by_name": names.get(project.updated_by),
        "last_updated_by_email": None,
    }


def member_answers(members: Iterable[Member]) -> list[Json]:
    """Members with names."""
    members = list(members)
    names = names_of(member.user_id for member in members)
    return [
        {
            "user_id": member.user_id,
            "user_name": names.get(member.user_id),
            "role": member.role,
            "added_at": iso(member.added_at),
            "added_by": member.added_by,
        }
        for member in members
    ]
