"""Going back: a working save, a published version or the official file become the live rows again.

What is about to be replaced is saved first; everything is one transaction, and the history names who
restored. Rows that come back keep their ids and get a version above any they ever had.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from annotations.acting import acting
from annotations.images import keys_of
from annotations.models import LabelClass, ProjectTask
from annotations.progress import lock_task
from annotations.projects import refusing_taken
from versions import artifacts, autosave, importing, opening, publishing, snapshots, staging
from versions.alone import alone
from versions.errors import InvalidRequest, NoSuchVersion, NoWorkingSave
from versions.models import Artifact, SaveState, Version
from versions.publishing import PublishWish
from versions.replacing import Scope, nobody, replace_rows, save_held
from versions.states import SaveTrigger, VersionType


@dataclass
class Restored:
    """What a restore changed, or would change."""

    changes: staging.Changes
    skipped: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For answers."""
        return {
            **self.changes.as_dict(),
            "skipped": self.skipped,
            "errors": self.errors,
            "dry_run": self.dry_run,
        }

    def sentence(self) -> str:
        """For people."""
        changes, would = self.changes, "would be " if self.dry_run else ""
        return (
            f"{changes.added} {would}added, {changes.updated} {would}changed, {changes.removed} {would}removed, "
            f"{changes.unchanged} unchanged, {self.skipped} skipped."
        )


def restore(
    task: ProjectTask,
    *,
    source: str,
    by: str,
    version: Version | None = None,
    image_paths: Sequence[str] | None = None,
    dry_run: bool = False,
    merge: bool = False,
    tell: Callable[[Restored], None] = nobody,
) -> Restored:
    """Make the live rows those of ``source``: working (the save ``version``, by default the latest), version, or
    platform.

    ``merge`` only adds: annotations of the source that are not there come back, all that is there stays as it is.

    The present rows are saved first; RestoreRefused if that fails. ``image_paths`` limits it to some
    images; ``dry_run`` does everything and takes it back, so its figures are exact. ``tell`` hears what was done as
    the last thing in its transaction.
    """
    images = None if image_paths is None else keys_of(task.project, image_paths)

    def restored(changes: staging.Changes, reading: importing.Reading) -> Restored:
        return Restored(changes, reading.skipped, reading.errors, dry_run)

    with artifacts.scratch() as folder:
        # Fetched before the present rows are saved: that makes a newer save, and retention may let an old one go.
        path = _fetch(task, source, version, folder / "restored.json")
        done = replace_rows(
            task,
            lambda: importing.stage_file(path, task, by=by) if path else importing.Reading(),
            held=lambda reading: _held(task, version if path is None else None, reading, images, merge=merge),
            by=by,
            action="restore",
            dry_run=dry_run,
            merge=merge,
            tell=lambda *done: tell(restored(*done)),
        )
    return restored(*done)


def check_wish(task: ProjectTask, *, source: str, version: Version | None, image_paths: Sequence[str] | None) -> None:
    """Refuse at once what cannot be done: raises InvalidRequest, AnnotationError for unknown images, NoWorkingSave and
    NotReady."""
    if image_paths is not None:
        keys_of(task.project, image_paths)
    if source == "working" and latest_save(task) is None:
        raise NoWorkingSave("The task has no working save yet; save one, or restore from a version.")
    if version is not None and version.task_type != task.task_type:
        raise InvalidRequest(
            f"The version is of the task {version.task_type}.", errors={"version_id": ["is of another task."]}
        )
    if version is not None and version.version_type == VersionType.WORKING:
        _kept(version.artifacts.filter(format="dice").first())


def rollback_target(version: Version) -> Version:
    """The version itself, if one can roll back to it; raises InvalidRequest."""
    if version.version_type != VersionType.PUBLISHED:
        raise InvalidRequest(
            "Only a published version can be rolled back to; restore a working save instead.",
            errors={"version_id": ["must be a published version."]},
        )
    return version


def rollback(version: Version, *, by: str, description: str = "", tell: Callable[[Version], None] = nobody) -> Version:
    """Restore a published version and publish it as the next number, in one transaction: official files
    never go back. ``tell`` hears of the version made as the last thing in it."""
    task = publishing.task_of(rollback_target(version))
    wish = PublishWish(
        description=description or f"Rollback to {version.version_number}",
        formats=tuple(version.formats),
        include_draft=version.include_draft,
        verified_only=version.manifest["states"] == list(snapshots.VERIFIED),
        allow_empty=True,
        is_rollback=True,
    )
    with alone("save", task.pk, wait=True), alone("publish", task.pk, wait=True), acting(by):
        made = _roll_back(version, task, wish, by)
        SaveState.objects.want(task, SaveTrigger.PUBLISH, by=by)
        tell(made)
    return made


