"""Working saves: due by rows, never twice the same, numbers never repeated, nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.db import connections
from django.utils import timezone

from annotations import confirming, editing
from annotations.models import Annotation, Project
from exports import keys
from exports import stores as api
from exports.errors import StoreError
from tests.world import DATASET, a_box, a_world, confirmed, saved
from versions import artifacts, autosave, work
from versions.alone import alone
from versions.models import Artifact, Job, SaveState, Version

pytestmark = pytest.mark.django_db(transaction=True)


def broken_store(settings) -> None:
    options = {"alias": "labeler", "bucket_name": "b", "endpoint_url": "http://127.0.0.1:1", "access_key": "a",
               "secret_key": "s"}  # fmt: skip
    settings.STORAGES = {
        **settings.STORAGES,
        "labeler": {"BACKEND": "labeler.storage.S3Store", "OPTIONS": options},
    }


def test_a_save_holds_drafts_with_everything_needed_to_come_back(stores):
    world = a_world()
    box = a_box(world, world.images[0], notes="look here", confidence=70, attributes={"blurred": True})
    version = saved(world)
    assert (version.version_number, version.annotation_count, version.image_count) == ("v0.1", 1, 1)
    artifact = version.artifacts.get()
    content = api.read_small("labeler", artifact.s3_key)
    entry = json.loads(content)["images"][0]["annotations"][0]
    assert (entry["id"], entry["state"], entry["meta"]["notes"], entry["confidence"]) == (
        box.pk, "draft", "look here", 0.7
    )  # fmt: skip
    assert api.read_small("labeler", "datasets/ds_world/working/annotations.json") == content
    metadata = json.loads(api.read_small("labeler", "datasets/ds_world/working/metadata.json"))
    assert metadata["version_number"] == "v0.1" and metadata["sha256"] == artifact.sha256
    assert metadata["retained_key"] == artifact.s3_key and metadata["content_hash"] == version.content_hash


def test_damage_to_the_latest_file_in_its_place_leaves_the_retained_copy_as_it_was(settings):
    world = a_world()
    a_box(world, world.images[0])
    artifact, latest = saved(world).artifacts.get(), keys.working_latest(DATASET)
    content = api.read_small("labeler", artifact.s3_key)
    with api.backend("labeler").root.joinpath(latest).open("r+b") as file:
        file.write(b"damaged")
    assert api.read_small("labeler", latest)[:7] == b"damaged"
    assert api.read_small("labeler", artifact.s3_key) == content
    assert not list(settings.LABELER_SCRATCH.glob("build-*")), "the twin is gone, too"


def test_the_latest_file_is_a_twin_of_the_retained_one_and_not_copied(monkeypatch):
    linked, link = [], os.link
    monkeypatch.setattr(os, "link", lambda source, target: linked.append(str(source)) or link(source, target))
    world = a_world()
    a_box(world, world.images[0])
    saved(world)
    assert sum(name.endswith(".twin") for name in linked) == 1, linked


def test_a_save_from_scratch_on_a_file_system_of_its_own_is_as_whole(settings):
    world = a_world()
    a_box(world, world.images[0])
    with TemporaryDirectory(dir="/dev/shm") as memory:
        settings.LABELER_SCRATCH = Path(memory)
        artifact = saved(world).artifacts.get()
    for key in (artifact.s3_key, keys.working_latest(DATASET)):
        assert hashlib.sha256(api.read_small("labeler", key)).hexdigest() == artifact.sha256


def test_nothing_is_saved_twice_when_nothing_changed():
    world = a_world()
    a_box(world, world.images[0])
    assert saved(world).version_number == "v0.1"
    assert saved(world) is None
    row = Annotation.objects.get()
    editing.update_annotation(row.pk, {"notes": "x"}, by="ann")
    editing.update_annotation(row.pk, {"notes": None}, by="ann")
    assert saved(world).version_number == "v0.2", "the row's version and times are part of what is saved"


def test_ten_newly_confirmed_images_make_a_save_due_each_counted_once():
    world = a_world(count=12)
    for image in world.images[:9]:
        confirmed(world, image)
    for _ in range(3):
        confirming.unconfirm_image(world.images[0], "detection", by="ann")
        confirming.confirm_image(world.images[0], "detection", by="ann")
    assert autosave.status_of(world.task).confirmed_since_save == 9
    assert autosave.is_due(world.task) is None
    confirmed(world, world.images[9])
    assert autosave.is_due(world.task) == "images"
    assert autosave.save_if_due(world.task.pk).trigger == "images"
    assert autosave.is_due(world.task) is None


def test_a_save_counts_down_by_what_it_covered_and_not_to_zero():
    world = a_world(count=3)
    confirmed(world, world.images[0])
    version = autosave._new_version(world.task, "manual", "ann")
    seen = autosave._see(world.task, version)
    confirmed(world, world.images[1])
    autosave._settle(seen, version=None)
    assert autosave.status_of(world.task).confirmed_since_save == 1


def test_a_save_is_late_since_its_first_change_and_not_since_the_timer_ran_out(django_assert_max_num_queries):
    worlds = [a_world(dataset=f"ds_{number}") for number in range(3)]
    Project.objects.update(created_at=timezone.now() - timedelta(days=5))
    with django_assert_max_num_queries(1):
        assert autosave.due_since() == [], "projects nobody works on are asked for together"
    before = timezone.now()
    a_box(worlds[0], worlds[0].images[0])
    (since,) = autosave.due_since()
    assert before <= since <= timezone.now()


def test_the_timer_saves_changes_after_the_interval_and_only_changes(settings):
    world = a_world()
    Project.objects.update(created_at=timezone.now() - timedelta(hours=1))
    task = autosave.ProjectTask.objects.select_related("project").get(pk=world.task.pk)
    assert autosave.is_due(task) is None, "nothing changed"
    a_box(world, world.images[0])
    assert autosave.is_due(task) == "timer"
    assert autosave.due_tasks() == [task.pk]
    autosave.save_if_due(task.pk)
    editing.update_annotation(Annotation.objects.get().pk, {"notes": "x"}, by="ann")
    assert autosave.is_due(task) is None
    SaveState.objects.update(last_saved_at=timezone.now() - timedelta(seconds=settings.LABELER_SAVE_SECONDS + 1))
    assert autosave.is_due(task) == "timer"


def test_asking_again_while_one_waits_is_coalesced_and_asking_for_nothing_is_unchanged():
    world = a_world()
    assert autosave.ask_for_save(world.task, "manual", by="ann") == ("unchanged", None)
    a_box(world, world.images[0])
    said, job = autosave.ask_for_save(world.task, "manual", by="ann")
    assert said == "queued"
    assert autosave.ask_for_save(world.task, "beforeunload", by="vic") == ("coalesced", job)
    done = work.run(job.pk)
    assert (done.status, done.result["version_number"]) == ("done", "v0.1")
    assert Version.objects.get().created_by == "ann"
    assert autosave.ask_for_save(world.task, "manual", by="ann") == ("unchanged", None)
    assert work.run(Job.objects.get().pk).result == done.result, "done twice is done once"


def drawn_and_asked(world):
    """Somebody else draws on the last image and asks for a save; what they are told."""
    try:
        a_box(world, world.images[-1])
        return autosave.ask_for_save(world.task, "manual", by="vic")
    finally:
        connections.close_all()


def test_a_wish_for_a_change_that_a_save_did_not_see_is_not_taken_for_fulfilled():
    world = a_world()
    a_box(world, world.images[0])
    version = autosave._new_version(world.task, "timer", "ann")
    with artifacts.one_instant(), ThreadPoolExecutor(1) as others:
        assert Annotation.objects.count() == 1, "from here on this moment is seen"
        said, job = others.submit(drawn_and_asked, world).result(60)
        seen = autosave._see(world.task, version)
    autosave._settle(seen, version=None)
    assert said == "queued" and autosave.is_due(world.task) == "manual"
    assert work.run(job.pk).result["status"] == "saved"
    assert Version.objects.get().annotation_count == 2 and SaveState.objects.get().requested_at is None


def test_a_wish_while_an_earlier_one_is_being_fulfilled_has_a_save_of_its_own():
    world = a_world()
    a_box(world, world.images[0])
    _, first = autosave.ask_for_save(world.task, "manual", by="ann")
    Job.objects.update(status="running")
    with alone("save", world.task.pk):
        seen = autosave._see(world.task, autosave._new_version(world.task, "manual", "ann"))
        said, job = drawn_and_asked(world)
        autosave._settle(seen, version=None)
        assert (said, job == first) == ("queued", False)
    assert work.run(job.pk).result["status"] == "saved"
    assert Version.objects.get().annotation_count == 2
    assert work.run(first.pk).result == {"status": "unchanged", "version_number": "v0.1"}


def test_wishes_while_one_is_being_fulfilled_share_a_job_that_nobody_has_begun():
    world = a_world()
    a_box(world, world.images[0])
    autosave.ask_for_save(world.task, "manual", by="ann")
    Job.objects.update(status="running")
    with alone("save", world.task.pk):
        seen = autosave._see(world.task, autosave._new_version(world.task, "manual", "ann"))
        _, second = drawn_and_asked(world)
        a_box(world, world.images[2])
        assert autosave.ask_for_save(world.task, "manual", by="ann") == ("coalesced", second)
        autosave._settle(seen, version=None)
    assert work.run(second.pk).result["status"] == "saved"
    assert Version.objects.get().annotation_count == 3


def test_a_wish_from_a_clock_that_ran_ahead_is_fulfilled_once():
    world = a_world()
    a_box(world, world.images[0])
    SaveState.objects.update(requested_at=timezone.now() + timedelta(days=2), requested_trigger="manual")
    assert autosave.save_if_due(world.task.pk).version_number == "v0.1"
    state = SaveState.objects.get()
    assert (state.requested_at, state.requested_trigger) == (None, "") and autosave.due_tasks() == []
    a_box(world, world.images[1])
    assert autosave.ask_for_save(world.task, "manual", by="ann")[0] == "queued"


def test_a_number_taken_in_the_store_by_other_content_is_given_up(put_object):
    world = a_world()
    a_box(world, world.images[0])
    taken = f"exports/{world.project.pk}/working/v0.1/annotations_dice.json"
    put_object("labeler", taken, b"from before the database was restored")
    version = saved(world)
    assert version.version_number == "v0.2"
    assert api.read_small("labeler", taken) == b"from before the database was restored"
    assert json.loads(api.read_small("labeler", version.artifacts.get().s3_key))["version"] == "v0.2"


def test_a_store_that_fails_is_remembered_and_the_changes_stay_unsaved(settings):
    world = a_world(count=10)
    for image in world.images:
        confirmed(world, image)
    right = settings.STORAGES
    broken_store(settings)
    with pytest.raises(StoreError):
        autosave.save_if_due(world.task.pk)
    state = SaveState.objects.get()
    assert state.attempts == 1 and "does not answer" in state.last_error and state.retry_at > timezone.now()
    assert autosave.status_of(world.task).confirmed_since_save == 10
    assert autosave.is_due(world.task) is None, "a pause comes first"
    settings.STORAGES = right
    SaveState.objects.update(retry_at=None)
    assert autosave.save_if_due(world.task.pk).version_number == "v0.1"
    assert SaveState.objects.get().last_error == ""


def test_retention_keeps_the_last_ones_and_the_newest_of_each_day(settings):
    settings.LABELER_KEEP_SAVES, settings.LABELER_KEEP_SAVE_DAYS = 2, 30
    world = a_world()
    box = a_box(world, world.images[0])
    versions = []
    for number in range(5):
        editing.update_annotation(box.pk, {"notes": str(number)}, by="ann")
        versions.append(saved(world))
    kept = list(Artifact.objects.filter(removed_at=None).values_list("version__version_number", flat=True))
    assert sorted(kept) == ["v0.4", "v0.5"]
    gone = versions[0].artifacts.get()
    assert gone.removed_at is not None and api.find("labeler", gone.s3_key) is None
    Version.objects.filter(pk=versions[3].pk).update(created_at=timezone.now() - timedelta(days=3))
    for number in range(5, 8):
        editing.update_annotation(box.pk, {"notes": str(number)}, by="ann")
        saved(world)
    kept = list(Artifact.objects.filter(removed_at=None).values_list("version__version_number", flat=True))
    assert sorted(kept) == ["v0.4", "v0.7", "v0.8"], "v0.4 is the newest of its day"


def test_a_clock_that_leaps_takes_one_save_of_a_day_with_it(settings):
    settings.LABELER_KEEP_SAVES, settings.LABELER_KEEP_SAVE_DAYS = 1, 3
    world = a_world()
    box = a_box(world, world.images[0])
    for number, days in enumerate([3, 2, 1, -40]):
        editing.update_annotation(box.pk, {"notes": str(number)}, by="ann")
        version = saved(world)
        Version.objects.filter(pk=version.pk).update(created_at=timezone.now() - timedelta(days=days))
    autosave.prune(world.task)
    kept = Artifact.objects.filter(removed_at=None).values_list("version__version_number", flat=True)
    assert sorted(kept) == ["v0.2", "v0.3", "v0.4"]


def test_numbers_go_on_after_a_publish_and_are_compared_as_integers():
    world = a_world()
    box = a_box(world, world.images[0])
    for number in range(11):
        editing.update_annotation(box.pk, {"notes": str(number)}, by="ann")
        version = saved(world)
    assert version.version_number == "v0.11"


def test_what_a_save_that_was_broken_off_left_as_the_latest_is_mended_though_nothing_changed(put_object):
    world = a_world()
    a_box(world, world.images[0])
    first = saved(world)
    latest, metadata = keys.working_latest(DATASET), keys.working_metadata(DATASET)
    good = api.read_small("labeler", latest), api.read_small("labeler", metadata)
    put_object("labeler", latest, b"{}")
    put_object("labeler", metadata, b"{}")
    assert saved(world) is None
    assert (api.read_small("labeler", latest), api.read_small("labeler", metadata)) == good
    api.remove("labeler", metadata)
    assert saved(world) is None
    assert api.read_small("labeler", metadata) == good[1] and first is not None


def test_metadata_that_are_gone_are_made_again_from_the_rows():
    world = a_world()
    a_box(world, world.images[0])
    version = saved(world)
    gone = [keys.working_retained_metadata(world.project.pk, "v0.1"), keys.working_metadata(DATASET)]
    before = [json.loads(api.read_small("labeler", key)) for key in gone]
    for key in gone:
        api.remove("labeler", key)
    assert version is not None and saved(world) is None
    assert [json.loads(api.read_small("labeler", key)) for key in gone] == before


def test_a_save_that_is_gone_with_the_latest_file_is_made_again_though_nothing_changed(stores):
    world = a_world()
    a_box(world, world.images[0])
    saved(world)
    for stored in list(api.listing("labeler", "")):
        api.remove("labeler", stored.key)
    assert saved(world).version_number == "v0.2"
    assert api.find("labeler", keys.working_latest(DATASET)) is not None
    assert saved(world) is None
