"""api.md sections 4 and 5, row by row: what each event does to the annotation and to its image."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from annotations import confirming, editing
from annotations.errors import (
    AnnotationError,
    Duplicate,
    EmptyImage,
    Forbidden,
    InvalidTransition,
    NotFound,
    Unclassed,
    VersionConflict,
)
from annotations.models import Annotation, Image, ImageStatus
from annotations.states import Role
from tests.world import a_box, a_world, confirmed

pytestmark = pytest.mark.django_db(transaction=True)
MARKER = {"annotation_type": "no_object", "attributes": {"task_type": "object_detection"}}
MOVED = {"geometry": {"type": "bbox", "bbox": [2, 2, 9, 9]}}


def status(image: Image) -> ImageStatus:
    return ImageStatus.objects.get(image=image, task_type="detection")


def fresh(row: Annotation) -> Annotation:
    return Annotation.objects.get(pk=row.pk)


def test_the_first_annotation_begins_the_image():
    world = a_world()
    assert status(world.images[0]).status == "not-started"
    box = a_box(world, world.images[0])
    now = status(world.images[0])
    assert (box.state, now.status, now.total_annotations, now.draft_annotations) == ("draft", "in-progress", 1, 1)
    assert now.first_modified_at == now.last_modified_at


@pytest.mark.parametrize(
    "change",
    [MOVED, {"class_name": "Dog"}, {"attributes": {"a": 1}}, {"confidence": 5}],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("verified", [False, True])
def test_an_edit_of_a_settled_annotation_takes_it_and_its_image_back(change, verified):
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    if verified:
        confirming.verify_annotation(box.pk, by="rev")
    row = editing.update_annotation(box.pk, change, by="ann")
    assert (row.state, row.confirmed_at, row.confirmed_by) == ("draft", None, None)
    now = status(world.images[0])
    assert (now.status, now.is_image_confirmed, now.confirmed_by) == ("in-progress", False, None)


def test_notes_alone_change_no_state():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    row = editing.update_annotation(box.pk, {"notes": "fine"}, by="ann")
    assert row.state == "confirmed" and status(world.images[0]).status == "completed"


def test_an_edit_that_changes_nothing_writes_nothing():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    row = editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [10, 20, 20, 30]}}, by="ann")
    assert (row.version, row.state) == (fresh(box).version, "confirmed")


def test_absent_fields_stay():
    world = a_world()
    box = a_box(world, world.images[0], notes="n", confidence=50, attributes={"k": 1})
    row = editing.update_annotation(box.pk, MOVED, by="ann")
    assert (row.notes, row.confidence, row.attributes, row.label_class.name) == ("n", 50, {"k": 1}, "Cat")


def test_the_last_annotation_deleted_leaves_the_image_in_progress():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    editing.delete_annotation(box.pk, by="ann")
    now = status(world.images[0])
    assert (now.status, now.total_annotations, now.is_image_confirmed) == ("in-progress", 0, False)


def test_confirming_an_annotation_completes_no_image_and_repeating_is_nothing():
    world = a_world()
    box = a_box(world, world.images[0])
    row = confirming.confirm_annotation(box.pk, by="rev")
    assert (row.state, row.confirmed_by, row.version) == ("confirmed", "rev", 2)
    again = confirming.confirm_annotation(box.pk, by="ann")
    assert (again.version, again.confirmed_by) == (2, "rev")
    assert status(world.images[0]).status == "in-progress"


def test_unconfirming_reopens_a_completed_image():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    row = confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR)
    assert (row.state, row.confirmed_at) == ("draft", None)
    assert status(world.images[0]).status == "in-progress"


def test_verifying_needs_a_confirmed_one_and_leaves_the_image():
    world = a_world()
    box = a_box(world, world.images[0])
    with pytest.raises(InvalidTransition):
        confirming.verify_annotation(box.pk, by="rev")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    assert confirming.verify_annotation(box.pk, by="rev").state == "verified"
    assert status(world.images[0]).status == "completed"
    with pytest.raises(Forbidden):
        confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR)
    assert confirming.verify_annotation(box.pk, by="rev", verified=False).state == "confirmed"


def test_confirming_an_image_settles_drafts_and_leaves_verified_ones():
    world = a_world()
    first, second = a_box(world, world.images[0]), a_box(world, world.images[0], x=60)
    confirming.confirm_annotation(first.pk, by="ann")
    confirming.verify_annotation(first.pk, by="rev")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    assert (fresh(first).state, fresh(second).state) == ("verified", "confirmed")
    now = status(world.images[0])
    assert (now.status, now.confirmed_by, now.confirmed_annotations, now.draft_annotations) == (
        "completed",
        "ann",
        2,
        0,
    )
    again = confirming.confirm_image(world.images[0], "detection", by="rev")
    assert again.confirmed_by == "ann", "confirming again changes nothing"


def test_unconfirming_an_image_takes_confirmed_ones_back_unless_told_to_keep_them():
    world = a_world()
    first, second = confirmed(world, world.images[0], boxes=2)
    confirming.verify_annotation(first.pk, by="rev")
    confirming.unconfirm_image(world.images[0], "detection", by="ann")
    assert (fresh(first).state, fresh(second).state) == ("verified", "draft")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    now = confirming.unconfirm_image(world.images[0], "detection", by="ann", keep_annotations=True)
    assert fresh(second).state == "confirmed" and now.status == "in-progress"
    assert confirming.unconfirm_image(world.images[1], "detection", by="ann").status == "in-progress"


def test_an_empty_image_and_one_with_unclassed_drafts_are_not_confirmed():
    world = a_world()
    with pytest.raises(EmptyImage):
        confirming.confirm_image(world.images[0], "detection", by="ann")
    bare = a_box(world, world.images[0], class_name=None)
    with pytest.raises(Unclassed) as refused:
        confirming.confirm_image(world.images[0], "detection", by="ann")
    assert refused.value.facts["annotation_ids"] == [bare.pk]
    with pytest.raises(Unclassed):
        confirming.confirm_annotation(bare.pk, by="ann")
    assert fresh(bare).state == "draft"


def test_a_marker_is_confirmed_at_once_and_goes_when_something_is_drawn():
    world = a_world()
    marker, _ = editing.create_annotation(world.project, world.images[0], MARKER, by="ann")
    assert (marker.state, marker.confirmed_by, marker.attributes["task_type"]) == ("confirmed", "ann", "detection")
    assert status(world.images[0]).has_no_object and status(world.images[0]).status == "in-progress"
    a_box(world, world.images[0])
    assert not Annotation.objects.filter(pk=marker.pk).exists() and not status(world.images[0]).has_no_object
    with pytest.raises(Duplicate):
        editing.create_annotation(world.project, world.images[0], MARKER, by="ann")


# Versions of a row --------------------------------------------------------------------------------


def test_a_version_that_is_old_is_a_conflict_and_without_one_the_change_wins():
    world = a_world()
    box = a_box(world, world.images[0])
    editing.update_annotation(box.pk, {**MOVED, "version": 1}, by="ann")
    with pytest.raises(VersionConflict) as refused:
        editing.update_annotation(box.pk, {"notes": "late", "version": 1}, by="rev")
    assert refused.value.current.version == 2 and fresh(box).notes is None
    assert editing.update_annotation(box.pk, {"notes": "wins"}, by="rev").version == 3
    with pytest.raises(VersionConflict):
        editing.delete_annotation(box.pk, by="ann", version=1)
    editing.delete_annotation(box.pk, by="ann", version=3)
    with pytest.raises(NotFound):
        editing.update_annotation(box.pk, MOVED, by="ann")


def test_of_many_at_once_with_one_version_exactly_one_wins():
    world = a_world()
    box = a_box(world, world.images[0])

    def change(number: int) -> bool:
        try:
            editing.update_annotation(box.pk, {"notes": str(number), "version": 1}, by=f"p{number}")
        except VersionConflict:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(6) as people:
        assert sum(people.map(change, range(6))) == 1
    assert fresh(box).version == 2


def test_a_repeated_client_id_gives_the_row_it_made_also_at_once():
    world = a_world()
    body = {"annotation_type": "bbox", **MOVED, "class_name": "Cat", "client_id": uuid.uuid4()}

    def create(_: int) -> int:
        try:
            return editing.create_annotation(world.project, world.images[0], body, by="ann")[0].pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as people:
        assert len(set(people.map(create, range(5)))) == 1
    assert Annotation.objects.count() == 1
    with pytest.raises(Duplicate):
        editing.create_annotation(world.project, world.images[1], body, by="ann")


def test_bulk_writers_on_the_same_images_never_wait_for_each_other_for_ever():
    world = a_world(count=6)
    rows = [a_box(world, image, x=10 * turn) for turn in range(5) for image in world.images]

    def confirm(number: int) -> int:
        order = rows if number % 2 else list(reversed(rows))
        try:
            return len(confirming.bulk_confirm([row.pk for row in order], by=f"p{number}")[0])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as people:
        assert list(people.map(confirm, range(6))) == [30] * 6
    assert Annotation.objects.filter(state="confirmed", version=2).count() == 30


# Batches ------------------------------------------------------------------------------------------


def test_a_batch_is_all_or_nothing_only_when_asked_for():
    world = a_world()
    images = {image.path: image for image in world.images}
    good = {"annotation_type": "bbox", **MOVED, "class_name": "Cat"}
    items = [("a/1.png", good), ("a/2.png", {**good, "class_name": "Cow"}), ("a/3.png", good)]

    def act(item):
        return editing.create_annotation(world.project, images[item[0]], item[1], by="ann")[0]

    done, errors = editing.each_item(items, act, by="ann", atomic=True)
    assert done == [] and [error["index"] for error in errors] == [1] and Annotation.objects.count() == 0
    done, errors = editing.each_item(items, act, by="ann", atomic=False)
    assert [index for index, _ in done] == [0, 2] and errors[0]["errors"] == {
        "class_name": ["names no class of the task detection."]
    }


@pytest.mark.parametrize("kind", ["polygon", "circle", "keypoints", "classification", "line"])
def test_a_shape_of_a_task_the_project_does_not_have_is_refused(kind):
    world = a_world()
    with pytest.raises(AnnotationError, match=r"does not have|belongs to the task"):
        editing.create_annotation(
            world.project, world.images[0], {"annotation_type": kind, "geometry": {"type": kind}}, by="a"
        )


def test_an_unknown_image_size_is_learned_from_the_client():
    world = a_world()
    Image.objects.filter(pk=world.images[0].pk).update(width=None, height=None)
    image = Image.objects.get(pk=world.images[0].pk)
    geometry = {"type": "bbox", "bbox": [1, 1, 5, 5], "image_width": 640, "image_height": 480}
    body = {"annotation_type": "bbox", "geometry": geometry, "class_name": "Cat"}
    editing.create_annotation(world.project, image, body, by="ann")
    image.refresh_from_db()
    assert (image.width, image.height) == (640, 480)
