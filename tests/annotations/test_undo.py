"""Taking back: one change, a deed, steps and their redo, and what somebody deleted."""

from __future__ import annotations

import json
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from annotations import confirming, editing, history, projects, undoing
from annotations.errors import ChangedSince, Duplicate, Forbidden, NotFound
from annotations.models import Annotation, AnnotationHistory, ClassHistory, Image, ImageStatus, LabelClass
from annotations.progress import lock_progress, recount
from annotations.states import Role
from annotations.undoing import Deleted, Scope
from tests.world import World, a_box, a_client, a_world, beside, confirmed, raw

pytestmark = pytest.mark.django_db

KEPT = (
    "id", "geometry", "bbox", "area", "label_class_id", "attributes", "confidence", "notes", "state",
    "client_id", "created_by", "created_at", "confirmed_by", "confirmed_at", "annotation_type", "image_id",
)  # fmt: skip


def make_world() -> World:
    return a_world()


def rows() -> list[dict[str, Any]]:
    """All that an undo brings back of every annotation."""
    return list(Annotation.objects.order_by("pk").values(*KEPT))


def statuses() -> list[tuple]:
    return list(ImageStatus.objects.order_by("pk").values_list("image_id", "status", "confirmed_by", "confirmed_at"))


def everything() -> Any:
    return rows(), statuses()


def last() -> AnnotationHistory:
    return AnnotationHistory.objects.latest("pk")


def undo(world: World, steps: int = 1, *, by: str = "ann", mine: bool = True, **wish: Any) -> undoing.Undone:
    scope = Scope(world.project.pk, by if mine else None)
    return undoing.undo_steps(scope, steps, by=by, role=Role.ANNOTATOR, **wish)


@pytest.fixture(autouse=True)
def counters_are_right():
    yield
    assert recount(dry_run=True) == []


# Every kind of change ------------------------------------------------------------------------------


def _draw(world: World, box: Annotation) -> None:
    a_box(world, world.images[1], x=99)


def _move(world: World, box: Annotation) -> None:
    editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [1, 2, 3, 4]}, "notes": "moved"}, by="ann")


def _classify(world: World, box: Annotation) -> None:
    editing.update_annotation(box.pk, {"class_name": "Dog", "confidence": 50, "attributes": {"a": 1}}, by="ann")


def _delete(world: World, box: Annotation) -> None:
    editing.delete_annotation(box.pk, by="ann")


def _confirm(world: World, box: Annotation) -> None:
    confirming.confirm_annotation(box.pk, by="ann")


def _confirm_image(world: World, box: Annotation) -> None:
    confirming.confirm_image(world.images[0], "detection", by="ann")


def _delete_all(world: World, box: Annotation) -> None:
    editing.delete_batch(list(Annotation.objects.values_list("pk", flat=True)), by="ann")


def _unconfirm_image(world: World, box: Annotation) -> None:
    confirming.unconfirm_image(world.images[2], "detection", by="ann")


def _edit_confirmed(world: World, box: Annotation) -> None:
    done = Annotation.objects.filter(image=world.images[2]).first()
    editing.update_annotation(done.pk, {"geometry": {"type": "bbox", "bbox": [5, 5, 9, 9]}}, by="ann")


DEEDS = [_draw, _move, _classify, _delete, _confirm, _confirm_image, _delete_all, _unconfirm_image, _edit_confirmed]


@pytest.mark.parametrize("deed", DEEDS)
def test_a_deed_is_undone_redone_and_undone_again(world, deed):
    a_box(world, world.images[0], x=60, client_id=uuid.uuid4(), by="rev")
    confirmed(world, world.images[2], boxes=2, by="rev")
    box = a_box(world, world.images[0], by="rev")
    before = everything()
    deed(world, box)
    after = everything()
    assert before != after
    for _ in range(2):
        assert len(undo(world).batches) == 1
        assert everything() == before
        assert len(undo(world, redo=True).batches) == 1
        assert everything() == after
    undo(world)
    assert everything() == before


