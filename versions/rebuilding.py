"""The database is lost: bring projects, versions and live rows back from the labeler store alone.

Each project comes back in one transaction, so a run that is stopped is simply started again; projects
that are in the database are left as they are. Read are the records of dice-format.md section 1:
``project.json`` with the image list, the version records in order, and the retained working saves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from annotations.acting import acting
from annotations.errors import AnnotationError
from annotations.models import LabelClass, Member, Project, ProjectTask
from exports import keys, stores
from exports.errors import ExportError, ObjectMissing, StoreError, StoreRefused
from exports.frozen_records import read_changes, read_records
from exports.platform import number_of
from versions import artifacts, importing, officials, publishing, restoring, snapshots, staging
from versions.errors import NothingInStores, VersionError
from versions.models import Artifact, SaveState, Version
from versions.states import PlatformState, PublishState, VersionType

RECORD = re.compile(r"exports/([^/]+)/project\.json\Z")
MANIFEST = re.compile(r"exports/([^/]+)/(?:([a-z]+)/)?v[1-9]\d*\.\d+/manifest\.json\Z")
FOLDER = re.compile(r"exports/([^/]+)/(?:([a-z]+)/)?v([1-9]\d*)\.\d+/")
SAVE = re.compile(r"exports/([^/]+)/working/(?:([a-z]+)/)?v0\.(\d+)/metadata\.json\Z")
ACTOR = "rebuild"
LOST = (
    "history of changes (it begins anew with this rebuild)",
    "accounts, passwords and tokens (members are kept by their user id)",
    "jobs, and the rows of ad-hoc exports (their files are still in the store)",
    "changes made after the last working save of each task, unless a version was published since",
)

Say = Callable[[str], None]


@dataclass
class Found:
    """What the store holds of one project: keys of its records."""

    record: str | None = None
    manifests: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    # The highest major anything lies under, by task ("" for the first one), finished or not.
    majors: dict[str, int] = field(default_factory=dict)


@dataclass
class Rebuilt:
    """What came back of one project, and what did not, by name."""

    project_id: str
    state: str
    versions: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    images: int = 0
    annotations: int = 0
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# Looking ------------------------------------------------------------------------------------


def look(project_id: str | None = None) -> dict[str, Found]:
    """Records in the labeler store by project; raises NothingInStores when there are none."""
    prefix = keys.project_folder(project_id) if project_id else "exports/"
    found: dict[str, Found] = {}
    for stored in stores.listing("labeler", prefix):
        if match := FOLDER.match(stored.key):
            majors = found.setdefault(match[1], Found()).majors
            majors[match[2] or ""] = max(int(match[3]), majors.get(match[2] or "", 0))
        for pattern in (RECORD, MANIFEST, SAVE):
            if match := pattern.match(stored.key):
                _note(found.setdefault(match[1], Found()), pattern, stored.key)
    if not found:
        raise NothingInStores(f"The labeler store holds no records below {prefix}; is it the right store?")
    return dict(sorted(found.items()))


def _note(found: Found, pattern: re.Pattern[str], key: str) -> None:
    if pattern is RECORD:
        found.record = key
    elif pattern is MANIFEST:
        found.manifests.append(key)
    else:
        found.saves.append(key)


def rebuild(project_id: str | None = None, *, dry_run: bool = False, say: Say) -> list[Rebuilt]:
    """Bring back every project of the store (or one) that the database does not have; says how far it is."""
    everything = look()
    if not dry_run:
        # Above every project's ids before any row comes: one rebuilt today takes no id of one rebuilt tomorrow.
        raise_sequences(highest(_high_waters(everything)))
    listed = {each: found for each, found in everything.items() if project_id in (None, each)}
    if not listed:
        raise NothingInStores(f"The labeler store holds no records of {project_id}.")
    done = []
    for number, (each, found) in enumerate(listed.items(), start=1):
        say(f"[{number}/{len(listed)}] {each} ...")
        done.append(_rebuild_one(each, found, dry_run))
    return done


def _high_waters(everything: dict[str, Found]) -> Iterator[dict[str, int]]:
    """What every readable record says of ids given out; the others are named when their project's turn comes."""
    for found in everything.values():
        for key in [*([found.record] if found.record else []), *found.manifests, *found.saves]:
            try:
                record = read_json(key)
            except (ExportError, VersionError):
                continue
            yield from (record.get("high_water") or {}, {"version": record.get("version_id") or 0})
            yield (record.get("manifest") or {}).get("high_water") or {}


