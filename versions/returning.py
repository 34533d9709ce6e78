"""One project on its way back from the stores, inside one transaction of the caller's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone

from annotations.models import ProjectTask
from exports import stores
from exports.errors import ObjectMissing, StoreError, StoreRefused
from exports.frozen_records import read_records
from versions import artifacts, importing, publishing, rebuilt_rows, replaying, restoring, staging
from versions.found import Found, read_json, save_number
from versions.models import SaveState, Version
from versions.states import PublishState, SaveTrigger

ACTOR = "rebuild"
FROM_THE_BEGINNING: dict[str, Any] = {"number": 0, "also": {}}


@dataclass
class Rebuilt:
    """What came back of one project, and what did not, by name."""

    project_id: str
    state: str
    versions: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    images: int = 0
    annotations: int = 0
    # Annotations and images that the journal knew better than the save, and rows of history that it gave back.
    replayed: int = 0
    history: int = 0
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def raise_floors(tasks: Sequence[ProjectTask], found: Found, result: Rebuilt, *, dry_run: bool = False) -> None:
    """No number that anything in the store lies under is given out again, whether its version came back or not."""
    for task in tasks:
        major = found.majors.get(artifacts.further_task(task) or "", 0)
        published = Version.objects.of(task.project_id, task.task_type).published().newest_first().first()
        if major <= max(task.number_floor, published.major if published else 0):
            continue
        result.notes.append(
            f"{task.task_type}: files of v{major} lie in the store without a record; that number is not given out again"
        )
        if not dry_run:
            ProjectTask.objects.filter(pk=task.pk).update(number_floor=major)


class ReturningProject:
    """A project, what the store holds of it, and what came back so far."""

    def __init__(self, project_id: str, found: Found, folder: Path) -> None:
        assert found.record is not None
        self.found, self.folder, self.save = found, folder, folder / "save.json"
        self.record = read_json(found.record)
        self.result = Rebuilt(project_id, "rebuilt")

    def bring_back(self) -> Rebuilt:
        """Everything of it, into a database that has nothing of it."""
        self.project = rebuilt_rows.project_row(self.record)
        self.tasks = {task.task_type: task for task in rebuilt_rows.task_rows(self.project, self.record)}
        rebuilt_rows.class_rows(self.project, self.record)
        rebuilt_rows.member_rows(self.project, self.record)
        self._images()
        self._read_journal()
        newest = {}
        for task_type in self.tasks:
            newest[task_type] = self.versions(task_type)
        raise_floors(list(self.tasks.values()), self.found, self.result)
        saves = self.saves()
        for task_type, task in self.tasks.items():
            self._live_rows(task, newest.get(task_type), saves.get(task_type, []))
            _mark_left_alone(task)
        if unknown := replaying.on_unknown_images(self.journal):
            self.result.missing.append(f"{unknown} changes in the journal are on images that did not come back")
        return self.result

    def _read_journal(self) -> None:
        """Read its journal, and bring the classes up to date with it."""
        self.journal = replaying.load(self.project, self.found.segments, self.folder)
        replaying.bring_classes(self.journal, self.record["journal"])

    def _images(self) -> None:
        path = self.folder / "images.jsonl.gz"
        try:
            stores.download("labeler", self.record["image_list"], path)
        except StoreError as error:
            self.result.missing.append(f"the image list: {error}")
            return
        self.result.images = rebuilt_rows.copy_images(self.project, read_records(path))

    # Published versions

    def versions(self, task_type: str, after: int = 0) -> Version | None:
        """The task's published versions after an ordinal; the newest finished one. Stops, and says so, where one is
        missing."""
        manifests = [record for record in map(read_json, self.found.manifests) if record["task_type"] == task_type]
        known = {record["ordinal"]: record for record in manifests}
        # An unfinished version is told by a later one.
        known = {each["ordinal"]: each for record in manifests for each in record["before"]} | known
        newest, finished = None, {each["ordinal"] for each in manifests}
        for ordinal in range(after + 1, max(known, default=0) + 1):
            record = known.get(ordinal)
            if record is None:
                lost = ", ".join(known[each]["version_number"] for each in sorted(known) if each > ordinal)
                self.result.missing.append(f"{task_type} {lost}: the record of a version before is gone")
                break
            version = self._published(record, finished=ordinal in finished)
            newest = version if version.status == PublishState.READY else newest
        return newest

    def _published(self, manifest: dict[str, Any], *, finished: bool) -> Version:
        task = self.tasks[manifest["task_type"]]
        version = rebuilt_rows.published_row(self.project, manifest)
        files = {file["format"]: file for file in manifest["files"]}
        path = self.folder / "frozen_rows.jsonl.gz"
        frozen = files["frozen_rows"]
        artifacts.fetch("labeler", frozen["s3_key"], path, sha256=frozen["sha256"])
        rebuilt_rows.replay_frozen(version, task, path)
        rebuilt_rows.refuse_other_counts(version, task)
        version.save(force_insert=True)
        rebuilt_rows.artifact_rows(version, manifest, artifacts.further_task(task), finished=finished)
        if finished:
            values = {name: manifest[name] for name in ("content_hash", "warnings")}
            publishing.change(version, status=PublishState.READY, finished_at=timezone.now(), **values)
            self.result.versions.append(version.version_number)
        else:
            self.result.notes.append(f"{version.version_number} was not finished; it is now")
        return version

    # Working saves

    def saves(self, known: Collection[tuple[str, str]] = ()) -> dict[str, list[Version]]:
        """Rows for all retained saves but those known (by task and number); those whose file is there by task, the
        newest first."""
        whole: dict[str, list[Version]] = {}
        for key in sorted(self.found.saves, key=save_number):
            metadata = read_json(key)
            if (metadata["task_type"], metadata["version_number"]) in known:
                continue
            version = rebuilt_rows.working_row(self.project, metadata)
            version.save(force_insert=True)
            is_there = rebuilt_rows.working_artifact(version, metadata)
            self.result.saves.append(version.version_number)
            if is_there:
                whole.setdefault(version.task_type, []).insert(0, version)
        return whole

    # Live rows

    def _live_rows(self, task: ProjectTask, published: Version | None, saves: list[Version]) -> None:
        """The newest save, over it a version that is newer, over both what the journal knows since."""
        save = self._fetch_newest(saves)
        overlay = published if published and (save is None or published.created_at > save.created_at) else None
        if save is not None:
            self._stage_save(task, save)
        else:
            staging.open_tables()
        if overlay is not None:
            _stage_over(overlay, task, alone=save is None)
        replayed = self._replay(task, save, overlay)
        if save is None and published is None and not replayed:
            self.result.notes.append(f"{task.task_type}: no save, no version, no journal: no annotations to bring back")
            return
        with replaying.replaying("rows"):
            self.result.annotations += staging.apply(task, keep_versions=True).added
        if save is not None:
            _save_state(task, save, clean=not (overlay or replayed))

    def _replay(self, task: ProjectTask, save: Version | None, overlay: Version | None) -> int:
        """What happened since the save (or since the project was opened), and its history; how much it was."""
        position = save.manifest["journal"] if save else FROM_THE_BEGINNING
        laid_over = self._position_of(overlay) if overlay else None
        replayed = replaying.stage_over(self.journal, task, position, laid_over=laid_over)
        self.result.history += replaying.bring_history(self.journal, task, position["number"])
        self.result.replayed += replayed
        left_out = self.miss_journal(position["number"])
        if replayed or left_out:
            SaveState.objects.want(task, SaveTrigger.RESTORE, by=ACTOR)
        return replayed

    def _position_of(self, overlay: Version) -> dict[str, Any] | None:
        """How far the journal was when the version was frozen; None, and it is said, where its record does not tell."""
        position: dict[str, Any] | None = overlay.manifest.get("journal")
        if position is None:
            self.result.missing.append(
                f"{overlay}: its record does not tell how far the journal was; images have the status that the journal"
                " has, where that of the version may be newer"
            )
        return position

    def miss_journal(self, after: int) -> bool:
        """Say what of the journal cannot be replayed after a segment; true if there is any."""
        left_out = self.journal.left_out(after)
        if left_out and left_out not in self.result.missing:
            self.result.missing.append(left_out)
        return left_out is not None

    def _fetch_newest(self, saves: list[Version]) -> Version | None:
        """The newest save whose bytes are those recorded; a changed one is named, and the one before it taken."""
        for save in saves:
            artifact = save.artifacts.get(format="dice")
            try:
                artifacts.fetch("labeler", artifact.s3_key, self.save, sha256=artifact.sha256)
            except (StoreRefused, ObjectMissing) as error:
                self.result.missing.append(f"{save}: {error}")
                continue
            return save
        return None

    def _stage_save(self, task: ProjectTask, save: Version) -> None:
        reading = importing.stage_file(self.save, task, by=ACTOR)
        if reading.skipped:
            self.result.missing.append(f"{reading.skipped} entries of {save}: {reading.errors[:10]}")


# Live rows ----------------------------------------------------------------------------------

# What came back is marked as changed by the triggers; so is what the newest version lists and nobody has begun now.
MARK_LEFT_ALONE = """
INSERT INTO image_marks (project_id, task_type, image_id)
SELECT s.project_id, s.task_type, s.image_id FROM version_images v JOIN image_annotation_status s USING (image_id)
WHERE v.task_id = %(task)s AND v.closed IS NULL
  AND s.project_id = %(project)s AND s.task_type = %(task_type)s AND s.status = 'not-started'"""


def _mark_left_alone(task: ProjectTask) -> None:
    with connection.cursor() as cursor:
        cursor.execute(MARK_LEFT_ALONE, {"task": task.pk, "project": task.project_id, "task_type": task.task_type})


# A version published after the last save knows newer states of what it holds; drafts, and whatever else only the
# save knows, stay as the save has them: nothing that was ever stored is left out.
TAKE_NEWER = """
DELETE FROM saved_annotations s USING wanted_annotations w WHERE w.keep_id = s.keep_id AND w.version >= s.version;
DELETE FROM wanted_annotations w USING saved_annotations s WHERE w.keep_id = s.keep_id;
INSERT INTO wanted_annotations SELECT (nextval('pg_temp.wanted_annotations_seq_seq')), keep_id, image_id,
    annotation_type, geometry, bbox, area, class_pk, attributes, confidence, notes, state, version, client_id,
    created_by, created_at, updated_by, updated_at, confirmed_by, confirmed_at FROM saved_annotations;