def test_a_version_that_comes_back_is_above_any_it_had(world):
    box = a_box(world, world.images[0])
    _move(world, box)
    _delete(world, box)
    undo(world)
    assert Annotation.objects.get().version == 3
    undo(world)
    assert Annotation.objects.get().version == 4


def test_the_first_box_undone_leaves_the_image_not_started(world):
    before = statuses()
    a_box(world, world.images[0])
    undo(world)
    assert statuses() == before


def test_the_history_says_what_was_taken_back_and_what_was_redone(world):
    box = a_box(world, world.images[0])
    _move(world, box)
    moved = last()
    undo(world)
    back = last()
    assert (back.action, back.undoes, back.is_undo, back.changed_by) == ("restore", moved.pk, True, "ann")
    undo(world, redo=True)
    assert (last().undoes, last().is_undo) == (back.pk, False)


# Steps -----------------------------------------------------------------------------------------------


def test_steps_go_further_back_each_time_and_redo_comes_forward(world):
    stages = [everything()]
    box = a_box(world, world.images[0])
    stages.append(everything())
    for deed in (_move, _classify, _confirm_image, _delete_all):
        deed(world, box)
        stages.append(everything())
    for stage in reversed(stages[:-1]):
        undo(world)
        assert everything() == stage
    assert undo(world).batches == []
    for stage in stages[1:]:
        undo(world, redo=True)
        assert everything() == stage
    assert undo(world, redo=True).batches == []
    assert len(undo(world, 3).batches) == 3
    assert everything() == stages[2]


def test_a_new_change_ends_what_can_be_redone(world):
    box = a_box(world, world.images[0])
    _move(world, box)
    undo(world)
    _classify(world, box)
    assert undo(world, redo=True).batches == []


def test_my_steps_are_mine_unless_i_ask_for_anybodys(world):
    a_box(world, world.images[0], by="ann")
    theirs = a_box(world, world.images[1], by="rev")
    undo(world)
    assert list(Annotation.objects.values_list("pk", flat=True)) == [theirs.pk]
    assert undo(world).batches == []
    undo(world, mine=False)
    assert not Annotation.objects.exists()


def test_steps_on_one_image_leave_the_others(world):
    there, here = a_box(world, world.images[1]), a_box(world, world.images[0])
    editing.delete_batch([there.pk, here.pk], by="ann")
    scope = Scope(world.project.pk, "ann", world.images[0].pk)
    undoing.undo_steps(scope, 1, by="ann", role=Role.ANNOTATOR)
    assert list(Annotation.objects.values_list("pk", flat=True)) == [here.pk]
    undo(world)
    assert Annotation.objects.count() == 2


def test_what_somebody_changed_since_is_named_and_nothing_is_undone_unless_forced(world):
    mine, other = a_box(world, world.images[0]), a_box(world, world.images[1])
    batch = uuid.uuid4()
    raw("UPDATE annotations SET confidence = 5", by="ann")
    batch = last().batch_id
    editing.update_annotation(mine.pk, {"notes": "hers"}, by="rev")
    before = everything()
    with pytest.raises(ChangedSince) as refused:
        undoing.undo_batch(Scope(world.project.pk), batch, by="ann", role=Role.ANNOTATOR)
    assert refused.value.facts == {"annotation_ids": [mine.pk]} and everything() == before
    undoing.undo_batch(Scope(world.project.pk), batch, by="ann", role=Role.ANNOTATOR, force=True)
    assert [row["confidence"] for row in rows()] == [None, None] and rows()[0]["notes"] is None
    assert other.pk


