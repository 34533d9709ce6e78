"""Proving files: the stored bytes are those recorded, and the frozen rows give them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from exports import stores
from exports.errors import BrokenFile, StoreError
from exports.frozen_records import write_records
from versions import artifacts, publishing, ready, records, snapshots
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
    """Check every kept file of a ready version: re-hash what is stored, build published ones again, and once more from
    their pieces, where those are kept."""
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
        if rebuilt and version.pieces:
            yield from _of_pieces(version, built, folder / "pieces")


def _of_pieces(version: Version, built: dict[str, Path], folder: Path) -> Iterator[Finding]:
    """Whether the pieces kept of a version are those its rows give; nothing where later ones have replaced them."""
    folder.mkdir()
    task, dataset = publishing.task_of(version), artifacts.published_dataset(version)
    with ready.opened([version.pieces], version.formats, folder) as before:
        # Of files that are not what was recorded enough is said.
        if before is not None and before.context == ready.context_of(dataset) and before.are_sound():
            listing = ready.published_images(version, task).listing()
            stray = before.pieces.stray(listing)
            wrong = f"are of other states of {stray[:10]}" if stray else _built_of(before, version, built, folder)
            mend = f": remove {before.key} from the store, it is made anew"
            yield Finding(
                str(version), "pieces", f"{wrong}{mend}" if wrong else "ok, give the same files image by image"
            )


def _built_of(before: ready.Before, version: Version, built: dict[str, Path], folder: Path) -> str | None:
    """What is wrong with files put together from the pieces of one image after the other."""
    images = (image for batch in before.pieces.batches() for image in batch.parts(_each_of(batch.ids)))
    try:
        files = artifacts.build(artifacts.published_dataset(version), images, version.formats, folder)
    except BrokenFile as error:
        return f"do not fit their files ({error})"
    wrong = [file.format for file in files if file.sha256 != stores.sha256_of_file(built[file.format])]
    return f"give other bytes than the rows ({', '.join(wrong)})" if wrong else None


def _each_of(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of one image each."""
    return [(place, place + 1) for place in range(len(ids))]


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
    with artifacts.one_instant(), closing(records.frozen_changes(version, task)) as changes:
        write_records(frozen, changes)
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
