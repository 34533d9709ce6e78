"""Publishing: one frozen instant, stored once, made whole by anybody, official last."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError, IntegrityError

from annotations import confirming, editing, projects, undoing
from annotations.errors import Duplicate
from annotations.idempotency import once
from annotations.models import Annotation, Image, ImageMark, ImageStatus, ProjectTask
from exports import frozen_records, zipstream
from exports import stores as api
from exports.errors import StoreUnavailable
from tests.world import World, a_box, a_world, confirmed, official_key, published, raw, saved, somebody_waits
from versions import artifacts, autosave, publishing, records, snapshots, verifying
from versions.errors import InvalidVersionNumber, NothingToPublish, NotLatest, PublishBlocked, VersionExists
from versions.models import (
    Artifact,
    FrozenAnnotations,
    FrozenVersion,
    SaveState,
    Snapshot,
    Version,
    VersionImage,
)
from versions.publishing import PublishWish
from versions.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def dice_of(version: Version) -> dict:
    return json.loads(api.read_small("labeler", version.artifacts.get(format="dice").s3_key))


def test_a_version_is_whole_recorded_and_official(stores):
    world = a_world()
    confirmed(world, world.images[0], boxes=2)
    version = published(world, description="first")
    assert (version.status, version.platform_status, version.annotation_count, version.image_count) == (
        "ready", "synced", 2, 1
    )  # fmt: skip
    files = {file.format: file for file in version.artifacts.all()}
    assert sorted(files) == ["coco", "dice", "frozen_rows", "manifest", "yolo"]
    for file in files.values():
        stored = api.head("labeler", file.s3_key)
        assert (stored.size, api.hash_of("labeler", file.s3_key)) == (file.size_bytes, file.sha256)
    official = api.head("platform", official_key())
    assert official.content_type == "application/json"
    assert official.metadata["version"] == "v1.0" and official.metadata["dataset_id"] == "ds_world"
    assert api.hash_of("platform", official_key()) == files["dice"].sha256


def test_only_confirmed_and_verified_rows_are_published_unless_drafts_are_asked_for():
    world = a_world()
    confirmed(world, world.images[0])
    a_box(world, world.images[1])
    assert published(world).annotation_count == 1
    assert published(world, include_draft=True).annotation_count == 2
    assert published(world).annotation_count == 1
    states = [row["state"] for image in dice_of(Version.objects.get(major=2))["images"] for row in image["annotations"]]
    assert sorted(states) == ["confirmed", "draft"]


def test_an_image_confirmed_with_nothing_on_it_is_a_negative_and_an_unfinished_one_is_left_out():
    world = a_world()
    confirmed(world, world.images[0])
    confirming.confirm_image(world.images[1], "detection", by="ann", allow_empty=True)
    listed = [(image["file_name"], len(image["annotations"])) for image in dice_of(published(world))["images"]]
    assert listed == [("a/1.png", 1), ("a/2.png", 0)]


def test_a_second_publish_stores_rows_for_what_changed_and_nothing_else():
    world = a_world(count=40)
    for image in world.images:
        confirmed(world, image, boxes=2)
    published(world)
    for image in world.images[:3]:
        row = Annotation.objects.filter(image=image).first()
        editing.update_annotation(row.pk, {"geometry": {"type": "bbox", "bbox": [1, 1, 9, 9]}}, by="ann")
        confirming.confirm_image(image, "detection", by="ann")
    second = published(world)
    opened = Snapshot.objects.filter(version=second)
    assert sorted(opened.values_list("image_id", flat=True)) == [image.pk for image in world.images[:3]]
    assert VersionImage.objects.filter(version=second).count() == 3
    assert Snapshot.objects.filter(closed=2).count() == 3
    assert looked_at(second) == [image.pk for image in world.images[:3]]
    assert (second.annotation_count, second.image_count) == (80, 40)
    assert dice_of(second)["statistics"]["total_annotations"] == 80


def test_every_version_reads_what_it_froze_however_little_of_an_image_each_changed():
    world = a_world()
    one, other = confirmed(world, world.images[0], boxes=2)

    def move(*rows: Annotation, to: int) -> None:
        for row in rows:
            editing.update_annotation(row.pk, {"geometry": {"type": "bbox", "bbox": [to, 1, 9, 9]}}, by="ann")
        confirming.confirm_image(world.images[0], "detection", by="ann")

    def bring_back(row: Annotation) -> None:
        undoing.restore_deleted(world.project.pk, undoing.Deleted(annotations=(row.pk,)), by="ann")
        confirming.confirm_image(world.images[0], "detection", by="ann")

    kept = {}
    for change in (
        lambda: None, lambda: move(one, to=2), lambda: move(other, to=3), lambda: move(one, other, to=4),
        lambda: editing.delete_annotation(one.pk, by="ann"), lambda: bring_back(one), lambda: move(one, other, to=7),
    ):  # fmt: skip
        change()
        kept[published(world, finish=False).pk] = texts_of(snapshots.live_rows(world.task, snapshots.Selection()))
    for version in Version.objects.published():
        assert texts_of(snapshots.frozen_rows(version, world.task)) == kept[version.pk], version
    rows = FrozenAnnotations.objects.order_by("opened")
    assert list(rows.values_list("whole_since", flat=True)) == [1, 1, 1, 4, 4, 4, 7], "older rows are not read"
    assert [len(row.snapshots) for row in rows] == [2, 1, 1, 2, 1, 1, 2], "each state is stored once"
    assert Snapshot.objects.filter(closed=5).count() == 1 and Snapshot.objects.filter(closed=None).count() == 2


def texts_of(rows) -> list[tuple]:
    with transaction.atomic():
        return [(row.id, row.status, row.annotations.text) for row in rows]


def looked_at(version: Version) -> list[int] | None:
    """The images whose rows the version may have opened or closed; None: all."""
    images = FrozenVersion.objects.get(version=version).images
    return images and sorted(images)


def test_a_first_publish_and_one_of_other_states_look_at_every_image():
    world = a_world()
    confirmed(world, world.images[0])
    assert looked_at(published(world)) is None
    assert looked_at(published(world, include_draft=True)) is None
    assert looked_at(published(world, include_draft=True)) == []


def test_an_unchanged_project_published_again_stores_no_row():
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    before = Snapshot.objects.count(), VersionImage.objects.count()
    assert published(world).version_number == "v2.0"
    assert (Snapshot.objects.count(), VersionImage.objects.count()) == before


def test_an_old_version_stays_as_it_was_whatever_happens_to_the_live_rows():
    world = a_world()
    row = confirmed(world, world.images[0])[0]
    first = published(world)
    before = dice_of(first)
    projects.change_class(row.label_class, by="adm", name="Tiger", color="#000001")
    editing.delete_annotation(row.pk, by="ann")
    Image.objects.filter(pk=world.images[0].pk).update(width=999)
    a_box(world, world.images[1], class_name="Dog")
    confirming.confirm_image(world.images[1], "detection", by="ann")
    published(world)
    with transaction.atomic():
        frozen = list(snapshots.frozen_rows(first, world.task))
    assert [image.width for image in frozen] == [200]
    assert publishing.artifacts.published_dataset(first).classes[0].name == "Cat"
    assert dice_of(first) == before


def test_renaming_a_class_freezes_no_annotation_again():
    world = a_world()
    row = confirmed(world, world.images[0])[0]
    published(world)
    projects.change_class(row.label_class, by="adm", name="Tiger")
    second = published(world)
    assert not Snapshot.objects.filter(version=second).exists()
    assert dice_of(second)["images"][0]["annotations"][0]["class_name"] == "Tiger"


# What is refused ----------------------------------------------------------------------------------


def test_a_publish_of_nothing_is_refused_unless_wanted():
    world = a_world()
    with pytest.raises(NothingToPublish):
        published(world)
    assert not Version.objects.exists()
    assert published(world, allow_empty=True).image_count == 0


def test_images_of_unknown_size_block_a_publish_and_are_listed():
    world = a_world()
    confirmed(world, world.images[0])
    raw("UPDATE dataset_images SET width = NULL, height = NULL")
    with pytest.raises(PublishBlocked) as refused:
        published(world)
    assert refused.value.errors == {"image_size_unknown": ["a/1.png"]}
    assert not Version.objects.exists() and not Snapshot.objects.exists()
    assert ImageMark.objects.exists(), "the marks must be there for the next try"


def test_drafts_without_a_class_block_a_publish_with_drafts():
    world = a_world()
    bare = a_box(world, world.images[0], class_name=None)
    with pytest.raises(PublishBlocked) as refused:
        published(world, include_draft=True)
    assert refused.value.errors == {"unknown_class": [bare.pk]}


@pytest.mark.parametrize("number", ["v0.1", "1.0", "v1", "v01.0", "v1.0.0", "v1.0\n", "v9999999.0"])
def test_numbers_of_the_wrong_form_are_refused(number):
    world = a_world()
    confirmed(world, world.images[0])
    with pytest.raises(InvalidVersionNumber):
        published(world, version_number=number)


def test_numbers_only_grow():
    world = a_world()
    confirmed(world, world.images[0])
    assert published(world, version_number="v3.7", finish=False).version_number == "v3.7"
    for taken in ("v3.7", "v3.6", "v1.0"):
        with pytest.raises(VersionExists):
            published(world, version_number=taken)
    assert published(world, version_number="v3.10", finish=False).version_number == "v3.10"
    assert published(world, finish=False).version_number == "v4.0"


# Two at once ----------------------------------------------------------------------------------------


def _in_threads(count: int, act) -> list:
    def work(number: int):
        try:
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


def test_publishes_at_once_give_as_many_numbers():
    world = a_world()
    confirmed(world, world.images[0])
    versions = _in_threads(6, lambda _: publishing.request_publish(world.task, PublishWish(), by="adm"))
    assert sorted(version.version_number for version in versions) == [f"v{n}.0" for n in range(1, 7)]
    assert sorted(version.ordinal for version in versions) == [1, 2, 3, 4, 5, 6]
    assert {version.annotation_count for version in versions} == {1}


def test_the_same_key_gives_the_same_version_also_at_once():
    world = a_world()
    confirmed(world, world.images[0])
    made = _in_threads(4, lambda _: publishing.request_publish(world.task, PublishWish(), by="adm", key="k1").pk)
    assert len(set(made)) == 1 and Version.objects.count() == 1


def published_while_the_key_is_used(world: World, said: list, answer: int) -> Version:
    """A publish with a key that the same person uses for ``said`` at the same moment, which gives ``answer``."""
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> int:
        begun.set()
        assert go_on.wait(60)
        return answer

    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(_closing, lambda _: once("adm", "k", said, hold))
        assert begun.wait(60)
        publish = threads.submit(
            _closing, lambda _: publishing.request_publish(world.task, PublishWish(), by="adm", key="k")
        )
        try:
            assert wait_until(somebody_waits, 60)
        finally:
            go_on.set()
        other.result()
        return publish.result()


def test_a_key_used_for_something_else_at_the_same_moment_is_refused():
    world = a_world()
    confirmed(world, world.images[0])
    with pytest.raises(Duplicate, match="another request"):
        published_while_the_key_is_used(world, ["something else"], 1)
    assert not Version.objects.exists()


def test_a_key_used_for_the_same_publish_at_the_same_moment_gives_its_version():
    world = a_world()
    confirmed(world, world.images[0])
    first = published(world, finish=False)
    said = ["publish", world.task.pk, asdict(PublishWish())]
    assert published_while_the_key_is_used(world, said, first.pk) == first
    assert Version.objects.count() == 1


def test_no_change_slips_between_two_versions_while_people_edit():
    """Two boxes of an image are always moved in one transaction: every version must show them equal."""
    world = a_world()
    left, right = confirmed(world, world.images[0], boxes=2)
    for row in (left, right):
        editing.update_annotation(row.pk, {"geometry": {"type": "bbox", "bbox": [0, 20, 20, 30]}}, by="ann")
    stop = threading.Event()

    def edit(_: int) -> None:
        x = 0
        while not stop.is_set():
            x = (x + 1) % 100
            with transaction.atomic():
                for row in (left, right):
                    geometry = {"type": "bbox", "bbox": [x, 20, 20, 30]}
                    editing.update_annotation(row.pk, {"geometry": geometry}, by="ann")

    def publish(_: int) -> list[Version]:
        try:
            return [publishing.request_publish(world.task, PublishWish(include_draft=True), by="adm") for _ in range(8)]
        finally:
            stop.set()

    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(_closing, edit), threads.submit(_closing, publish)]
        versions = [future.result() for future in done][1]
    for version in versions:
        with transaction.atomic():
            (image,) = snapshots.frozen_rows(version, world.task)
        boxes = [row.geometry["bbox"] for row in image.annotations]
        assert len(boxes) == 2 and boxes[0] == boxes[1], version
    last = publishing.request_publish(world.task, PublishWish(include_draft=True), by="adm")
    with transaction.atomic():
        (image,) = snapshots.frozen_rows(last, world.task)
    live = list(Annotation.objects.order_by("pk").values_list("geometry", flat=True))
    assert [row.geometry for row in image.annotations] == live


def _closing(act):
    try:
        return act(0)
    finally:
        connections.close_all()


def test_a_save_that_ends_during_a_freeze_does_not_break_it():
    world = a_world()
    confirmed(world, world.images[0])
    frozen = threading.Event()
    saved_meanwhile = threading.Event()
    real = snapshots.freeze

    def slow(*args, **kwargs):
        # The snapshot of the transaction is taken by now.
        found = real(*args, **kwargs)
        frozen.set()
        assert saved_meanwhile.wait(60)
        return found

    def save(_: int) -> None:
        assert frozen.wait(60)
        autosave.request_save(world.task, "manual", by="ann")
        autosave.save_working(world.task, trigger="manual", by="ann")
        saved_meanwhile.set()

    publishing.snapshots.freeze = slow
    try:
        with ThreadPoolExecutor(2) as threads:
            saving = threads.submit(_closing, save)
            version = threads.submit(_closing, lambda _: published(world, finish=False)).result()
            saving.result()
    finally:
        publishing.snapshots.freeze = real
    assert version.version_number == "v1.0" and Version.objects.working().count() == 1
    assert SaveState.objects.get().requested_trigger == "publish"


# Frozen is final ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE frozen_annotations SET snapshots = '{NULL}'",
        "UPDATE frozen_annotations SET opened = 5",
        "DELETE FROM frozen_annotations",
        "UPDATE frozen_versions SET images = '{}'",
        "DELETE FROM frozen_versions",
        "UPDATE annotation_snapshots SET snapshot_data = '{}'",
        "DELETE FROM annotation_snapshots",
        "UPDATE version_images SET width = 1",
        "DELETE FROM version_images",
        "UPDATE annotation_versions SET description = 'x'",
        "UPDATE annotation_versions SET annotation_count = 7",
        "UPDATE annotation_versions SET status = 'exporting'",
        "UPDATE annotation_versions SET content_hash = 'x'",
        "DELETE FROM annotation_versions",
        "UPDATE version_exports SET sha256 = 'x'",
        "DELETE FROM version_exports",
        "INSERT INTO annotation_versions SELECT * FROM annotation_versions",
        "UPDATE annotation_versions SET warnings = '[1]'",
        "UPDATE version_images SET until_version_id = version_id, closed = 2",
        "INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)"
        " SELECT version_id, task_id, 2, 2, image_id, annotation_ids, '{NULL}' FROM frozen_annotations",
        "INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)"
        " SELECT 999999, task_id, 2, 2, image_id, annotation_ids, '{NULL}' FROM frozen_annotations",
        "INSERT INTO version_images (version_id, task_id, opened, image_id, path, depth, metadata)"
        " SELECT version_id, task_id, 1, 777, 'x', 3, metadata FROM version_images",
        "INSERT INTO version_exports (version_id, format, s3_key, size_bytes, sha256, created_at)"
        " SELECT version_id, 'other', 'x', 1, 'x', now() FROM version_exports",
        "UPDATE classes SET index = index + 10",
        "UPDATE classes SET class_id = class_id || 'x'",
        "DELETE FROM classes",
    ],
)
def test_postgresql_itself_refuses_to_change_what_is_published(statement):
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    with pytest.raises(DatabaseError):
        raw(statement)


TELL = """INSERT INTO frozen_annotations (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)
    SELECT {version}, {task}, {opened}, {opened}, image_id, annotation_ids,
        array_fill(NULL::text, ARRAY[cardinality(snapshots)]) FROM frozen_annotations"""


@pytest.mark.parametrize(
    ("freezing", "statement"),
    [
        # A version that is there; one that never comes; another task; more than opening and closing.
        ("{version}/{task}/2", TELL.format(task="task_id", opened=2, version="{version}")),
        ("999/{task}/2", TELL.format(task="task_id", opened=2, version=999)),
        ("999/777/2", TELL.format(task=777, opened=2, version=999)),
        ("999/{task}/2", TELL.format(task="task_id", opened=2, version=998)),
        ("999/{task}/2", "UPDATE frozen_annotations SET snapshots = '{{NULL}}'"),
        ("999/{task}/2", "DELETE FROM frozen_annotations"),
        ("999/{task}/2", "UPDATE version_images SET closed = 2, until_version_id = 998"),
        ("999/{task}/2", "UPDATE version_images SET closed = 2, until_version_id = 999, path = ''"),
        (
            "999/{task}/2",
            "INSERT INTO version_images (version_id, task_id, opened, image_id, path, depth, metadata)"
            " SELECT version_id, task_id, 1, 777, 'x', 3, metadata FROM version_images",
        ),
        (
            "999/{task}/2",
            "INSERT INTO version_images (version_id, task_id, opened, image_id, path, depth, metadata)"
            " SELECT 999, task_id, 1, 777, 'x', 3, metadata FROM version_images",
        ),
    ],
)
def test_saying_that_one_freezes_opens_no_way_to_what_is_published(freezing, statement):
    world = a_world()
    confirmed(world, world.images[0])
    ids = {"version": published(world).pk, "task": world.task.pk}
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('labeler.freezing', %s, true)", [freezing.format(**ids)])
        cursor.execute(statement.format(**ids))
    assert FrozenVersion.objects.count() == 1


def test_tables_that_must_be_kept_are_not_truncated_by_anybody_but_the_tests():
    with (
        pytest.raises(IntegrityError, match="TRUNCATE of frozen_annotations refused"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SET LOCAL labeler.allow_truncate = ''")
        cursor.execute("TRUNCATE frozen_annotations")


@pytest.fixture
def a_freeze():
    """A transaction in which a version that is not there yet may freeze rows, after two that did; tries a statement in
    it."""
    world = a_world()
    row = confirmed(world, world.images[0])[0]
    published(world, finish=False)
    editing.delete_annotation(row.pk, by="ann")
    confirmed(world, world.images[1])
    published(world, finish=False)

    def attempt(statement: str) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('labeler.freezing', %s, true)", [f"999/{world.task.pk}/3"])
            cursor.execute(statement)
            transaction.set_rollback(True)

    return attempt


def test_a_version_tells_of_an_image_once(a_freeze):
    told = TELL.format(task="task_id", opened=3, version=999) + " WHERE opened = 2"
    a_freeze(told)
    with pytest.raises(IntegrityError, match="snapshots_in_file_order"):
        a_freeze(f"{told}; {told}")


@pytest.mark.parametrize("snapshots", ["'{}'", "'{NULL,NULL}'"])
def test_there_is_a_snapshot_for_each_annotation(a_freeze, snapshots):
    with pytest.raises(IntegrityError, match="a_snapshot_for_each_annotation"):
        a_freeze(
            "INSERT INTO frozen_annotations"
            " (version_id, task_id, opened, whole_since, image_id, annotation_ids, snapshots)"
            f" SELECT 999, task_id, 3, 3, image_id, annotation_ids, {snapshots}"
            " FROM frozen_annotations WHERE opened = 1"
        )


@pytest.mark.parametrize(
    ("task", "version", "opened"),
    [("task_id", 998, 3), ("task_id", "NULL", 3), ("777", 999, 3), ("task_id", 999, 1), ("task_id", 999, 4)],
)
def test_a_version_tells_in_its_own_name_and_place_and_that_of_its_task(a_freeze, task, version, opened):
    with pytest.raises(IntegrityError, match=r"snapshots are final|violates not-null"):
        a_freeze(TELL.format(task=task, opened=opened, version=version) + " WHERE opened = 2")


@pytest.mark.parametrize("closed", [2, 4])
def test_a_version_closes_images_in_its_own_place(a_freeze, closed):
    with pytest.raises(IntegrityError, match="snapshots are final"):
        a_freeze(f"UPDATE version_images SET closed = {closed}, until_version_id = 999 WHERE closed IS NULL")


@pytest.mark.parametrize("ordinal", ["2", "3", "NULL"])
def test_nothing_is_added_to_a_version_that_is_there_in_the_name_of_another(a_freeze, ordinal):
    """Rows in the place of the second version, then a version of that place, of the next, or a working save."""
    kind = "working" if ordinal == "NULL" else "published"
    numbers = "'major', 0, 'minor', 7, 'version_number', 'v0.7'"
    other = f"'id', 999, {numbers}, 'ordinal', {ordinal}, 'version_type', '{kind}'"
    version = f"""INSERT INTO annotation_versions SELECT (jsonb_populate_record(v, jsonb_build_object({other}))).*
        FROM annotation_versions v WHERE ordinal = 2"""
    rows = TELL.format(task="task_id", opened=2, version=999) + " WHERE opened = 1"
    with pytest.raises(IntegrityError, match="snapshots are final"):
        a_freeze(f"SET LOCAL labeler.freezing = '999/{ProjectTask.objects.get().pk}/2'; {rows}; {version}")
    rows = TELL.format(task="task_id", opened=4, version=999) + " WHERE opened = 1"
    with pytest.raises(IntegrityError, match="frozen for another version"):
        a_freeze(f"SET LOCAL labeler.freezing = '999/{ProjectTask.objects.get().pk}/4'; {rows}; {version}")


# Steps that fail, repeat, come late ---------------------------------------------------------------


def test_advancing_again_and_again_changes_nothing():
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world)
    files = list(Artifact.objects.order_by("format").values())
    for _ in range(3):
        again = publishing.advance(version.pk)
    assert (again.status, again.platform_status) == ("ready", "synced")
    assert list(Artifact.objects.order_by("format").values()) == files


def test_versions_advanced_in_any_order_end_with_the_newest_official():
    world = a_world()
    versions = []
    for image in world.images:
        confirmed(world, image)
        versions.append(published(world, finish=False))
    for version in reversed(versions):
        publishing.advance(version.pk)
    assert [Version.objects.get(pk=v.pk).platform_status for v in versions] == ["superseded", "superseded", "synced"]
    assert api.head("platform", official_key()).metadata["version"] == "v3.0"


def test_an_earlier_version_that_becomes_ready_during_the_build_of_a_later_one_disturbs_neither(tmp_path):
    world = a_world()
    versions = []
    for image in world.images[:2]:
        confirmed(world, image)
        versions.append(published(world, finish=False))
    earlier, later = versions
    owing = publishing.with_all_it_needs(later.pk)
    assert owing.owing == [earlier.pk], "the later one writes the earlier one's frozen rows too"
    files, _ = publishing.built(owing, tmp_path)
    assert publishing.advance(earlier.pk).status == "ready"
    artifacts.record_ready(owing, files)
    assert publishing.advance(later.pk).status == "ready"
    for version in versions:
        recorded = sorted(Artifact.objects.filter(version=version).values_list("format", flat=True))
        assert recorded == ["coco", "dice", "frozen_rows", "manifest", "yolo"]


def test_a_worker_that_lost_its_lock_records_nothing_on_what_another_made_ready(tmp_path):
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world, finish=False)
    slow = publishing.with_all_it_needs(version.pk)
    files, _ = publishing.built(slow, tmp_path)
    finished_at = publishing.advance(version.pk).finished_at
    artifacts.record_ready(slow, files)
    assert Version.objects.get(pk=version.pk).finished_at == finished_at


def test_an_older_version_is_not_made_official_again():
    world = a_world()
    confirmed(world, world.images[0])
    first = published(world)
    published(world)
    with pytest.raises(NotLatest):
        publishing.request_sync(first)
    assert api.head("platform", official_key()).metadata["version"] == "v2.0"


def test_somebody_elses_official_file_is_replaced_and_ours_of_a_newer_number_is_not(put_object, tmp_path):
    world = a_world()
    put_object("platform", official_key(), b"{}", "application/json")
    confirmed(world, world.images[0])
    assert published(world).platform_status == "synced"
    newer = dict(api.head("platform", official_key()).metadata, version="v9.0")
    path = tmp_path / "newer"
    path.write_bytes(b"{}")
    api.put_latest(
        "platform", official_key(), path, content_type="application/json", sha256="x", size=2, metadata=newer
    )
    assert published(world).platform_status == "superseded"


def test_a_store_that_does_not_answer_leaves_the_version_for_the_sweep(settings, tmp_path):
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world, finish=False)
    right = settings.STORAGES
    broken = {"BACKEND": "labeler.storage.S3Store", "OPTIONS": {
        "alias": "labeler", "bucket_name": "b", "endpoint_url": "http://127.0.0.1:1", "access_key": "a",
        "secret_key": "s"}}  # fmt: skip
    settings.STORAGES = {**right, "labeler": broken}
    waiting = publishing.advance(version.pk)
    assert (waiting.status, waiting.attempts) == ("exporting", 1)
    assert "does not answer" in waiting.last_error and waiting.retry_at is not None
    assert publishing.left_behind() == []
    Version.objects.filter(pk=version.pk).update(retry_at=None)
    assert publishing.left_behind() == [version.pk]
    settings.STORAGES = right
    whole = publishing.advance(version.pk)
    assert (whole.status, whole.last_error) == ("ready", "")


@pytest.fixture
def failing_disk(monkeypatch):
    """A disk that loses what it is given, and says so only to whoever asked for it to be written, a little later."""

    def lose(number: int) -> None:
        time.sleep(0.3)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("exports.writer.BRING", 1)
    monkeypatch.setattr(os, "fdatasync", lose)
    return monkeypatch


def test_a_disk_that_lost_a_part_of_a_file_leaves_the_version_for_the_sweep(failing_disk):
    world = a_world()
    confirmed(world, world.images[0])
    waiting = published(world)
    assert (waiting.status, waiting.attempts) == ("exporting", 1) and "Input/output error" in waiting.last_error
    assert list(api.listing("labeler", f"exports/{world.project.pk}/v1.0/")) == []
    failing_disk.undo()
    assert publishing.advance(waiting.pk).status == "ready"


def test_a_disk_that_lost_a_part_of_a_file_leaves_the_save_to_be_made_again(failing_disk):
    world = a_world()
    a_box(world, world.images[0])
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        saved(world)
    state = SaveState.objects.get(task=world.task)
    assert (state.attempts, state.last_version) == (1, None) and "Input/output error" in state.last_error
    failing_disk.undo()
    assert saved(world).version_number == "v0.1"


def test_a_platform_store_that_is_away_costs_the_official_file_only(settings):
    world = a_world()
    confirmed(world, world.images[0])
    right = settings.STORAGES
    away = {"BACKEND": "labeler.storage.S3Store", "OPTIONS": {
        "alias": "platform", "bucket_name": "b", "endpoint_url": "http://127.0.0.1:1", "access_key": "a",
        "secret_key": "s"}}  # fmt: skip
    version = published(world, finish=False)
    settings.STORAGES = {**right, "platform": away}
    waiting = publishing.advance(version.pk)
    assert (waiting.status, waiting.platform_status) == ("ready", "pending")
    assert "does not answer" in waiting.platform_error
    settings.STORAGES = right
    assert publishing.advance(version.pk).platform_status == "synced"


def test_other_content_under_a_published_key_fails_the_version_and_is_not_overwritten(put_object):
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world, finish=False)
    key = f"exports/{world.project.pk}/v1.0/annotations_coco.json"
    put_object("labeler", key, b"somebody else's")
    failed = publishing.advance(version.pk)
    assert failed.status == "failed" and "other content" in failed.last_error
    assert api.read_small("labeler", key) == b"somebody else's"
    api.remove("labeler", key)
    assert publishing.retry(failed)
    assert publishing.advance(version.pk).status == "ready"


def test_what_a_killed_worker_with_another_zlib_uploaded_counts_as_the_versions(stores, monkeypatch, tmp_path):
    world = a_world()
    confirmed(world, world.images[0], boxes=3)
    version = published(world, finish=False)
    with monkeypatch.context() as other:
        other.setattr(zipstream, "LEVEL", 0)
        other.setattr(frozen_records, "LEVEL", 0)
        # It dies before it records anything.
        files, _ = publishing.built(publishing.with_all_it_needs(version.pk), tmp_path)
    theirs = {each.format: each.sha256 for each in files}
    ours = files_of(version, world, tmp_path)
    assert all(api.sha256_of_file(ours[name]) != theirs[name] for name in ("yolo", "frozen_rows"))
    assert publishing.advance(version.pk).status == "ready"
    files = list(Artifact.objects.all())
    assert {file.format: file.sha256 for file in files} == theirs
    for file in files:
        assert (api.hash_of("labeler", file.s3_key), api.head("labeler", file.s3_key).size) == (
            file.sha256, file.size_bytes,
        )  # fmt: skip
    assert all(finding.well for finding in verifying.verify(version))


def files_of(version: Version, world: World, folder: Path) -> dict[str, Path]:
    """What is packed of a version, as it is made here."""
    (built,) = artifacts.build_published(version, world.task, ["yolo"], folder)
    frozen = folder / "frozen_rows"
    with artifacts.one_instant():
        frozen_records.write_records(frozen, records.frozen_changes(version, world.task))
    return {"yolo": built.path, "frozen_rows": frozen}


def zipped_anew(path: Path, spoil) -> bytes:
    """The same archive from another program, after ``spoil`` had its list of (name, content)."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in spoil(members):
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda members: members, "ready"),
        (lambda members: [*members[:-1], (members[-1][0], members[-1][1] + b" ")], "failed"),
        (lambda members: [*members[:-1], ("other.txt", members[-1][1])], "failed"),
        (lambda members: members[::-1], "failed"),
        (lambda members: members[:-1], "failed"),
        (lambda members: [*members, ("more.txt", b"")], "failed"),
    ],
    ids=["the same", "another content", "another name", "another order", "one less", "one more"],
)
def test_an_archive_under_the_key_is_the_versions_if_it_holds_the_same(spoil, state, put_object, tmp_path):
    world = a_world()
    confirmed(world, world.images[0], boxes=3)
    version = published(world, finish=False)
    key = f"exports/{world.project.pk}/v1.0/annotations_yolo.zip"
    there = put_object("labeler", key, zipped_anew(files_of(version, world, tmp_path)["yolo"], spoil))
    told = publishing.advance(version.pk)
    assert told.status == state and (state == "ready" or "other content" in told.last_error)
    recorded = Artifact.objects.filter(format="yolo").values_list("sha256", "size_bytes")
    assert list(recorded) == ([(api.hash_of("labeler", key), there.size)] if state == "ready" else [])