def test_a_batch_undone_and_redone_can_be_undone_again_by_its_first_name(world):
    a_box(world, world.images[0])
    _delete_all(world, Annotation.objects.get())
    batch = last().batch_id
    scope = Scope(world.project.pk)
    for _ in range(2):
        undoing.undo_batch(scope, batch, by="ann", role=Role.ANNOTATOR)
        assert Annotation.objects.count() == 1
        assert undoing.undo_batch(scope, batch, by="ann", role=Role.ANNOTATOR).annotations == 0
        undo(world, redo=True)
        assert not Annotation.objects.exists()


def test_a_batch_of_another_project_or_person_is_not_there(world):
    a_box(world, world.images[0], by="rev")
    other = a_world(dataset="ds_other")
    for scope in (Scope(other.project.pk), Scope(world.project.pk, "ann")):
        with pytest.raises(NotFound):
            undoing.undo_batch(scope, last().batch_id, by="ann", role=Role.OWNER)


# Rules ------------------------------------------------------------------------------------------------


def test_only_a_reviewer_takes_a_verification_back(world):
    (box,) = confirmed(world, world.images[0])
    confirming.verify_annotation(box.pk, by="rev")
    with pytest.raises(Forbidden):
        undoing.undo_change(last().pk, by="ann", role=Role.ANNOTATOR)
    undoing.undo_change(last().pk, by="rev", role=Role.REVIEWER)
    assert Annotation.objects.get().state == "confirmed"


def test_an_edit_of_a_verified_one_undone_is_verified_again(world):
    (box,) = confirmed(world, world.images[0])
    confirming.verify_annotation(box.pk, by="rev")
    before = everything()
    _move(world, box)
    assert Annotation.objects.get().state == "draft"
    undo(world)
    assert everything() == before and Annotation.objects.get().state == "verified"


def test_a_box_that_comes_back_takes_the_markers_place_and_the_marker_comes_back_with_redo(world):
    box = a_box(world, world.images[0])
    _delete(world, box)
    gone = last()
    marker = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}
    editing.create_annotation(world.project, world.images[0], marker, by="ann")
    undoing.undo_change(gone.pk, by="ann", role=Role.ANNOTATOR)
    assert [row["annotation_type"] for row in rows()] == ["bbox"]
    undo(world, redo=True)
    assert [row["annotation_type"] for row in rows()] == ["no_object"]


def test_a_box_drawn_over_a_marker_and_undone_brings_the_marker_back(world):
    marker = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}
    editing.create_annotation(world.project, world.images[0], marker, by="ann")
    before = rows()
    a_box(world, world.images[0])
    assert [row["annotation_type"] for row in rows()] == ["bbox"]
    undo(world)
    assert rows() == before


def test_a_marker_does_not_come_back_beside_objects(world):
    marker = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}
    row, _ = editing.create_annotation(world.project, world.images[0], marker, by="ann")
    editing.delete_annotation(row.pk, by="ann")
    gone = last()
    a_box(world, world.images[0])
    with pytest.raises(Duplicate):
        undoing.undo_change(gone.pk, by="ann", role=Role.ANNOTATOR)


def test_a_removed_class_lives_again_when_its_annotation_comes_back(world):
    box = a_box(world, world.images[0])
    _delete(world, box)
    projects.remove_class(LabelClass.objects.get(class_id="cat"), by="adm")
    undo(world)
    assert Annotation.objects.get().label_class.retired_at is None


def test_a_client_id_given_to_another_stays_there(world):
    name = uuid.uuid4()
    box = a_box(world, world.images[0], client_id=name)
    _delete(world, box)
    gone = last()
    other = a_box(world, world.images[0], client_id=name)
    undoing.undo_change(gone.pk, by="ann", role=Role.ANNOTATOR)
    assert Annotation.objects.get(pk=box.pk).client_id is None
    assert Annotation.objects.get(pk=other.pk).client_id == name


