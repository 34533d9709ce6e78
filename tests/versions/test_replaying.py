"""The database is lost between two saves: the journal gives back what was done since, exactly, with its history."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import orjson
import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from annotations import confirming, editing, projects, undoing
from annotations.models import (
    Annotation,
    AnnotationHistory,
    ClassHistory,
    HistoryMark,
    ImageHistory,
    ImageStatus,
    LabelClass,
    Project,
)
from annotations.progress import recount
from annotations.states import Role
from exports import stores as api
from tests.versions.test_rebuilding import everything, lose_the_database, rebuild, rows, write_records
from tests.world import World, a_box, a_world, confirmed, published, saved
from versions import autosave, journal
from versions.models import JournalSegment, SaveState, Version

pytestmark = pytest.mark.django_db(transaction=True)
HISTORIES = (AnnotationHistory, ImageHistory, ClassHistory)


def segment(made, number: int) -> str:
    return f"exports/{made.project.pk}/journal/{number:09}.jsonl.gz"


def exact(found: dict) -> dict:
    """Everything, but for the last change of an image: its row of history is some milliseconds younger."""
    near = [row.pop("last_modified_at") for row in found["progress"]]
    assert all(moment is None or moment > timezone.now() - timedelta(minutes=5) for moment in near)
    return found


def a_day(made) -> None:
    """All that can happen between two saves."""
    first, second, third = made.images[:3]
    kept = a_box(made, first)
    moved = a_box(made, first, x=60)
    gone = a_box(made, second)
    confirming.confirm_image(second, "detection", by="ann")
    saved(made)
    journal.write(made.project.pk)
    editing.update_annotation(moved.pk, {"geometry": {"type": "bbox", "bbox": [1.5, 2, 3, 4.25]}}, by="rev")
    editing.update_annotation(kept.pk, {"attributes": {"k": [1, None, "ü"]}, "notes": "n"}, by="ann")
    editing.delete_annotation(gone.pk, by="ann")
    journal.write(made.project.pk)
    confirmed(made, third, boxes=2)
    confirming.confirm_image(made.images[3], "detection", by="rev", allow_empty=True)
    projects.change_class(kept.label_class, by="adm", name="Tiger")
    fresh = projects.create_class(made.task, name="Wolf", class_id="wolf", by="adm")
    a_box(made, second, class_name="Wolf", by="rev")
    assert fresh.pk
    journal.write(made.project.pk)


def test_what_was_done_since_the_save_comes_back_exactly_with_its_history(stores):
    made = a_world(count=5)
    write_records()
    a_day(made)
    before, told_before = exact(everything()), [rows(model) for model in HISTORIES]
    revisions = dict(Annotation.objects.values_list("pk", "version"))
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and told.replayed > 0
    after = exact(everything())
    assert {name: after[name] for name in before} == before
    assert dict(Annotation.objects.values_list("pk", "version")) == revisions
    assert recount(dry_run=True) == []
    for model, entries in zip(HISTORIES[:2], told_before[:2], strict=True):
        assert rows(model) == entries, "nothing is lost of it, and the rebuild adds nothing"
    assert [row for row in rows(ClassHistory) if row["changed_by"] != "rebuild"] == told_before[2]


def test_without_any_save_everything_since_the_opening_comes_back():
    made = a_world()
    write_records()
    confirmed(made, made.images[0], boxes=2)
    draft = a_box(made, made.images[1])
    journal.write(made.project.pk)
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and Annotation.objects.count() == 3
    assert Annotation.objects.get(pk=draft.pk).state == "draft"
    assert list(ImageStatus.objects.order_by("image").values_list("status", flat=True)) == [
        "completed", "in-progress", "not-started",
    ]  # fmt: skip


def test_work_goes_on_after_a_replay_and_can_be_lost_and_brought_back_again():
    made = a_world(count=5)
    write_records()
    a_day(made)
    for _ in range(2):
        lose_the_database()
        (told,) = rebuild()
        assert told.missing == []
        made.project = Project.objects.prefetch_related("tasks").get()
        made.task = projects.task_of(made.project, None)
        a_box(made, made.images[4], class_name="Wolf")
        journal.write(made.project.pk)
    before = exact(everything())
    lose_the_database()
    rebuild()
    assert exact(everything()) == before
    assert not HistoryMark.objects.filter(kind="annotation").exists()


def test_a_change_before_the_loss_can_be_undone_after_it():
    made = a_world()
    write_records()
    box = a_box(made, made.images[0])
    editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [1, 1, 5, 5]}}, by="ann")
    journal.write(made.project.pk)
    lose_the_database()
    rebuild()
    change = AnnotationHistory.objects.get(annotation_id=box.pk, action="update")
    undoing.undo_change(change.pk, by="ann", role=Role.ANNOTATOR)
    assert Annotation.objects.get(pk=box.pk).geometry["bbox"] == [10, 20, 20, 30]


def test_what_a_save_holds_is_not_replayed_over_it():
    made = a_world()
    write_records()
    box = a_box(made, made.images[0])
    journal.write(made.project.pk)
    editing.delete_annotation(box.pk, by="ann")
    saved(made)
    # The deletion is in the save; the database goes before a segment could take it.
    lose_the_database()
    (told,) = rebuild()
    assert told.replayed == 0 and not Annotation.objects.exists()


@pytest.mark.parametrize("damage", ["other bytes", "gone", "cut", "of another chain"])
def test_a_spoiled_segment_ends_the_replay_and_is_named(damage, put_object):
    made = a_world(count=4)
    write_records()
    for number in range(4):
        a_box(made, made.images[number])
        journal.write(made.project.pk)
    content = api.read_small("labeler", segment(made, 3))
    if damage == "gone":
        api.remove("labeler", segment(made, 3))
    elif damage == "of another chain":
        put_object("labeler", segment(made, 3), api.read_small("labeler", segment(made, 2)))
    else:
        put_object("labeler", segment(made, 3), {"other bytes": b"x", "cut": content[:-20]}[damage])
    lose_the_database()
    (told,) = rebuild()
    assert "beyond segment 2" in told.missing[0] and "segments 3 to 4 are left out" in told.missing[0]
    assert Annotation.objects.count() == 2 and AnnotationHistory.objects.count() == 2
    assert SaveState.objects.get().requested_at is not None, "a save bridges the gap"
    again = Project.objects.prefetch_related("tasks").get()
    autosave.save_working(projects.task_of(again, None), trigger="restore")
    made.project = again
    a_box(made, made.images[3])
    assert journal.write(again.pk) == 1 and JournalSegment.objects.order_by("-number").first().number == 5
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and Annotation.objects.count() == 3


def test_a_version_newer_than_the_save_does_not_bring_back_what_was_deleted_since():
    made = a_world()
    first, second = confirmed(made, made.images[0], boxes=2)
    write_records()
    saved(made)
    published(made)
    editing.delete_annotation(first.pk, by="ann")
    editing.update_annotation(second.pk, {"geometry": {"type": "bbox", "bbox": [3, 3, 9, 9]}}, by="ann")
    journal.write(made.project.pk)
    lose_the_database()
    rebuild()
    box = Annotation.objects.get()
    assert (box.pk, box.geometry["bbox"], box.state) == (second.pk, [3, 3, 9, 9], "draft")
    assert ImageStatus.objects.get(image=made.images[0]).status == "in-progress"


def test_a_version_newer_than_the_end_of_the_journal_still_counts():
    made = a_world()
    box = confirmed(made, made.images[0])[0]
    saved(made)
    journal.write(made.project.pk)
    editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [3, 3, 9, 9]}}, by="ann")
    confirming.confirm_image(made.images[0], "detection", by="ann")
    published(made)
    write_records()
    # The journal never took these changes.
    lose_the_database()
    rebuild()
    assert Annotation.objects.get().geometry["bbox"] == [3, 3, 9, 9]
    assert ImageStatus.objects.get(image=made.images[0]).status == "completed"


def confirmed_across_a_publish(made: World, number: int) -> Version:
    """An image confirmed in a transaction that writes its history before a version is frozen and commits after it."""
    written, go_on = threading.Event(), threading.Event()

    def confirm() -> None:
        try:
            with transaction.atomic():
                confirming.confirm_images(made.project.pk, "detection", [made.images[number].pk], by="ann")
                written.set()
                assert go_on.wait(60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as people:
        done = people.submit(confirm)
        assert written.wait(60)
        try:
            version = published(made)
        finally:
            go_on.set()
        done.result()
    return version


def test_a_status_that_a_version_was_too_early_for_comes_back_though_its_row_is_older():
    made = a_world()
    confirmed(made, made.images[0])
    box = a_box(made, made.images[1])
    journal.write(made.project.pk)
    saved(made)
    version = confirmed_across_a_publish(made, 1)
    assert version.manifest["journal"]["number"] == 1
    told = ImageHistory.objects.get(image_id=made.images[1].pk, new_state__status="completed")
    assert told.timestamp < version.created_at
    journal.write(made.project.pk)
    write_records()
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and Annotation.objects.get(pk=box.pk).state == "confirmed"
    assert ImageStatus.objects.get(image=made.images[1]).status == "completed"


def test_a_version_whose_record_does_not_tell_the_journals_position_is_named(put_object):
    made = a_world()
    confirmed(made, made.images[0])
    saved(made)
    confirmed(made, made.images[1])
    published(made)
    journal.write(made.project.pk)
    write_records()
    key = f"exports/{made.project.pk}/v1.0/manifest.json"
    record = orjson.loads(api.read_small("labeler", key))
    del record["manifest"]["journal"]
    put_object("labeler", key, orjson.dumps(record))
    lose_the_database()
    (told,) = rebuild()
    assert "v1.0: its record does not tell how far the journal was" in told.missing[0]
    assert ImageStatus.objects.get(image=made.images[1]).status == "completed"


def test_an_older_save_is_brought_forward_when_the_newest_is_spoiled(put_object):
    made = a_world()
    a_box(made, made.images[0])
    saved(made)
    a_box(made, made.images[1])
    journal.write(made.project.pk)
    newest = saved(made)
    write_records()
    put_object("labeler", newest.artifacts.get().s3_key, b"{}")
    lose_the_database()
    (told,) = rebuild()
    assert "v0.2" in told.missing[0] and Annotation.objects.count() == 2


def test_each_task_is_replayed_from_its_own_save():
    made = a_world(tasks=("detection", "segmentation"))
    write_records()
    further = projects.task_of(made.project, "segmentation")
    polygon = {"type": "polygon", "points": [[1, 1], [40, 1], [20, 30]]}
    body = {"annotation_type": "polygon", "geometry": polygon, "class_name": "Cat"}
    editing.create_annotation(made.project, made.images[0], body, by="ann")
    journal.write(made.project.pk)
    autosave.save_working(further, trigger="manual")
    a_box(made, made.images[0])
    journal.write(made.project.pk)
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == []
    assert set(Annotation.objects.values_list("task_type", flat=True)) == {"detection", "segmentation"}


def test_changes_on_images_that_no_record_knows_are_counted_and_left_out():
    made = a_world()
    write_records()
    Project.objects.update(record_revision=F("record_revision") + 1)
    a_box(made, made.images[0])
    journal.write(made.project.pk)
    path = f"exports/{made.project.pk}/images.jsonl.gz"
    api.remove("labeler", path)
    lose_the_database()
    (told,) = rebuild()
    assert any("1 changes in the journal are on images" in each for each in told.missing)
    assert LabelClass.objects.count() == 2 and not Annotation.objects.exists()


def test_a_dry_run_says_what_would_be_replayed_and_changes_nothing():
    made = a_world()
    write_records()
    a_box(made, made.images[0])
    journal.write(made.project.pk)
    lose_the_database()
    (told,) = rebuild(dry_run=True)
    assert told.state == "would be rebuilt" and told.replayed == 2
    assert not Project.objects.exists() and not JournalSegment.objects.exists()
