"""Drawing, changing and deleting beyond the table of states: what is stored, never lost, refused whole."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from annotations import confirming, editing
from annotations.errors import AnnotationError, BrokenGeometry, Duplicate, NotFound, VersionConflict
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus
from annotations.progress import recount
from tests.world import World, a_box, a_client, a_world, confirmed

pytestmark = pytest.mark.django_db(transaction=True)

SIX = ("detection", "segmentation", "keypoint", "line", "geometry", "classification")
TRIANGLE = [[0, 0], [40, 0], [40, 30]]
MARKER = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}

# (type as sent, geometry without its type, type and task stored, envelope, area)
DRAWN = [
    ("bbox", {"bbox": [1, 2, 30, 40]}, "bbox", "detection", [1, 2, 30, 40], 1200),
    ("rotated_bbox", {"bbox": [50, 40, 60, 20, 90]}, "rotated_bbox", "detection", [70, 20, 20, 60], 1200),
    ("polygon", {"points": TRIANGLE}, "polygon", "segmentation", [0, 0, 40, 30], 600),
    ("mask", {"rle": {"size": [100, 200], "counts": [0, 50, 19950]}}, "mask", "segmentation", [0, 0, 1, 50], 50),
    ("keypoint", {"keypoints": [[10, 10, 2], [20, 30, 1]]}, "keypoints", "keypoint", [10, 10, 10, 20], 200),
    ("line", {"points": [[5, 5], [25, 5]]}, "line", "line", [5, 5, 20, 0], 0),
    ("polyline", {"points": TRIANGLE}, "polyline", "geometry", [0, 0, 40, 30], 0),
    ("classification", {}, "classification", "classification", None, None),
]


def stored(row: Annotation) -> Annotation:
    return Annotation.objects.with_names().get(pk=row.pk)


def status(image: Image, task: str = "detection") -> ImageStatus:
    return ImageStatus.objects.get(image=image, task_type=task)


def draw(world: World, image: Image, **fields: Any) -> Annotation:
    return editing.create_annotation(world.project, image, fields, by="ann")[0]


def deeds() -> list[str]:
    return list(AnnotationHistory.objects.order_by("pk").values_list("action", flat=True))


# Drawing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "geometry", "kind", "task", "bbox", "area"), DRAWN, ids=lambda each: str(each)[:12])
def test_every_type_is_stored_under_its_task_with_envelope_and_area(said, geometry, kind, task, bbox, area):
    world = a_world(tasks=SIX)
    shape = {"type": said, **geometry}
    row = stored(draw(world, world.images[0], annotation_type=said, geometry=shape, class_name="Cat"))
    assert (row.annotation_type, row.task_type, row.bbox, row.area) == (kind, task, bbox, area)
    assert row.geometry["type"] == kind and row.label_class.task_type == task
    assert {s.task_type: s.total_annotations for s in ImageStatus.objects.filter(image=world.images[0])} == {
        each: int(each == task) for each in SIX
    }


def test_a_new_annotation_is_a_draft_of_its_maker_in_version_one():
    world = a_world()
    row = stored(a_box(world, world.images[0], by="rev", confidence=87.5, notes="n", attributes={"k": [1, None]}))
    assert (row.state, row.version, row.created_by, row.updated_by) == ("draft", 1, "rev", "rev")
    assert (row.confidence, row.notes, row.attributes) == (87.5, "n", {"k": [1, None]})
    assert row.created_at == row.updated_at and row.confirmed_at is None


def test_a_class_named_by_id_counts_before_its_name():
    world = a_world()
    assert a_box(world, world.images[0], class_id="dog", class_name="Cat").label_class.name == "Dog"
    assert a_box(world, world.images[0], class_id=None, class_name="Cat").label_class.name == "Cat"


def test_a_class_of_another_task_is_no_class_here():
    world = a_world(tasks=("detection", "segmentation"))
    from annotations import projects

    projects.create_class(projects.task_of(world.reload(), "segmentation"), name="Sky", class_id="sky", by="adm")
    for field, value in (("class_id", "sky"), ("class_name", "Sky")):
        with pytest.raises(AnnotationError, match="names no class of the task detection"):
            a_box(world, world.images[0], **{"class_name": None, field: value})


def test_drawing_on_a_completed_image_opens_it_again():
    world = a_world()
    confirmed(world, world.images[0])
    a_box(world, world.images[0], x=80)
    now = status(world.images[0])
    assert (now.status, now.confirmed_by, now.confirmed_annotations, now.draft_annotations) == (
        "in-progress", None, 1, 1,
    )  # fmt: skip


def test_work_on_one_task_leaves_the_other_tasks_of_the_image():
    world = a_world(tasks=("detection", "segmentation"))
    confirmed(world, world.images[0])
    draw(world, world.images[0], annotation_type="polygon", geometry={"points": TRIANGLE}, class_name="Cat")
    assert status(world.images[0]).status == "completed"
    assert status(world.images[0], "segmentation").status == "in-progress"


def test_what_is_refused_leaves_nothing_behind():
    world = a_world()
    with pytest.raises(BrokenGeometry):
        a_box(world, world.images[0], geometry={"type": "bbox", "bbox": [500, 1, 5, 5]})
    with pytest.raises(AnnotationError):
        a_box(world, world.images[0], class_name="Cow")
    assert not Annotation.objects.exists() and deeds() == []
    assert status(world.images[0]).status == "not-started"


def test_a_refused_shape_does_not_take_the_marker_away():
    world = a_world()
    marker = draw(world, world.images[0], **MARKER)
    with pytest.raises(AnnotationError):
        a_box(world, world.images[0], class_name="Cow")
    assert stored(marker).state == "confirmed" and status(world.images[0]).has_no_object


def test_a_size_once_known_is_not_changed_by_what_a_client_says():
    world = a_world()
    told = {"type": "bbox", "bbox": [1, 1, 5, 5], "image_width": 5000, "image_height": 5000}
    a_box(world, world.images[0], geometry=told)
    world.images[0].refresh_from_db()
    assert (world.images[0].width, world.images[0].height) == (200, 100)


def test_while_the_size_is_unknown_a_shape_must_lie_in_the_size_the_client_says():
    world = a_world()
    Image.objects.update(width=None, height=None)
    image = Image.objects.get(path="a/1.png")
    with pytest.raises(BrokenGeometry):
        a_box(world, image, geometry={"type": "bbox", "bbox": [90, 1, 5, 5], "image_width": 50, "image_height": 50})
    image.refresh_from_db()
    assert image.width is None, "a refused shape teaches nothing"
    a_box(world, image, geometry={"type": "bbox", "bbox": [90, 1, 5, 5]})


# Nothing here -------------------------------------------------------------------------------------


def test_a_marker_speaks_for_one_task_only():
    world = a_world(tasks=("detection", "segmentation"))
    draw(world, world.images[0], **MARKER)
    draw(world, world.images[0], annotation_type="polygon", geometry={"points": TRIANGLE}, class_name="Cat")
    assert status(world.images[0]).has_no_object and not status(world.images[0], "segmentation").has_no_object


def test_there_is_one_marker_and_its_going_is_told():
    world = a_world()
    marker = draw(world, world.images[0], **MARKER)
    with pytest.raises(Duplicate):
        draw(world, world.images[0], **MARKER)
    a_box(world, world.images[0])
    assert deeds() == ["create", "delete", "create"]
    gone = AnnotationHistory.objects.get(action="delete")
    assert (gone.annotation_id, gone.changed_by) == (marker.pk, "ann")


@pytest.mark.parametrize(
    "said", [None, {}, {"task_type": None}, {"task_type": 5}, {"task_type": "line"}, ["detection"]]
)
def test_a_marker_without_a_task_of_the_project_is_refused(said):
    world = a_world()
    with pytest.raises(AnnotationError) as refused:
        draw(world, world.images[0], annotation_type="no_object", attributes=said)
    assert list(refused.value.errors) == ["attributes.task_type"]


def test_a_marker_keeps_its_task_its_state_and_no_class_whatever_is_sent():
    world = a_world(tasks=("detection", "segmentation"))
    marker = draw(world, world.images[0], **MARKER, class_name="Cat")
    editing.update_annotation(
        marker.pk, {"attributes": {"task_type": "segmentation", "why": "sky"}, "class_name": "Cat"}, by="rev"
    )
    row = stored(marker)
    assert (row.task_type, row.state, row.label_class) == ("detection", "confirmed", None)
    assert row.attributes == {"task_type": "detection", "why": "sky"}


def test_a_marker_and_an_object_drawn_at_once_never_stand_side_by_side():
    world = a_world(count=8)
    gate = threading.Barrier(2)

    def place(marker: bool) -> None:
        for image in world.images:
            gate.wait()
            try:
                draw(world, image, **MARKER) if marker else a_box(world, image)
            except Duplicate:
                continue
        connections.close_all()

    with ThreadPoolExecutor(2) as people:
        list(people.map(place, [True, False]))
    for image in world.images:
        kinds = set(Annotation.objects.filter(image=image).values_list("annotation_type", flat=True))
        assert kinds == {"bbox"}
    assert recount(dry_run=True) == []


# Changing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [({"k": 1}, {"k": True}), ({"k": False}, {"k": 0}), ({"k": [1, {"d": 0}]}, {"k": [1, {"d": False}]}),
     ({"k": None}, {}), ({"k": "1"}, {"k": 1})],
    ids=str,
)  # fmt: skip
def test_an_attribute_that_only_python_calls_equal_is_changed(before, after):
    world = a_world()
    box = a_box(world, world.images[0], attributes=before)
    editing.update_annotation(box.pk, {"attributes": after}, by="ann")
    assert str(stored(box).attributes) == str(after) and stored(box).version == 2


def test_attributes_in_another_order_are_no_change():
    world = a_world()
    box = a_box(world, world.images[0], attributes={"a": 1, "b": {"c": 2, "d": 3}})
    editing.update_annotation(box.pk, {"attributes": {"b": {"d": 3, "c": 2}, "a": 1}}, by="ann")
    assert stored(box).version == 1 and deeds() == ["create"]


@pytest.mark.parametrize(
    ("field", "emptied"), [("notes", None), ("notes", ""), ("confidence", None), ("confidence", 0), ("attributes", {})]
)
def test_a_field_can_be_emptied(field, emptied):
    world = a_world()
    box = a_box(world, world.images[0], notes="n", confidence=50, attributes={"k": 1})
    editing.update_annotation(box.pk, {field: emptied}, by="ann")
    assert getattr(stored(box), field) == emptied


def test_a_confirmed_one_may_lose_its_class_and_is_then_a_draft():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    row = editing.update_annotation(box.pk, {"class_id": None}, by="ann")
    assert (row.label_class, row.state) == (None, "draft")


def test_a_change_is_refused_whole_when_one_field_is_wrong():
    world = a_world()
    box = a_box(world, world.images[0])
    for wrong in ({"class_name": "Cow"}, {"confidence": 101}, {"attributes": []}, {"geometry": {"bbox": [1, 1, 0, 1]}}):
        with pytest.raises(AnnotationError):
            editing.update_annotation(box.pk, {"notes": "with it", **wrong}, by="ann")
    assert (stored(box).notes, stored(box).version, deeds()) == (None, 1, ["create"])


def test_a_shape_keeps_its_type():
    world = a_world()
    box = a_box(world, world.images[0])
    with pytest.raises(BrokenGeometry) as refused:
        editing.update_annotation(box.pk, {"geometry": {"type": "polygon", "points": TRIANGLE}}, by="ann")
    assert list(refused.value.errors) == ["geometry.type"]


def test_a_moved_shape_has_the_envelope_and_area_of_its_new_place():
    world = a_world()
    box = a_box(world, world.images[0])
    editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [0, 0, 3, 4]}}, by="rev")
    row = stored(box)
    assert (row.bbox, row.area, row.updated_by, row.created_by) == ([0, 0, 3, 4], 12, "rev", "ann")


@pytest.mark.parametrize("version", ["1", 1.0, True, [1]])
def test_a_version_that_is_no_whole_number_changes_nothing(version):
    world = a_world()
    box = a_box(world, world.images[0])
    for act in (
        lambda: editing.update_annotation(box.pk, {"notes": "x", "version": version}, by="ann"),
        lambda: editing.delete_annotation(box.pk, by="ann", version=version),
    ):
        with pytest.raises(AnnotationError) as refused:
            act()
        assert list(refused.value.errors) == ["version"]
    assert stored(box).notes is None


def test_every_kind_of_change_raises_the_version_by_one():
    world = a_world()
    box = a_box(world, world.images[0])
    versions = [editing.update_annotation(box.pk, {"notes": "x"}, by="ann").version]
    versions.append(confirming.confirm_annotation(box.pk, by="ann").version)
    versions.append(confirming.verify_annotation(box.pk, by="rev").version)
    versions.append(confirming.verify_annotation(box.pk, by="rev", verified=False).version)
    versions.append(editing.update_annotation(box.pk, {"confidence": 5}, by="ann").version)
    assert versions == [2, 3, 4, 5, 6]


def test_a_conflict_shows_the_row_as_it_stands_and_resending_its_version_wins():
    world = a_world()
    box = a_box(world, world.images[0])
    editing.update_annotation(box.pk, {"notes": "theirs"}, by="rev")
    with pytest.raises(VersionConflict) as refused:
        editing.update_annotation(box.pk, {"notes": "mine", "version": 1}, by="ann")
    current = refused.value.current
    assert (current.notes, current.version, current.updated_by, refused.value.your_version) == ("theirs", 2, "rev", 1)
    row = editing.update_annotation(box.pk, {"notes": "mine", "version": current.version}, by="ann")
    assert (row.notes, row.version) == ("mine", 3)


# Deleting -----------------------------------------------------------------------------------------


def test_what_is_gone_is_not_found_and_its_history_stays():
    world = a_world()
    box = a_box(world, world.images[0])
    editing.delete_annotation(box.pk, by="ann")
    for act in (editing.delete_annotation, confirming.confirm_annotation, confirming.verify_annotation):
        with pytest.raises(NotFound):
            act(box.pk, by="ann")
    assert deeds() == ["create", "delete"]
    assert AnnotationHistory.objects.latest("pk").previous_state["id"] == box.pk


def test_a_mass_delete_is_one_deed_that_names_every_row():
    world = a_world()
    boxes = [a_box(world, image, x=10 * n) for image in world.images for n in range(3)]
    keep = boxes.pop()
    deleted, batch = editing.delete_batch([*(box.pk for box in boxes), 999_999_999], by="rev")
    told = AnnotationHistory.objects.filter(batch_id=batch)
    assert deleted == told.count() == 8 and set(told.values_list("action", "changed_by")) == {("delete", "rev")}
    assert {row.previous_state["id"] for row in told} == {box.pk for box in boxes}
    assert list(Annotation.objects.all()) == [keep] and recount(dry_run=True) == []


def test_deleting_nothing_is_nothing():
    a_world()
    assert editing.delete_batch([], by="ann")[0] == 0 and deeds() == []


# Repeating ----------------------------------------------------------------------------------------


def test_a_client_id_belongs_to_one_image_also_in_another_project():
    world, other = a_world(), a_world(dataset="ds_other")
    client_id = uuid.uuid4()
    a_box(world, world.images[0], client_id=client_id)
    for project, image in ((world, world.images[1]), (other, other.images[0])):
        with pytest.raises(Duplicate) as refused:
            a_box(project, image, client_id=client_id)
        assert list(refused.value.errors) == ["client_id"]
    assert Annotation.objects.count() == 1


def test_a_retry_gives_the_row_as_it_stands_and_does_not_draw_it_back():
    world = a_world()
    body = {"annotation_type": "bbox", "geometry": {"bbox": [1, 1, 5, 5]}, "client_id": uuid.uuid4()}
    row, new = editing.create_annotation(world.project, world.images[0], body, by="ann")
    editing.update_annotation(row.pk, {"geometry": {"bbox": [2, 2, 5, 5]}}, by="ann")
    again, repeated = editing.create_annotation(world.project, world.images[0], body, by="ann")
    assert (new, repeated, again.pk, again.bbox) == (True, False, row.pk, [2, 2, 5, 5])


# Many at once -------------------------------------------------------------------------------------


def batch(world: World, *class_names: str, **more: Any) -> dict[str, Any]:
    """Create bodies, one for each class name."""
    entry = {"project_id": world.project.pk, "image_id": "a/1.png", "annotation_type": "bbox",
             "geometry": {"type": "bbox", "bbox": [1, 1, 5, 5]}}  # fmt: skip
    return {"annotations": [{**entry, "class_name": name} for name in class_names], **more}


def post(content: dict[str, Any], key: str | None = None) -> Any:
    headers = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    return a_client("ann").post("/api/v1/annotations/batch", content, format="json", **headers)


def test_the_entries_of_a_batch_are_one_deed():
    world = a_world()
    assert post(batch(world, "Cat", "Dog", "Cat")).json()["created"] == 3
    assert AnnotationHistory.objects.count() == 3
    assert AnnotationHistory.objects.values("batch_id").distinct().count() == 1


def test_the_error_of_one_entry_undoes_that_entry_alone():
    world = a_world()
    told = post(batch(world, "Cat", "Cow", "Dog")).json()
    assert (told["created"], told["failed"]) == (2, 1)
    assert told["errors"][0]["index"] == 1 and "class_name" in told["errors"][0]["errors"]
    assert deeds() == ["create", "create"] and status(world.images[0]).total_annotations == 2


def test_a_defect_in_the_middle_of_a_batch_leaves_nothing():
    world = a_world()

    def act(item: int) -> Annotation:
        if item == 2:
            raise ZeroDivisionError
        return a_box(world, world.images[0])

    with pytest.raises(ZeroDivisionError):
        editing.each_item([0, 1, 2], act, by="ann", atomic=False)
    assert not Annotation.objects.exists() and deeds() == []


def test_the_same_key_has_one_effect_and_one_answer():
    world = a_world()
    first, second = post(batch(world, "Cat", "Cow"), "key"), post(batch(world, "Cat", "Cow"), "key")
    assert first.json() == second.json() and first.json()["created"] == 1
    assert Annotation.objects.count() == 1
    other = post(batch(world, "Dog"), "key")
    assert other.status_code == 409 and other.json()["code"] == "duplicate"
    assert post(batch(world, "Dog"), "another").json()["created"] == 1


def test_a_batch_that_is_all_or_nothing_is_nothing_also_under_a_key():
    world = a_world()
    answers = [post(batch(world, "Cat", "Cow", atomic=True), key) for key in (None, "key", "key")]
    assert [answer.status_code for answer in answers] == [400] * 3
    assert all(answer.json()["failed"] == 1 and answer.json()["detail"] for answer in answers)
    assert not Annotation.objects.exists() and deeds() == []


def test_a_key_too_long_is_refused_and_nothing_is_written():
    world = a_world()
    answer = post(batch(world, "Cat"), "k" * 201)
    assert answer.status_code == 400 and "Idempotency-Key" in answer.json()["errors"]
    assert not Annotation.objects.exists()
