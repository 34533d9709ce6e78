"""Making the files of versions and saves: built on local disk in one pass, then uploaded with their hash.

No transaction is open while anything is uploaded. Published files are create-only: building them
again gives the same bytes, so a repeated step finds its own work and goes on.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from psycopg import IsolationLevel

from annotations.models import Project, ProjectTask, iso
from annotations.states import AnnotationState
from exports import frozen_records, keys, stores, zipstream
from exports.errors import BrokenFile, ContentConflict, StoreUnavailable
from exports.formats import FORMATS
from exports.pieces import PieceList
from exports.renderers import Renderers
from exports.rows import Dataset, ImageRow
from exports.writer import Hashing, Keep, ReadyImages, Summary, Twin, write_all
from versions import ready, snapshots
from versions.models import Artifact, Version

log = logging.getLogger(__name__)

# What a save sees by the way in the read that its file is of.
Seen = TypeVar("Seen")

JSON = "application/json"
# What tells the content of a packed file: another zlib makes other bytes of the same.
UNPACKED = {"yolo": zipstream.unpacked, "frozen_rows": frozen_records.unpacked}


@dataclass(frozen=True)
class Built:
    """A finished local file with its size in bytes and SHA-256 (hex); ``twin`` is the same once more."""

    format: str
    path: Path
    size: int
    sha256: str
    summary: Summary
    twin: Path | None = None


@dataclass
class BuildSummary:
    """What one pass over a version found: the content hash and the warnings of every format."""

    content_hash: str = ""
    annotation_count: int = 0
    image_count: int = 0
    warnings: list[dict[str, Any]] = field(default_factory=list)
    files: list[Artifact] = field(default_factory=list)


@dataclass(frozen=True)
class ReadyFiles:
    """Finished files and the list of their pieces, which were made in ``context``."""

    built: list[Built]
    pieces: PieceList
    context: str


@contextmanager
def scratch() -> Iterator[Path]:
    """A local folder that is gone afterwards; what a killed process leaves is swept by age."""
    settings.LABELER_SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=settings.LABELER_SCRATCH))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(hours: int = 24) -> int:
    """Remove what killed processes left on this machine, builds and uploads; returns how many."""
    limit = time.time() - hours * 3600
    found = [*settings.LABELER_SCRATCH.glob("build-*"), *settings.LABELER_SCRATCH.glob("*.upload*")]
    left = [each for each in found if _written(each) < limit]
    for each in left:
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)
    return len(left)


def _written(path: Path) -> float:
    """When it was written; one that is gone meanwhile was of a process that lives, so: now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


@contextmanager
def one_instant() -> Iterator[None]:
    """A transaction in which every query sees the same moment of the database and nothing is written."""
    with repeatable(read_only=True), transaction.atomic(durable=True):
        yield


@contextmanager
def repeatable(*, read_only: bool = False) -> Iterator[None]:
    """The transaction begun inside sees one moment of the database, from its first query on."""
    if connection.in_atomic_block:
        raise transaction.TransactionManagementError("The moment a transaction sees is chosen before it begins.")
    connection.ensure_connection()
    raw = connection.connection
    # Told to the driver, so that it goes with BEGIN.
    raw.isolation_level, raw.read_only = IsolationLevel.REPEATABLE_READ, read_only or None
    try:
        yield
    finally:
        if not raw.closed:
            raw.isolation_level = raw.read_only = None


# Building -----------------------------------------------------------------------------------