def test_a_statement_at_psql_is_one_deed_too(world):
    for number in range(3):
        a_box(world, world.images[number])
    before = everything()
    raw("UPDATE annotations SET confidence = 7")
    batch = last().batch_id
    assert AnnotationHistory.objects.filter(batch_id=batch).count() == 3
    undoing.undo_batch(Scope(world.project.pk), batch, by="ann", role=Role.ANNOTATOR)
    assert everything() == before


# What somebody deleted -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_three_hundred_boxes_somebody_deleted_come_back_as_they_were():
    world = a_world(count=30)
    for image in world.images:
        confirmed(world, image, boxes=5)
    for number in range(150):
        a_box(world, world.images[number % 30], x=1 + number, y=2, by="rev")
    before = rows()
    editing.delete_batch([row["id"] for row in before[:200]], by="vic")
    editing.delete_batch([row["id"] for row in before[200:]], by="vic")
    assert not Annotation.objects.exists()
    would = undoing.restore_deleted(world.project.pk, Deleted(by="vic"), by="rev", dry_run=True)
    assert would.restored == 300 and not Annotation.objects.exists()
    done = undoing.restore_deleted(world.project.pk, Deleted(by="vic"), by="rev")
    assert (done.restored, done.skipped) == (300, 0)
    assert [(each["user"], each["count"], len(each["batch_ids"])) for each in done.by] == [("vic", 300, 2)]
    assert rows() == before
    undoing.undo_batch(Scope(world.project.pk), done.batch_id, by="rev", role=Role.REVIEWER)
    assert not Annotation.objects.exists()


def test_only_the_deletions_that_fit_come_back(world):
    boxes = [a_box(world, image) for image in world.images]
    editing.delete_annotation(boxes[0].pk, by="ann")
    between = last().timestamp
    editing.delete_annotation(boxes[1].pk, by="rev")
    editing.delete_annotation(boxes[2].pk, by="ann")

    def found(**wanted: Any) -> list[int]:
        return undoing.restore_deleted(world.project.pk, Deleted(**wanted), by="rev", dry_run=True).annotation_ids

    ids = [box.pk for box in boxes]
    assert found() == ids
    assert found(by="ann") == [ids[0], ids[2]]
    assert found(until=between) == [] and found(since=between) == ids
    assert found(since=last().timestamp) == [ids[2]]
    assert found(images=(world.images[1].pk,)) == [ids[1]]
    assert found(annotations=(ids[1], 999)) == [ids[1]]
    assert found(batch=last().batch_id) == [ids[2]]
    assert found(by="nobody") == []


def test_a_box_deleted_twice_comes_back_from_the_last_time(world):
    box = a_box(world, world.images[0])
    _delete(world, box)
    undo(world)
    editing.update_annotation(box.pk, {"notes": "later"}, by="ann")
    editing.delete_annotation(box.pk, by="rev")
    assert undoing.restore_deleted(world.project.pk, Deleted(by="ann"), by="rev").restored == 0
    assert undoing.restore_deleted(world.project.pk, Deleted(by="rev"), by="rev").restored == 1
    assert Annotation.objects.get().notes == "later"


def test_a_marker_whose_image_has_objects_is_skipped_and_named(world):
    marker = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}
    row, _ = editing.create_annotation(world.project, world.images[0], marker, by="ann")
    box = a_box(world, world.images[0])
    done = undoing.restore_deleted(world.project.pk, Deleted(), by="rev")
    assert (done.restored, [error["annotation_id"] for error in done.errors]) == (0, [row.pk])
    assert Annotation.objects.get().pk == box.pk


@pytest.mark.django_db(transaction=True)
def test_one_deleted_while_a_restore_waits_for_another_image_stays_deleted(other_session):
    """Its image is not held: somebody may be marking it as having no object."""
    world = make_world()
    first, second = (a_box(world, image) for image in world.images[:2])
    editing.delete_annotation(first.pk, by="ann")
    with transaction.atomic():
        lock_progress(world.project.pk, [(world.images[0].pk, "detection")])
        restored = beside(other_session, lambda: undoing.restore_deleted(world.project.pk, Deleted(), by="rev"))
        editing.delete_annotation(second.pk, by="ann")
    assert restored.result().annotation_ids == [first.pk]
    assert [row.pk for row in Annotation.objects.all()] == [first.pk]
    assert undoing.restore_deleted(world.project.pk, Deleted(), by="rev").annotation_ids == [second.pk]