def _rebuild_one(project_id: str, found: Found, dry_run: bool) -> Rebuilt:
    present = Project.objects.prefetch_related("tasks").filter(pk=project_id).first()
    if present is not None:
        result = Rebuilt(project_id, "already in the database; left as it is")
        with acting(ACTOR):
            raise_floors(list(present.tasks.all()), found, result, dry_run=dry_run)
        return result
    if found.record is None:
        return Rebuilt(project_id, "not rebuilt", missing=["project.json: without it nothing else can be placed"])
    try:
        with artifacts.scratch() as folder, acting(ACTOR, action="restore"):
            result = _Project(project_id, found, folder).bring_back()
            if dry_run:
                transaction.set_rollback(True)
                result.state = "would be rebuilt"
            else:
                raise_sequences({})
    except (ExportError, VersionError, AnnotationError) as error:
        # All or nothing for this project; the others go on.
        return Rebuilt(project_id, "not rebuilt", missing=[str(error)])
    except (IntegrityError, DataError, KeyError, TypeError, ValueError) as error:
        return Rebuilt(project_id, "not rebuilt", missing=[f"a record does not fit ({type(error).__name__}: {error})"])
    return result


def raise_floors(tasks: Sequence[ProjectTask], found: Found, result: Rebuilt, *, dry_run: bool = False) -> None:
    """No number that anything in the store lies under is given out again, whether its version came back or not."""
    for task in tasks:
        major = found.majors.get(artifacts.further_task(task) or "", 0)
        published = Version.objects.of(task.project_id, task.task_type).published().newest_first().first()
        if major <= max(task.number_floor, published.major if published else 0):
            continue
        result.notes.append(
            f"{task.task_type}: files of v{major} lie in the store without a record; that number is not given out again"
        )
        if not dry_run:
            ProjectTask.objects.filter(pk=task.pk).update(number_floor=major)


def read_json(key: str) -> dict[str, Any]:
    """A record of the labeler store; raises VersionError naming the key when it is not one."""
    try:
        value = orjson.loads(stores.read_small("labeler", key))
    except orjson.JSONDecodeError as error:
        raise VersionError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise VersionError(f"{key} is not a record.")
    return value


# One project --------------------------------------------------------------------------------