def build(
    dataset: Dataset,
    images: Generator[ImageRow | ReadyImages, None, None],
    formats: Sequence[str],
    folder: Path,
    keep: Keep | None = None,
    *,
    given: bool = False,
    twice: bool = False,
) -> list[Built]:
    """Write every format from a single pass over ``images``, which is closed, into ``folder``; ``keep`` is told of what
    was written.
    ``given``: the files are for ``put_new``; ``twice``: each is for a second object, too, and has a twin where the
    store keeps given files and the disk has room. Raises StoreUnavailable if the disk takes no more of the files, or
    lost something."""
    paths = [folder / FORMATS[name].file_name for name in formats]
    given = given and stores.keeps_files_of("labeler", folder)
    with _written_or_unavailable(), ExitStack() as stack:
        # Whoever is told of an error may ask the same connection for something, which waits for the last row.
        stack.enter_context(closing(images))
        files = [stack.enter_context(path.open("wb")) for path in paths]
        twins = [stack.enter_context(Twin(path)) if given and twice else None for path in paths]
        disk = stack.enter_context(ThreadPoolExecutor(1)) if given else None
        aside = stack.enter_context(ThreadPoolExecutor(1))
        outs = [Hashing(file, aside, disk, twin) for file, twin in zip(files, twins, strict=True)]
        writers = [FORMATS[name].writer(dataset, cast(BinaryIO, out)) for name, out in zip(formats, outs, strict=True)]
        helpers = stack.enter_context(Renderers(dataset, formats, settings.LABELER_RENDERERS))
        summaries = write_all(images, writers, keep, helpers)
        for out in outs:
            out.settle()
    return [
        Built(name, path, out.size, out.sha256(), summary, twin.path if twin else None)
        for name, path, out, summary, twin in zip(formats, paths, outs, summaries, twins, strict=True)
    ]


@contextmanager
def _written_or_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"The local disk did not take the file: {error.strerror or error}.") from error


def published_dataset(version: Version) -> Dataset:
    """What a published version's files say of themselves, from its own frozen manifest."""
    manifest = version.manifest
    return Dataset(
        dataset_id=manifest["dataset_id"],
        dataset_name=manifest["dataset_name"],
        project_id=version.project_id,
        task_type=version.task_type,
        version=version.version_number,
        version_type="published",
        include_draft=version.include_draft,
        created_at=manifest["project_created_at"],
        last_modified_at=iso(version.created_at) or "",
        storage_info=manifest["storage_info"],
        classes=snapshots.label_classes(manifest["classes"]),
        has_background=manifest["has_background"],
        split_ratios=tuple(manifest["split_ratios"]),
        flat_mirror=manifest["flat_mirror"],
        has_rotated=manifest["has_rotated"],
    )


def build_published(version: Version, task: ProjectTask, formats: Sequence[str], folder: Path) -> list[Built]:
    """The version's files from its frozen rows alone, on local disk; the same bytes every time."""
    with one_instant():
        return build(published_dataset(version), snapshots.frozen_rows(version, task), formats, folder)


def build_next(version: Version, task: ProjectTask, folder: Path, noted: Sequence[Any] = ()) -> ReadyFiles:
    """The same files, with the pieces of earlier ones where those are as ``noted`` (``Version.pieces``)."""
    dataset, source = published_dataset(version), ready.published_images(version, task)
    with ready.opened(noted, version.formats, folder) as before:
        try:
            return build_ready(dataset, source, version.formats, folder, before)
        except StoreUnavailable as error:
            # Where no copies of the files before take room there is nothing to win.
            if before is None or stores.is_folder("labeler"):
                raise
            log.warning("Nothing is copied from the files before, all is rendered: %s", error)
    return build_ready(dataset, source, version.formats, folder, None)


def build_ready(
    dataset: Dataset,
    source: ready.Source,
    formats: Sequence[str],
    folder: Path,
    before: ready.Before | None,
    *,
    twice: bool = False,
) -> ReadyFiles:
    """Files for ``put_new`` of the images of ``source``, and the list of their pieces; ``twice`` as with ``build``.
    What did not change is copied from the files ``before``. Raises StoreUnavailable as ``build``, and if those are
    changed meanwhile."""
    context = ready.context_of(dataset)
    try:
        with _written_or_unavailable(), PieceList(folder / "pieces", formats) as pieces:
            images = ready.images_of(source, before, context, pieces)
            built = build(dataset, images, formats, folder, pieces.take, given=True, twice=twice)
    except BrokenFile as error:
        raise StoreUnavailable(f"A file changed while it was copied from; try again. {error}") from error
    return ReadyFiles(built, pieces, context)


def upload(version: Version, task: ProjectTask, made: ReadyFiles) -> BuildSummary:
    """Upload the files of a published version; they are in the summary, not recorded yet."""
    files = [_upload_published(version, task, file) for file in made.built]
    note_pieces(version, task, made, files)
    return summarise(made.built, files)