def _roll_back(version: Version, task: ProjectTask, wish: PublishWish, by: str) -> Version:
    # Writers wait until this is committed: what is saved is what is replaced, what is frozen is what was restored.
    lock_task(task.project_id, task.task_type)
    save_held(task, by)
    with acting(by, action="restore"):
        restore_classes(version, task)
        staging.apply(task, images=stage_differing(version, task).images)
    return publishing.freeze(task, wish, by)


# Staging the source ---------------------------------------------------------------------------


def _fetch(task: ProjectTask, source: str, version: Version | None, path: Path) -> Path | None:
    """The source's file, checked against its hash; None for a published version, whose rows are in the database."""
    if source == "platform":
        if opening.fetch_official(task, path) is None:
            raise NoSuchVersion("The dataset has no official file of this task; publish a version, which writes it.")
        return path
    if source == "working" and version is None:
        return _fetch_save(latest_save(task), path)
    if version is None:
        raise InvalidRequest("version_id is required.", errors={"version_id": ["is required."]})
    if version.version_type == VersionType.PUBLISHED:
        return None
    return _fetch_save(version.artifacts.filter(format="dice").first(), path)


def _kept(artifact: Artifact | None) -> Artifact:
    if artifact is None or artifact.removed_at is not None:
        raise NoWorkingSave("There is no working save to go back to (old ones are removed by retention).")
    return artifact


def _fetch_save(artifact: Artifact | None, path: Path) -> Path:
    artifact = _kept(artifact)
    artifacts.fetch("labeler", artifact.s3_key, path, sha256=artifact.sha256)
    return path


def _held(
    task: ProjectTask, version: Version | None, reading: importing.Reading, images: list[int] | None, *, merge: bool
) -> Scope:
    """Where rows are replaced: on the images that were asked for, and of a published ``version`` only where it may
    differ from the live rows. It is staged here; a file (``version`` is None) is already, and has told its classes."""
    if version is None:
        return Scope(images)
    if images is None and not merge:
        for reason in restore_classes(version, task):
            reading.warn("classes", reason)
    return stage_differing(version, task) if images is None else stage_frozen(version, task, images)


def latest_save(task: ProjectTask) -> Artifact | None:
    """The newest working save whose retained copy is still kept."""
    return autosave.kept(task).first()


CLASS_LOOKS = ("name", "color", "description", "supercategory", "keypoints", "skeleton")


def restore_classes(version: Version, task: ProjectTask) -> list[str]:
    """Classes are called and look again as the version has them; returns the names that others have now and keep.

    Inside a transaction that holds the task (``lock_task``), as whoever makes or renames a class does. Raises Duplicate
    for a name that was taken past that lock.
    """
    with refusing_taken(), transaction.atomic():
        return _restore_classes(version, task)


def _restore_classes(version: Version, task: ProjectTask) -> list[str]:
    live = {
        entry.class_id: entry for entry in LabelClass.objects.filter(project=task.project, task_type=task.task_type)
    }
    pairs = [(live[frozen["class_id"]], frozen) for frozen in version.manifest["classes"] if frozen["class_id"] in live]
    differing = [pair for pair in pairs if any(getattr(pair[0], name) != pair[1][name] for name in CLASS_LOOKS)]
    renamed = {entry.pk: (entry, frozen["name"]) for entry, frozen in differing if entry.name != frozen["name"]}
    staying = {entry.name for entry in live.values() if entry.pk not in renamed}
    kept = []
    while blocked := [pk for pk, (_, wanted) in renamed.items() if wanted in staying]:
        entry, wanted = renamed.pop(blocked[0])
        staying.add(entry.name)
        kept.append(f"{entry.name} keeps its name: another class is called {wanted} now.")
    # Names may change hands among them: all are let go first, as no two classes share one at any moment.
    for pk in renamed:
        LabelClass.objects.filter(pk=pk).update(name=str(uuid.uuid4()))
    for entry, frozen in differing:
        values = {name: frozen[name] for name in CLASS_LOOKS}
        name = frozen["name"] if entry.pk in renamed else entry.name
        LabelClass.objects.filter(pk=entry.pk).update(**{**values, "name": name})
    return kept


