"""Proving files: the stored bytes are those recorded, and the frozen rows give them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exports import stores
from exports.errors import StoreError
from exports.frozen_records import write_records
from versions import artifacts, publishing, records, snapshots
from versions.models import Artifact, Version
from versions.states import PublishState, VersionType


@dataclass(frozen=True)
class Finding:
    """What was found of one file: ``said`` is ok, or what is wrong."""

    version: str
    format: str
    said: str

    @property
    def well(self) -> bool:
        """True if nothing is wrong."""
        return self.said.startswith("ok")


def verify(version: Version, *, rebuild: bool = True) -> Iterator[Finding]:
    """Check every kept file of a ready version: re-hash what is stored, and build published ones again."""
    if version.status != PublishState.READY:
        return
    kept = list(version.artifacts.filter(removed_at=None).order_by("format"))
    rebuilt = rebuild and version.version_type == VersionType.PUBLISHED
    with artifacts.scratch() as folder:
        built = _build_again(version, folder) if rebuilt else {}
        for artifact in kept:
            said = _stored(artifact)
            if said == "ok" and artifact.format in built:
                said = _compared(version, artifact, built[artifact.format])
            yield Finding(str(version), artifact.format, said)


def _stored(artifact: Artifact) -> str:
    try:
        found = stores.hash_of("labeler", artifact.s3_key)
    except StoreError as error:
        return f"{artifact.s3_key}: {error}"
    return "ok" if found == artifact.sha256 else f"{artifact.s3_key} holds other bytes: sha256 {found}"


def _build_again(version: Version, folder: Path) -> dict[str, Path]:
    task = publishing.task_of(version)
    built = {file.format: file.path for file in artifacts.build_published(version, task, version.formats, folder)}
    frozen = folder / "frozen_rows.jsonl.gz"
    with artifacts.one_instant():
        write_records(frozen, records.frozen_changes(version, task))
    return {**built, "frozen_rows": frozen}


def _compared(version: Version, artifact: Artifact, built: Path) -> str:
    if stores.sha256_of_file(built) == artifact.sha256:
        return "ok, rebuilt byte for byte"
    # The manifest tells the zlib where the version was frozen; another may have packed it.
    if artifacts.packed_otherwise(artifact.format, artifact.s3_key, built) is not None:
        return "ok, content for content (packed by another zlib)"
    if version.manifest["writer"] == snapshots.writer_version():
        return "the frozen rows give other bytes than are stored"
    return "the frozen rows give other content than is stored (made by another writer version)"
