"""The labeler store is lost, the database is not: what lay there is written again from the rows.

Published files come from the frozen rows, byte for byte, and go up only if they have the recorded hash. A working save
cannot be made again; a new one is. Records and the journal are made owed, so that the next round writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
from django.db.models import F

from annotations.models import Project, ProjectTask
from exports import keys, stores
from exports.formats import FORMATS
from exports.frozen_records import write_records
from versions import artifacts, autosave, publishing, records
from versions.alone import alone
from versions.artifacts import BuildSummary
from versions.models import Artifact, SaveState, Version
from versions.states import PublishState, SaveTrigger


def refill(project: Project) -> Iterator[str]:
    """Write again what is missing of a project; a line for each thing that was, and for each that cannot be."""
    if stores.find("labeler", keys.project_record(project.pk)) is None:
        behind = {"recorded_revision": F("record_revision") - 1, "images_recorded_revision": F("images_revision") - 1}
        Project.objects.filter(pk=project.pk).update(**behind)
        yield f"{project.pk}: its record is owed again"
    for version in Version.objects.filter(project=project, status=PublishState.READY).published().order_by("pk"):
        yield from _refill_version(version)
    for task in project.tasks.all():
        yield from _refill_saves(task)


def _refill_version(version: Version) -> Iterator[str]:
    # The record last: its presence says that the version is whole.
    missing = sorted(_missing(version), key=lambda file: file.format == "manifest")
    if not missing:
        return
    with artifacts.scratch() as folder:
        built = _built(version, folder)
        for file in missing:
            if stores.sha256_of_file(built[file.format]) != file.sha256:
                yield f"{version} {file.format}: missing, and the rows give other bytes than were recorded"
                continue
            artifacts.put_new(file.s3_key, built[file.format], _type(file.format), file.sha256)
            yield f"{version} {file.format}: written again"


def _missing(version: Version) -> list[Artifact]:
    files = version.artifacts.filter(removed_at=None)
    return [file for file in files if stores.find("labeler", file.s3_key) is None]


def _built(version: Version, folder: Path) -> dict[str, Path]:
    task = publishing.task_of(version)
    built = {file.format: file.path for file in artifacts.build_published(version, task, version.formats, folder)}
    built |= {name: folder / name for name in ("frozen_rows", "manifest")}
    with artifacts.one_instant():
        write_records(built["frozen_rows"], records.frozen_changes(version, task))
    summary = BuildSummary(content_hash=version.content_hash, warnings=version.warnings)
    files = list(version.artifacts.exclude(format="manifest"))
    record = records.manifest_record(version, summary, [], files)
    built["manifest"].write_bytes(orjson.dumps(record, option=orjson.OPT_SORT_KEYS))
    return built


def _type(name: str) -> str:
    known = {"frozen_rows": records.GZIP, "manifest": artifacts.JSON}
    return known.get(name) or FORMATS[name].content_type


def _refill_saves(task: ProjectTask) -> Iterator[str]:
    for file in autosave.kept(task):
        if stores.find("labeler", file.s3_key) is not None and artifacts.mend_metadata(file, task):
            yield f"{file.version}: its metadata is written again"
    # While nobody makes a newer one.
    with alone("save", task.pk, wait=True):
        yield from _refill_latest(task)


def _refill_latest(task: ProjectTask) -> Iterator[str]:
    state = SaveState.objects.select_related("last_version").get(task=task)
    if state.last_version is None:
        return
    if _missing(state.last_version):
        # Also where nothing changed since: the same content is not the same as a save that is there.
        SaveState.objects.filter(pk=state.pk).update(content_hash="")
        SaveState.objects.want(task, SaveTrigger.MANUAL, by="refill")
        yield f"{state.last_version}: missing; a new save is due"
    elif artifacts.mend_latest(state.last_version, task):
        yield f"{state.last_version}: the latest file again"