def test_frozen_rows_under_the_key_with_another_row_fail_the_version(put_object, tmp_path):
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world, finish=False)
    frozen = files_of(version, world, tmp_path)["frozen_rows"]
    frozen_records.write_records(frozen, [*frozen_records.read_records(frozen), {"close": 1}])
    put_object("labeler", f"exports/{world.project.pk}/v1.0/frozen_rows.jsonl.gz", frozen.read_bytes())
    assert publishing.advance(version.pk).status == "failed"


def test_a_publish_makes_a_working_save_due():
    world = a_world()
    confirmed(world, world.images[0])
    published(world, finish=False)
    assert SaveState.objects.get(task=world.task).requested_trigger == "publish"


def test_the_preview_says_what_a_publish_does():
    world = a_world()
    confirmed(world, world.images[0], boxes=2)
    draft = a_box(world, world.images[1])
    told = publishing.preview(world.task, include_draft=False)
    assert (told["next_version_number"], told["annotation_count"], told["image_count"]) == ("v1.0", 2, 1)
    assert (told["draft_annotations"], told["completed"], told["in_progress"], told["not_started"]) == (1, 1, 1, 1)
    assert [(each["code"], each["count"], each["sample"]) for each in told["warnings"]] == [
        ("unfinished_images", 2, ["a/2.png", "a/3.png"]),
        ("drafts_left_out", 1, [draft.pk]),
    ]
    version = published(world, finish=False)
    assert (version.annotation_count, version.image_count) == (told["annotation_count"], told["image_count"])
    raw("UPDATE dataset_images SET width = NULL, height = NULL")
    (blocker,) = publishing.preview(world.task, include_draft=False)["blockers"]
    assert (blocker["code"], blocker["count"], blocker["sample"]) == ("image_size_unknown", 1, ["a/1.png"])


