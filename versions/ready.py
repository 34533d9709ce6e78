"""Ready pieces: what the last files of a task hold of images that did not change goes into the next ones as it is.

A publish or a working save renders the images that changed and copies the pieces of all others out of the files of the
one before (exports/pieces.py). A version's row tells the list of its pieces and the files they lie in, each with its
hash; the list lies in the store, and the next one replaces it. Both are a cache, never the truth: the rows give every
piece again, and ``verifying`` compares them. What is missing or not as it was recorded is rendered.

Published: an image is frozen anew whenever anything of it changed, so its state is the ordinal of the version that
froze it. Working: the revision of its progress row, as every change of the image or its annotations raises it. Both are
of this database's own past: what another one made after it was parted from this one is known by its hash to be
another's.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import sys
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.db import connection

from annotations.models import ProjectTask
from exports import keys, stores
from exports.errors import StoreError
from exports.pieces import Listing, PieceList, Pieces
from exports.rows import Dataset, ImageRow
from exports.writer import ReadyImages
from versions import snapshots
from versions.models import Version

log = logging.getLogger(__name__)

# What a file says of itself; no piece holds any of it.
OF_THE_FILE = ("dataset_id", "dataset_name", "project_id", "version", "created_at", "last_modified_at", "storage_info")
CONTENT_TYPE = "application/octet-stream"
# A row: an image's id and state, its columns and the texts of its annotations.
FROZEN_IN = """
FROM version_images v
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)"""
FROZEN = f"""
SELECT v.image_id, v.opened, v.path, v.width, v.height, v.depth, v.split, v.metadata, {snapshots.FROZEN_ANNOTATIONS}
{FROZEN_IN}"""
OF_THE_TASK = f"WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s AND {snapshots.STARTED}"
STARTED_IN = f"FROM image_annotation_status s {OF_THE_TASK}"
STARTED = f"""
SELECT i.id, s.revision, i.path, i.width, i.height, i.depth, i.split, {snapshots.METADATA}, {snapshots.LIVE_ANNOTATIONS}
FROM image_annotation_status s
JOIN dataset_images i ON i.id = s.image_id
LEFT JOIN LATERAL (
    SELECT e.created_by, e.created_at FROM annotations e
    WHERE e.project_id = s.project_id AND e.image_id = s.image_id AND e.task_type = s.task_type
    ORDER BY e.created_at, e.id LIMIT 1) first ON true
{OF_THE_TASK}"""
# All ids, and all states, as bytes: rows of their own would cost more than all that is done with them.
LISTED = """
SELECT string_agg(int8send({image}), ''::bytea ORDER BY {image}),
    string_agg(int8send({state}), ''::bytea ORDER BY {image}) {those}"""


@dataclass(frozen=True)
class Source:
    """The images of a file in the database: all of them as ids and states, or as rows, ``chosen`` ones or all."""

    listed: str
    rows: str
    image: str
    values: dict[str, Any]

    def listing(self) -> Listing:
        """All its images."""
        with connection.cursor() as cursor:
            cursor.execute(self.listed, self.values)
            ids, states = cursor.fetchone()
        return Listing(_numbers(ids), _numbers(states))

    def images(self, pieces: PieceList, only: array[int] | None = None) -> Generator[ImageRow, None, None]:
        """Its images in file order, streamed; no other query is sent on this connection before the last is taken, or
        this is closed."""
        if only is not None and not only:
            return
        chosen = "" if only is None else f"AND {self.image} = ANY(%(only)s)"
        values = self.values if only is None else {**self.values, "only": list(only)}
        sql = f"{self.rows} {chosen} ORDER BY {self.image}"
        with closing(snapshots.pushed(sql, values)) as found:
            for image_id, state, *columns in found:
                pieces.expect(state)
                yield snapshots.image_row((image_id, *columns))


def _numbers(sent: bytes | None) -> array[int]:
    numbers = array("q", sent or b"")
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def published_images(version: Version, task: ProjectTask) -> Source:
    """The images of a published version. What is frozen stays, so its queries need no moment in common."""
    listed = LISTED.format(image="v.image_id", state="v.opened::bigint", those=FROZEN_IN)
    return Source(listed, FROZEN, "v.image_id", {"task": task.pk, "ordinal": version.ordinal})


def working_images(task: ProjectTask) -> Source:
    """All started live images, drafts included; to be read within one moment."""
    listed = LISTED.format(image="s.image_id", state="s.revision", those=STARTED_IN)
    return Source(listed, STARTED, "s.image_id", snapshots.WORKING.parameters(task))


# The files before ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Before:
    """Pieces of finished files, the context they were made in, and whether the files are what was recorded of them."""

    # Of their list, in the labeler store.
    key: str
    context: str
    pieces: Pieces
    # Key, SHA-256 as recorded, and as it is found to be, of each file.
    checks: Sequence[tuple[str, str, Future[str]]]

    def are_sound(self) -> bool:
        """Wait until the files are hashed; the log says which one is not what was recorded."""
        for key, sha256, found in self.checks:
            if found.result() != sha256:
                log.error("Nothing is copied from %s, which is not what was recorded; see verify_artifacts.", key)
        return all(found.result() == sha256 for _, sha256, found in self.checks)


@contextmanager
def opened(noted: Sequence[Any], formats: Sequence[str], folder: Path) -> Iterator[Before | None]:
    """The files before, of all these formats: those whose list of pieces is in the store, if it is one of ``noted``
    (``Version.pieces``). None where it is not, or the files cannot be had, which the log says. To be asked for with no
    transaction open, as files of a bucket are fetched into ``folder``."""
    fit = [each for each in noted if each and set(formats) <= set(each["formats"])]
    with ExitStack() as stack:
        yield _opened(fit, formats, folder, stack) if fit else None


def _opened(fit: Sequence[Any], formats: Sequence[str], folder: Path, stack: ExitStack) -> Before | None:
    def local(key: str) -> BinaryIO:
        return stack.enter_context(stores.open_local("labeler", key, folder))

    try:
        listed = local(fit[0]["key"])
        sha256 = stores.sha256_of(listed)
        found = next((each for each in fit if each["sha256"] == sha256), None)
        if found is None:
            return None
        told = {name: found["files"][name] for name in formats}
        _check_room(told.values(), folder)
        files = {name: local(each["key"]) for name, each in told.items()}
    except (StoreError, OSError) as error:
        log.warning("Nothing is copied from the files before, all is rendered: %s", error)
        return None
    starts = {name: each["starts"] for name, each in told.items()}
    hashing = stack.enter_context(ThreadPoolExecutor(2))
    checks = [(told[name]["key"], told[name]["sha256"], hashing.submit(_hash, file)) for name, file in files.items()]
    return Before(found["key"], found["context"], Pieces(listed, found["formats"], files, starts), checks)


def _check_room(told: Iterable[Any], folder: Path) -> None:
    """Raise OSError where copies of files of a bucket would leave no room for the new ones."""
    if stores.is_folder("labeler"):
        return
    # The copies, files of the same size, what waits for their ends, and as much again for what is new.
    needed, free = 3 * sum(each["size"] for each in told), shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{folder} has {free} bytes left; old files and new ones need {needed}")


def _hash(file: BinaryIO) -> str:
    try:
        return stores.sha256_of(file)
    except OSError as error:
        return f"not readable: {error.strerror}"


def images_of(
    source: Source, before: Before | None, context: str, pieces: PieceList
) -> Generator[ImageRow | ReadyImages, None, None]:
    """All images of a file in file order, streamed: with their pieces where they are as before, else as rows. Raises
    BrokenFile if a file before is not what it was a moment ago."""
    if before is not None and before.context == context:
        listing = source.listing()
        missing = before.pieces.missing(listing)
        # Rows of most are read quickest with all others.
        if 2 * len(missing) <= len(listing.ids) and before.are_sound():
            return before.pieces.merged(listing, source.images(pieces, missing))
    return source.images(pieces)


# Kept for the files after -------------------------------------------------------------------------


def context_of(dataset: Dataset) -> str:
    """A digest of all that pieces depend on besides their image: classes, ratios, forms, and the writers themselves."""
    told = {each.name: getattr(dataset, each.name) for each in fields(dataset) if each.name not in OF_THE_FILE}
    # Numbers in strands stand as this machine's processor writes them.
    text = orjson.dumps([told, snapshots.writer_version(), sys.byteorder], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()


def note(version: Version, further: str | None, pieces: PieceList, context: str, files: dict[str, Any]) -> None:
    """Note in a version, which is to be recorded, where its pieces lie. ``files``: key, sha256, size in bytes and
    starts of each format."""
    version.pieces = {
        "key": keys.pieces(version.project_id, version.version_type, further),
        "sha256": stores.sha256_of_file(pieces.path),
        "context": context,
        "formats": list(pieces.formats),
        "files": files,
    }


def keep(version: Version, pieces: PieceList) -> None:
    """Put the list of a recorded version's pieces into the store. It is a cache: what a store refuses is said in the
    log, and the list before stays, which an earlier version notes."""
    noted: Any = version.pieces
    said = {"content_type": CONTENT_TYPE, "sha256": noted["sha256"], "size": pieces.path.stat().st_size}
    try:
        stores.put_latest("labeler", noted["key"], pieces.path, **said, given=True)
    except StoreError as error:
        log.warning("The list of pieces of %s is not kept, more will be rendered next time: %s", version, error)