class _Project:
    """One project on its way back, inside one transaction."""

    def __init__(self, project_id: str, found: Found, folder: Path) -> None:
        assert found.record is not None
        self.found, self.folder, self.save = found, folder, folder / "save.json"
        self.record = read_json(found.record)
        self.result = Rebuilt(project_id, "rebuilt")

    def bring_back(self) -> Rebuilt:
        self.project = _project_row(self.record)
        self.tasks = {task.task_type: task for task in _task_rows(self.project, self.record)}
        _class_rows(self.project, self.record)
        _member_rows(self.project, self.record)
        self._images()
        newest = {}
        for task_type in self.tasks:
            newest[task_type] = self._versions(task_type)
        raise_floors(list(self.tasks.values()), self.found, self.result)
        saves = self._saves()
        for task_type, task in self.tasks.items():
            self._live_rows(task, newest.get(task_type), saves.get(task_type, []))
        return self.result

    def _images(self) -> None:
        path = self.folder / "images.jsonl.gz"
        try:
            stores.download("labeler", self.record["image_list"], path)
        except StoreError as error:
            self.result.missing.append(f"the image list: {error}")
            return
        self.result.images = _copy_images(self.project, read_records(path))

    # Published versions

    def _versions(self, task_type: str) -> Version | None:
        """The task's published versions in order; the newest finished one. Stops, and says so, where one is missing."""
        manifests = [record for record in map(read_json, self.found.manifests) if record["task_type"] == task_type]
        known = {record["ordinal"]: record for record in manifests}
        # An unfinished version is told by a later one.
        known = {each["ordinal"]: each for record in manifests for each in record["before"]} | known
        newest = None
        for ordinal in range(1, max(known, default=0) + 1):
            record = known.get(ordinal)
            if record is None:
                lost = ", ".join(known[each]["version_number"] for each in sorted(known) if each > ordinal)
                self.result.missing.append(f"{task_type} {lost}: the record of a version before is gone")
                break
            version = self._published(record, finished=ordinal in {each["ordinal"] for each in manifests})
            newest = version if version.status == PublishState.READY else newest
        return newest

    def _published(self, manifest: dict[str, Any], *, finished: bool) -> Version:
        task = self.tasks[manifest["task_type"]]
        version = _published_row(self.project, manifest)
        files = {file["format"]: file for file in manifest["files"]}
        path = self.folder / "frozen_rows.jsonl.gz"
        frozen = files["frozen_rows"]
        artifacts.fetch("labeler", frozen["s3_key"], path, sha256=frozen["sha256"])
        _replay(version, task, path)
        _refuse_other_counts(version, task)
        version.save(force_insert=True)
        _artifact_rows(version, manifest, artifacts.further_task(task), finished=finished)
        if finished:
            values = {name: manifest[name] for name in ("content_hash", "warnings")}
            publishing.change(version, status=PublishState.READY, finished_at=timezone.now(), **values)
            self.result.versions.append(version.version_number)
        else:
            self.result.notes.append(f"{version.version_number} was not finished; it is now")
        return version

    # Working saves

    def _saves(self) -> dict[str, list[Version]]:
        """Rows for all retained saves; those whose file is there by task, the newest first."""
        whole: dict[str, list[Version]] = {}
        for key in sorted(self.found.saves, key=lambda each: int(_matched(SAVE, each)[3])):
            metadata = read_json(key)
            version = _working_row(self.project, metadata)
            version.save(force_insert=True)
            is_there = _working_artifact(version, metadata)
            self.result.saves.append(version.version_number)
            if is_there:
                whole.setdefault(version.task_type, []).insert(0, version)
        return whole

    # Live rows

    def _live_rows(self, task: ProjectTask, published: Version | None, saves: list[Version]) -> None:
        save = self._fetch_newest(saves)
        if save is None and published is None:
            self.result.notes.append(f"{task.task_type} was never saved or published: no annotations to bring back")
            return
        overlay = published is not None and (save is None or published.created_at > save.created_at)
        if save is not None:
            self._stage_save(task, save)
        else:
            staging.open_tables()
        if overlay:
            assert published is not None
            _stage_over(published, task, alone=save is None)
        self.result.annotations += staging.apply(task, keep_versions=True).added
        if save is not None:
            _save_state(task, save, clean=not overlay)

    def _fetch_newest(self, saves: list[Version]) -> Version | None:
        """The newest save whose bytes are those recorded; a changed one is named, and the one before it taken."""
        for save in saves:
            artifact = save.artifacts.get(format="dice")
            try:
                artifacts.fetch("labeler", artifact.s3_key, self.save, sha256=artifact.sha256)
            except (StoreRefused, ObjectMissing) as error:
                self.result.missing.append(f"{save}: {error}")
                continue
            return save
        return None

    def _stage_save(self, task: ProjectTask, save: Version) -> None:
        reading = importing.stage_file(self.save, task, by=ACTOR)
        if reading.skipped:
            self.result.missing.append(f"{reading.skipped} entries of {save}: {reading.errors[:10]}")


def _matched(pattern: re.Pattern[str], key: str) -> re.Match[str]:
    found = pattern.match(key)
    assert found is not None
    return found


def _moment(text: str | None) -> datetime | None:
    return _time(text) if text else None


