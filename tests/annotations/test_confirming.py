"""Confirming beyond the table of states: who, when and how often; many at once; two people; over HTTP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db.transaction import TransactionManagementError
from django.db.utils import IntegrityError

from annotations import confirming, editing
from annotations.errors import EmptyImage, Forbidden, InvalidTransition, NotFound, Unclassed
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus
from annotations.progress import lock_progress, lock_progress_of, recount
from annotations.states import Role
from tests.world import World, a_box, a_client, a_world, confirmed, raw

pytestmark = pytest.mark.django_db(transaction=True)
MARKER = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}
TRIANGLE = {"annotation_type": "polygon", "geometry": {"points": [[0, 0], [9, 0], [9, 9]]}, "class_name": "Cat"}


def stored(row: Annotation) -> Annotation:
    return Annotation.objects.get(pk=row.pk)


def status(image: Image, task: str = "detection") -> ImageStatus:
    return ImageStatus.objects.get(image=image, task_type=task)


def told(action: str) -> int:
    return AnnotationHistory.objects.filter(action=action).count()


def verified(world: World, image: Image, **fields: Any) -> Annotation:
    """A box on an image, confirmed by ann and verified by rev."""
    box = a_box(world, image, **fields)
    confirming.confirm_annotation(box.pk, by="ann")
    return confirming.verify_annotation(box.pk, by="rev")


# One annotation -----------------------------------------------------------------------------------


def test_who_confirmed_and_when_outlive_verifying_and_go_with_unconfirming():
    world = a_world()
    box = verified(world, world.images[0])
    when = stored(box).confirmed_at
    assert when and stored(box).confirmed_by == "ann" and stored(box).updated_by == "rev"
    confirming.verify_annotation(box.pk, by="rev", verified=False)
    assert (stored(box).confirmed_at, stored(box).confirmed_by) == (when, "ann")
    confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR)
    assert (stored(box).confirmed_at, stored(box).confirmed_by) == (None, None)


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.ADMIN, Role.OWNER])
def test_a_reviewer_and_above_take_back_a_verified_one(role):
    world = a_world()
    box = verified(world, world.images[0])
    confirming.confirm_image(world.images[0], "detection", by="ann")
    assert confirming.unconfirm_annotation(box.pk, by="rev", role=role).state == "draft"
    assert status(world.images[0]).status == "in-progress"


def test_an_annotator_who_may_not_take_it_back_changes_nothing():
    world = a_world()
    box = verified(world, world.images[0])
    with pytest.raises(Forbidden):
        confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR)
    assert (stored(box).state, stored(box).version, told("unconfirm")) == ("verified", 3, 0)


def test_repeating_any_of_them_writes_nothing():
    world = a_world()
    box = a_box(world, world.images[0])
    deeds = [
        lambda: confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR),
        lambda: confirming.confirm_annotation(box.pk, by="ann"),
        lambda: confirming.verify_annotation(box.pk, by="rev"),
        lambda: confirming.confirm_annotation(box.pk, by="ann"),
        lambda: confirming.verify_annotation(box.pk, by="rev", verified=False),
        lambda: confirming.verify_annotation(box.pk, by="rev", verified=False),
    ]
    found = []
    for deed in deeds:
        once = deed().version
        assert deed().version == once
        found.append(once)
    assert found == [1, 2, 3, 3, 4, 4]
    assert AnnotationHistory.objects.count() == 4


@pytest.mark.parametrize("wanted", [True, False])
def test_a_draft_is_neither_verified_nor_taken_back_from_it(wanted):
    world = a_world()
    box = a_box(world, world.images[0])
    with pytest.raises(InvalidTransition):
        confirming.verify_annotation(box.pk, by="rev", verified=wanted)
    assert (stored(box).state, stored(box).version) == ("draft", 1)


def test_an_edit_of_a_verified_one_may_be_taken_back_by_its_annotator_as_any_draft():
    world = a_world()
    box = verified(world, world.images[0])
    editing.update_annotation(box.pk, {"confidence": 5}, by="ann")
    assert confirming.confirm_annotation(box.pk, by="ann").state == "confirmed"
    assert confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR).state == "draft"


def test_postgresql_itself_holds_the_rules_of_states():
    world = a_world()
    bare = a_box(world, world.images[0], class_name=None)
    for statement in (
        "UPDATE annotations SET state = 'confirmed'",
        "UPDATE annotations SET confirmed_by = 'me'",
        "UPDATE annotations SET state = 'odd'",
        "UPDATE annotations SET version = 0 WHERE false; UPDATE annotations SET confidence = 101",
    ):
        with pytest.raises(IntegrityError):
            raw(statement)
    assert (stored(bare).state, stored(bare).version) == ("draft", 1)


# Many annotations ---------------------------------------------------------------------------------


def test_many_are_confirmed_in_one_deed_and_only_drafts_are_touched():
    world = a_world()
    drafts = [a_box(world, image) for image in world.images]
    done, review = confirmed(world, world.images[0], boxes=1)[0], verified(world, world.images[1], x=80)
    versions = stored(done).version, stored(review).version
    before = told("confirm")
    rows, errors = confirming.bulk_confirm([row.pk for row in (*drafts, done, review)], by="rev")
    assert errors == [] and {row.state for row in rows} == {"confirmed", "verified"} and len(rows) == 5
    assert (stored(done).version, stored(review).version) == versions
    latest = AnnotationHistory.objects.filter(action="confirm").order_by("pk")[before:]
    assert len(latest) == 2 and len({row.batch_id for row in latest}) == 1
    assert recount(dry_run=True) == []


def test_of_many_those_without_a_class_are_listed_and_the_others_confirmed():
    world = a_world()
    good, bare = a_box(world, world.images[0]), a_box(world, world.images[0], x=60, class_name=None)
    rows, (error,) = confirming.bulk_confirm([bare.pk, good.pk], by="ann")
    assert [row.pk for row in rows] == [good.pk]
    assert (error["annotation_id"], error["code"]) == (bare.pk, "conflict") and error["detail"]
    assert (stored(good).state, stored(bare).state) == ("confirmed", "draft")


def test_confirming_many_completes_no_image():
    world = a_world()
    boxes = [a_box(world, image) for image in world.images]
    confirming.bulk_confirm([box.pk for box in boxes], by="ann")
    assert set(ImageStatus.objects.values_list("status", flat=True)) == {"in-progress"}


# Images -------------------------------------------------------------------------------------------


def test_a_confirmed_image_says_who_and_when_and_tells_each_draft_once():
    world = a_world()
    a_box(world, world.images[0])
    a_box(world, world.images[0], x=60)
    now = confirming.confirm_image(world.images[0], "detection", by="rev")
    assert (now.status, now.is_image_confirmed, now.confirmed_by) == ("completed", True, "rev")
    assert now.confirmed_at and told("confirm") == 2
    confirming.confirm_image(world.images[0], "detection", by="ann")
    assert told("confirm") == 2 and status(world.images[0]).confirmed_at == now.confirmed_at


def test_one_draft_without_a_class_leaves_the_whole_image_as_it_was():
    world = a_world()
    good, bare = a_box(world, world.images[0]), a_box(world, world.images[0], x=60, class_name=None)
    for allow_empty in (False, True):
        with pytest.raises(Unclassed) as refused:
            confirming.confirm_image(world.images[0], "detection", by="ann", allow_empty=allow_empty)
        assert refused.value.facts["annotation_ids"] == [bare.pk]
    assert stored(good).state == "draft" and status(world.images[0]).status == "in-progress"
    editing.update_annotation(bare.pk, {"class_name": "Dog"}, by="ann")
    assert confirming.confirm_image(world.images[0], "detection", by="ann").draft_annotations == 0


def test_an_image_worked_on_and_emptied_is_empty_again():
    world = a_world()
    box = a_box(world, world.images[0])
    editing.delete_annotation(box.pk, by="ann")
    with pytest.raises(EmptyImage):
        confirming.confirm_image(world.images[0], "detection", by="ann")
    assert status(world.images[0]).status == "in-progress"
    now = confirming.confirm_image(world.images[0], "detection", by="ann", allow_empty=True)
    assert (now.status, now.total_annotations, now.has_no_object) == ("completed", 0, False)


def test_an_image_with_a_marker_is_not_empty_and_keeps_the_marker_when_taken_back():
    world = a_world()
    marker, _ = editing.create_annotation(world.project, world.images[0], MARKER, by="ann")
    assert confirming.confirm_image(world.images[0], "detection", by="ann").has_no_object
    now = confirming.unconfirm_image(world.images[0], "detection", by="ann")
    assert (stored(marker).state, now.status, now.has_no_object) == ("confirmed", "in-progress", True)


def test_confirming_one_task_leaves_the_other_tasks_of_the_image():
    world = a_world(tasks=("detection", "segmentation"))
    a_box(world, world.images[0])
    polygon, _ = editing.create_annotation(world.project, world.images[0], TRIANGLE, by="ann")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    assert stored(polygon).state == "draft" and status(world.images[0], "segmentation").status == "in-progress"
    confirming.confirm_image(world.images[0], "segmentation", by="ann")
    confirming.unconfirm_image(world.images[0], "detection", by="ann")
    assert stored(polygon).state == "confirmed" and status(world.images[0], "segmentation").status == "completed"


def test_an_image_confirmed_taken_back_and_confirmed_counts_once_towards_the_save():
    world = a_world()
    confirmed(world, world.images[0])
    for _ in range(3):
        confirming.unconfirm_image(world.images[0], "detection", by="ann")
        assert ImageStatus.objects.newly_confirmed().count() == 0
        confirming.confirm_image(world.images[0], "detection", by="ann")
    assert ImageStatus.objects.newly_confirmed().count() == 1


def test_an_image_taken_back_is_told_as_one_deed():
    world = a_world()
    confirmed(world, world.images[0], boxes=3)
    confirming.unconfirm_image(world.images[0], "detection", by="rev")
    rows = AnnotationHistory.objects.filter(action="unconfirm")
    assert set(rows.values_list("changed_by", flat=True)) == {"rev"}
    assert rows.count() == 3 and len({row.batch_id for row in rows}) == 1


# Two people ---------------------------------------------------------------------------------------


def at_once(*deeds: Any) -> list[Any]:
    """What each deed gave, all begun together; the name of the error for one that was refused."""
    gate = threading.Barrier(len(deeds))

    def run(deed: Any) -> Any:
        gate.wait()
        try:
            return deed()
        except (Unclassed, EmptyImage, NotFound, InvalidTransition) as error:
            return type(error).__name__
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(deeds)) as people:
        return list(people.map(run, deeds))


def test_an_image_confirmed_by_several_at_once_is_confirmed_by_one():
    world = a_world()
    a_box(world, world.images[0])
    a_box(world, world.images[0], x=60)
    found = at_once(
        *(lambda name=name: confirming.confirm_image(world.images[0], "detection", by=name) for name in "abcd")
    )
    assert len({row.confirmed_by for row in found}) == 1 and told("confirm") == 2


def test_an_edit_and_a_confirm_at_once_never_leave_a_completed_image_with_a_draft():
    world = a_world(count=6)
    for image in world.images:
        box = a_box(world, image)
        moved = {"geometry": {"type": "bbox", "bbox": [1, 1, 9, 9]}}
        at_once(
            lambda row=box, change=moved: editing.update_annotation(row.pk, change, by="ann"),
            lambda here=image: confirming.confirm_image(here, "detection", by="rev"),
        )
        now = status(image)
        assert stored(box).bbox == [1, 1, 9, 9]
        assert (now.status == "completed") == (stored(box).state == "confirmed")
    assert recount(dry_run=True) == []


def test_a_delete_and_a_confirm_at_once_never_complete_what_became_empty():
    world = a_world(count=6)
    for image in world.images:
        box = a_box(world, image)
        at_once(
            lambda row=box: editing.delete_annotation(row.pk, by="ann"),
            lambda here=image: confirming.confirm_image(here, "detection", by="rev"),
        )
        assert (status(image).status, status(image).total_annotations) == ("in-progress", 0)
    assert recount(dry_run=True) == []


# Over HTTP ----------------------------------------------------------------------------------------


def post(name: str, path: str, content: dict[str, Any] | None = None) -> Any:
    return a_client(name).post(f"/api/v1/annotations/{path}", content or {}, format="json")


def test_the_answer_of_a_confirm_is_what_the_next_edit_needs():
    world = a_world()
    box = a_box(world, world.images[0])
    told_back = post("ann", f"{box.pk}/confirm").json()
    assert set(told_back) == {
        "annotation_id", "annotation_state", "confirmed_at", "confirmed_by", "confirmed_by_name", "version",
    }  # fmt: skip
    assert (told_back["annotation_state"], told_back["confirmed_by"], told_back["version"]) == ("confirmed", "ann", 2)
    assert told_back["confirmed_at"].endswith("Z")
    edit = {"notes": "x", "version": told_back["version"]}
    assert a_client("ann").patch(f"/api/v1/annotations/{box.pk}", edit, format="json").status_code == 200


def test_confirming_with_false_takes_back_and_so_does_unconfirm():
    world = a_world()
    box = a_box(world, world.images[0])
    for path, content in ((f"{box.pk}/confirm", {"confirmed": False}), (f"{box.pk}/unconfirm", {})):
        assert post("ann", f"{box.pk}/confirm", {"confirmed": True}).json()["annotation_state"] == "confirmed"
        answer = post("ann", path, content).json()
        assert (answer["annotation_state"], answer["confirmed_at"], answer["confirmed_by"]) == ("draft", None, None)


def test_refusals_carry_their_word():
    world = a_world()
    box, bare = a_box(world, world.images[0]), a_box(world, world.images[1], class_name=None)
    answers = {
        "invalid_transition": post("rev", f"{box.pk}/verify"),
        "conflict": post("ann", f"{bare.pk}/confirm"),
    }
    assert {word: (a.status_code, a.json()["code"]) for word, a in answers.items()} == {
        word: (409, word) for word in answers
    }
    assert answers["conflict"].json()["annotation_ids"] == [bare.pk]
    assert post("ann", f"{box.pk}/verify").status_code == 403
    verified(world, world.images[2])
    taken = post("ann", f"{Annotation.objects.latest('pk').pk}/unconfirm")
    assert (taken.status_code, taken.json()["code"]) == (403, "forbidden")


def test_bulk_confirm_answers_what_was_done_and_what_was_not():
    world, other = a_world(), a_world(dataset="ds_other")
    other.project.members.all().delete()
    good, bare = a_box(world, world.images[0]), a_box(world, world.images[1], class_name=None)
    foreign = a_box(other, other.images[0])
    answer = post("ann", "bulk-confirm", {"annotation_ids": [good.pk, str(bare.pk), foreign.pk, 999_999_999, good.pk]})
    found = answer.json()
    assert (found["confirmed"], found["failed"]) == (1, 3)
    assert [row["annotation_id"] for row in found["results"]] == [good.pk]
    assert sorted(found["failed_ids"]) == sorted([bare.pk, foreign.pk, 999_999_999])
    codes = {error["annotation_id"]: error["code"] for error in found["errors"]}
    assert codes == {bare.pk: "conflict", foreign.pk: "not_found", 999_999_999: "not_found"}
    assert stored(foreign).state == "draft"


@pytest.mark.parametrize("ids", [[], ["x"], [0], [-1], [1.5], [True], [None], "1", None, [2**63], [1] * 1001])
def test_ids_that_cannot_be_are_refused_and_nothing_is_confirmed(ids):
    world = a_world()
    box = a_box(world, world.images[0])
    answer = post("ann", "bulk-confirm", {"annotation_ids": ids})
    assert answer.status_code == 400
    assert next(iter(answer.json()["errors"])).startswith("annotation_ids")
    assert stored(box).state == "draft"


@pytest.mark.parametrize("said", ["maybe", None, [], {}, 2, 1.5])
def test_a_yes_or_no_that_is_neither_is_named(said):
    world = a_world()
    box = a_box(world, world.images[0])
    for name, path, field in (("ann", "confirm", "confirmed"), ("rev", "verify", "verified")):
        answer = post(name, f"{box.pk}/{path}", {field: said})
        assert answer.status_code == 400 and field in answer.json()["errors"], answer.content
    assert stored(box).state == "draft"


def test_many_images_confirmed_at_once_are_one_deed():
    world = a_world()
    rows = [a_box(world, image) for image in world.images[:2]]
    images = [image.pk for image in world.images]
    done, refused = confirming.confirm_images(world.project.pk, "detection", images, by="ann")
    assert sorted(done) == images[:2] and isinstance(refused[images[2]], EmptyImage)
    told = AnnotationHistory.objects.filter(annotation_id__in=[row.pk for row in rows], action="confirm")
    assert len(told) == 2 and len({change.batch_id for change in told}) == 1


def test_rows_are_locked_inside_a_transaction_only():
    world = a_world()
    box = a_box(world, world.images[0])
    for lock in (
        lambda: lock_progress(world.project.pk, [(world.images[0].pk, "detection")]),
        lambda: lock_progress_of(box.pk),
        lambda: Annotation.objects.locked(box.pk),
        lambda: list(Annotation.objects.locked_drafts(world.project.pk, "detection", [world.images[0].pk])),
    ):
        with pytest.raises(TransactionManagementError):
            lock()
