"""Finding and listing versions, their frozen rows, and jobs."""

from __future__ import annotations

from typing import Any

import orjson
from django.db import connection
from django.db.models import prefetch_related_objects

from annotations.access import image_for, project_for
from annotations.errors import AnnotationError, NotFound
from annotations.states import Role
from versions import snapshots
from versions.errors import InvalidRequest, NoSuchVersion
from versions.models import Job, Version
from versions.states import VersionType


def version_of(project_id: str, reference: str, task_type: str | None = None) -> Version:
    """A version of the project by id or number (``v2.0``, with the task); raises NoSuchVersion."""
    versions = Version.objects.filter(project_id=project_id)
    if reference.isascii() and reference.isdigit() and int(reference) < 2**63:
        versions = versions.filter(pk=int(reference))
    elif reference.startswith("v"):
        versions = versions.filter(version_number=reference, task_type=task_type)
    else:
        versions = versions.none()
    found = versions.select_related("project").first()
    if found is None:
        raise NoSuchVersion("No such version.")
    return found


def version_for(user: Any, version_id: int) -> Version:
    """A version by its id alone, if ``user`` may see its project; raises NoSuchVersion, the same when there is none."""
    version = Version.objects.select_related("project").filter(pk=version_id).first() if version_id < 2**63 else None
    if version is None:
        raise NoSuchVersion("No such version.")
    try:
        project_for(user, version.project_id)
    except AnnotationError:
        raise NoSuchVersion("No such version.") from None
    return version


def versions_of(
    project_id: str, *, task_type: str | None, version_type: str | None, limit: int, offset: int
) -> tuple[list[Version], int]:
    """Versions newest first and their total; the stretch is taken of each type separately, so that frequent
    working saves never hide published versions."""
    versions = Version.objects.filter(project_id=project_id)
    if task_type is not None:
        versions = versions.filter(task_type=task_type)
    wanted = [version_type] if version_type else VersionType.values
    found: list[Version] = []
    total = 0
    for kind in wanted:
        of_kind = versions.filter(version_type=kind).newest_first()
        total += of_kind.count()
        found += of_kind[offset : offset + limit]
    prefetch_related_objects(found, "artifacts")
    return sorted(found, key=lambda version: (version.created_at, version.pk), reverse=True), total


SNAPSHOTS = """
SELECT v.image_id, s.annotation_id, v.path, s.snapshot_data
FROM version_images v CROSS JOIN LATERAL frozen_at(v.task_id, v.image_id, %(ordinal)s) s
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)
  AND v.image_id >= %(image)s AND (v.image_id, s.annotation_id) > (%(image)s, %(annotation)s)
  AND (%(only)s::bigint IS NULL OR v.image_id = %(only)s)
ORDER BY v.image_id, s.annotation_id LIMIT %(limit)s"""


def snapshots_of(
    version: Version, *, image_path: str | None, cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Frozen rows of a published version after ``cursor``, and the cursor of the next stretch (None at the end). Raises
    InvalidRequest for a working save and NotFound for an image the project does not have."""
    if version.version_type != VersionType.PUBLISHED:
        raise InvalidRequest(
            "A working save is a file; download it.", errors={"version_id": ["must be a published version."]}
        )
    task = version.project.tasks.get(task_type=version.task_type)
    only = None if image_path is None else image_for(version.project, image_path).pk
    after = (cursor or "0.0").split(".")
    values = {
        "task": task.pk, "ordinal": version.ordinal, "image": int(after[0]), "annotation": int(after[1]),
        "only": only, "limit": limit + 1,
    }  # fmt: skip
    with connection.cursor() as rows:
        rows.execute(SNAPSHOTS, values)
        found = rows.fetchall()
    more = f"{found[limit - 1][0]}.{found[limit - 1][1]}" if len(found) > limit else None
    answers = [
        {"annotation_id": annotation, "image_id": path, "snapshot_data": {**snapshots.UNSAID, **orjson.loads(data)}}
        for _, annotation, path, data in found[:limit]
    ]
    return answers, more


def job_for(user: Any, job_id: str) -> Job:
    """A job its creator, or an admin of its project, may ask about; raises NotFound otherwise."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise NotFound("No such job.")
    try:
        if job.project_id is not None:
            mine = job.created_by == user.get_username()
            project_for(user, job.project_id, Role.VIEWER if mine else Role.ADMIN)
        elif job.created_by != user.get_username():
            raise NotFound("No such job.")
    except AnnotationError:
        raise NotFound("No such job.") from None
    return job