def taken_elsewhere(world: World) -> tuple[Annotation, Annotation]:
    """A moved and deleted box, and one of another project that has its id, as no import gives it."""
    box = a_box(world, world.images[0])
    editing.update_annotation(box.pk, {"notes": "secret"}, by="ann")
    editing.delete_annotation(box.pk, by="ann")
    other = a_world(dataset="ds_other")
    taken = a_box(other, other.images[0])
    editing.delete_annotation(taken.pk, by="ann")
    taken.pk, taken.client_id = box.pk, None
    taken.save(force_insert=True)
    return box, Annotation.objects.get(pk=box.pk)


def test_an_id_that_another_project_has_shows_and_changes_nothing_of_it(world):
    box, taken = taken_elsewhere(world)
    told = history.history_of_annotation(box.pk)
    assert {row.project_id for row in told} == {taken.project_id} and len(told) == 1
    for row in AnnotationHistory.objects.filter(annotation_id=box.pk, project_id=world.project.pk):
        with pytest.raises(ChangedSince):
            undoing.undo_change(row.pk, by="olga", role=Role.OWNER, force=True)
    assert Annotation.objects.get(pk=box.pk).version == taken.version


def test_an_id_that_another_project_had_comes_back_where_it_was(world):
    box, taken = taken_elsewhere(world)
    editing.delete_annotation(taken.pk, by="ann")
    assert undoing.restore_deleted(world.project.pk, Deleted(), by="rev").annotation_ids == [box.pk]
    assert Annotation.objects.get(pk=box.pk).notes == "secret"


def test_the_command_says_who_and_brings_back(world):
    box = a_box(world, world.images[0])
    _delete(world, box)
    out = StringIO()
    call_command("restore_deleted", project=world.project.pk, by="ann", dry_run=True, stdout=out)
    assert "ann deleted 1" in out.getvalue() and "would come back" in out.getvalue()
    assert not Annotation.objects.exists()
    out = StringIO()
    call_command("restore_deleted", "--project", world.project.pk, "--since", "2020-01-01", "--json", stdout=out)
    assert json.loads(out.getvalue())["restored"] == 1 and Annotation.objects.get().pk == box.pk
    with pytest.raises(CommandError, match="Nothing was deleted"):
        call_command("restore_deleted", project=world.project.pk, stdout=out)
    with pytest.raises(CommandError, match="no project") as refused:
        call_command("restore_deleted", project="proj_none", stdout=out)
    assert refused.value.returncode == 2
    with pytest.raises(CommandError, match=r"no image gone\.png"):
        call_command("restore_deleted", project=world.project.pk, images=["gone.png"], stdout=out)


# Over HTTP --------------------------------------------------------------------------------------------------


def api(world: World, path: str) -> str:
    return f"/api/v1/projects/{world.project.pk}{path}"


