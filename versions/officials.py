"""The official files of a version: which they are, and replacing them, with the Platform's own split going on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db.models import Case, Q, When

from annotations.models import Image, iso
from exports import keys, platform, split_config, stores
from exports.errors import BrokenFile, ObjectMissing
from exports.platform import Local, Outcome
from exports.stores import StoredObject
from versions import artifacts
from versions.models import Artifact, Version
from versions.states import PublishState, VersionType

log = logging.getLogger(__name__)


def keys_of(version: Version) -> list[str]:
    """The keys the version is official under, in the order they are written."""
    return keys.officials(
        settings.LABELER_OFFICIAL_PREFIX,
        version.manifest["dataset_id"],
        version.task_type,
        first=version.manifest["first_task"],
    )


@dataclass(frozen=True)
class Present:
    """DICE files as they are recorded: the version's own (key, SHA-256, bytes), the SHA-256 of every one of its
    project, and whether a ``newer`` version of its task is complete."""

    key: str
    sha256: str
    size: int
    ours: frozenset[str]
    newer: bool


def look(version: Version) -> Present:
    """What is recorded of the version's DICE file and its project's others, in one query."""
    files = Artifact.objects.filter(version__project_id=version.project_id, format="dice")
    later = Q(
        version__task_type=version.task_type,
        version__version_type=VersionType.PUBLISHED,
        version__ordinal__gt=version.ordinal,
        version__status=PublishState.READY,
    )
    listed = files.annotate(later=Case(When(later, then=True), default=False))
    found = listed.values_list("version_id", "s3_key", "sha256", "size_bytes", "later")
    own = next(row for row in found if row[0] == version.pk)
    return Present(*own[1:4], ours=frozenset(row[2] for row in found), newer=any(row[4] for row in found))


def replace(version: Version, present: Present | None = None) -> dict[str, Outcome]:
    """Write every official file of the version, its own first and the generic one last; what came of each."""
    metadata = {
        "dataset_id": version.manifest["dataset_id"],
        "version": version.version_number,
        "updated_at": iso(version.created_at) or "",
    }
    with _makers(version, present or look(version)) as makers:
        return {
            key: platform.replace_official(key, make, version=version.version_number, metadata=metadata)
            for key, make in makers.items()
        }


def differing(version: Version) -> list[str]:
    """Keys of the version whose official file is not the one ``replace`` would write; reads them whole."""
    with _makers(version, look(version)) as makers:
        found = {key: stores.find("platform", key) for key in makers}
        return [
            key
            for key, make in makers.items()
            if (present := found[key]) is None or not platform.is_there(key, present, make(present))
        ]


@contextmanager
def _makers(version: Version, recorded: Present) -> Iterator[dict[str, Callable[[StoredObject | None], Local]]]:
    """By official key, what makes its file from what is official at the moment."""
    with artifacts.local_copy(recorded.key, recorded.sha256) as path:
        published = Local(path, recorded.sha256, recorded.size)
        chosen = split_config.tail_of(path)[1]

        def of(key: str) -> Callable[[StoredObject | None], Local]:
            return lambda present: (
                published if chosen else _with_its_split(version, key, present, published, recorded.ours)
            )

        yield {key: of(key) for key in keys_of(version)}


def _with_its_split(
    version: Version, key: str, present: StoredObject | None, published: Local, ours: frozenset[str]
) -> Local:
    """The published file, with the ``split_config`` of what is official under the key, else under another of its."""
    source = key if present else next((each for each in keys_of(version) if stores.find("platform", each)), None)
    config = _carried(version, source, published.path.parent, ours) if source else None
    if config is None:
        return published
    target = published.path.with_name("official")
    split_config.with_split_config(published.path, target, config)
    return Local(target, stores.sha256_of_file(target), target.stat().st_size)


def _carried(version: Version, key: str, folder: Path, ours: frozenset[str]) -> dict | None:
    path = folder / "present"
    images = Image.objects.filter(project_id=version.project_id)

    def known(ids: Iterable[int]) -> set[int]:
        return set(images.filter(pk__in=list(ids)).values_list("pk", flat=True))

    def named(names: Iterable[str]) -> Mapping[str, int]:
        return dict(images.filter(path__in=list(names)).values_list("path", "pk"))

    try:
        if stores.download("platform", key, path) in ours and not split_config.tail_of(path)[1]:
            # Ours as it was published, without a split: it need not be read through to know.
            return None
        return split_config.carried(path, version.project_id, known, named)
    except ObjectMissing:
        return None
    except BrokenFile as error:
        # What cannot be read has no split to lose.
        log.warning("%s cannot be read, its split_config is not carried over: %s", key, error)
        return None
