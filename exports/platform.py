"""Replacing the official ``annotations.json`` of a dataset: always some complete version, never an older one.

The write is a compare-and-swap the store itself checks, so a request that arrives late cannot undo a
newer version. An unclear answer is settled by reading back and comparing hashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exports import stores
from exports.errors import PreconditionFailed, StoreUnavailable
from exports.stores import StoredObject

TRIES = 5
NUMBER = re.compile(r"v(\d+)\.(\d+)\Z")


@dataclass(frozen=True)
class Local:
    """A file on local disk with its SHA-256 (hex) and size in bytes."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Outcome:
    """``status`` synced, or superseded when a newer version is official."""

    status: str
    etag: str


def number_of(version: str | None) -> tuple[int, int]:
    """(major, minor) of ``vN.M``; (0, 0) for a file no version of ours wrote."""
    found = NUMBER.match(version or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)


def replace_official(
    key: str, make: Callable[[StoredObject | None], Local], *, version: str, metadata: dict[str, str]
) -> Outcome:
    """Make a local file the official one, unless a newer version is; repeating changes nothing.

    ``make`` gives the file for what is official at the moment (its split_config goes on); it is asked again when
    somebody wrote in between. Raises StoreUnavailable when the store does not answer or others keep writing the object.
    """
    for _ in range(TRIES):
        present = stores.find("platform", key)
        if present is not None and number_of(present.metadata.get("version")) > number_of(version):
            return Outcome("superseded", present.etag)
        file = make(present)
        # What lost its number is written again: by that others see that it is not older than theirs.
        numbered = present is not None and present.metadata.get("version") == version
        if present is not None and numbered and is_there(key, present, file):
            return Outcome("synced", present.etag)
        try:
            written = stores.swap(
                "platform",
                key,
                file.path,
                etag=present.etag if present else None,
                content_type="application/json",
                sha256=file.sha256,
                size=file.size,
                metadata=metadata,
            )
        except PreconditionFailed:
            # Somebody wrote in between, perhaps our own unheard try: look again and decide anew.
            continue
        except StoreUnavailable:
            found = stores.find("platform", key)
            if found is not None and found.sha256 == file.sha256:
                return Outcome("synced", found.etag)
            raise
        return Outcome("synced", written.etag)
    raise StoreUnavailable(f"{key} kept changing while it was replaced.")


def is_there(key: str, present: StoredObject, file: Local) -> bool:
    """True if what is official under the key is this very file, byte by byte."""
    same = present.sha256 == file.sha256 and present.size == file.size
    return same and stores.hash_of("platform", key) == file.sha256