def test_what_coco_and_yolo_cannot_carry_is_counted_in_the_warnings():
    world = a_world(tasks=("geometry",))
    circle = {"annotation_type": "circle", "geometry": {"type": "circle", "center": [50, 50], "radius": 10}}
    line = {"annotation_type": "polyline", "geometry": {"type": "polyline", "points": [[1, 1], [9, 9]]}}
    for shape in (circle, line):
        editing.create_annotation(world.project, world.images[0], {**shape, "class_name": "Cat"}, by="ann")
    confirming.confirm_image(world.images[0], "geometry", by="ann")
    version = published(world)
    assert version.status == "ready" and version.annotation_count == 2
    told = {(warning["format"], warning["code"]): warning["count"] for warning in version.warnings}
    assert told and all(count >= 1 for count in told.values())
    assert {name for name, _ in told} >= {"yolo"}


def test_versions_of_a_further_task_have_their_own_numbers_keys_and_official_file():
    world = a_world(tasks=("detection", "segmentation"))
    confirmed(world, world.images[0])
    published(world)
    further = projects.task_of(world.project, "segmentation")
    polygon = {"type": "polygon", "points": [[1, 1], [40, 1], [20, 30]]}
    body = {"annotation_type": "polygon", "geometry": polygon, "class_name": "Cat"}
    editing.create_annotation(world.project, world.images[0], body, by="ann")
    confirming.confirm_image(world.images[0], "segmentation", by="ann")
    version = publishing.advance(publishing.request_publish(further, PublishWish(), by="adm").pk)
    assert (version.version_number, version.status, version.platform_status) == ("v1.0", "ready", "synced")
    assert version.platform_keys == ["datasets/ds_world/annotations_segmentation.json"]
    assert version.artifacts.get(format="dice").s3_key.endswith("/segmentation/v1.0/annotations_dice.json")
    assert api.head("platform", official_key()).metadata["version"] == "v1.0"
    assert ImageStatus.objects.get(image=world.images[0], task_type="detection").total_annotations == 1


def test_a_killed_freeze_leaves_nothing_behind():
    world = a_world()
    confirmed(world, world.images[0])
    with pytest.raises(StoreUnavailable), transaction.atomic():
        publishing.freeze(world.task, PublishWish(), "adm")
        raise StoreUnavailable("as if the process had died here")
    assert not Version.objects.exists() and not Snapshot.objects.exists() and ImageMark.objects.exists()
    assert published(world).annotation_count == 1