def _time(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise VersionError(f"{text!r} in a record is not a time.")
    return moment


# Rows of the project ------------------------------------------------------------------------


def _project_row(record: dict[str, Any]) -> Project:
    names = ("name", "description", "dataset_id", "dataset_name", "owner_id", "task_config", "settings", "status")
    project = Project(
        id=record["project_id"],
        created_at=_time(record["created_at"]),
        updated_at=_time(record["updated_at"]),
        updated_by=record["updated_by"],
        deleted_at=_moment(record["deleted_at"]),
        **{name: record[name] for name in names},
    )
    project.save(force_insert=True)
    return project


def _task_rows(project: Project, record: dict[str, Any]) -> list[ProjectTask]:
    rows = [ProjectTask(project=project, **values) for values in record["tasks"]]
    for row in rows:
        row.save(force_insert=True)
    return rows


def _class_rows(project: Project, record: dict[str, Any]) -> None:
    for values in record["classes"]:
        retired = _moment(values.pop("retired_at"))
        LabelClass.objects.create(project=project, retired_at=retired, **values)


def _member_rows(project: Project, record: dict[str, Any]) -> None:
    for values in record["members"]:
        added = _time(values.pop("added_at"))
        Member.objects.create(project=project, added_at=added, **values)


IMAGE_COLUMNS = (
    "id", "project_id", "path", "width", "height", "depth", "size", "etag", "last_modified", "split", "missing_since",
)  # fmt: skip


def _copy_images(project: Project, records: Iterator[dict[str, Any]]) -> int:
    count = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY dataset_images ({', '.join(IMAGE_COLUMNS)}) FROM STDIN") as copy,
    ):
        for record in records:
            values = {**record, "project_id": project.pk}
            copy.write_row([values[name] for name in IMAGE_COLUMNS])
            count += 1
    return count


# Rows of versions ---------------------------------------------------------------------------


def _published_row(project: Project, manifest: dict[str, Any]) -> Version:
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
        created_at=_time(manifest["created_at"]),
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


def _refuse_other_counts(version: Version, task: ProjectTask) -> None:
    """The rows open at the version must be as many as its record says: raises VersionError."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM annotation_snapshots WHERE task_id = %(task)s AND closed IS NULL),"
            " (SELECT count(*) FROM version_images WHERE task_id = %(task)s AND closed IS NULL)",
            {"task": task.pk},
        )
        found = cursor.fetchone()
    if found != (version.annotation_count, version.image_count):
        raise VersionError(
            f"The frozen rows of {version.version_number} give {found[0]} annotations on {found[1]} images, its record"
            f" says {version.annotation_count} on {version.image_count}."
        )


def _artifact_rows(version: Version, manifest: dict[str, Any], further: str | None, *, finished: bool) -> None:
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


def _working_row(project: Project, metadata: dict[str, Any]) -> Version:
    return Version(
        id=metadata["version_id"],
        project=project,
        task_type=metadata["task_type"],
        version_number=metadata["version_number"],
        major=0,
        minor=int(metadata["version_number"].partition(".")[2]),
        version_type=VersionType.WORKING,
        description=metadata["description"],
        created_at=_time(metadata["saved_at"]),
        created_by=metadata["created_by"],
        annotation_count=metadata["annotation_count"],
        image_count=metadata["image_count"],
        include_draft=True,
        trigger=metadata["trigger"],
        formats=["dice"],
        status=PublishState.READY,
        content_hash=metadata["content_hash"],
        warnings=metadata["warnings"],
        finished_at=_time(metadata["saved_at"]),
    )


def _working_artifact(version: Version, metadata: dict[str, Any]) -> bool:
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


# Frozen rows --------------------------------------------------------------------------------

SNAPSHOT_COLUMNS = "version_id, task_id, opened, annotation_id, image_id, snapshot_data"
FROZEN_IMAGE_COLUMNS = "version_id, task_id, opened, image_id, path, width, height, depth, split, metadata"
FROZEN_IMAGE_FIELDS = ("image_id", "path", "width", "height", "depth", "split", "metadata")
BATCH = 1000


def _replay(version: Version, task: ProjectTask, path: Path) -> None:
    """Close and open rows as the version did; the file closes before it opens."""
    snapshots.begin(version, task)
    snapshots.forget_ready(task)
    batch: list[tuple[str, Any]] = []
    for kind, value in read_changes(path):
        if batch and (batch[0][0] != kind or len(batch) >= BATCH):
            _replay_batch(version, task, batch)
            batch = []
        batch.append((kind, value))
    if batch:
        _replay_batch(version, task, batch)


def _replay_batch(version: Version, task: ProjectTask, batch: Sequence[tuple[str, Any]]) -> None:
    kind, values = batch[0][0], [value for _, value in batch]
    with connection.cursor() as cursor:
        if kind in ("close", "close_image"):
            table, column = {"close": ("annotation_snapshots", "annotation_id")}.get(
                kind, ("version_images", "image_id")
            )
            cursor.execute(
                f"UPDATE {table} SET closed = %s, until_version_id = %s"
                f" WHERE task_id = %s AND {column} = ANY(%s) AND closed IS NULL",
                [version.ordinal, version.pk, task.pk, values],
            )
            return
        table, columns = ("annotation_snapshots", SNAPSHOT_COLUMNS) if kind == "open" else (
            "version_images", FROZEN_IMAGE_COLUMNS)  # fmt: skip
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for value in values:
                copy.write_row([version.pk, task.pk, version.ordinal, *_opened(kind, value)])


def _opened(kind: str, value: dict[str, Any]) -> list[Any]:
    if kind == "open_image":
        return [value[name] for name in FROZEN_IMAGE_FIELDS]
    return [orjson.loads(value["snapshot_data"])["id"], value["image_id"], value["snapshot_data"]]


# Live rows ----------------------------------------------------------------------------------

# A version published after the last save knows newer states of what it holds; drafts, and whatever else only the
# save knows, stay as the save has them: nothing that was ever stored is left out.
TAKE_NEWER = """
DELETE FROM saved_annotations s USING wanted_annotations w WHERE w.keep_id = s.keep_id AND w.version >= s.version;
DELETE FROM wanted_annotations w USING saved_annotations s WHERE w.keep_id = s.keep_id;
INSERT INTO wanted_annotations SELECT (nextval('pg_temp.wanted_annotations_seq_seq')), keep_id, image_id,
    annotation_type, geometry, bbox, area, class_pk, attributes, confidence, notes, state, version, client_id,
    created_by, created_at, updated_by, updated_at, confirmed_by, confirmed_at FROM saved_annotations;
