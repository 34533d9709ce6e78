"""Who is on which image: advice, and a rule only where the project says so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotations import confirming, editing, locks, projects, undoing
from annotations.errors import ImageLocked
from annotations.models import Annotation, AnnotationHistory, ImageLock
from annotations.states import Role
from annotations.undoing import Deleted, Scope
from tests.world import a_box, a_client, a_world

pytestmark = pytest.mark.django_db


def make_world():
    return a_world()


def _expire(image):
    ImageLock.objects.filter(image=image).update(expires_at=timezone.now() - timedelta(seconds=1))


def _make_a_rule(world):
    projects.change_project(world.project, by="olga", settings={"image_locks": True})


def test_the_first_one_has_the_image_and_the_second_is_told_who():
    world = a_world()
    status, lock = locks.acquire(world.images[0], by="ann")
    assert (status, lock.user_id) == ("acquired", "ann")
    assert lock.expires_at - lock.locked_at == timedelta(minutes=5)
    status, lock = locks.acquire(world.images[0], by="rev")
    assert (status, lock.user_id) == ("already_locked", "ann")
    assert locks.acquire(world.images[1], by="rev")[0] == "acquired"


def test_asking_again_renews_and_keeps_since_when(world):
    _, first = locks.acquire(world.images[0], by="ann")
    status, again = locks.acquire(world.images[0], by="ann")
    assert status == "refreshed" and again.locked_at == first.locked_at and again.expires_at > first.expires_at


def test_an_expired_lock_is_taken_over(world):
    locks.acquire(world.images[0], by="ann")
    _expire(world.images[0])
    assert list(locks.living(world.project.pk)) == []
    assert locks.heartbeat(world.images[0], by="ann") == ("not_locked", None)
    status, lock = locks.acquire(world.images[0], by="rev")
    assert (status, lock.user_id) == ("acquired", "rev")
    assert locks.heartbeat(world.images[0], by="ann")[0] == "not_owner"
    assert locks.heartbeat(world.images[0], by="rev")[0] == "updated"


def test_only_the_owner_gives_a_lock_back_and_force_gives_anybodys(world):
    assert locks.release(world.images[0], by="ann") == "not_locked"
    locks.acquire(world.images[0], by="ann")
    assert locks.release(world.images[0], by="rev") == "not_owner"
    assert locks.release(world.images[0], by=None) == "released"
    locks.acquire(world.images[0], by="ann")
    assert locks.release(world.images[0], by="ann") == "released"


def test_the_routes_name_people_and_tell_null_for_a_free_image(world, platform_rows):
    platform_rows(users=[("ann", "Ann Lee", None)])
    ann, base = a_client("ann"), f"/api/v1/image-locks/{world.project.pk}/a/1.png"
    assert ann.get(f"{base}/status").json() is None
    told = ann.post(f"{base}/acquire").json()
    assert told["status"] == "acquired" and told["lock"]["user_name"] == "Ann Lee" and told["locked_by"] is None
    other = a_client("rev").post(f"{base}/acquire").json()
    assert other["status"] == "already_locked" and other["locked_by"]["user_id"] == "ann" and other["lock"] is None
    assert [lock["image_id"] for lock in ann.get(f"/api/v1/image-locks/{world.project.pk}").json()["locks"]] == [
        "a/1.png"
    ]
    assert a_client("adm").delete(f"{base}/force").json() == {"status": "released"}


def test_without_the_setting_a_lock_stops_nobody(world):
    locks.acquire(world.images[0], by="ann")
    assert a_box(world, world.images[0], by="rev").pk


def test_with_the_setting_a_write_takes_the_lock_and_another_persons_is_refused(world):
    _make_a_rule(world)
    box = a_box(world, world.images[0], by="ann")
    assert locks.living(world.project.pk).get().user_id == "ann"
    batch = AnnotationHistory.objects.latest("pk").batch_id
    for act in (
        lambda: a_box(world, world.images[0], by="rev"),
        lambda: editing.update_annotation(box.pk, {"notes": "mine"}, by="rev"),
        lambda: editing.delete_annotation(box.pk, by="rev"),
        lambda: editing.delete_batch([box.pk], by="rev"),
        lambda: confirming.confirm_annotation(box.pk, by="rev"),
        lambda: confirming.bulk_confirm([box.pk], by="rev"),
        lambda: confirming.confirm_image(world.images[0], "detection", by="rev"),
        lambda: confirming.unconfirm_image(world.images[0], "detection", by="rev"),
        lambda: confirming.verify_image(world.images[0], "detection", by="rev"),
        lambda: undoing.undo_batch(Scope(world.project.pk), batch, by="rev", role=Role.REVIEWER),
    ):
        with pytest.raises(ImageLocked):
            act()
    assert Annotation.objects.get().version == 1
    _expire(world.images[0])
    assert editing.update_annotation(box.pk, {"notes": "mine"}, by="rev").notes == "mine"


def test_a_refused_write_is_423_and_says_who(world):
    _make_a_rule(world)
    box = a_box(world, world.images[0], by="ann")
    answer = a_client("rev").patch(f"/api/v1/annotations/{box.pk}", {"notes": "mine"}, format="json")
    assert answer.status_code == 423
    assert answer.json()["code"] == "locked" and answer.json()["locked_by"] == "ann"


def test_the_setting_must_be_yes_or_no(world):
    answer = a_client("adm").patch(
        f"/api/v1/projects/{world.project.pk}", {"settings": {"image_locks": "yes"}}, format="json"
    )
    assert answer.status_code == 400 and "image_locks must be true or false" in answer.json()["detail"]


def test_what_brings_many_rows_back_stops_at_an_image_somebody_else_has(world):
    _make_a_rule(world)
    boxes = [a_box(world, image, by="ann") for image in world.images[:2]]
    editing.delete_batch([box.pk for box in boxes], by="ann")
    ImageLock.objects.all().delete()
    locks.acquire(world.images[1], by="ann")
    with pytest.raises(ImageLocked, match=r"ann has locked a/2.png"):
        undoing.restore_deleted(world.project.pk, Deleted(by="ann"), by="adm")
    assert not Annotation.objects.exists()
    other = Deleted(by="ann", images=(world.images[0].pk,))
    assert undoing.restore_deleted(world.project.pk, other, by="adm").restored == 1
    assert undoing.restore_deleted(world.project.pk, Deleted(by="ann"), by="ann").restored == 1
