"""Keypoints are as many as their class names, wherever they come from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from annotations import confirming, editing, projects
from annotations.errors import AnnotationError
from annotations.models import Annotation, LabelClass
from tests.world import World, a_world, imported, published
from versions import work
from versions.errors import PublishBlocked

pytestmark = pytest.mark.django_db(transaction=True)

TWO, THREE = [[10, 10, 2], [20, 30, 1]], [[10, 10, 2], [20, 30, 1], [40, 40, 2]]


@pytest.fixture
def world() -> World:
    made = a_world(tasks=("keypoint",), classes=("Free",))
    projects.create_class(made.task, name="Hand", class_id="hand", by="adm", keypoints=["thumb", "wrist"])
    return made


def draw(world: World, points: list, **fields: Any) -> Annotation:
    body = {"annotation_type": "keypoints", "geometry": {"keypoints": points}, "class_name": "Hand", **fields}
    return editing.create_annotation(world.project, world.images[0], body, by="ann")[0]


def test_other_than_the_named_points_are_refused_and_nothing_is_stored(world):
    with pytest.raises(AnnotationError) as refused:
        draw(world, THREE)
    assert refused.value.errors == {"geometry.keypoints": ["must be the 2 points of the class; v 0 leaves one out."]}
    assert not Annotation.objects.exists()
    assert draw(world, [[10, 10, 2], [0, 0, 0]]).pk and draw(world, THREE, class_name="Free").pk


@pytest.mark.parametrize("change", [{"geometry": {"keypoints": THREE}}, {"class_name": "Hand"}])
def test_an_edit_may_not_bring_other_points_either(world, change):
    row = draw(
        world, *((TWO,) if "geometry" in change else (THREE,)), class_name="Hand" if "geometry" in change else "Free"
    )
    with pytest.raises(AnnotationError, match=r"geometry\.keypoints"):
        editing.update_annotation(row.pk, change, by="ann")
    assert Annotation.objects.get(pk=row.pk).version == 1


def test_an_import_lists_them_and_takes_the_rest(world):
    entry = {"image_id": 1, "category_id": 1, "num_keypoints": 2, "bbox": [1, 1, 9, 9]}
    flat = [
        {**entry, "id": 1, "keypoints": [1, 1, 2, 9, 9, 2]},
        {**entry, "id": 2, "keypoints": [1, 1, 2, 9, 9, 2, 3, 3, 2]},
    ]
    images = [{"id": 1, "file_name": "a/1.png", "width": 200, "height": 100}]
    file = {"images": images, "categories": [{"id": 1, "name": "Hand"}], "annotations": flat}
    job = work.run(imported(world, json.dumps(file).encode(), task_type="keypoint").pk)
    assert (job.result["imported"], job.result["skipped"]) == (1, 1)
    assert job.result["errors"][0]["reason"] == "it has 3 keypoints, its class names 2"


def test_a_class_given_other_points_later_stops_a_publish_until_the_annotations_are_mended(world):
    row = draw(world, TWO)
    confirming.confirm_image(world.images[0], "keypoint", by="ann")
    published(world)
    projects.change_class(LabelClass.objects.get(class_id="hand"), by="adm", keypoints=["thumb", "wrist", "elbow"])
    with pytest.raises(PublishBlocked) as refused:
        published(world)
    assert refused.value.errors == {"keypoint_count": [row.pk]}
    editing.update_annotation(row.pk, {"geometry": {"keypoints": THREE}}, by="ann")
    confirming.confirm_image(world.images[0], "keypoint", by="ann")
    assert published(world).status == "ready"
