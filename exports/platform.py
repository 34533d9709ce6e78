"""Replacing the official ``annotations.json`` of a dataset: always some complete version, never an older one.

The write is a compare-and-swap the store itself checks, so a request that arrives late cannot undo a
newer version. An unclear answer is settled by reading back and comparing hashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from exports import stores
from exports.errors import PreconditionFailed, StoreUnavailable

TRIES = 5
NUMBER = re.compile(r"v(\d+)\.(\d+)\Z")


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
    key: str, path: Path, *, sha256: str, size: int, version: str, metadata: dict[str, str]
) -> Outcome:
    """Make the local file the official one, unless a newer version is; repeating changes nothing.

    Raises StoreUnavailable when the store does not answer or others keep writing the object.
    """
    for _ in range(TRIES):
        present = stores.find("platform", key)
        if present is not None:
            if number_of(present.metadata.get("version")) > number_of(version):
                return Outcome("superseded", present.etag)
            if present.sha256 == sha256 and present.size == size and stores.hash_of("platform", key) == sha256:
                return Outcome("synced", present.etag)
        try:
            written = stores.swap(
                "platform",
                key,
                path,
                etag=present.etag if present else None,
                content_type="application/json",
                sha256=sha256,
                size=size,
                metadata=metadata,
            )
        except PreconditionFailed:
            # Somebody wrote in between, perhaps our own unheard try: look again and decide anew.
            continue
        except StoreUnavailable:
            found = stores.find("platform", key)
            if found is not None and found.sha256 == sha256:
                return Outcome("synced", found.etag)
            raise
        return Outcome("synced", written.etag)
    raise StoreUnavailable(f"{key} kept changing while it was replaced.")
