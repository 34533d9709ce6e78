"""Versions, jobs and save states as the contract's objects; links are made when read and never stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from annotations.models import iso
from annotations.people import names_of
from exports import stores
from exports.keys import FILES
from versions.models import Artifact, Job, Version
from versions.states import PublishState, VersionType

Json = dict[str, Any]
# Turns the address a store gives into one a client can use from anywhere.
Absolute = Callable[[str], str]
# The first file of a version that has none.
NO_FILE: Json = {"s3_key": None, "download_url": None, "download_url_expires_at": None}


def version_answers(versions: Iterable[Version], absolute: Absolute) -> list[Json]:
    """Versions with their files; to be called with ``artifacts`` prefetched."""
    versions = list(versions)
    names = names_of(version.created_by for version in versions)
    return [_version(version, names, absolute) for version in versions]


def _version(version: Version, names: Mapping[str, str | None], absolute: Absolute) -> Json:
    files = _files(version)
    exports = [_export(version, file, absolute) for file in files]
    main = next((file for file in exports if file["format"] == "dice"), NO_FILE)
    return {
        "id": version.pk,
        "project_id": version.project_id,
        "task_type": version.task_type,
        "version_number": version.version_number,
        "version_type": version.version_type,
        "description": version.description,
        "created_at": iso(version.created_at),
        "created_by": version.created_by,
        "created_by_name": names.get(version.created_by),
        "created_by_email": None,
        "annotation_count": version.annotation_count,
        "image_count": version.image_count,
        "export_format": "dice",
        "export_path": main["s3_key"],
        "download_url": main["download_url"],
        "download_url_expires_at": main["download_url_expires_at"],
        "status": version.status,
        "last_error": version.last_error or None,
        "content_hash": version.content_hash or None,
        "include_draft": version.include_draft,
        "trigger": version.trigger or None,
        "exports": exports,
        "platform_sync": _platform_sync(version),
        "verified_only": version.manifest.get("states") == ["verified"],
        "warnings": [*version.manifest.get("warnings", []), *version.warnings],
        "waivers": version.manifest.get("waivers", []),
    }


def _files(version: Version) -> list[Artifact]:
    """What may be downloaded now: nothing of a version that is not whole."""
    if version.status != PublishState.READY:
        return []
    kept = [file for file in version.artifacts.all() if file.removed_at is None and file.format in FILES]
    return sorted(kept, key=lambda file: list(FILES).index(file.format))


def _export(version: Version, file: Artifact, absolute: Absolute) -> Json:
    return {
        "format": file.format,
        "s3_key": file.s3_key,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        **_download(version, file, absolute),
    }


def _download(version: Version, file: Artifact, absolute: Absolute) -> Json:
    return link_answer(file.s3_key, file_name(version, file.format), absolute)


def file_name(version: Version, format_name: str) -> str:
    """What a downloaded file is called: project, version and format tell files of many versions apart."""
    return f"{version.project_id}_{version.version_number}_{FILES[format_name]}"


def link_answer(key: str, filename: str, absolute: Absolute) -> Json:
    """A fresh link with its end."""
    seconds = settings.LABELER_LINK_SECONDS
    url = absolute(stores.link("labeler", key, seconds=seconds, filename=filename))
    return {"download_url": url, "download_url_expires_at": iso(timezone.now() + timedelta(seconds=seconds))}


def _platform_sync(version: Version) -> Json:
    return {
        "status": version.platform_status,
        "keys": version.platform_keys,
        "synced_at": iso(version.platform_synced_at),
        "attempts": version.platform_attempts,
        "last_error": version.platform_error or None,
    }


def job_answer(job: Job, absolute: Absolute) -> Json:
    """One job; a finished export comes with fresh links."""
    result = job.result
    if job.kind == "export" and result and "exports" in result:
        result = export_answer(job, absolute)
    return {
        "id": str(job.pk),
        "kind": job.kind,
        "project_id": job.project_id,
        "status": job.status,
        "progress": job.progress,
        "result": result,
        "error": job.error or None,
        "created_at": iso(job.created_at),
        "finished_at": iso(job.finished_at),
    }


def export_answer(job: Job, absolute: Absolute) -> Json:
    """A finished export: the first format's file on top, all of them in ``exports``."""
    assert job.result is not None
    files = []
    for file in job.result["exports"]:
        filename = f"{job.project_id}_{FILES[file['format']]}"
        files.append({**file, **link_answer(file["s3_key"], filename, absolute)})
    first = files[0]
    return {
        "export_path": first["s3_key"],
        "download_url": first["download_url"],
        "download_url_expires_at": first["download_url_expires_at"],
        "export_format": first["format"],
        "annotation_count": first["annotation_count"],
        "image_count": first["image_count"],
        "file_size_bytes": first["size_bytes"],
        "exports": files,
        "expires_at": job.result["expires_at"],
    }


def is_published(version: Version) -> bool:
    """True for a final version."""
    return version.version_type == VersionType.PUBLISHED
