"""Records in the labeler store from which an empty database gets back what it had.

The project record (``project.json`` and the image list beside it) is rewritten after every change;
a version record (``frozen_rows.jsonl.gz``, then ``manifest.json``) is written once and says with its
presence that the version is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from django.db.models import Exists, F, OuterRef, QuerySet

from annotations.models import Image, Project, ProjectTask, iso
from exports import keys, stores
from exports.errors import ContentConflict
from exports.frozen_records import write_records
from versions import artifacts, journal, snapshots
from versions.alone import alone
from versions.artifacts import BuildSummary
from versions.models import Artifact, Version

GZIP = "application/gzip"


# Versions -----------------------------------------------------------------------------------


def write_version_record(
    version: Version, task: ProjectTask, summary: BuildSummary, *, owing: Sequence[int]
) -> list[Artifact]:
    """Upload the frozen rows and, last, the manifest of a published version; repeating changes nothing. Returns all
    files that are to be recorded.

    The rows are what changed since the version before. Where that one is not finished (its store refused, say; it is
    among the primary keys ``owing``), its rows go up too and the manifest tells them, so that a rebuild misses nothing.
    """
    files = [*summary.files, put_frozen_rows(version, task)]
    late = list(Version.objects.filter(pk__in=owing).order_by("ordinal")) if owing else []
    owed = [(each, put_frozen_rows(each, task)) for each in late]
    before = [manifest_record(each, BuildSummary(), [], [frozen]) for each, frozen in owed]
    with artifacts.scratch() as folder:
        record = manifest_record(version, summary, before, files)
        manifest = _put_manifest(version, record, folder, artifacts.further_task(task))
    return [*files, *(frozen for _, frozen in owed), manifest]


def unrecorded_before() -> QuerySet[Version]:
    """For a subquery of versions: earlier published ones of the same task that have no record of their own yet."""
    same = {"project": OuterRef("project"), "task_type": OuterRef("task_type"), "ordinal__lt": OuterRef("ordinal")}
    recorded = Artifact.objects.filter(version=OuterRef("pk"), format="manifest")
    return Version.objects.published().filter(~Exists(recorded), **same).order_by("ordinal")


def put_frozen_rows(version: Version, task: ProjectTask) -> Artifact:
    """Upload what the version opened and closed, create-only; to be recorded."""
    with artifacts.scratch() as folder:
        frozen = folder / "frozen_rows.jsonl.gz"
        # Whoever is told of a full disk asks the same connection, which waits for the last row.
        with closing(frozen_changes(version, task)) as changes:
            write_records(frozen, changes)
        digest = stores.sha256_of_file(frozen)
        key = keys.frozen_rows(version.project_id, version.version_number, artifacts.further_task(task))
        return artifacts.put_file(version, "frozen_rows", key, frozen, GZIP, digest)


def _put_manifest(version: Version, record: dict[str, Any], folder: Path, further: str | None) -> Artifact:
    path = folder / "manifest.json"
    path.write_bytes(orjson.dumps(record, option=orjson.OPT_SORT_KEYS))
    digest = stores.sha256_of_file(path)
    key = keys.manifest(version.project_id, version.version_number, further)
    try:
        stored = artifacts.put_new(key, path, artifacts.JSON, digest)
    except ContentConflict:
        # Our own earlier try, if it differs only in which versions before it were unfinished then.
        present = stores.read_small("labeler", key)
        if not _same_but_before(present, record):
            raise
        stored, digest = stores.head("labeler", key), hashlib.sha256(present).hexdigest()
    return artifacts.as_stored(version, stored, "manifest", digest)


def _same_but_before(present: bytes, record: dict[str, Any]) -> bool:
    try:
        found = orjson.loads(present)
    except orjson.JSONDecodeError:
        return False
    plain = orjson.loads(orjson.dumps(record))
    return isinstance(found, dict) and {**found, "before": []} == {**plain, "before": []}


def manifest_record(
    version: Version, summary: BuildSummary, before: list[dict[str, Any]], files: list[Artifact]
) -> dict[str, Any]:
    """The version row whole, with these of its files, and the records of unfinished versions before it."""
    return {
        "record": 1,
        "version_id": version.pk,
        "project_id": version.project_id,
        "task_type": version.task_type,
        "version_number": version.version_number,
        "ordinal": version.ordinal,
        "description": version.description,
        "created_at": iso(version.created_at),
        "created_by": version.created_by,
        "annotation_count": version.annotation_count,
        "image_count": version.image_count,
        "include_draft": version.include_draft,
        "formats": version.formats,
        "manifest": version.manifest,
        "content_hash": summary.content_hash,
        "warnings": summary.warnings,
        "files": [
            {
                "format": file.format,
                "s3_key": file.s3_key,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
            }
            for file in sorted(files, key=lambda file: file.format)
        ],
        "before": before,
    }


# In one stream: what was closed (by the first version nothing), then what was opened, images before annotations; of
# the images that the version looked at. ``one_after_the_other`` is always true and keeps the plan from being a parallel
# one, in which the parts would come mixed.
CHANGES = """
WITH looked_at AS MATERIALIZED (
    SELECT coalesce(f.images, ARRAY(SELECT DISTINCT image_id FROM version_images WHERE task_id = f.task_id)) AS images
    FROM frozen_versions f WHERE f.version_id = %(version)s)