# Each frozen text is read once, as a record: a subquery's ``::jsonb`` would be done again for each field of it.
STAGE_FROZEN = """
INSERT INTO wanted_annotations (keep_id, image_id, annotation_type, geometry, bbox, area, class_pk, attributes,
    confidence, notes, state, version, client_id, created_by, created_at, updated_by, updated_at, confirmed_by,
    confirmed_at)
SELECT s.annotation_id, v.image_id, d.type, d.geometry, d.bbox, d.area, c.id, d.attributes, d.confidence, d.notes,
    d.state, d.version, d.client_id, d.created_by, d.created_at, d.updated_by, d.updated_at, d.confirmed_by,
    d.confirmed_at
FROM version_images v
CROSS JOIN LATERAL frozen_at(v.task_id, v.image_id, %(ordinal)s) s
CROSS JOIN LATERAL jsonb_to_record(s.snapshot_data::jsonb) AS d (
    type text, geometry jsonb, bbox jsonb, area float8, class_key text, attributes jsonb, confidence float8, notes text,
    state text, version int, client_id uuid, created_by text, created_at timestamptz, updated_by text,
    updated_at timestamptz, confirmed_by text, confirmed_at timestamptz)
LEFT JOIN classes c ON c.project_id = %(project)s AND c.task_type = %(task_type)s AND c.class_id = d.class_key
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)
  AND (%(images)s::bigint[] IS NULL OR v.image_id = ANY(%(images)s))"""

STAGE_FROZEN_IMAGES = """
INSERT INTO wanted_images (image_id, status, confirmed_by, confirmed_at, first_modified_at, last_modified_at)
SELECT v.image_id, m.status, m.reviewed_by, m.reviewed_at, m.first_modified_at, m.last_modified_at
FROM version_images v
CROSS JOIN LATERAL jsonb_to_record(v.metadata::jsonb) AS m (
    status text, reviewed_by text, reviewed_at timestamptz, first_modified_at timestamptz, last_modified_at timestamptz)
WHERE v.task_id = %(task)s AND v.opened <= %(ordinal)s AND (v.closed IS NULL OR v.closed > %(ordinal)s)
  AND (%(images)s::bigint[] IS NULL OR v.image_id = ANY(%(images)s))"""

# Images on which live rows may differ from a published version; null: on any. What later versions looked at, what was
# changed since the newest, rows in states that the newest does not hold, and images that were begun and left empty,
# which no version lists. All by one statement: a publish meanwhile turns marks into a version.
MAY_DIFFER = """
WITH later AS (
    SELECT f.images FROM annotation_versions v JOIN frozen_versions f ON f.version_id = v.id
    WHERE v.project_id = %(project)s AND v.task_type = %(task_type)s AND v.ordinal > %(ordinal)s),
newest AS (
    SELECT v.manifest->'states' AS states FROM annotation_versions v
    WHERE v.project_id = %(project)s AND v.task_type = %(task_type)s AND v.ordinal IS NOT NULL
    ORDER BY v.ordinal DESC LIMIT 1)
SELECT CASE WHEN NOT EXISTS (SELECT FROM later WHERE images IS NULL) THEN ARRAY(
    SELECT unnest(images) FROM later
    UNION SELECT m.image_id FROM image_marks m WHERE m.project_id = %(project)s AND m.task_type = %(task_type)s
    UNION SELECT a.image_id FROM annotations a
    WHERE a.project_id = %(project)s AND a.task_type = %(task_type)s AND a.state = ANY(ARRAY(
        SELECT s FROM unnest(%(states)s::text[]) s WHERE NOT (SELECT states FROM newest) ? s))
    UNION SELECT s.image_id FROM image_annotation_status s
    WHERE s.project_id = %(project)s AND s.task_type = %(task_type)s AND s.status = 'in-progress'
      AND s.total_annotations = 0) END"""


def stage_differing(version: Version, task: ProjectTask) -> Scope:
    """Stage a published version as ``stage_frozen``, but only where live rows may differ from it.

    Nobody may write to the task meanwhile (``lock_task``).
    """
    values = {"project": task.project_id, "task_type": task.task_type, "ordinal": version.ordinal}
    with connection.cursor() as cursor:
        cursor.execute(MAY_DIFFER, {**values, "states": list(snapshots.EVERYTHING)})
        (images,) = cursor.fetchone()
    scope = stage_frozen(version, task, images)
    return scope if images is None else replace(scope, beside=version.annotation_count - staging.staged_count())


def stage_frozen(version: Version, task: ProjectTask, images: list[int] | None = None) -> Scope:
    """Stage a published version from its frozen rows, of these ``images`` (primary keys; None: all); retired classes it
    names live again."""
    values: dict[str, Any] = {
        "project": task.project_id,
        "task_type": task.task_type,
        "task": task.pk,
        "ordinal": version.ordinal,
        "images": staging.listed(images),
    }
    staging.open_tables()
    with connection.cursor() as cursor:
        cursor.execute(STAGE_FROZEN, values)
        cursor.execute(STAGE_FROZEN_IMAGES, values)
        cursor.execute("SELECT DISTINCT class_pk FROM wanted_annotations WHERE class_pk IS NOT NULL")
        used = [row[0] for row in cursor.fetchall()]
    LabelClass.objects.filter(pk__in=used, retired_at__isnull=False).update(retired_at=None)
    return Scope(images)
