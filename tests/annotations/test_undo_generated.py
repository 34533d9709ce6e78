"""Whatever people do, in whatever order: all steps back is the start, all steps forward is the end again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from annotations import confirming, editing, history, undoing
from annotations.errors import AnnotationError
from annotations.models import Annotation, AnnotationHistory, Project
from annotations.progress import recount
from annotations.states import Role
from annotations.undoing import Scope
from tests.annotations.test_undo import everything, rows
from tests.cases import made_up
from tests.world import World, a_world

pytestmark = pytest.mark.django_db(transaction=True)

MARKER = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}


def _one(number: int) -> int | None:
    """Some annotation that is there."""
    ids = list(Annotation.objects.order_by("pk").values_list("pk", flat=True))
    return ids[number % len(ids)] if ids else None


def _some(number: int) -> list[int]:
    return list(Annotation.objects.order_by("pk").values_list("pk", flat=True))[number % 3 :: 2]


def _box(number: int) -> dict[str, Any]:
    box = [1 + number, 2, 5 + number, 6]
    return {"annotation_type": "bbox", "geometry": {"type": "bbox", "bbox": box}, "class_name": "Cat"}


DEEDS = {
    "draw": lambda w, n: editing.create_annotation(w.project, w.images[n % 2], _box(n), by="ann"),
    "mark": lambda w, n: editing.create_annotation(w.project, w.images[n % 2], MARKER, by="ann"),
    "edit": lambda w, n: _one(n) and editing.update_annotation(_one(n), {"confidence": n, "notes": str(n)}, by="ann"),
    "delete": lambda w, n: _one(n) and editing.delete_annotation(_one(n), by="ann"),
    "delete some": lambda w, n: editing.delete_batch(_some(n), by="ann"),
    "confirm": lambda w, n: _one(n) and confirming.confirm_annotation(_one(n), by="ann"),
    "confirm some": lambda w, n: confirming.bulk_confirm(_some(n), by="ann"),
    "confirm image": lambda w, n: confirming.confirm_image(w.images[n % 2], "detection", by="ann"),
    "unconfirm image": lambda w, n: confirming.unconfirm_image(w.images[n % 2], "detection", by="ann"),
}


def _step(world: World, *, redo: bool = False) -> int:
    scope = Scope(world.project.pk, "ann")
    return len(undoing.undo_steps(scope, 1, by="ann", role=Role.ANNOTATOR, redo=redo).batches)


def _forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET labeler.allow_truncate = 'yes'")
        cursor.execute("TRUNCATE annotations, annotation_history, image_history, projects CASCADE")
        cursor.execute("RESET labeler.allow_truncate")


@made_up(12)
@given(st.lists(st.tuples(st.sampled_from(sorted(DEEDS)), st.integers(0, 90)), min_size=3, max_size=14))
def test_all_the_way_back_and_all_the_way_forward(deeds):
    _forget()
    world = a_world(count=2)
    stages, moments = [rows()], []
    for name, number in deeds:
        before = AnnotationHistory.objects.count()
        try:
            DEEDS[name](world, number)
        except AnnotationError:
            continue
        if AnnotationHistory.objects.count() > before:
            stages.append(rows())
            moments.append(AnnotationHistory.objects.latest("pk").timestamp)
    end = everything()
    for stage in reversed(stages[:-1]):
        assert _step(world) == 1
        assert rows() == stage
    assert _step(world) == 0 and rows() == []
    for stage in stages[1:]:
        assert _step(world, redo=True) == 1
        assert rows() == stage
    assert _step(world, redo=True) == 0
    assert [row["id"] for row in rows()] == [row["id"] for row in end[0]]
    assert recount(dry_run=True) == []
    project = Project.objects.get(pk=world.project.pk)
    for stage, moment in zip(stages[1:], moments, strict=True):
        stood, _ = history.as_of(project, moment, {}, limit=1000, offset=0)
        assert [(row.pk, row.geometry, row.state) for row in stood] == [
            (row["id"], row["geometry"], row["state"]) for row in stage
        ]
