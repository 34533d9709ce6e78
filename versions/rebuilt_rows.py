"""Rows of a lost project, made again from its records: project, tasks, classes, members, images, versions, files and
frozen rows. Every one has the id it had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from django.db import connection
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from annotations.models import LabelClass, Member, Project, ProjectTask
from exports import keys, stores
from exports.frozen_records import read_changes
from exports.platform import number_of
from versions import officials, snapshots
from versions.errors import VersionError
from versions.models import Artifact, JournalSegment, Version
from versions.staging import copied, copy_rows
from versions.states import PlatformState, PublishState, VersionType


def _moment(text: str | None) -> datetime | None:
    return moment_of(text) if text else None


def moment_of(text: str) -> datetime:
    """The time a record tells; raises VersionError when it is none."""
    moment = parse_datetime(text)
    if moment is None:
        raise VersionError(f"{text!r} in a record is not a time.")
    return moment


# Rows of the project ------------------------------------------------------------------------


def project_row(record: dict[str, Any]) -> Project:
    """The project itself."""
    names = ("name", "description", "dataset_id", "dataset_name", "owner_id", "task_config", "settings", "status")
    project = Project(
        id=record["project_id"],
        created_at=moment_of(record["created_at"]),
        updated_at=moment_of(record["updated_at"]),
        updated_by=record["updated_by"],
        deleted_at=_moment(record["deleted_at"]),
        **{name: record[name] for name in names},
    )
    project.save(force_insert=True)
    return project


def task_rows(project: Project, record: dict[str, Any]) -> list[ProjectTask]:
    """Its tasks, in their order."""
    rows = [ProjectTask(project=project, **values) for values in record["tasks"]]
    for row in rows:
        row.save(force_insert=True)
    return rows


def class_rows(project: Project, record: dict[str, Any]) -> None:
    """Its classes, the retired ones too."""
    for values in record["classes"]:
        retired = _moment(values.pop("retired_at"))
        LabelClass.objects.create(project=project, retired_at=retired, **values)


def member_rows(project: Project, record: dict[str, Any]) -> None:
    """Who may do what, by user id."""
    for values in record["members"]:
        added = moment_of(values.pop("added_at"))
        Member.objects.create(project=project, added_at=added, **values)


RECORDED = ("name", "description", "dataset_name", "owner_id", "task_config", "settings", "status")


def update_project(project: Project, record: dict[str, Any]) -> None:
    """Settings and members as the record has them, for a database that is older than the record."""
    values = {name: record[name] for name in RECORDED}
    times = {"updated_at": moment_of(record["updated_at"]), "deleted_at": _moment(record["deleted_at"])}
    Project.objects.filter(pk=project.pk).update(updated_by=record["updated_by"], **times, **values)
    Member.objects.filter(project=project).exclude(user_id__in=[each["user_id"] for each in record["members"]]).delete()
    for each in record["members"]:
        added = {"added_at": moment_of(each["added_at"]), "added_by": each["added_by"]}
        Member.objects.update_or_create(
            project=project, user_id=each["user_id"], defaults={"role": each["role"]},
            create_defaults={"role": each["role"], **added},
        )  # fmt: skip


def update_images(project: Project, records: Iterator[dict[str, Any]]) -> int:
    """Images of the list that the table lacks, and what the list knows newer of the others; how many are new."""
    columns, newer = ", ".join(IMAGE_COLUMNS), [name for name in IMAGE_COLUMNS if name not in ("id", "project_id")]
    differ = " IS DISTINCT FROM ".join(f"({', '.join(f'{each}.{name}' for name in newer)})" for each in "il")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE listed_now (LIKE dataset_images) ON COMMIT DROP")
        copy_images(project, records, table="listed_now")
        cursor.execute(
            f"UPDATE dataset_images i SET {', '.join(f'{name} = l.{name}' for name in newer)} FROM listed_now l"
            f" WHERE i.id = l.id AND i.project_id = l.project_id AND {differ}"
        )
        cursor.execute(
            f"INSERT INTO dataset_images ({columns}) SELECT {columns} FROM listed_now l"
            " WHERE NOT EXISTS (SELECT FROM dataset_images i WHERE i.id = l.id)"
        )
        return cursor.rowcount


IMAGE_COLUMNS = (
    "id", "project_id", "path", "width", "height", "depth", "size", "etag", "last_modified", "split", "missing_since",
)  # fmt: skip


def copy_images(project: Project, records: Iterator[dict[str, Any]], table: str = "dataset_images") -> int:
    """Its images from the image list; how many."""
    count = 0
    with copied(table, IMAGE_COLUMNS) as copy:
        for record in records:
            values = {**record, "project_id": project.pk}
            copy.write_row([values[name] for name in IMAGE_COLUMNS])
            count += 1
    return count


# Rows of versions ---------------------------------------------------------------------------


def published_row(project: Project, manifest: dict[str, Any]) -> Version:
    """A published version as its record has it, not yet stored."""
    number = number_of(manifest["version_number"])
    version = Version(
        id=manifest["version_id"],
        project=project,
        task_type=manifest["task_type"],
        version_number=manifest["version_number"],
        major=number[0],
        minor=number[1],
        version_type=VersionType.PUBLISHED,
        ordinal=manifest["ordinal"],
        description=manifest["description"],
        created_at=moment_of(manifest["created_at"]),
        created_by=manifest["created_by"],
        annotation_count=manifest["annotation_count"],
        image_count=manifest["image_count"],
        include_draft=manifest["include_draft"],
        formats=manifest["formats"],
        manifest=manifest["manifest"],
    )
    _platform_state(version)
    return version


def _platform_state(version: Version) -> None:
    """What the official files themselves say: this version, a newer one, or an older one (then a sync is owed)."""
    found = {key: stores.find("platform", key) for key in officials.keys_of(version)}
    numbers = [number_of(each.metadata.get("version")) if each else (0, 0) for each in found.values()]
    own = (version.major, version.minor)
    if min(numbers) < own:
        version.platform_status = PlatformState.PENDING
        return
    version.platform_status = PlatformState.SYNCED if max(numbers) == own else PlatformState.SUPERSEDED
    version.platform_keys = list(found)
    version.platform_synced_at = max(each.last_modified for each in found.values() if each)


def refuse_other_counts(version: Version, task: ProjectTask) -> None:
    """The rows open at the version must be as many as its record says: raises VersionError."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum((SELECT count(*) FROM frozen_at(v.task_id, v.image_id, %(ordinal)s))), 0)::bigint,"
            " count(*) FROM version_images v WHERE v.task_id = %(task)s AND v.closed IS NULL",
            {"task": task.pk, "ordinal": version.ordinal},
        )
        found = cursor.fetchone()
    if found != (version.annotation_count, version.image_count):
        raise VersionError(
            f"The frozen rows of {version.version_number} give {found[0]} annotations on {found[1]} images, its record"
            f" says {version.annotation_count} on {version.image_count}."
        )


