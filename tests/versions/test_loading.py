"""A first load reads its file once and writes straight into the live table, and that is told by nothing but its speed:
the rows are those of the general way, and whatever that would say of a file, it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import OperationalError, connection, transaction

from annotations import confirming
from annotations.acting import acting
from annotations.errors import HasAnnotations
from annotations.images import FoundImage, register_images
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus
from exports.errors import BrokenFile
from tests.world import World, a_box, a_world, raw
from versions import importing, loading, opening, staging
from versions.errors import ForeignFile

pytestmark = pytest.mark.django_db
BOX = {"class_id": 0, "type": "bbox", "bbox": [10, 20, 30.5, 40.0]}
RING = {"class_id": 1, "type": "polygon", "segmentation": [[1, 2, 30, 2.25, 30, 40, 1, 2]]}
META = {
    "created_by": "eve\t\\x", "created_at": "2026-01-02T03:04:05+02:00", "updated_by": "bob", "confirmed_by": "rev",
    "confirmed_at": "2026-02-03T04:05:06.5Z", "version": 7, "notes": "a\ttab, a \\ and\na line, \\N",
}  # fmt: skip
SAID = {"attributes": {"said": "\\N\t\r\n", "deep": {"er": [1, None]}}, "confidence": 0.25, "meta": META}


def image(number: int, *annotations: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {
        "id": number, "file_name": f"a/{number}.png", "width": 200, "height": 100, "annotations": list(annotations),
        "metadata": {"status": status, "reviewed_by": "rev", "reviewed_at": "2026-03-04T05:06:07Z"}, **fields,
    }  # fmt: skip


def lines(*images: dict[str, Any], **head: Any) -> bytes:
    """A file as we write them, an image a line."""
    names = ["Cat", "Dog", "Newt"]
    classes = [{"id": index, "name": name} for index, name in enumerate(names)]
    start = orjson.dumps({"format_version": "1.0", "classes": classes, **head})[:-1]
    return start + b',"images":[\n' + b",\n".join(orjson.dumps(each) for each in images) + b"\n]}\n"


PLAIN = {
    "boxes": lines(image(1, BOX, {**BOX, "class_id": 2}), image(2, {**BOX, **SAID}), image(3)),
    "drafts": lines(image(1, BOX, {**BOX, "state": "draft"}), image(2, {**BOX, "state": "verified"}), image(3, BOX)),
    "other forms of a box": lines(
        image(1, {"class_id": 0, "type": "rotated_bbox", "rotated_bbox": [50, 50, 20, 10, 30]}),
        image(2, {**BOX, "class_id": 1, "class_name": "Dog", "iscrowd": 1}),
    ),
    "a marker": lines(image(1, {"type": "no_object"}), image(2, BOX, status="in-progress")),
    "names with a folder": lines(image(1, BOX, file_name="images/a/1.png"), image(2, BOX, file_name="r/a/2.png"),
                                 storage_info={"image_root": "r/"}),
    "nobody": lines(image(1, {**BOX, "meta": {"created_by": "", "updated_by": ""}}),
                    image(2, {**BOX, "meta": {"updated_by": "x"}})),
    "a status alone": lines(image(1), image(2, status="in-progress"), image(3, status="not-started")),
}  # fmt: skip
ODD = {
    "a box without width": lines(image(1, BOX), image(2, {**BOX, "bbox": [1, 2, 0, 4]})),
    "a box outside": lines(image(1, BOX), image(2, {**BOX, "bbox": [900, 2, 3, 4]})),
    "a polygon in a task of boxes": lines(image(1, RING)),
    "no such image": lines(image(1, BOX), image(7, BOX)),
    "an image twice": lines(image(1, BOX), image(2, BOX, file_name="a/1.png")),
    "an id twice": lines(image(1, BOX), image(2, BOX, id=1)),
    "another size": lines(image(1, BOX, width=100)),
    "a marker beside a box": lines(image(1, BOX, {"type": "no_object"})),
    "no such class": lines(image(1, BOX), image(2, {**BOX, "class_id": 9})),
    "a class by its name": lines(image(1, BOX), image(2, {**BOX, "class_id": 9, "class_name": "Yak"})),
    "a client's id": lines(image(1, {**BOX, "x_client_id": "0b6e4a2c-32ba-4b83-9d0a-2d0f2f5e2c11"})),
    "what is no annotation": lines(image(1, BOX, "what?")),
    "a class whose id is a word for none": lines(
        image(1, {"type": "bbox", "bbox": [1, 2, 3, 4], "class_name": "Yak"}),
        classes=[{"id": "None", "name": "Cat"}, {"id": 5, "name": "New"}],
    ),
    "an escaped text": lines(image(1, BOX), image(2, {**BOX, "meta": {"notes": "\x01"}})),
    "flat annotations": lines(image(1, BOX), annotations=[]),
    "a file of no lines": b'{"images": [], "classes": []}',
}  # fmt: skip
BROKEN = {
    "an end in the middle": lines(image(1, BOX), image(2, BOX))[:-30],
    "two ends": lines(image(1, BOX)) + b"]}\n",
    "a list of files": b"[" + lines(image(1, BOX))[:-1] + b"]\n",
    "a line that is no image": lines(image(1, BOX), image(2, BOX)).replace(b'{"id":2', b'{"id":2,,'),
}


def generally(path: Path, world: World) -> importing.Reading:
    """As ``opening.import_file`` goes where there is something to say."""
    with acting("adm", action="import"):
        reading = importing.stage_file(path, world.task, by="adm")
        staging.apply(world.task, merge=True)
    return reading


def directly(path: Path, world: World) -> importing.Reading | None:
    with acting("adm", action="import"):
        return loading.load(path, world.task, by="adm")


# Two projects: a client's id is once in the database.
NOT_COMPARED = ("id", "project_id", "image_id", "label_class_id", "client_id", "created_at", "updated_at")


def state(world: World) -> list[dict[str, Any]]:
    """Annotations in the order of their ids, as they and their history tell them, and the images' progress."""
    told = []
    for row in Annotation.objects.filter(project=world.project).order_by("pk").select_related("image", "label_class"):
        values = {field.attname: getattr(row, field.attname) for field in Annotation._meta.fields}
        history = AnnotationHistory.objects.get(annotation_id=row.pk)
        assert history.new_state["geometry"] == row.geometry and history.new_state["notes"] == row.notes
        said = (history.action, history.changed_by, history.previous_state)
        known = {name: values[name] for name in values if name not in NOT_COMPARED}
        dated = row.created_at.year, row.updated_at == row.created_at
        told.append({**known, "at": row.image.path, "class": row.label_class and row.label_class.name,
                     "history": said, "dated": dated})  # fmt: skip
    hidden = ("id", "image_id", "project_id", "first_modified_at", "last_modified_at", "revision", "saved_revision")
    for status in ImageStatus.objects.filter(project=world.project).order_by("image_id"):
        values = {field.attname: getattr(status, field.attname) for field in ImageStatus._meta.fields}
        told.append({name: value for name, value in values.items() if name not in hidden})
    return told


