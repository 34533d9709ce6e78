"""Finding images in long lists: by a part of the name, and the page around one."""

from __future__ import annotations

import pytest

from tests.world import a_box, a_client, a_world

pytestmark = pytest.mark.django_db


def make_world():
    return a_world(count=12)


def _images(world, **query):
    return a_client("vic").get(f"/api/v1/projects/{world.project.pk}/images", query).json()


def test_a_part_of_the_name_finds_images_and_their_statuses_alike(world):
    found = _images(world, search="A/1")
    assert [image["id"] for image in found["images"]] == ["a/1.png", "a/10.png", "a/11.png", "a/12.png"]
    statuses = a_client("vic").get(f"/api/v1/projects/{world.project.pk}/images/status", {"search": "A/1"}).json()
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