def artifact_rows(version: Version, manifest: dict[str, Any], further: str | None, *, finished: bool) -> None:
    """Its files; of a finished one its record, too."""
    for file in manifest["files"]:
        Artifact.objects.create(version=version, created_at=version.created_at, **file)
    if not finished:
        return
    key = keys.manifest(version.project_id, version.version_number, further)
    stored = stores.head("labeler", key)
    Artifact.objects.create(
        version=version, format="manifest", s3_key=key, size_bytes=stored.size, sha256=stores.hash_of("labeler", key),
        created_at=version.created_at,
    )  # fmt: skip


def working_row(project: Project, metadata: dict[str, Any]) -> Version:
    """A working save as its metadata has it, not yet stored."""
    return Version(
        id=metadata["version_id"],
        project=project,
        task_type=metadata["task_type"],
        version_number=metadata["version_number"],
        major=0,
        minor=int(metadata["version_number"].partition(".")[2]),
        version_type=VersionType.WORKING,
        description=metadata["description"],
        created_at=moment_of(metadata["saved_at"]),
        created_by=metadata["created_by"],
        annotation_count=metadata["annotation_count"],
        image_count=metadata["image_count"],
        include_draft=True,
        trigger=metadata["trigger"],
        formats=["dice"],
        manifest={"journal": metadata["journal"], "high_water": metadata["high_water"]},
        status=PublishState.READY,
        content_hash=metadata["content_hash"],
        warnings=metadata["warnings"],
        finished_at=moment_of(metadata["saved_at"]),
    )


def working_artifact(version: Version, metadata: dict[str, Any]) -> bool:
    """The row of a retained copy; one whose file retention removed is listed as gone. True if it is whole."""
    whole = stores.find("labeler", metadata["retained_key"]) is not None
    Artifact.objects.create(
        version=version,
        format="dice",
        s3_key=metadata["retained_key"],
        size_bytes=metadata["size_bytes"],
        sha256=metadata["sha256"],
        created_at=version.created_at,
        removed_at=None if whole else timezone.now(),
    )
    return whole


def segment_row(project: Project, number: int, header: dict[str, Any], *, size: int, sha256: str) -> JournalSegment:
    """A segment of the journal that lies in the store; ``header`` is empty for one that cannot be read: its number is
    taken all the same, and the next one names its bytes."""
    begun = moment_of(header["begun_at"]) if header else timezone.now()
    return JournalSegment.objects.update_or_create(
        project=project,
        number=number,
        defaults={
            "previous": header.get("previous", ""),
            "rows": header.get("rows", {}),
            "count": header.get("count", 0),
            "high_water": header.get("high_water", {}),
            "begun_at": begun,
            "size_bytes": size,
            "sha256": sha256,
            "sealed_at": begun,
        },
    )[0]