def note_pieces(version: Version, task: ProjectTask, made: ReadyFiles, files: Sequence[Artifact]) -> None:
    """Note where the pieces of uploaded files lie, for the next ones. Nothing of a version of which another file was
    there before, from another zlib."""
    both = list(zip(made.built, files, strict=True))
    if all(file.sha256 == built.sha256 for built, file in both):
        told = {built.format: _told(built, file) for built, file in both}
        ready.note(version, further_task(task), made.pieces, made.context, told)


def _told(built: Built, file: Artifact) -> dict[str, Any]:
    return {"key": file.s3_key, "sha256": file.sha256, "size": built.size, "starts": built.summary.starts}


def keep_pieces(version: Version, made: ReadyFiles) -> None:
    """Keep the list of a recorded version's pieces, if it notes them."""
    if version.pieces is not None:
        ready.keep(version, made.pieces)


def summarise(built: Sequence[Built], files: list[Artifact]) -> BuildSummary:
    """The counts and hash of the DICE file, the warnings of all formats."""
    dice = next(file.summary for file in built if file.format == "dice")
    warnings = [{**warning, "format": file.format} for file in built for warning in file.summary.warnings]
    return BuildSummary(dice.content_hash or "", dice.annotation_count, dice.image_count, warnings, files)


def _upload_published(version: Version, task: ProjectTask, file: Built) -> Artifact:
    key = keys.published(version.project_id, version.version_number, file.format, further_task(task))
    return put_file(version, file.format, key, file.path, FORMATS[file.format].content_type, file.sha256)


def put_file(version: Version, format_name: str, key: str, path: Path, content_type: str, sha256: str) -> Artifact:
    """Upload a file of a published version create-only; to be recorded, with size and hash of what is stored: that may
    be an earlier try's, in other bytes where another zlib packed the same content. Raises ContentConflict."""
    try:
        stored = put_new(key, path, content_type, sha256)
    except ContentConflict:
        found = packed_otherwise(format_name, key, path)
        if found is None:
            raise
        stored, sha256 = stores.head("labeler", key), found
    return as_stored(version, stored, format_name, sha256)


def packed_otherwise(format_name: str, key: str, path: Path) -> str | None:
    """SHA-256 (hex) of an object of the labeler store that holds what the file at ``path`` does, packed by another
    zlib; None for one that holds anything else, and for formats that are not packed."""
    unpacked = UNPACKED.get(format_name)
    if unpacked is None:
        return None
    with scratch() as folder:
        present = folder / "present"
        sha256 = stores.download("labeler", key, present)
        try:
            return sha256 if unpacked(present) == unpacked(path) else None
        except BrokenFile:
            return None


def put_new(key: str, path: Path, content_type: str, sha256: str) -> Any:
    """Upload a finished local file create-only to the labeler store; the same content there already is success. Nobody
    may write to the file any more."""
    size = path.stat().st_size
    return stores.put_new("labeler", key, path, content_type=content_type, sha256=sha256, size=size, given=True)


def as_stored(version: Version, stored: Any, format_name: str, sha256: str) -> Artifact:
    """An uploaded file, to be recorded."""
    return Artifact(version=version, format=format_name, s3_key=stored.key, size_bytes=stored.size, sha256=sha256)


# The files first: a version that is ready gets no further ones. An earlier version whose frozen rows this one wrote, or
# the version itself where a lock was lost with its connection, may have become ready meanwhile; it has all of its files
# then, and none is recorded. Locked in one order, so that two versions never wait for each other.
READY = """
WITH open AS MATERIALIZED (
    SELECT id FROM annotation_versions WHERE id = ANY(%(versions)s) AND status <> 'ready'
    ORDER BY id FOR NO KEY UPDATE),
recorded AS (
    INSERT INTO version_exports (version_id, format, s3_key, size_bytes, sha256, created_at)
    SELECT f.*, now() FROM unnest(%(versions)s::bigint[], %(formats)s::text[], %(keys)s::text[],
        %(sizes)s::bigint[], %(hashes)s::text[]) f (version) JOIN open ON open.id = f.version
    ON CONFLICT DO NOTHING RETURNING 1),
all_of_them AS MATERIALIZED (SELECT count(*) FROM recorded)
UPDATE annotation_versions v SET status = %(status)s, content_hash = %(content_hash)s, warnings = %(warnings)s::jsonb,
    last_error = %(last_error)s, retry_at = NULL, finished_at = %(finished_at)s, pieces = %(pieces)s::jsonb
FROM all_of_them, open WHERE v.id = open.id AND v.id = %(version)s"""