SELECT * FROM (
    SELECT 'close_image' AS kind, image_id, NULL::bigint AS annotation_id, NULL AS data, NULL AS path,
        NULL::int AS width, NULL::int AS height, NULL::int AS depth, NULL AS split
    FROM version_images
    WHERE task_id = %(task)s AND closed = %(ordinal)s AND %(ordinal)s > 1 AND {looked_at} AND one_after_the_other()
    ORDER BY image_id) closed_images
UNION ALL SELECT * FROM (
    SELECT 'close', NULL::bigint, s.annotation_id, NULL, NULL, NULL::int, NULL::int, NULL::int, NULL
    FROM frozen_annotations f CROSS JOIN LATERAL frozen_at(f.task_id, f.image_id, f.opened - 1) s
    WHERE task_id = %(task)s AND opened = %(ordinal)s AND %(ordinal)s > 1 AND {looked_at}
      AND s.annotation_id = ANY(f.annotation_ids)
    ORDER BY s.annotation_id) closed
UNION ALL SELECT * FROM (
    SELECT 'open_image', image_id, NULL::bigint, metadata, path, width, height, depth, split
    FROM version_images WHERE task_id = %(task)s AND opened = %(ordinal)s AND {looked_at}
    ORDER BY image_id) opened_images
UNION ALL SELECT * FROM (
    SELECT 'open', image_id, s.annotation_id, s.snapshot_data, NULL, NULL::int, NULL::int, NULL::int, NULL
    FROM frozen_annotations f CROSS JOIN LATERAL unnest(f.annotation_ids, f.snapshots) s (annotation_id, snapshot_data)
    WHERE task_id = %(task)s AND opened = %(ordinal)s AND {looked_at} AND s.snapshot_data IS NOT NULL
    ORDER BY image_id, s.annotation_id) opened""".format(
    looked_at="image_id = ANY((SELECT images FROM looked_at)::bigint[])"
)


def frozen_changes(version: Version, task: ProjectTask) -> Generator[dict[str, Any], None, None]:
    """What the version closed and opened, as records; replayed in order they give every version back."""
    values = {"task": task.pk, "version": version.pk, "ordinal": version.ordinal}
    for kind, image_id, annotation_id, data, *image in snapshots.pushed(CHANGES, values):
        yield {kind: _change(kind, image_id, annotation_id, data, image)}


def _change(kind: str, image_id: int, annotation_id: int, data: str, image: list[Any]) -> Any:
    if kind == "open":
        # The frozen text goes as a string: bytes come back as they were.
        return {"image_id": image_id, "snapshot_data": data}
    if kind == "open_image":
        path, width, height, depth, split = image
        fields = {"image_id": image_id, "path": path, "width": width, "height": height, "depth": depth}
        return {**fields, "split": split, "metadata": data}
    return annotation_id if kind == "close" else image_id


# Projects -----------------------------------------------------------------------------------


def owed() -> list[str]:
    """Ids of projects whose record in the store is behind the rows, the tombstones included."""
    behind = Project.objects.exclude(record_revision=F("recorded_revision")).values_list("pk", flat=True)
    images = Project.objects.exclude(images_revision=F("images_recorded_revision")).values_list("pk", flat=True)
    return sorted({*behind, *images})


def owed_soon() -> list[str]:
    """Ids of projects whose members, classes, settings or existence the store does not know; image lists may wait."""
    return list(Project.objects.exclude(record_revision=F("recorded_revision")).values_list("pk", flat=True))


def write_project_record(project_id: str) -> None:
    """Write what is owed of one project: the image list first, then ``project.json`` that names it.

    The revision written is the one read before, so a change meanwhile leaves the record owed. One process at a time: of
    two the one that read first might write last, and the record be older than what is noted.
    """
    with alone("record", project_id) as mine:
        if mine:
            _write_owed(Project.objects.get(pk=project_id))


def _write_owed(project: Project) -> None:
    revisions = {
        "recorded_revision": project.record_revision,
        "images_recorded_revision": project.images_revision,
    }
    if project.images_revision != project.images_recorded_revision:
        _write_image_list(project)
    with artifacts.one_instant():
        record = project_record(project)
    artifacts.put_bytes(keys.project_record(project.pk), orjson.dumps(record))
    Project.objects.filter(pk=project.pk).update(**revisions)


def _write_image_list(project: Project) -> None:
    with artifacts.scratch() as folder:
        path = folder / "images.jsonl.gz"
        with artifacts.one_instant():
            write_records(path, image_records(project))
        stores.put_latest(
            "labeler",
            keys.image_list(project.pk),
            path,
            content_type=GZIP,
            sha256=stores.sha256_of_file(path),
            size=path.stat().st_size,
        )


def image_records(project: Project) -> Iterator[dict[str, Any]]:
    """Every image of the project, those not started too."""
    fields = (
        "id",
        "path",
        "width",
        "height",
        "depth",
        "size",
        "etag",
        "last_modified",
        "split",
        "missing_since",
    )
    images = Image.objects.filter(project=project).order_by("pk").values(*fields)
    for row in images.iterator(chunk_size=1000):
        yield {**row, "last_modified": iso(row["last_modified"]), "missing_since": iso(row["missing_since"])}


def project_record(project: Project) -> dict[str, Any]:
    """The project with its tasks, classes and members, by user id."""
    return {
        "record": 1,
        "project_id": project.pk,
        "name": project.name,
        "description": project.description,
        "dataset_id": project.dataset_id,
        "dataset_name": project.dataset_name,
        "owner_id": project.owner_id,
        "task_config": project.task_config,
        "settings": project.settings,
        "status": project.status,
        "created_at": iso(project.created_at),
        "updated_at": iso(project.updated_at),
        "updated_by": project.updated_by,
        "deleted_at": iso(project.deleted_at),
        "tasks": list(project.tasks.values("task_type", "position", "number_floor")),
        "classes": list(_class_records(project)),
        "members": [
            {"user_id": m.user_id, "role": m.role, "added_at": iso(m.added_at), "added_by": m.added_by}
            for m in project.members.order_by("user_id")
        ],
        "image_list": keys.image_list(project.pk),
        "high_water": snapshots.high_water(),
        "journal": journal.position(project.pk),
    }


def _class_records(project: Project) -> Iterator[dict[str, Any]]:
    fields = ("id", "task_type", "class_id", "index", "name", "color", "description", "supercategory", "order")
    for entry in project.classes.order_by("task_type", "index"):
        yield {
            **{field: getattr(entry, field) for field in fields},
            "keypoints": entry.keypoints,
            "skeleton": entry.skeleton,
            "retired_at": iso(entry.retired_at),
        }
