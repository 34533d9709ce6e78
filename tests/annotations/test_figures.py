"""A task in numbers: exact in a small world, and asked in as many queries whatever the project holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotations import confirming, editing, figures
from annotations.models import Annotation, AnnotationHistory, ImageStatus
from tests.world import a_box, a_world, confirmed

pytestmark = pytest.mark.django_db
TASK = "detection"


def make_world():
    """Image 1: two boxes of ann's, confirmed. Image 2: a draft of rev's and one without a class. Image 3: nothing."""
    made = a_world()
    confirmed(made, made.images[0], boxes=2)
    a_box(made, made.images[1], by="rev", class_name="Dog")
    a_box(made, made.images[1], by="rev", class_name=None, geometry={"type": "bbox", "bbox": [0, 0, 100, 100]})
    return made


def test_progress_counts_images_by_status_and_annotations_by_state(world):
    confirming.verify_image(world.images[0], TASK, by="rev")
    assert figures.progress_figures(world.project.pk, TASK) == {
        "images": 3, "not_started": 1, "in_progress": 1, "completed": 1,
        "annotations": 4, "drafts": 2, "settled": 2, "verified": 2,
    }  # fmt: skip


def test_classes_come_by_frequency_and_those_without_last(world):
    rows = [(row["name"], row["settled"], row["drafts"]) for row in figures.class_figures(world.project.pk, TASK)]
    assert rows == [("Cat", 2, 0), ("Dog", 0, 1), (None, 0, 1)]


def test_nothing_here_is_not_an_annotation_of_a_class(world):
    body = {"annotation_type": "no_object", "geometry": {"type": "no_object"}, "attributes": {"task_type": TASK}}
    editing.create_annotation(world.project, world.images[2], body, by="ann")
    assert sum(row["total"] for row in figures.class_figures(world.project.pk, TASK)) == 4


def test_people_are_told_with_what_they_did(world, platform_rows):
    platform_rows(users=[("ann", "Ann Example", "ann@example.org")])
    assert figures.people_figures(world.project.pk, TASK) == [
        {"user_id": "ann", "name": "Ann Example", "drawn": 2, "confirmed": 2, "images": 1},
        {"user_id": "rev", "name": None, "drawn": 2, "confirmed": 0, "images": 0},
    ]


def test_activity_is_told_by_day_and_kind(world):
    editing.delete_annotation(Annotation.objects.filter(created_by="rev").first().pk, by="rev")
    days = figures.activity_figures(world.project.pk, TASK)
    assert len(days) == 30 and days[-1]["day"] == datetime.now(UTC).date()
    assert [days[-1][kind] for kind in ("drawn", "changed", "confirmed")] == [4, 1, 2]
    assert not any(day[kind] for day in days[:-1] for kind in figures.KINDS)


def test_what_is_older_than_the_days_asked_for_is_left_out(world):
    row = AnnotationHistory.objects.values(*[f.name for f in AnnotationHistory._meta.fields if f.name != "id"]).first()
    AnnotationHistory.objects.create(**{**row, "timestamp": datetime(2020, 1, 1, tzinfo=UTC)})
    assert sum(day["drawn"] for day in figures.activity_figures(world.project.pk, TASK)) == 4


def test_sizes_are_grouped_by_the_side_of_a_square_of_the_same_area(world):
    groups = {row["least"]: row["count"] for row in figures.size_figures(world.project.pk, TASK)}
    # 20 x 30 pixels are as much as 24.5 squared.
    assert groups == {0: 0, 8: 0, 16: 3, 32: 0, 64: 1, 128: 0, 256: 0, 512: 0, 1024: 0}


def test_sizes_look_at_so_many_shapes_and_no_more(world):
    assert sum(row["count"] for row in figures.size_figures(world.project.pk, TASK, limit=3)) == 3


def test_another_task_and_another_project_count_for_themselves(world):
    other = a_world(dataset="ds_other", tasks=(TASK, "segmentation"))
    assert figures.progress_figures(other.project.pk, "segmentation")["annotations"] == 0
    assert figures.people_figures(other.project.pk, TASK) == []
    assert {row["total"] for row in figures.class_figures(other.project.pk, TASK)} == {0}
    assert ImageStatus.objects.of(other.project.pk, TASK).count() == 3


def test_the_figures_cost_as_many_queries_for_more_of_everything(world):
    few = _queries(world)
    for number, image in enumerate(world.images * 4):
        a_box(world, image, x=number, by=f"person{number}")
    assert _queries(world) == few == 8


def _queries(world) -> int:
    which = (world.project.pk, TASK)
    with CaptureQueriesContext(connection) as asked:
        figures.progress_figures(*which)
        figures.class_figures(*which)
        figures.people_figures(*which)
        figures.activity_figures(*which)
        figures.size_figures(*which)
    return len(asked)