def record_ready(version: Version, files: Sequence[Artifact]) -> bool:
    """Remember uploaded files and, with them, that the version is ready as it stands in memory: in one statement.
    Doing it twice changes nothing; False if it was ready."""
    columns: dict[str, Any] = {
        "versions": [file.version_id for file in files],
        "formats": [file.format for file in files],
        "keys": [file.s3_key for file in files],
        "sizes": [file.size_bytes for file in files],
        "hashes": [file.sha256 for file in files],
    }
    row = {name: getattr(version, name) for name in ("status", "content_hash", "last_error", "finished_at")}
    told = {"warnings": _json(version.warnings), "pieces": version.pieces and _json(version.pieces)}
    with connection.cursor() as cursor:
        cursor.execute(READY, {**columns, **row, **told, "version": version.pk})
        return cursor.rowcount > 0


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def further_task(task: ProjectTask) -> str | None:
    """The name a further task puts into its keys; None for the first task."""
    return None if task.is_first else task.task_type


@contextmanager
def local_copy(key: str, sha256: str) -> Iterator[Path]:
    """A file fetched from the labeler store and checked against its recorded hash.

    Raises exports.errors.StoreRefused when the stored bytes are not what was recorded.
    """
    with scratch() as folder:
        path = folder / "copy"
        fetch("labeler", key, path, sha256=sha256)
        yield path


def fetch(alias: str, key: str, path: Path, *, sha256: str | None = None) -> str:
    """Download an object to ``path``; returns its SHA-256. Raises StoreRefused if it is not ``sha256``."""
    found = stores.download(alias, key, path)
    if sha256 is not None and found != sha256:
        raise stores.StoreRefused(f"{key} holds other bytes than were recorded (sha256 {found}, not {sha256}).")
    return found


# Working saves --------------------------------------------------------------------------------


@contextmanager
def working_file(
    version: Version, task: ProjectTask, see: Callable[[], Seen], *, last: Version | None, held: bool = False
) -> Iterator[tuple[ReadyFiles, Seen]]:
    """The DICE file of a working save from one consistent read, with what ``see`` saw in that same read. What did not
    change since the ``last`` save is copied from its file.

    ``held``: the caller's transaction holds every writer of the task, so its own reads are consistent.
    """
    with scratch() as folder, ready.opened([last.pieces] if last else [], ["dice"], folder) as before:
        with nullcontext() if held else one_instant():
            seen = see()
            contents = snapshots.contents(task, snapshots.EVERYTHING)
            dataset = live_dataset(
                task, version.version_number, "working", version.created_at, contents, states=snapshots.EVERYTHING
            )
            made = build_ready(dataset, ready.working_images(task), ["dice"], folder, before, twice=True)
        # No id that a row of the file has was given out after it was read.
        version.manifest["high_water"] = contents["high_water"]
        yield made, seen


def live_dataset(
    task: ProjectTask, number: str, kind: str, moment: Any, held: dict[str, Any], *, states: Sequence[str]
) -> Dataset:
    """What a file of live rows says of itself (``kind`` working or export); ``held`` as ``snapshots.contents`` has it
    of these states."""
    project: Project = task.project
    return Dataset(
        dataset_id=project.dataset_id,
        dataset_name=project.dataset_name,
        project_id=project.pk,
        task_type=task.task_type,
        version=number,
        version_type=kind,
        include_draft=AnnotationState.DRAFT in states,
        created_at=iso(project.created_at) or "",
        last_modified_at=iso(moment) or "",
        storage_info=snapshots.storage_info(project),
        classes=snapshots.label_classes(held["classes"]),
        has_background=held["has_background"],
        split_ratios=snapshots.split_ratios(project),
        flat_mirror=snapshots.flat_mirror(project) and kind == "export",
        has_rotated=held["has_rotated"],
    )