def test_one_change_is_taken_back_over_http_and_answers_the_annotation(world):
    box = a_box(world, world.images[0])
    _move(world, box)
    ann = a_client("ann")
    answer = ann.post(f"/api/v1/annotations/history/{last().pk}/undo", {}, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json()["annotation"]["geometry"]["bbox"] == [10, 20, 20, 30]
    assert answer.json()["annotation"]["version"] == 3 == answer.json()["history"]["new_state"]["version"]
    again = ann.post(f"/api/v1/annotations/history/{last().undoes}/undo", {}, format="json")
    assert (again.status_code, again.json()["code"]) == (409, "not_latest")
    editing.update_annotation(box.pk, {"notes": "hers"}, by="rev")
    drawn = AnnotationHistory.objects.get(action="create")
    later = ann.post(f"/api/v1/annotations/history/{drawn.pk}/undo", {}, format="json")
    assert (later.status_code, later.json()["annotation_ids"]) == (409, [box.pk])
    forced = ann.post(f"/api/v1/annotations/history/{drawn.pk}/undo", {"force": True}, format="json")
    assert forced.json()["annotation"] is None and not Annotation.objects.exists()


def test_steps_over_http_answer_what_was_done_and_an_idle_undo_is_no_error(world):
    ann = a_client("ann")
    a_box(world, world.images[0])
    done = ann.post(api(world, "/annotations/undo"), {}, format="json").json()
    assert (done["undone"], done["steps"], len(done["history"])) == (1, 1, 1)
    assert done["history"][0]["new_state"] is None
    idle = ann.post(api(world, "/annotations/undo"), {"steps": 5}, format="json").json()
    assert (idle["undone"], idle["steps"], idle["history"]) == (0, 0, [])
    back = ann.post(api(world, "/annotations/undo"), {"redo": True}, format="json").json()
    assert back["history"][0]["new_state"]["annotation_type"] == "bbox"


@pytest.mark.parametrize(
    ("body", "field"),
    [({"steps": 0}, "steps"), ({"steps": 101}, "steps"), ({"batch_id": "x"}, "batch_id"), ({"mine": "?"}, "mine"),
     ({"image_id": 5.5}, None), ({"image_id": "none.png"}, None)],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused(world, body, field):
    a_box(world, world.images[0])
    answer = a_client("ann").post(api(world, "/annotations/undo"), body, format="json")
    assert answer.status_code == (400 if field else 404), answer.content
    assert field is None or field in answer.json()["errors"]
    assert Annotation.objects.count() == 1


def test_deleted_ones_come_back_over_http_only_on_purpose(world):
    box = a_box(world, world.images[0])
    _delete(world, box)
    rev = a_client("rev")
    would = rev.post(api(world, "/annotations/restore-deleted"), {"by": "ann"}, format="json").json()
    assert (would["restored"], would["dry_run"], would["batch_id"]) == (1, True, None)
    assert not Annotation.objects.exists()
    done = rev.post(api(world, "/annotations/restore-deleted"), {"by": "ann", "dry_run": False}, format="json").json()
    assert done["restored"] == 1 and done["batch_id"] == str(last().batch_id)
    wrong = rev.post(api(world, "/annotations/restore-deleted"), {"image_ids": ["gone.png"]}, format="json")
    assert wrong.status_code == 400 and "image_ids" in wrong.json()["errors"]


# Histories --------------------------------------------------------------------------------------------------


def test_the_history_of_a_project_is_newest_first_filtered_and_paged(world):
    box, other = a_box(world, world.images[0]), a_box(world, world.images[1], by="rev")
    _move(world, box)
    vic = a_client("vic")
    path = f"/api/v1/annotations/history/project/{world.project.pk}"
    answer = vic.get(path)
    assert [entry["action"] for entry in answer.json()] == ["update", "create", "create"]
    assert answer["X-Total-Count"] == "3"
    assert [entry["annotation_id"] for entry in vic.get(f"{path}?image_id=a/2.png").json()] == [other.pk]
    assert [entry["annotation_id"] for entry in vic.get(f"{path}?changed_by=rev").json()] == [other.pk]
    assert len(vic.get(f"{path}?action=create").json()) == 2
    assert len(vic.get(f"{path}?limit=1&skip=1").json()) == 1
    assert len(vic.get(f"{path}?batch_id={last().batch_id}").json()) == 1
    entry = answer.json()[0]
    assert entry["previous_state"]["geometry"]["bbox"] == [10, 20, 20, 30]
    assert (entry["new_state"]["class_id"], entry["new_state"]["image_id"], entry["image_id"]) == (
        "cat",
        "a/1.png",
        "a/1.png",
    )
    for wrong in ("action=paint", "since=soon", "limit=101", "batch_id=7"):
        assert vic.get(f"{path}?{wrong}").status_code == 400, wrong


def test_the_history_of_an_annotation_outlives_it(world):
    box = a_box(world, world.images[0])
    _delete(world, box)
    answer = a_client("vic").get(f"/api/v1/annotations/history/annotation/{box.pk}").json()
    assert [entry["action"] for entry in answer] == ["delete", "create"] and answer[0]["new_state"] is None


def test_a_page_of_history_asks_the_same_few_questions_however_long(world, django_assert_max_num_queries):
    for number in range(40):
        a_box(world, world.images[number % 3], x=number + 1)
    vic = a_client("vic")
    with django_assert_max_num_queries(8):
        assert len(vic.get(f"/api/v1/annotations/history/project/{world.project.pk}?limit=100").json()) == 40


# How things stood ---------------------------------------------------------------------------------------------


def test_annotations_as_they_stood_after_each_change(world):
    vic = a_client("vic")
    path = f"/api/v1/annotations/project/{world.project.pk}"
    told, moments = [], []

    def look() -> None:
        told.append(vic.get(f"{path}?limit=1000").json())
        moments.append(
            last().timestamp.isoformat().replace("+00:00", "Z") if AnnotationHistory.objects.exists() else None
        )

    box = a_box(world, world.images[0])
    look()
    for deed in (_draw, _move, _confirm_image, _edit_confirmed_safely, _delete_all):
        deed(world, box)
        look()
    undo(world)
    look()
    for then, moment in zip(told, moments, strict=True):
        answer = vic.get(f"{path}?limit=1000&as_of={moment}")
        assert answer.json() == then and answer["X-Total-Count"] == str(len(then)), moment
        of_image = [row for row in then if row["image_id"] == "a/1.png"]
        assert vic.get(f"{path}?as_of={moment}&image_id=a/1.png").json() == of_image
    assert vic.get(f"{path}?as_of=2001-01-01T00:00:00Z").json() == []
    assert vic.get(f"{path}?as_of=2999-01-01T00:00:00Z").json() == told[-1]
    assert len(vic.get(f"{path}?as_of={moments[1]}&limit=1&skip=1").json()) == 1
    assert vic.get(f"{path}?as_of=yesterday").status_code == 400


def _edit_confirmed_safely(world: World, box: Annotation) -> None:
    editing.update_annotation(box.pk, {"notes": "n", "geometry": {"type": "bbox", "bbox": [5, 5, 9, 9]}}, by="ann")


# Classes --------------------------------------------------------------------------------------------------------


def test_a_rename_is_told_and_taken_back(world):
    adm, path = a_client("adm"), api(world, "/classes/history")
    projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Kitten", color="#000000")
    entry = adm.get(path).json()[0]
    assert (entry["action"], entry["previous_state"]["name"], entry["new_state"]["name"]) == ("update", "Cat", "Kitten")
    answer = adm.post(f"{path}/{entry['id']}/undo", {}, format="json").json()
    assert (answer["name"], answer["color"]) == ("Cat", "#808080")
    late = adm.post(f"{path}/{entry['id']}/undo", {}, format="json")
    assert (late.status_code, late.json()["code"]) == (409, "not_latest")


def test_a_class_made_and_a_class_removed_are_taken_back(world):
    entry = projects.create_class(world.task, name="Cow", by="adm")
    made = ClassHistory.objects.latest("pk")
    history.undo_class_change(world.task, made.pk, by="adm")
    assert LabelClass.objects.get(pk=entry.pk).retired_at is not None
    history.undo_class_change(world.task, ClassHistory.objects.latest("pk").pk, by="adm")
    assert LabelClass.objects.get(pk=entry.pk).retired_at is None
    assert Image.objects.exists()
