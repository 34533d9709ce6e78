"""Every write path writes history with who, what and the full row before; nobody rewrites it."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError, IntegrityError, OperationalError

from annotations import confirming, editing, projects
from annotations.acting import acting
from annotations.models import Annotation, AnnotationHistory, ClassHistory, LabelClass
from annotations.progress import recount
from annotations.states import Role
from tests.world import a_box, a_world, confirmed, raw

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> list[tuple]:
    return list(AnnotationHistory.objects.order_by("pk").values_list("action", "changed_by"))


def test_each_deed_of_a_person_is_told_by_its_name():
    world = a_world()
    box = a_box(world, world.images[0])
    editing.update_annotation(box.pk, {"notes": "a"}, by="rev")
    confirming.confirm_annotation(box.pk, by="ann")
    confirming.verify_annotation(box.pk, by="rev")
    confirming.verify_annotation(box.pk, by="rev", verified=False)
    confirming.unconfirm_annotation(box.pk, by="ann", role=Role.ANNOTATOR)
    editing.delete_annotation(box.pk, by="olga")
    assert told() == [
        ("create", "ann"), ("update", "rev"), ("confirm", "ann"), ("verify", "rev"), ("update", "rev"),
        ("unconfirm", "ann"), ("delete", "olga"),
    ]  # fmt: skip


def test_a_row_of_history_holds_both_states_whole():
    world = a_world()
    box = a_box(world, world.images[0], notes="before")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(a) FROM annotations a")
        whole = cursor.fetchone()[0]
    editing.update_annotation(box.pk, {"notes": "after"}, by="ann")
    row = AnnotationHistory.objects.latest("pk")
    import json

    assert row.previous_state == json.loads(whole) if isinstance(whole, str) else whole
    assert (row.previous_state["notes"], row.new_state["notes"]) == ("before", "after")
    assert row.new_state["version"] == row.previous_state["version"] + 1


@pytest.mark.parametrize(
    ("statement", "action"),
    [
        ("UPDATE annotations SET notes = 'x'", "update"),
        ('UPDATE annotations SET geometry = \'{"type": "bbox", "bbox": [1, 1, 5, 5]}\'', "update"),
        ("UPDATE annotations SET state = 'confirmed'", "confirm"),
        ("DELETE FROM annotations", "delete"),
    ],
)
def test_raw_sql_is_told_with_the_database_role_when_nobody_is_named(statement, action):
    world = a_world()
    a_box(world, world.images[0])
    with connection.cursor() as cursor:
        cursor.execute(statement)
    row = AnnotationHistory.objects.latest("pk")
    assert row.action == action and row.changed_by.startswith("db:") and row.previous_state
    assert recount(dry_run=True) == []


def test_bulk_paths_of_the_orm_are_told_row_by_row():
    world = a_world()
    cat = LabelClass.objects.get(name="Cat")
    with acting("script", batch=(batch := uuid.uuid4())):
        Annotation.objects.bulk_create(
            Annotation(project=world.project, image=world.images[n % 3], task_type="detection", annotation_type="bbox",
                       geometry={"type": "bbox", "bbox": [n, 1, 5, 5]}, bbox=[n, 1, 5, 5], area=25, label_class=cat,
                       created_by="script")
            for n in range(30)
        )  # fmt: skip
        Annotation.objects.update(notes="x")
        Annotation.objects.all().delete()
    assert told() == [("create", "script")] * 30 + [("update", "script")] * 30 + [("delete", "script")] * 30
    assert set(AnnotationHistory.objects.values_list("batch_id", flat=True)) == {batch}
    assert recount(dry_run=True) == []


def test_the_actor_of_one_transaction_is_not_the_actor_of_the_next():
    world = a_world()
    a_box(world, world.images[0], by="ann")
    raw("UPDATE annotations SET notes = 'x'", by="rev")
    Annotation.objects.update(notes="y")
    assert [who for _, who in told()][:2] == ["ann", "rev"] and told()[2][1].startswith("db:")


@pytest.mark.parametrize(
    "statement", ["UPDATE annotation_history SET changed_by = 'me'", "DELETE FROM annotation_history"]
)
def test_history_is_only_appended(statement):
    world = a_world()
    a_box(world, world.images[0])
    with pytest.raises(IntegrityError, match="only appended"):
        raw(statement)


def test_history_is_not_truncated():
    with pytest.raises(DatabaseError, match="TRUNCATE"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL labeler.allow_truncate = ''")
        cursor.execute("TRUNCATE annotation_history")


def test_a_bulk_update_after_many_single_ones_keeps_no_stale_plan():
    """A join planned for single rows takes a minute for twenty thousand; planned anew it takes a second."""
    world = a_world()
    box = a_box(world, world.images[0])
    for number in range(200):
        Annotation.objects.filter(pk=box.pk).update(notes=str(number))
    raw(
        "INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id,"
        " attributes, state, version, created_at, updated_at)"
        " SELECT project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id, attributes, state,"
        " 1, now(), now() FROM annotations, generate_series(1, 20000)"
    )
    try:
        with acting("bulk"), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '20s'")
            cursor.execute("UPDATE annotations SET notes = 'all'")
    except OperationalError:
        pytest.fail("the bulk update ran into its limit of 20 s")
    assert AnnotationHistory.objects.filter(changed_by="bulk").count() == 20_001
    assert recount(dry_run=True) == []


def test_an_annotation_never_moves_to_another_image_task_or_id():
    world = a_world(tasks=("detection", "segmentation"))
    a_box(world, world.images[0])
    for change in (f"image_id = {world.images[1].pk}", "id = id + 1000", "task_type = 'segmentation'"):
        with pytest.raises(DatabaseError):
            raw(f"UPDATE annotations SET {change}")


def test_rows_of_another_project_cannot_be_mixed_by_anybody():
    world, other = a_world(), a_world(dataset="ds_other")
    box = a_box(world, world.images[0])
    foreign = LabelClass.objects.filter(project=other.project).first()
    with pytest.raises(DatabaseError, match="another project or task than its class"):
        Annotation.objects.filter(pk=box.pk).update(label_class=foreign)
    with pytest.raises(DatabaseError, match="another project or task than its image"):
        raw(
            "INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area,"
            " attributes, state, version, created_at, updated_at) SELECT %s, image_id, task_type, annotation_type,"
            " geometry, bbox, area, attributes, state, 1, now(), now() FROM annotations",
            [other.project.pk],
        )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM dataset_images",
        "UPDATE dataset_images SET id = id + 1000000",
        "DELETE FROM project_tasks",
        "UPDATE project_tasks SET task_type = 'line'",
    ],
)
def test_what_annotations_belong_to_is_never_deleted_and_never_moves(statement):
    a_world()
    with pytest.raises(IntegrityError, match="kept for ever"):
        raw(statement)


def test_a_draft_is_not_verified_past_confirming():
    world = a_world()
    a_box(world, world.images[0])
    with pytest.raises(IntegrityError, match="confirmed before"):
        raw("UPDATE annotations SET state = 'verified'")


def test_what_happens_to_classes_is_told_too():
    world = a_world()
    entry = LabelClass.objects.get(project=world.project, name="Cat")
    projects.change_class(entry, by="adm", name="Lion")
    row = ClassHistory.objects.latest("pk")
    assert (row.previous_state["name"], row.new_state["name"], row.changed_by) == ("Cat", "Lion", "adm")


def test_a_confirmed_image_is_one_deed():
    world = a_world()
    confirmed(world, world.images[0], boxes=3)
    rows = AnnotationHistory.objects.filter(action="confirm")
    assert rows.count() == 3 and len({row.batch_id for row in rows}) == 1


@pytest.mark.parametrize("change", ["width = NULL", "height = NULL", "width = 0", "depth = 9", "split = 'none'"])
def test_an_image_never_has_half_a_size_or_an_unknown_split(change):
    a_world()
    with pytest.raises(DatabaseError):
        raw(f"UPDATE dataset_images SET {change}")