def put_working(version: Version, task: ProjectTask, made: ReadyFiles) -> Artifact:
    """Retained copy (create-only), its metadata, the latest file, then the latest metadata; the version says already
    what the file holds, and notes where its pieces lie.

    Raises ContentConflict when the number is taken in the store by other content.
    """
    (built,), further = made.built, further_task(task)
    retained = keys.working_retained(version.project_id, version.version_number, further)
    stored = put_new(retained, built.path, JSON, built.sha256)
    artifact = Artifact(version=version, format="dice", s3_key=retained, size_bytes=stored.size, sha256=built.sha256)
    metadata = orjson.dumps(_metadata(artifact, task))
    put_bytes(_metadata_key(artifact, task), metadata)
    dataset_id = task.project.dataset_id
    stores.copy("labeler", retained, keys.working_latest(dataset_id, further), given=built.twin)
    put_bytes(keys.working_metadata(dataset_id, further), metadata)
    note_pieces(version, task, made, [artifact])
    return artifact


def mend_latest(version: Version, task: ProjectTask) -> bool:
    """Make the latest file and its metadata those of a retained save again, should a save that was broken off, or a
    copy that arrived late, have left others. True if they were not; raises ObjectMissing if the retained copy would be
    needed and is gone."""
    artifact = version.artifacts.filter(format="dice", removed_at=None).first()
    if artifact is None:
        return False
    mend_metadata(artifact, task)
    dataset_id, further = task.project.dataset_id, further_task(task)
    latest, key = keys.working_latest(dataset_id, further), keys.working_metadata(dataset_id, further)
    present = stores.find("labeler", latest)
    is_other = present is None or present.sha256 != artifact.sha256
    if is_other:
        stores.copy("labeler", artifact.s3_key, latest)
    metadata = stores.read_small("labeler", _metadata_key(artifact, task))
    if stores.find("labeler", key) is None or stores.read_small("labeler", key) != metadata:
        put_bytes(key, metadata)
        return True
    return is_other


def mend_metadata(artifact: Artifact, task: ProjectTask) -> bool:
    """Make the metadata of a retained save again from its rows; True if it was gone."""
    key = _metadata_key(artifact, task)
    if stores.find("labeler", key) is not None:
        return False
    put_bytes(key, orjson.dumps(_metadata(artifact, task)))
    return True


def _metadata_key(artifact: Artifact, task: ProjectTask) -> str:
    version = artifact.version
    return keys.working_retained_metadata(version.project_id, version.version_number, further_task(task))


def _metadata(artifact: Artifact, task: ProjectTask) -> dict[str, Any]:
    version = artifact.version
    return {
        "project_id": version.project_id,
        "dataset_id": task.project.dataset_id,
        "task_type": version.task_type,
        "version_number": version.version_number,
        "saved_at": iso(version.created_at),
        "trigger": version.trigger,
        "annotation_count": version.annotation_count,
        "image_count": version.image_count,
        "content_hash": version.content_hash,
        "size_bytes": artifact.size_bytes,
        "retained_key": artifact.s3_key,
        "sha256": artifact.sha256,
        "version_id": version.pk,
        "created_by": version.created_by,
        "description": version.description,
        "warnings": version.warnings,
        "high_water": version.manifest["high_water"],
        "journal": version.manifest["journal"],
    }


def put_bytes(key: str, content: bytes, *, alias: str = "labeler", content_type: str = JSON) -> Any:
    """Write a small object, replacing what was there."""
    with scratch() as folder:
        path = folder / "small"
        path.write_bytes(content)
        return stores.put_latest(
            alias, key, path, content_type=content_type, sha256=stores.sha256_of_file(path), size=len(content)
        )


def remove_working(artifact: Artifact) -> None:
    """Let a retained copy go: the object first, then the mark on its row, so that a crash repeats it."""
    stores.remove("labeler", artifact.s3_key)
    artifact.removed_at = timezone.now()
    artifact.save(update_fields=["removed_at"])
