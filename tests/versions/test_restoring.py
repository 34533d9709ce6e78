"""Going back: saved first, all or nothing, ids kept, versions above any before."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from annotations import confirming, editing, history, images, locks, projects, undoing
from annotations.acting import acting
from annotations.errors import AnnotationError, Duplicate, ImageLocked, NotFound
from annotations.images import FoundImage
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus, LabelClass
from annotations.progress import hold_tasks, lock_progress, lock_task, recount
from annotations.undoing import Deleted
from exports import stores as api
from tests.world import a_box, a_world, beside, broken_off, confirmed, published, saved
from versions import artifacts, autosave, importing, jobs, restoring, staging, work
from versions.alone import alone
from versions.errors import AlreadyDone, ForeignFile, NoWorkingSave, RestoreRefused
from versions.models import Job, SaveState, Version
from versions.replacing import save_held

pytestmark = pytest.mark.django_db(transaction=True)


def content() -> list[tuple]:
    rows = Annotation.objects.order_by("pk")
    return list(rows.values_list("pk", "image_id", "geometry", "label_class_id", "state", "notes", "created_by"))


def progress() -> list[tuple]:
    rows = ImageStatus.objects.order_by("pk")
    return list(rows.values_list("image_id", "status", "is_image_confirmed", "confirmed_by", "total_annotations"))


def a_changed_world():
    """Version v1.0 of two confirmed images; then one box moved, one deleted, one drawn."""
    world = a_world()
    first, second = confirmed(world, world.images[0], boxes=2)
    confirmed(world, world.images[1])
    before = content(), progress()
    version = published(world)
    editing.update_annotation(first.pk, {"geometry": {"type": "bbox", "bbox": [1, 1, 9, 9]}}, by="ann")
    editing.delete_annotation(second.pk, by="ann")
    a_box(world, world.images[2])
    return world, version, before


def test_a_published_version_comes_back_with_its_ids_states_and_progress(stores):
    world, version, before = a_changed_world()
    done = restoring.restore(world.task, source="version", version=version, by="adm")
    assert done.changes.as_dict() == {"added": 1, "updated": 1, "removed": 1, "unchanged": 1}
    assert (content(), progress()) == before
    assert recount(dry_run=True) == []


def test_a_dry_run_gives_the_same_figures_and_changes_nothing():
    world, version, _ = a_changed_world()
    now, saves = (content(), progress()), Version.objects.count()
    done = restoring.restore(world.task, source="version", version=version, by="adm", dry_run=True)
    assert done.changes.as_dict() == {"added": 1, "updated": 1, "removed": 1, "unchanged": 1}
    assert (content(), progress()) == now and Version.objects.count() == saves


def test_what_is_replaced_is_saved_first_and_a_save_is_due_afterwards():
    world, version, _ = a_changed_world()
    replaced = content()
    restoring.restore(world.task, source="version", version=version, by="adm")
    save = Version.objects.working().get()
    assert save.trigger == "restore"
    assert SaveState.objects.get().requested_trigger == "restore"
    restoring.restore(world.task, source="version", version=save, by="adm")
    assert content() == replaced


def test_nothing_is_replaced_when_it_could_not_be_saved(settings):
    world, version, _ = a_changed_world()
    now = content()
    options = {"alias": "labeler", "bucket_name": "b", "endpoint_url": "http://127.0.0.1:1", "access_key": "a",
               "secret_key": "s"}  # fmt: skip
    settings.STORAGES = {
        **settings.STORAGES, "labeler": {"BACKEND": "labeler.storage.S3Store", "OPTIONS": options}
    }  # fmt: skip
    with pytest.raises(RestoreRefused, match="nothing was changed"):
        restoring.restore(world.task, source="version", version=version, by="adm")
    assert content() == now


def test_restored_rows_get_a_version_above_any_they_ever_had():
    world, version, _ = a_changed_world()
    highest = {}
    for row in AnnotationHistory.objects.filter(previous_state__isnull=False):
        was = row.previous_state["version"]
        highest[row.annotation_id] = max(highest.get(row.annotation_id, 0), was)
    restoring.restore(world.task, source="version", version=version, by="adm")
    for row in Annotation.objects.filter(pk__in=highest):
        assert row.version > highest[row.pk]


def test_what_comes_back_in_many_parts_comes_back_whole(monkeypatch):
    monkeypatch.setattr(staging, "PART", 2)
    world = a_world()
    for image in world.images:
        confirmed(world, image, boxes=3)
    boxes = list(Annotation.objects.order_by("image_id", "pk").values_list("pk", flat=True))
    version, before = published(world), content()
    editing.delete_batch(boxes, by="ann")
    restoring.restore(world.task, source="version", version=version, by="adm")
    assert content() == before and recount(dry_run=True) == []
    assert (
        list(AnnotationHistory.objects.filter(action="restore").order_by("pk").values_list("annotation_id", flat=True))
        == boxes
    )


def test_history_names_who_restored():
    world, version, _ = a_changed_world()
    restoring.restore(world.task, source="version", version=version, by="adm")
    rows = AnnotationHistory.objects.filter(action="restore")
    assert {row.changed_by for row in rows} == {"adm"} and rows.count() == 3


def test_only_some_images_can_be_restored():
    world, version, _ = a_changed_world()
    done = restoring.restore(world.task, source="version", version=version, by="adm", image_paths=["a/3.png"])
    assert done.changes.as_dict() == {"added": 0, "updated": 0, "removed": 1, "unchanged": 0}
    with pytest.raises(AnnotationError) as refused:
        restoring.restore(world.task, source="version", version=version, by="adm", image_paths=["none.png"])
    assert "none.png" in str(refused.value.errors["image_ids"])


def test_a_working_save_comes_back_with_drafts_and_notes():
    world = a_world()
    a_box(world, world.images[0], notes="keep me")
    confirming.confirm_image(world.images[1], "detection", by="ann", allow_empty=True)
    before = content(), progress()
    saved(world)
    editing.delete_batch(list(Annotation.objects.values_list("pk", flat=True)), by="ann")
    done = restoring.restore(world.task, source="working", by="adm")
    assert done.changes.added == 1 and (content(), progress()) == before
    assert Version.objects.get(version_number="v0.2").annotation_count == 0, "what was replaced is saved"


def test_without_a_save_there_is_nothing_to_go_back_to():
    world = a_world()
    with pytest.raises(NoWorkingSave):
        restoring.check_wish(world.task, source="working", version=None, image_paths=None)


def test_the_official_file_comes_back_with_ids_and_with_who_and_when():
    world, _, before = a_changed_world()
    done = restoring.restore(world.task, source="platform", by="adm")
    assert done.changes.as_dict() == {"added": 1, "updated": 1, "removed": 1, "unchanged": 1}
    assert content() == before[0]


def test_a_save_whose_bytes_were_changed_in_the_store_is_not_restored(put_object):
    world = a_world()
    a_box(world, world.images[0])
    version = saved(world)
    put_object("labeler", version.artifacts.get().s3_key, b'{"images": []}')
    with pytest.raises(api.StoreRefused, match="other bytes"):
        restoring.restore(world.task, source="version", version=version, by="adm")
    assert Annotation.objects.count() == 1


def test_a_rollback_is_the_next_number_with_the_old_content():
    world, version, before = a_changed_world()
    confirmed(world, world.images[2])
    published(world)
    made = restoring.rollback(version, by="adm")
    assert (made.version_number, made.annotation_count, made.image_count) == ("v3.0", 3, 2)
    assert content() == before[0]
    assert SaveState.objects.get().requested_trigger == "publish"


# A job that is taken up again -----------------------------------------------------------------------


def a_restore(world, **params) -> Job:
    return jobs.start("restore", by="adm", project=world.project, params={"source": "working", **params})


def an_edited_world():
    """A save of two boxes; then one moved, one deleted."""
    world = a_world()
    first, second = a_box(world, world.images[0]), a_box(world, world.images[1])
    before = content(), progress()
    saved(world)
    editing.update_annotation(first.pk, {"geometry": {"type": "bbox", "bbox": [1, 1, 9, 9]}}, by="ann")
    editing.delete_annotation(second.pk, by="ann")
    return world, before


def test_a_restore_killed_after_its_commit_is_not_done_again():
    world, before = an_edited_world()
    job = a_restore(world)
    broken_off(job)
    assert (content(), progress()) == before
    drawn = a_box(world, world.images[2])
    again = work.run(job.pk)
    assert (again.status, again.progress, again.result["added"], again.result["updated"]) == ("done", 1.0, 1, 1)
    assert Annotation.objects.filter(pk=drawn.pk).exists() and content()[:-1] == before[0]
    assert Version.objects.working().count() == 2 and jobs.left_behind() == []


def test_work_done_for_a_job_that_has_ended_is_taken_back():
    world, _ = an_edited_world()
    job = a_restore(world)
    broken_off(job)
    drawn = a_box(world, world.images[2])
    now = content()
    with pytest.raises(AlreadyDone):
        work.restore(job, lambda share: None)
    assert content() == now and Annotation.objects.filter(pk=drawn.pk).exists()


@pytest.fixture
def break_commit(monkeypatch):
    """The connection is lost with the next COMMIT, before or after PostgreSQL did it."""

    def arm(when: str) -> None:
        real = BaseDatabaseWrapper._commit

        def lost(self):
            monkeypatch.setattr(BaseDatabaseWrapper, "_commit", real)
            if when == "after":
                real(self)
            self.connection.close()
            raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(BaseDatabaseWrapper, "_commit", lost)

    return arm


def test_a_restore_whose_commit_was_not_answered_is_done(break_commit):
    world, before = an_edited_world()
    job = a_restore(world)
    break_commit("after")
    done = work.run(job.pk)
    assert (done.status, done.error, done.result["updated"]) == ("done", "", 1)
    assert (content(), progress()) == before


def test_a_restore_broken_off_before_its_commit_is_done_again_whole(break_commit):
    world, before = an_edited_world()
    now, job = content(), a_restore(world)
    break_commit("before")
    waiting = work.run(job.pk)
    assert (waiting.status, waiting.result, waiting.progress) == ("queued", None, 0) and content() == now
    drawn = a_box(world, world.images[2])
    assert work.run(job.pk).status == "done" and (content(), progress()) == before
    save = Version.objects.working().order_by("-minor").first()
    kept = json.loads(api.read_small("labeler", save.artifacts.get().s3_key))
    assert drawn.pk in [row["id"] for image in kept["images"] for row in image["annotations"]]


def test_a_restore_that_is_tried_again_takes_the_save_it_began_with(break_commit):
    world, before = an_edited_world()
    job = a_restore(world)
    break_commit("before")
    assert work.run(job.pk).status == "queued"
    assert saved(world) is not None, "of the rows that are to go"
    assert work.run(job.pk).status == "done" and (content(), progress()) == before


def test_a_dry_run_is_tried_again():
    world, _ = an_edited_world()
    now, job = content(), a_restore(world, dry_run=True)
    broken_off(job)
    assert Job.objects.get().status == "running"
    done = work.run(job.pk)
    assert (done.status, done.result["updated"], done.result["dry_run"]) == ("done", 1, True) and content() == now


def test_a_rollback_killed_after_its_commit_makes_one_version():
    world, version, _ = a_changed_world()
    params = {"task_type": "detection", "version_id": version.pk, "description": ""}
    job = jobs.start("rollback", by="adm", project=world.project, params=params)
    broken_off(job)
    drawn = a_box(world, world.images[2], x=60)
    done = work.run(job.pk)
    made = Version.objects.published().get(version_number="v2.0")
    assert (done.status, done.result) == ("done", {"version_id": made.pk, "version_number": "v2.0"})
    assert Version.objects.published().count() == 2 and Annotation.objects.filter(pk=drawn.pk).exists()


def test_a_class_retired_meanwhile_lives_again():
    world = a_world()
    row = confirmed(world, world.images[0])[0]
    version = published(world)
    editing.delete_annotation(row.pk, by="ann")
    projects.remove_class(row.label_class, by="adm")
    restoring.restore(world.task, source="version", version=version, by="adm")
    restored = Annotation.objects.get()
    assert restored.label_class_id == row.label_class_id and restored.label_class.retired_at is None


def looked_at(world, version) -> set[int] | None:
    with transaction.atomic():
        images = restoring.stage_differing(version, world.task).images
        transaction.set_rollback(True)
    return images and set(images)


def test_a_restore_looks_at_what_may_differ_and_at_nothing_else():
    world = a_world(count=12)
    keys = [image.pk for image in world.images]
    drawn = [confirmed(world, image)[0] for image in world.images[:8]]
    a_box(world, world.images[8])
    left_empty = a_box(world, world.images[9])
    editing.delete_annotation(left_empty.pk, by="ann")
    first = published(world)
    editing.update_annotation(drawn[0].pk, {"notes": "later"}, by="ann")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    second = published(world)
    editing.delete_annotation(drawn[1].pk, by="ann")
    confirming.unconfirm_image(world.images[2], "detection", by="ann")
    Annotation.objects.filter(pk=drawn[3].pk).update(attributes={"by": "hand"})
    a_box(world, world.images[4])
    beside = {keys[8], keys[9]}
    assert looked_at(world, second) == {*keys[1:5], *beside}
    assert looked_at(world, first) == {*keys[:5], *beside}
    published(world, include_draft=True)
    assert looked_at(world, second) is None, "a version of other states looked at every image"
    done = restoring.restore(world.task, source="version", version=first, by="adm")
    assert done.changes.as_dict() == {"added": 1, "updated": 3, "removed": 2, "unchanged": 4}


@pytest.mark.parametrize("again", [False, True])
def test_what_a_restore_does_not_look_at_counts_as_unchanged(again):
    world = a_world(count=10)
    rows = [confirmed(world, image)[0] for image in world.images]
    version, before = published(world), (content(), progress())
    editing.update_annotation(rows[3].pk, {"notes": "later"}, by="ann")
    if again:
        confirming.confirm_image(world.images[3], "detection", by="ann")
        published(world)
    done = restoring.restore(world.task, source="version", version=version, by="adm")
    assert done.changes.as_dict() == {"added": 0, "updated": 1, "removed": 0, "unchanged": 9}
    assert (content(), progress()) == before
    merged = restoring.restore(world.task, source="version", version=version, by="adm", merge=True)
    assert merged.changes.as_dict() == {"added": 0, "updated": 0, "removed": 0, "unchanged": 10}


def test_a_restored_state_published_again_equals_the_old_files_in_content():
    world, version, _ = a_changed_world()
    restoring.restore(world.task, source="version", version=version, by="adm")
    again = published(world)
    assert again.content_hash == version.content_hash
    assert autosave.is_due(world.task) == "publish"


def test_the_save_being_restored_is_not_let_go_by_the_save_made_first(settings):
    settings.LABELER_KEEP_SAVES, settings.LABELER_KEEP_SAVE_DAYS = 1, 0
    world = a_world()
    box = a_box(world, world.images[0], notes="old")
    old = saved(world)
    editing.update_annotation(box.pk, {"notes": "new"}, by="ann")
    restoring.restore(world.task, source="version", version=old, by="adm")
    assert Annotation.objects.get().notes == "old"
    saved(world)
    assert old.artifacts.get().removed_at is not None, "the next save lets it go"


def test_nothing_drawn_while_a_restore_runs_is_lost(monkeypatch):
    """Somebody draws after the rows were staged: the box is in the save that the restore makes of what it replaces."""
    world, _, _ = a_changed_world()
    saved(world)
    drawn = []
    real = importing.stage_file

    def staged_then_drawn(*args, **more):
        reading = real(*args, **more)
        with ThreadPoolExecutor(1) as somebody:
            drawn.append(somebody.submit(_draw, world).result())
        return reading

    monkeypatch.setattr(importing, "stage_file", staged_then_drawn)
    restoring.restore(world.task, source="working", by="adm")
    save = Version.objects.working().order_by("-minor").first()
    kept = json.loads(api.read_small("labeler", save.artifacts.get().s3_key))
    assert drawn[0] in [row["id"] for image in kept["images"] for row in image["annotations"]]


def _draw(world) -> int:
    try:
        return a_box(world, world.images[2], x=90).pk
    finally:
        connections.close_all()


def test_people_editing_and_a_restore_never_end_in_a_deadlock():
    world, version, _ = a_changed_world()
    box = a_box(world, world.images[2], x=120)
    stop = threading.Event()

    def edit(number: int) -> int:
        done = 0
        try:
            while not stop.is_set():
                for row in Annotation.objects.exclude(pk=box.pk)[:3]:
                    try:
                        editing.update_annotation(row.pk, {"notes": f"{number} {done}"}, by="ann")
                    except NotFound:
                        continue
                    done += 1
        finally:
            connections.close_all()
        return done

    with ThreadPoolExecutor(3) as people:
        editors = [people.submit(edit, number) for number in range(3)]
        try:
            for _ in range(5):
                restoring.restore(world.task, source="version", version=version, by="adm")
        finally:
            stop.set()
        assert sum(editor.result() for editor in editors) > 0
    assert recount(dry_run=True) == []


def test_ids_that_nobody_gave_out_or_given_twice_are_refused(put_object):
    world, _, _ = a_changed_world()
    official = json.loads(api.read_small("platform", "datasets/ds_world/annotations.json"))
    rows = [row for image in official["images"] for row in image["annotations"]]
    before = content()
    for ids in ([2**62], [rows[1]["id"]]):
        for row, other in zip(rows, ids, strict=False):
            row["id"] = other
        put_object("platform", "datasets/ds_world/annotations.json", json.dumps(official).encode())
        with pytest.raises(ForeignFile):
            restoring.restore(world.task, source="platform", by="adm")
        assert content() == before


def test_where_locks_are_a_rule_a_restore_that_would_change_somebody_elses_image_changes_nothing():
    world, version, _ = a_changed_world()
    projects.change_project(world.project, by="olga", settings={"image_locks": True})
    now = content(), progress()
    locks.acquire(world.images[0], by="ann")
    for act in (
        lambda: restoring.restore(world.task, source="version", version=version, by="adm"),
        lambda: restoring.rollback(version, by="adm"),
    ):
        with pytest.raises(ImageLocked, match=r"ann has locked a/1\.png"):
            act()
    assert (content(), progress()) == now
    locks.release(world.images[0], by="ann")
    locks.acquire(world.images[1], by="ann")
    assert restoring.restore(world.task, source="version", version=version, by="adm").changes.updated == 1


def test_ids_of_annotations_deleted_elsewhere_are_refused(put_object):
    """They stay where they were: who deleted one there may want it back."""
    world, _, _ = a_changed_world()
    other = a_world(dataset="ds_other")
    elsewhere = a_box(other, other.images[0])
    on_another_image = a_box(world, world.images[2])
    for box in (elsewhere, on_another_image):
        editing.delete_annotation(box.pk, by="ann")
    official = json.loads(api.read_small("platform", "datasets/ds_world/annotations.json"))
    before = content()
    for box in (elsewhere, on_another_image):
        official["images"][0]["annotations"][0]["id"] = box.pk
        put_object("platform", "datasets/ds_world/annotations.json", json.dumps(official).encode())
        for merge in (False, True):
            with pytest.raises(ForeignFile) as refused:
                restoring.restore(world.task, source="platform", by="adm", merge=merge)
            assert refused.value.errors == {"annotation_ids": [box.pk]} and content() == before
    assert undoing.restore_deleted(other.project.pk, Deleted(), by="rev").annotation_ids == [elsewhere.pk]


# At the same time -----------------------------------------------------------------------------


def a_new_image(world, path: str = "a/new.png") -> Image:
    images.register_images(world.project, [FoundImage(path, 200, 100, 3, 10, "", None)])
    return Image.objects.get(path=path)


def test_what_is_drawn_on_an_image_that_came_meanwhile_is_not_lost(other_session):
    world = a_world()
    a_box(world, world.images[0])

    def come_and_draw() -> int:
        image = a_new_image(world)
        confirming.confirm_image(a_new_image(world, "a/new_2.png"), "detection", by="ann", allow_empty=True)
        return a_box(world, image).pk

    with alone("save", world.task.pk), acting("adm", action="restore"):
        lock_task(world.project.pk, "detection")
        save_held(world.task, "adm")
        drawn = beside(other_session, come_and_draw)
        staging.open_tables()
        staging.apply(world.task)
    box = drawn.result()
    assert list(Annotation.objects.values_list("pk", flat=True)) == [box]
    assert ImageStatus.objects.get(image__path="a/new_2.png").status == "completed"


def test_what_is_drawn_on_an_image_that_just_came_is_saved_before_it_is_replaced(other_session):
    world, version, before = a_changed_world()
    with transaction.atomic():
        box = a_box(world, a_new_image(world))
        restored = beside(
            other_session, lambda: restoring.restore(world.task, source="version", version=version, by="adm")
        )
    restored.result()
    save = Version.objects.working().order_by("-minor").first()
    kept = json.loads(api.read_small("labeler", save.artifacts.get().s3_key))
    assert box.pk in [row["id"] for image in kept["images"] for row in image["annotations"]]
    assert content() == before[0]


def test_images_come_while_a_working_save_is_written(monkeypatch):
    world = a_world()
    a_box(world, world.images[0])
    real = artifacts.put_working

    def put(*args):
        with ThreadPoolExecutor(1) as somebody:
            somebody.submit(_in_a_thread, lambda: a_new_image(world)).result(timeout=60)
        return real(*args)

    monkeypatch.setattr(artifacts, "put_working", put)
    assert saved(world) is not None


def _in_a_thread(act):
    try:
        return act()
    finally:
        connections.close_all()


def test_images_that_come_while_a_file_tells_sizes_are_in_nobodys_way(other_session):
    """A size that is learned changes the project, as an image that comes does: each needs what the other has."""
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    Image.objects.filter(pk=world.images[0].pk).update(width=None, height=None)
    with transaction.atomic():
        hold_tasks(world.project.pk)
        restored = beside(other_session, lambda: restoring.restore(world.task, source="platform", by="adm"))
        a_new_image(world)
    assert restored.result().changes.unchanged == 1
    assert Image.objects.get(pk=world.images[0].pk).width == 200


def a_renamed_class():
    """Version v1.0 of a box of a Cat; the class is called Kitty now."""
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world)
    cat = LabelClass.objects.get(class_id="cat")
    projects.change_class(cat, by="adm", name="Kitty")
    return world, version, cat


def test_a_name_that_a_restore_gives_back_is_taken_for_who_asks_meanwhile(other_session):
    world, version, _ = a_renamed_class()
    dog = LabelClass.objects.get(class_id="dog")
    deeds = (
        lambda: projects.create_class(world.task, name="Cat", by="adm"),
        lambda: projects.create_classes(world.task, [{"name": "Cat"}], by="adm"),
        lambda: projects.change_class(dog, by="adm", name="Cat"),
    )
    for deed in deeds:
        with acting("adm"):
            lock_task(world.project.pk, "detection")
            restoring.restore_classes(version, world.task)
            asked = beside(other_session, deed)
        with pytest.raises(Duplicate) as refused:
            asked.result()
        assert list(refused.value.errors) == ["name"]
        projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Kitty")


def test_a_name_given_while_a_restore_waits_stays_there_and_is_told(other_session):
    world, version, cat = a_renamed_class()
    with transaction.atomic():
        projects.create_class(world.task, name="Cat", by="adm")
        restored = beside(
            other_session, lambda: restoring.restore(world.task, source="version", version=version, by="adm")
        )
    assert restored.result().changes.unchanged == 1
    cat.refresh_from_db()
    assert cat.name == "Kitty"


def test_a_name_taken_past_the_lock_is_a_duplicate(other_session):
    world, version, _ = a_renamed_class()
    dog = LabelClass.objects.filter(class_id="dog")
    deeds = (
        lambda: restoring.restore(world.task, source="version", version=version, by="adm"),
        lambda: projects.create_class(world.task, name="Cat", by="adm"),
    )
    for deed in deeds:
        with transaction.atomic():
            dog.update(name="Cat")
            asked = beside(other_session, deed)
        with pytest.raises(Duplicate) as refused:
            asked.result()
        assert refused.value.errors == {"name": ["is in use."]}
        dog.update(name="Dog")


def test_who_draws_a_class_that_a_restore_renames_is_in_nobodys_way(other_session):
    world, version, cat = a_renamed_class()
    with transaction.atomic():
        lock_progress(world.project.pk, [(world.images[1].pk, "detection")])
        restored = beside(
            other_session, lambda: restoring.restore(world.task, source="version", version=version, by="adm")
        )
        a_box(world, world.images[1], class_name="Kitty")
    assert restored.result().changes.removed == 1
    cat.refresh_from_db()
    assert cat.name == "Cat"


def test_a_rename_undone_while_a_restore_renames_waits_for_it(other_session):
    world, version, cat = a_renamed_class()
    row = history.history_of_classes(world.task)[0]
    with acting("adm"):
        lock_task(world.project.pk, "detection")
        undone = beside(other_session, lambda: history.undo_class_change(world.task, row.pk, by="adm", force=True))
        restoring.restore_classes(version, world.task)
    undone.result()
    cat.refresh_from_db()
    assert cat.name == "Cat"