@pytest.fixture
def worlds() -> tuple[World, World]:
    return a_world(), a_world(dataset="ds_other")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "annotations.json"


@pytest.mark.parametrize("name", PLAIN)
def test_a_file_without_a_flaw_is_loaded_directly_into_the_rows_of_the_general_way(worlds, path, name, monkeypatch):
    monkeypatch.setattr(loading, "BATCH", 2)
    path.write_bytes(PLAIN[name])
    one, other = directly(path, worlds[0]), generally(path, worlds[1])
    assert one is not None and one.as_dict() == other.as_dict()
    assert state(worlds[0]) == state(worlds[1])


@pytest.mark.parametrize("name", ODD)
def test_a_file_of_which_there_is_something_to_say_goes_the_general_way(worlds, path, name):
    path.write_bytes(ODD[name])
    assert directly(path, worlds[0]) is None and not Annotation.objects.exists()
    one = opening.import_file(path, worlds[0].task, by="adm", remove=False)
    assert one.as_dict() == generally(path, worlds[1]).as_dict()
    assert state(worlds[0]) == state(worlds[1])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_leaves_nothing(worlds, path, name):
    path.write_bytes(BROKEN[name])
    with pytest.raises(BrokenFile):
        opening.import_file(path, worlds[0].task, by="adm", remove=False)
    assert not Annotation.objects.exists() and not AnnotationHistory.objects.exists()