INSERT INTO wanted_images SELECT * FROM saved_images s
    WHERE NOT EXISTS (SELECT FROM wanted_images w WHERE w.image_id = s.image_id);
UPDATE wanted_images i SET status = 'in-progress' WHERE status = 'completed' AND EXISTS (
    SELECT FROM wanted_annotations w WHERE w.image_id = i.image_id AND w.state = 'draft');
"""


def _stage_over(version: Version, task: ProjectTask, *, alone: bool) -> None:
    """Stage a published version over the staged save."""
    if alone:
        restoring.stage_frozen(version, task)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE saved_annotations ON COMMIT DROP AS SELECT * FROM wanted_annotations;"
            "CREATE TEMP TABLE saved_images ON COMMIT DROP AS SELECT * FROM wanted_images"
        )
        restoring.stage_frozen(version, task)
        cursor.execute(TAKE_NEWER)
        cursor.execute("DROP TABLE saved_annotations; DROP TABLE saved_images")


def _save_state(task: ProjectTask, save: Version, *, clean: bool) -> None:
    known = {"last_version": save, "last_saved_at": save.created_at, "content_hash": save.content_hash}
    SaveState.objects.filter(task=task).update(**known)
    if clean:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE image_annotation_status SET saved_revision = revision WHERE project_id = %s AND task_type = %s",
                [task.project_id, task.task_type],
            )