INSERT INTO wanted_images SELECT * FROM saved_images s
    WHERE NOT EXISTS (SELECT FROM wanted_images w WHERE w.image_id = s.image_id);
UPDATE wanted_images i SET status = 'in-progress' WHERE status = 'completed' AND EXISTS (
    SELECT FROM wanted_annotations w WHERE w.image_id = i.image_id AND w.state = 'draft');
"""


def _stage_over(version: Version, task: ProjectTask, *, alone: bool) -> None:
    """Stage a published version over the staged save."""
    if alone:
        restoring.stage_frozen(version, task)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE saved_annotations ON COMMIT DROP AS SELECT * FROM wanted_annotations;"
            "CREATE TEMP TABLE saved_images ON COMMIT DROP AS SELECT * FROM wanted_images"
        )
        restoring.stage_frozen(version, task)
        cursor.execute(TAKE_NEWER)
        cursor.execute("DROP TABLE saved_annotations; DROP TABLE saved_images")


def _save_state(task: ProjectTask, save: Version, *, clean: bool) -> None:
    known = {"last_version": save, "last_saved_at": save.created_at, "content_hash": save.content_hash}
    SaveState.objects.filter(task=task).update(**known)
    if clean:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE image_annotation_status SET saved_revision = revision WHERE project_id = %s AND task_type = %s",
                [task.project_id, task.task_type],
            )


# Ids ----------------------------------------------------------------------------------------

SEQUENCES = {
    "annotation": ("annotations_id_seq", "annotations"),
    "image": ("dataset_images_id_seq", "dataset_images"),
    "version": ("annotation_versions_id_seq", "annotation_versions"),
}


def highest(records: Iterable[dict[str, int]]) -> dict[str, int]:
    """The highest id of each kind that any record names."""
    most = dict.fromkeys(SEQUENCES, 0)
    for record in records:
        for name in SEQUENCES:
            most[name] = max(most[name], int(record.get(name) or 0))
    return most


def raise_sequences(high_water: dict[str, int]) -> None:
    """No id that was ever given out is given out again: sequences go on above every record and every row."""
    with connection.cursor() as cursor:
        for name, (sequence, table) in SEQUENCES.items():
            cursor.execute(
                f"SELECT setval('{sequence}', greatest(%s, (SELECT coalesce(max(id), 1) FROM {table}),"
                f" (SELECT last_value FROM {sequence})))",
                [high_water.get(name, 0)],
            )