def test_files_of_another_task_and_of_this_very_project_are_not_loaded_directly(worlds, path):
    path.write_bytes(lines(image(1, BOX), task_type="segmentation"))
    with pytest.raises(ForeignFile):
        directly(path, worlds[0])
    path.write_bytes(lines(image(1, {**BOX, "id": 700}), project_id=worlds[0].project.pk))
    assert directly(path, worlds[0]) is None
    opening.import_file(path, worlds[0].task, by="adm", remove=False)
    assert Annotation.objects.get().pk == 700, "it keeps its ids"


def test_an_image_of_that_very_name_is_taken_before_one_of_a_like_name_though_it_was_started(worlds, path):
    path.write_bytes(lines(image(1, BOX, file_name="images/a/1.png")))
    for world in worlds:
        register_images(world.project, [FoundImage("images/a/1.png", 200, 100, 3, 1, "", None)])
        confirming.confirm_image(Image.objects.get(project=world.project, path="images/a/1.png"), "detection", by="ann",
                                 allow_empty=True)  # fmt: skip
    assert directly(path, worlds[0]) is None
    opening.import_file(path, worlds[0].task, by="adm", remove=False)
    generally(path, worlds[1])
    assert {row.image.path for row in Annotation.objects.all()} == {"images/a/1.png"}


def test_what_another_deed_was_told_of_an_image_counts_for_no_other(worlds):
    world = worlds[0]
    said = [world.images[0].pk, uuid4()]
    raw("INSERT INTO told_statuses VALUES (%s, %s, 'detection', 'completed', 'x', now())", [said[1], said[0]])
    with acting("ann"), connection.cursor() as cursor:
        a_box(world, world.images[1])
        cursor.execute(
            "INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id,"
            " attributes, state, version, created_by, created_at, updated_by, updated_at)"
            " SELECT project_id, %s, task_type, annotation_type, geometry, bbox, area, class_id,"
            " '{}', 'draft', 1, 'x', now(), 'x', now()"
            " FROM annotations, generate_series(1, 60)",
            [said[0]],
        )
    assert ImageStatus.objects.get(image_id=said[0], task_type="detection").status == "in-progress"


BREAK = """
CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'broken off' USING ERRCODE = 'deadlock_detected'; END $$;
CREATE TRIGGER break_off AFTER INSERT ON {table} EXECUTE FUNCTION break_off();
"""


@pytest.mark.parametrize("table", ["annotations", "told_statuses"])
def test_what_the_database_breaks_off_is_for_the_job_to_do_again(worlds, path, table):
    path.write_bytes(PLAIN["boxes"])
    raw(BREAK.format(table=table))
    with pytest.raises(OperationalError, match="broken off"), transaction.atomic():
        opening.import_file(path, worlds[0].task, by="adm", remove=False)
    assert not Annotation.objects.exists()


def test_nothing_is_loaded_beside_what_is_there(worlds, path):
    a_box(worlds[0], worlds[0].images[0])
    path.write_bytes(PLAIN["boxes"])
    with pytest.raises(HasAnnotations):
        opening.import_file(path, worlds[0].task, by="adm", remove=False)
    assert Annotation.objects.count() == 1