# Frozen rows --------------------------------------------------------------------------------

OPENED_COLUMNS = ("version_id", "task_id", "opened")
FROZEN_IMAGE_FIELDS = ("image_id", "path", "width", "height", "depth", "split", "metadata")
# Where the record's lines are gathered: a version's rows are one for each image.
REPLAYED = {
    "close": ("replayed_closed", ("annotation_id",)),
    "open": ("replayed_opened", ("annotation_id", "image_id", "snapshot_data")),
}
TABLES = """
DROP TABLE IF EXISTS replayed_closed; DROP TABLE IF EXISTS replayed_opened;
CREATE TEMP TABLE replayed_closed (annotation_id bigint NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE replayed_opened (annotation_id bigint NOT NULL, image_id bigint NOT NULL, snapshot_data text NOT NULL)
    ON COMMIT DROP"""
BATCH = 1000
CLOSE_IMAGES = """
UPDATE version_images SET closed = %(ordinal)s, until_version_id = %(version)s
WHERE task_id = %(task)s AND image_id = ANY(%(closed)s) AND closed IS NULL"""
# Closed and not opened again: part of the task no more. No annotation is closed without its image.
FREEZE = """
WITH before AS MATERIALIZED (
    SELECT v.image_id, s.annotation_id, c.annotation_id IS NULL AS stays FROM version_images v
    CROSS JOIN LATERAL frozen_at(%(task)s, v.image_id, %(ordinal)s - 1) s
    LEFT JOIN replayed_closed c ON c.annotation_id = s.annotation_id
    WHERE v.task_id = %(task)s AND v.closed = %(ordinal)s),
changed AS (
    SELECT image_id, annotation_id, snapshot_data FROM replayed_opened
    UNION ALL SELECT image_id, annotation_id, NULL FROM before
    WHERE NOT stays AND NOT EXISTS (SELECT FROM replayed_opened o WHERE o.annotation_id = before.annotation_id)),
kept AS (SELECT DISTINCT image_id FROM before WHERE stays)
INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)
SELECT %(version)s, %(task)s, %(ordinal)s, CASE WHEN k.image_id IS NULL THEN %(ordinal)s ELSE (
        SELECT l.whole_since FROM frozen_annotations l WHERE l.task_id = %(task)s AND l.image_id = t.image_id
        ORDER BY l.opened DESC LIMIT 1) END, t.image_id, t.ids, t.texts
FROM (SELECT image_id, array_agg(annotation_id ORDER BY annotation_id) AS ids,
          array_agg(snapshot_data ORDER BY annotation_id) AS texts FROM changed GROUP BY image_id) t
LEFT JOIN kept k ON k.image_id = t.image_id ORDER BY t.image_id"""
# Of the first version: all.
LOOKED_AT = """
UPDATE frozen_versions SET images = ARRAY(
    SELECT DISTINCT image_id FROM version_images
    WHERE task_id = %(task)s AND (opened = %(ordinal)s OR closed = %(ordinal)s) ORDER BY image_id)
WHERE version_id = %(version)s AND %(ordinal)s > 1"""


def replay_frozen(version: Version, task: ProjectTask, path: Path) -> None:
    """Close and open rows as the version did; the file closes before it opens."""
    snapshots.begin(version, task)
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
    batch: list[tuple[str, Any]] = []
    for kind, value in read_changes(path):
        if batch and (batch[0][0] != kind or len(batch) >= BATCH):
            _replay_batch(version, task, batch)
            batch = []
        batch.append((kind, value))
    if batch:
        _replay_batch(version, task, batch)
    said = {"version": version.pk, "task": task.pk, "ordinal": version.ordinal}
    with connection.cursor() as cursor:
        cursor.execute(FREEZE, said)
        cursor.execute(LOOKED_AT, said)


def _replay_batch(version: Version, task: ProjectTask, batch: Sequence[tuple[str, Any]]) -> None:
    kind, values = batch[0][0], [value for _, value in batch]
    if kind == "close_image":
        said = {"ordinal": version.ordinal, "version": version.pk, "task": task.pk, "closed": values}
        with connection.cursor() as cursor:
            cursor.execute(CLOSE_IMAGES, said)
    elif kind == "open_image":
        opened = [version.pk, task.pk, version.ordinal]
        rows = ([*opened, *(value[name] for name in FROZEN_IMAGE_FIELDS)] for value in values)
        copy_rows("version_images", (*OPENED_COLUMNS, *FROZEN_IMAGE_FIELDS), rows)
    else:
        copy_rows(*REPLAYED[kind], map(_gathered, values))


def _gathered(value: Any) -> list[Any]:
    """A line of the record about an annotation, as the columns of REPLAYED."""
    if isinstance(value, int):
        return [value]
    return [orjson.loads(value["snapshot_data"])["id"], value["image_id"], value["snapshot_data"]]
