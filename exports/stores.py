"""The two stores by alias, ``labeler`` and ``platform``: put with checksum, open, list, link.

The backends behind the aliases are the front door's; what they must offer beyond Django's storage
interface is what this module calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.storage import storages

from exports.errors import (
    ContentConflict,
    ObjectMissing,
    PreconditionFailed,
    StoreRefused,
    StoreUnavailable,
)

__all__ = ["ContentConflict", "ObjectMissing", "PreconditionFailed", "StoreRefused", "StoreUnavailable"]

BITE = 1024 * 1024
TRIES = 5


@dataclass(frozen=True)
class StoredObject:
    """An object as its store describes it; ``sha256`` (hex) only if it was written by us."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    content_type: str
    metadata: dict[str, str]
    sha256: str | None


@dataclass(frozen=True)
class Abilities:
    """Which conditional writes a store really checks."""

    create_only: bool
    compare_and_swap: bool


def backend(alias: str) -> Any:
    """The backend of an alias."""
    return storages[alias]


def is_folder(alias: str) -> bool:
    """Whether the store is a folder, whose objects are files."""
    return backend(alias).storage_type == "local"


def keeps_files_of(alias: str, folder: Path) -> bool:
    """Whether a file of this folder that is given to the store becomes the object itself, so that it has to be on the
    disk. Raises StoreUnavailable."""
    return backend(alias).keeps_files_of(folder)


def put_new(
    alias: str,
    key: str,
    path: Path,
    *,
    content_type: str,
    sha256: str,
    size: int,
    metadata: dict[str, str] | None = None,
    given: bool = False,
) -> StoredObject:
    """Upload create-only; the same content there already, or landed unheard, is success. ``given``: nobody writes to
    the file any more, so a folder may keep it as it is instead of copying it.

    Raises ContentConflict when the key holds other content, StoreUnavailable and StoreRefused.
    """
    try:
        with path.open("rb") as body:
            return backend(alias).put(
                key,
                body,
                size=size,
                content_type=content_type,
                sha256=sha256,
                metadata=metadata,
                create_only=True,
                given=path if given else None,
            )
    except PreconditionFailed as error:
        # Perhaps our own earlier try, whose answer was lost.
        try:
            found = hash_of(alias, key)
        except ObjectMissing as gone:
            raise StoreUnavailable(f"{key} was there and is gone; try again.") from gone
        if found != sha256:
            raise ContentConflict(f"{key} already holds other content (sha256 {found}, not {sha256}).") from error
        return head(alias, key)


def put_latest(
    alias: str,
    key: str,
    path: Path,
    *,
    content_type: str,
    sha256: str,
    size: int,
    metadata: dict[str, str] | None = None,
    given: bool = False,
) -> StoredObject:
    """Upload, replacing what is there now: a request that arrives late never replaces anything newer. ``given`` as with
    ``put_new``.

    Raises StoreUnavailable when others keep writing the object.
    """
    for _ in range(TRIES):
        present = find(alias, key)
        try:
            return swap(
                alias,
                key,
                path,
                etag=present.etag if present else None,
                content_type=content_type,
                sha256=sha256,
                size=size,
                metadata=metadata or {},
                given=given,
            )
        except PreconditionFailed:
            # Somebody wrote in between, perhaps our own unheard try: look again.
            continue
    raise StoreUnavailable(f"{key} kept changing while it was written.")


def swap(
    alias: str,
    key: str,
    path: Path,
    *,
    etag: str | None,
    content_type: str,
    sha256: str,
    size: int,
    metadata: dict[str, str],
    given: bool = False,
) -> StoredObject:
    """Upload only if the object is still the one with ``etag`` (None: still absent); else PreconditionFailed."""
    condition: dict[str, Any] = {"create_only": True} if etag is None else {"if_match": etag}
    with path.open("rb") as body:
        return backend(alias).put(
            key,
            body,
            size=size,
            content_type=content_type,
            sha256=sha256,
            metadata=metadata,
            given=path if given else None,
            **condition,
        )


def copy(alias: str, source: str, target: str, *, given: Path | None = None) -> StoredObject:
    """Copy inside the store. ``given`` is another file of the same bytes than the one that became ``source``, and
    nobody writes to it any more: a folder may keep that one instead of making another."""
    return backend(alias).copy(source, target, given=given)


def head(alias: str, key: str) -> StoredObject:
    """What is known of an object; raises ObjectMissing."""
    return backend(alias).head(key)


def find(alias: str, key: str) -> StoredObject | None:
    """As ``head``, None for an object that is not there."""
    try:
        return head(alias, key)
    except ObjectMissing:
        return None


def open_read(alias: str, key: str) -> BinaryIO:
    """The object, streamed."""
    return backend(alias).open_read(key)


def open_local(alias: str, key: str, folder: Path) -> BinaryIO:
    """The object as an open file with a descriptor: where the store is a folder the object itself, else a copy in
    ``folder``. Raises ObjectMissing, StoreUnavailable, StoreRefused, and OSError where the folder has no room."""
    return backend(alias).open_local(key, folder)


def read_range(alias: str, key: str, start: int, length: int) -> bytes:
    """Up to ``length`` bytes from ``start``."""
    return backend(alias).read_range(key, start, length)


def read_small(alias: str, key: str, most: int = 16 * 1024 * 1024) -> bytes:
    """A small object whole; raises StoreRefused when it is larger than ``most`` bytes."""
    with open_read(alias, key) as body:
        content = body.read(most + 1)
    if len(content) > most:
        raise StoreRefused(f"{key} is larger than {most} bytes.")
    return content


def listing(alias: str, prefix: str) -> Iterator[StoredObject]:
    """Every object under a prefix, in key order."""
    return backend(alias).listing(prefix)


def link(alias: str, key: str, *, seconds: int, filename: str | None = None) -> str:
    """A link that works for ``seconds`` without further identity."""
    return backend(alias).link(key, seconds=seconds, filename=filename)


def remove(alias: str, key: str) -> None:
    """Take an object away; absent is no error."""
    backend(alias).remove(key)


def download(alias: str, key: str, path: Path) -> str:
    """Stream an object to ``path``; returns the SHA-256 (hex) of what was written."""
    digest = hashlib.sha256()
    with open_read(alias, key) as body, path.open("wb") as out:
        while bite := body.read(BITE):
            digest.update(bite)
            out.write(bite)
    return digest.hexdigest()


def hash_of(alias: str, key: str) -> str:
    """SHA-256 (hex) of an object, read back byte by byte: what it says of itself proves nothing."""
    digest = hashlib.sha256()
    with open_read(alias, key) as body:
        while bite := body.read(BITE):
            digest.update(bite)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 (hex) of a local file."""
    with path.open("rb") as body:
        return sha256_of(body)


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 (hex) of an open file, whole."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
