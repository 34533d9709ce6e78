"""Long lists: images by a part of the name, the page around one, any page; and how long a history is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotations import history, images
from annotations.images import FoundImage
from annotations.models import AnnotationHistory, ImageStatus
from tests.world import a_box, a_client, a_world, raw

pytestmark = pytest.mark.django_db


def make_world():
    return a_world(count=12)


def _images(world, **query):
    return a_client("vic").get(f"/api/v1/projects/{world.project.pk}/images", query).json()


@pytest.mark.parametrize("part", ["A/1", "/1"], ids=["letters", "without letters"])
def test_a_part_of_the_name_finds_images_and_their_statuses_alike(world, part):
    found = _images(world, search=part)
    assert [image["id"] for image in found["images"]] == ["a/1.png", "a/10.png", "a/11.png", "a/12.png"]
    statuses = a_client("vic").get(f"/api/v1/projects/{world.project.pk}/images/status", {"search": part}).json()
    assert [status["image_id"] for status in statuses["statuses"]] == [image["id"] for image in found["images"]]


def test_what_means_something_in_patterns_is_only_text(world):
    assert _images(world, search="%")["total"] == 0
    assert _images(world, search="a_1")["total"] == 0


def test_around_gives_the_page_an_image_stands_on_and_its_place(world):
    found = _images(world, around="a/4.png", limit=5)
    # By path: 1, 10, 11, 12, 2 | 3, 4, ...
    assert (found["offset"], found["position"]) == (5, 6)
    assert found["images"][1]["id"] == "a/4.png"


def test_around_an_image_that_is_not_in_the_list_gives_its_first_page(world):
    a_box(world, world.images[0])
    found = _images(world, around="a/4.png", status="in-progress")
    assert (found["offset"], found["position"], found["total"]) == (0, None, 1)


def test_any_page_is_the_same_stretch_of_the_list_however_far_it_is(world, monkeypatch):
    monkeypatch.setattr("annotations.images.STEP", 5)
    listed = [image["id"] for image in _images(world)["images"]]
    assert len(listed) == 12
    for offset in range(14):
        found = _images(world, limit=4, offset=offset)
        assert ([image["id"] for image in found["images"]], found["total"]) == (listed[offset : offset + 4], 12)
        statuses = (
            a_client("vic")
            .get(f"/api/v1/projects/{world.project.pk}/images/status", {"limit": 4, "offset": offset})
            .json()
        )
        assert ([each["image_id"] for each in statuses["statuses"]], statuses["total"]) == (listed[offset:][:4], 12)
    assert [_images(world, around=path, limit=1)["position"] for path in listed] == list(range(12))


def test_a_new_image_moves_the_pages_behind_it(world, monkeypatch):
    monkeypatch.setattr("annotations.images.STEP", 5)
    before = _images(world, limit=3, offset=9)
    images.register_images(world.project, [FoundImage("a/0.png", 1, 1, 3, 1, "", None)])
    after = _images(world, limit=3, offset=10)
    assert [image["id"] for image in after["images"]] == [image["id"] for image in before["images"]]
    assert (before["total"], after["total"]) == (12, 13)


def test_an_image_whose_progress_row_is_gone_is_shown_as_not_started(world):
    ImageStatus.objects.filter(image=world.images[0]).delete()
    answer = a_client("vic").get(f"/api/v1/projects/{world.project.pk}/images/status", {"limit": 1})
    shown = answer.json()["statuses"][0]
    assert (shown["image_id"], shown["status"], shown["total_annotations"]) == (world.images[0].path, "not-started", 0)


@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=5)], ids=["settled", "fresh"])
def test_a_history_that_was_counted_is_counted_on_from_there(world, monkeypatch, age):
    monkeypatch.setattr("annotations.history.COUNTS", ((300, age), (10, timedelta(0))))

    def total(**query):
        answer = a_client("vic").get(f"/api/v1/annotations/history/project/{world.project.pk}", query)
        return int(answer["X-Total-Count"])

    a_box(world, world.images[0])
    assert (total(), total(changed_by="ann"), total(changed_by="rev")) == (1, 1, 0)
    a_box(world, world.images[0], by="rev")
    assert (total(), total(changed_by="ann"), total(changed_by="rev")) == (2, 1, 1)
    assert total(image_id=world.images[0].path) == 2


def test_what_a_history_was_counted_to_is_not_counted_again(world, django_assert_num_queries):
    old = timezone.now() - timedelta(seconds=30)
    a_box(world, world.images[0])
    raw("ALTER TABLE annotation_history DISABLE TRIGGER USER")
    AnnotationHistory.objects.update(timestamp=old)
    raw("ALTER TABLE annotation_history ENABLE TRIGGER USER")
    query = {"action": "create"}
    assert history.history_total(world.project, query) == 1
    a_box(world, world.images[0])
    with django_assert_num_queries(1) as asked:
        assert history.history_total(world.project, query) == 2
    counted_to = AnnotationHistory.objects.order_by("pk")[0].pk
    assert f'"id" > {counted_to}' in asked.captured_queries[0]["sql"]
