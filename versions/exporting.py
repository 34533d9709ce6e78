"""Ad-hoc exports: live rows or a published version in any format, made by the same writers, kept for some days."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from annotations.images import keys_of
from annotations.models import Project, ProjectTask, iso
from exports import keys, stores
from exports.formats import FORMATS
from exports.rows import ImageRow
from versions import artifacts, snapshots
from versions.errors import InvalidRequest
from versions.models import Job, Version
from versions.publishing import ALL_FORMATS
from versions.states import JobState, VersionType


def check_wish(formats: Sequence[str], version: Version | None) -> None:
    """Raise InvalidRequest for a format nobody writes, or a version that is not published."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InvalidRequest("Unknown format.", errors={"export_format": [f"must be among {', '.join(ALL_FORMATS)}."]})
    if version is not None and version.version_type != VersionType.PUBLISHED:
        raise InvalidRequest(
            "Only published versions are exported; a working save is downloaded as it is.",
            errors={"version_id": ["must be a published version."]},
        )


def check_images(project: Project, paths: Sequence[str] | None) -> None:
    """Raise AnnotationError naming images the project does not have."""
    if paths is not None:
        keys_of(project, paths)


def export(
    task: ProjectTask,
    job: Job,
    *,
    formats: Sequence[str],
    states: tuple[str, ...],
    image_paths: Sequence[str] | None,
    version: Version | None,
) -> dict[str, Any]:
    """Write the files and put them under the job's own prefix; repeating replaces them. Returns what was made."""
    moment = job.created_at
    with artifacts.scratch() as folder:
        built = write(
            task, folder, formats=formats, states=states, image_paths=image_paths, version=version, moment=moment
        )
        files = [_upload(task, _number(moment), job, file) for file in built]
    return {"exports": files, "expires_at": iso(moment + timedelta(days=settings.LABELER_EXPORT_DAYS))}


def write(
    task: ProjectTask,
    folder: Path,
    *,
    formats: Sequence[str],
    states: tuple[str, ...],
    image_paths: Sequence[str] | None,
    version: Version | None,
    moment: datetime | None = None,
    tell: Callable[[int], None] = lambda count: None,
) -> list[artifacts.Built]:
    """Write the files of live rows, or of a published version, into ``folder`` from one instant of the database.
    ``tell`` hears how many images have been written."""
    moment = moment or timezone.now()
    images = None if image_paths is None else keys_of(task.project, image_paths)
    with artifacts.one_instant():
        dataset, rows = _source(task, version, _number(moment), moment, states, images)
        return artifacts.build(dataset, _told(rows, tell), list(formats), folder)


def _told(rows: Generator[ImageRow, None, None], tell: Callable[[int], None]) -> Generator[ImageRow, None, None]:
    with closing(rows):
        for number, row in enumerate(rows, start=1):
            yield row
            tell(number)


def _number(moment: datetime) -> str:
    return f"export_{moment:%Y%m%d_%H%M%S}"


def _source(
    task: ProjectTask,
    version: Version | None,
    number: str,
    moment: datetime,
    states: tuple[str, ...],
    images: list[int] | None,
) -> tuple[Any, Any]:
    if version is not None:
        return artifacts.published_dataset(version), snapshots.frozen_rows(version, task, images)
    held = snapshots.contents(task, states)
    dataset = artifacts.live_dataset(task, number, "export", moment, held, states=states)
    selection = snapshots.Selection(states, None if images is None else tuple(images))
    return dataset, snapshots.live_rows(task, selection)


def _upload(task: ProjectTask, number: str, job: Job, file: artifacts.Built) -> dict[str, Any]:
    key = keys.adhoc(task.project_id, number, str(job.pk), file.format)
    stores.put_latest(
        "labeler",
        key,
        file.path,
        content_type=FORMATS[file.format].content_type,
        sha256=file.sha256,
        size=file.size,
    )
    return {
        "format": file.format,
        "s3_key": key,
        "size_bytes": file.size,
        "sha256": file.sha256,
        "annotation_count": file.summary.annotation_count,
        "image_count": file.summary.image_count,
        "warnings": file.summary.warnings,
    }


def remove_expired() -> int:
    """Remove the files of exports past their days; returns how many jobs were cleaned."""
    limit = timezone.now() - timedelta(days=settings.LABELER_EXPORT_DAYS)
    old = Job.objects.filter(kind="export", status=JobState.DONE, created_at__lt=limit, result__has_key="exports")
    cleaned = 0
    for job in old[:200]:
        for file in (job.result or {}).get("exports", []):
            stores.remove("labeler", file["s3_key"])
        job.result = {"expired": True}
        job.save(update_fields=["result"])
        cleaned += 1
    return cleaned
