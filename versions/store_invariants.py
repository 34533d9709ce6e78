"""Do the stores hold what the rows say, and nothing else? Read only, at any time on a live system.

What is compared across rows and stores may change between two looks: it counts only when it is found again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from annotations.invariants import Finding
from annotations.models import Project, ProjectTask
from exports import dice_reader, keys, platform, stores
from exports.errors import ExportError, StoreUnavailable
from exports.rows import FileAnnotation, FileImage, Problem
from versions import artifacts, officials
from versions.alone import is_held
from versions.errors import VersionError
from versions.found import read_json
from versions.models import Artifact, SaveState, Version
from versions.states import PlatformState

# Seconds after which owed work is late: the longest pause between two tries, and then some sweeps.
LATE = 600
LOOKS = 3
REBUILD = "manage.py rebuild_from_stores: it raises the numbers above all that lie in the store"


@dataclass(frozen=True)
class Depth:
    """How closely to look: ``deep`` hashes and rebuilds every published file; ``late`` is in seconds."""

    deep: bool = False
    late: int = LATE
    pause: float = 1.0

    @property
    def limit(self) -> datetime:
        """What was owed before this moment is late."""
        return timezone.now() - timedelta(seconds=self.late)


def subject(task: ProjectTask, number: str = "") -> str:
    """What a finding is about."""
    return f"{task.project_id} {task.task_type} {number}".strip()


def lasting(look: Callable[[], list[Finding]], depth: Depth) -> list[Finding]:
    """What every one of a few looks finds: work that moves on meanwhile is not wrong."""
    found = look()
    for _ in range(LOOKS - 1):
        if not found:
            break
        time.sleep(depth.pause)
        again = look()
        found = [each for each in found if each in again]
    return found


def backup(task: ProjectTask, depth: Depth) -> Iterator[Finding]:
    """The latest working save can be read, is what its metadata says, and is the last one made."""
    state = SaveState.objects.select_related("last_version").filter(task=task).first()
    if state is None or state.last_version is None or is_held("save", task.pk):
        return
    dataset, further = task.project.dataset_id, artifacts.further_task(task)
    mend = f"manage.py save_working {task.project_id}; restore_working --number takes an older one"
    try:
        metadata = read_json(keys.working_metadata(dataset, further))
        number = platform.number_of(metadata.get("version_number"))
        if number != (0, state.last_version.minor):
            said = f"the latest save in the store is v{number[0]}.{number[1]}, the last one made {state.last_version}"
            yield Finding("I8", subject(task), said, mend)
        said = _unreadable(keys.working_latest(dataset, further), metadata)
    except StoreUnavailable:
        raise
    except (ExportError, VersionError) as error:
        said = str(error)
    if said:
        yield Finding("I8", subject(task), said, mend)


def _unreadable(key: str, metadata: dict[str, Any]) -> str:
    with artifacts.scratch() as folder:
        path = folder / "latest"
        if stores.download("labeler", key, path) != metadata.get("sha256"):
            return f"{key} is not the file its metadata.json describes"
        images, annotations, problems = _read(path)
    if problems:
        return f"{key} cannot be read whole: {problems[0].where}: {problems[0].reason}"
    if (images, annotations) != (metadata.get("image_count"), metadata.get("annotation_count")):
        return f"{key} holds {annotations} annotations on {images} images, its metadata.json says otherwise"
    return ""


def _read(path: Path) -> tuple[int, int, list[Problem]]:
    images, annotations = 0, 0
    problems: list[Problem] = []
    with path.open("rb") as file:
        for entry in dice_reader.open_file(file).entries():
            images += isinstance(entry, FileImage)
            annotations += isinstance(entry, FileAnnotation)
            if isinstance(entry, Problem) and len(problems) < 1:
                problems.append(entry)
    return images, annotations, problems


def official(task: ProjectTask, depth: Depth) -> Iterator[Finding]:
    """The official files are the newest synced version, whole; never an older one, nor one nobody knows."""
    versions = Version.objects.of(task.project_id, task.task_type).published()
    newest = versions.filter(platform_status=PlatformState.SYNCED).order_by("-ordinal").first()
    if newest is None:
        return
    coming = {version.version_number for version in versions.filter(ordinal__gt=newest.ordinal)}
    mend = "ask for it to be written again: POST platform-sync of the newest version, or the action in the admin"
    plain = True
    for key in officials.keys_of(newest):
        present = stores.find("platform", key)
        number = present.metadata.get("version") if present else None
        plain = plain and present is not None and _is_as_published(newest, present)
        if number != newest.version_number and number not in coming:
            said = f"{key} is {number or 'not ours' if present else 'not there'}, not {newest.version_number}"
            yield Finding("I7", subject(task, newest.version_number), said, mend)
            return
        if number != newest.version_number:
            return
    if not plain or depth.deep:
        for key in officials.differing(newest):
            yield Finding("I7", subject(task, newest.version_number), f"{key} holds other bytes than the version", mend)


def _is_as_published(version: Version, present: stores.StoredObject) -> bool:
    return version.artifacts.filter(format="dice", sha256=present.sha256, size_bytes=present.size).exists()


def objects(project_id: str | None = None) -> Iterator[Finding]:
    """Every recorded file lies in the labeler store in its size, and everything that lies there is known."""
    recorded = _recorded(project_id)
    seen: set[tuple[str, str | None, str]] = set()
    for stored in stores.listing("labeler", keys.project_folder(project_id) if project_id else ""):
        if not keys.is_known(stored.key):
            yield Finding("I10", stored.key, "is no object of ours", "find out who put it there; remove it by hand")
        size = recorded.pop(stored.key, stored.size)
        if size != stored.size:
            yield Finding("I4", stored.key, f"has {stored.size} bytes, {size} were recorded", "see verify_artifacts")
        version = keys.published_under(stored.key)
        if version and version not in seen:
            seen.add(version)
            if not _in_database(*version):
                about = " ".join(part for part in version if part)
                yield Finding("I6", about, "lies in the store, the database does not know it", REBUILD)
    yield from _missing(recorded)
    yield from _missing_records(project_id)


def _recorded(project_id: str | None) -> dict[str, int]:
    kept = Artifact.objects.filter(removed_at=None)
    kept = kept.filter(version__project_id=project_id) if project_id else kept
    return dict(kept.values_list("s3_key", "size_bytes").iterator())


def _in_database(project_id: str, further: str | None, number: str) -> bool:
    tasks = ProjectTask.objects.filter(project_id=project_id)
    task = (tasks.filter(task_type=further) if further else tasks.filter(position=0)).first()
    if task is None:
        return False
    # The row of a version comes before its first object. A number the floor is above is never given out again.
    given = Version.objects.of(project_id, task.task_type).filter(version_number=number)
    return given.exists() or platform.number_of(number)[0] <= task.number_floor


def _missing(left: Iterable[str]) -> Iterator[Finding]:
    for key in left:
        # Retention may have let it go meanwhile: the object first, then the mark.
        still = Artifact.objects.filter(s3_key=key, removed_at=None)
        if stores.find("labeler", key) is None and still.exists():
            time.sleep(1)
            if still.exists():
                yield Finding("I4", key, "is recorded and not in the store",
                              "bring it back from a replica or an older version of the bucket")  # fmt: skip


def _missing_records(project_id: str | None) -> Iterator[Finding]:
    """Without its record nothing of a project comes back into an empty database."""
    recorded = Project.objects.filter(recorded_revision__gt=0)
    for each in recorded.filter(pk=project_id) if project_id else recorded.iterator():
        for key in (keys.project_record(each.pk), keys.image_list(each.pk)):
            if stores.find("labeler", key) is None:
                mend = f"UPDATE projects SET recorded_revision = 0, images_recorded_revision = 0 WHERE id = '{each.pk}'"
                yield Finding("I9", key, "is not in the store", f"{mend}; the sweep writes it anew")
