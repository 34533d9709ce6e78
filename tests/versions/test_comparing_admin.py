"""The page that compares two versions: for staff, escaped, paged, and it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations import confirming, editing, projects
from annotations.models import LabelClass
from tests.staff import act, address, queries_of, somebody_with, the_boss, told
from tests.world import World, a_box, a_user, a_world, confirmed, published, saved
from versions.models import Artifact, Version

pytestmark = pytest.mark.django_db(transaction=True)
SHAPES = {
    "detection": ("rotated_bbox", {"bbox": [10, 10, 20, 30, 15]}, "<polygon"),
    "segmentation": ("mask", {"rle": {"size": [100, 200], "counts": [0, 5, 19995]}}, "<polygon"),
    "keypoint": ("keypoints", {"keypoints": [[5, 5, 2], [9, 9, 1], [0, 0, 0]]}, "<circle"),
    "line": ("line", {"points": [[0, 5], [9, 5]]}, "<polyline"),
    "geometry": ("circle", {"center": [50, 50], "radius": 10}, 'r="10"'),
    "classification": ("classification", {}, "Cat, classification"),
}


@pytest.fixture
def world() -> World:
    return a_world(count=12)


@pytest.fixture
def boss() -> Client:
    return the_boss()


def page(a: Version | None, b: Version | None) -> str:
    return reverse("admin:versions_version_compare", args=[side.pk if side else -1 for side in (a, b)])


def seen(client: Client, a: Version | None, b: Version | None, **query: Any) -> str:
    answer = client.get(page(a, b), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_two_versions_chosen_in_the_list_are_compared(world, boss):
    gone, moved = confirmed(world, world.images[0], boxes=2)
    first = published(world)
    editing.delete_annotation(gone.pk, by="ann")
    editing.update_annotation(moved.pk, {"geometry": {"type": "bbox", "bbox": [90, 20, 20, 30]}, "class_name": "Dog",
                                         "confidence": 70, "attributes": {"occluded": True}}, by="ann")  # fmt: skip
    confirming.confirm_image(world.images[0], "detection", by="ann")
    second = published(world)
    answer = act(boss, "compare", [first, second])
    text = answer.content.decode()
    assert answer.redirect_chain[0][0] == page(first, second)
    for said in ("v1.0", "v2.0", "a/1.png", "class Cat → Dog", "moved", "confidence none → 70", "occluded: none → True",
                 "<polygon", "Cat, bbox at 10, 20, 20 x 30", str(gone.pk)):  # fmt: skip
        assert said in text


def test_one_version_is_held_against_the_live_rows_with_or_without_drafts(world, boss):
    confirmed(world, world.images[0])
    first = published(world)
    a_box(world, world.images[1])
    assert "Nothing differs." in act(boss, "compare", [first]).content.decode()
    text = seen(boss, first, None, drafts="1")
    assert "a/2.png" in text and "live rows" in text and "without drafts" in text


def test_a_version_leads_to_its_comparisons(world, boss):
    confirmed(world, world.images[0])
    first = published(world)
    confirmed(world, world.images[1])
    second = published(world)
    text = boss.get(address(Version, "change", second)).content.decode()
    assert page(first, second) in text and page(second, None) in text
    assert page(first, None) in boss.get(address(Version, "change", first)).content.decode()


@pytest.mark.parametrize("task", SHAPES)
def test_every_shape_is_drawn_or_told(boss, task):
    kind, geometry, drawn = SHAPES[task]
    world = a_world(tasks=(task,))
    first = published(world, allow_empty=True)
    body = {"annotation_type": kind, "geometry": {"type": kind, **geometry}, "class_name": "Cat"}
    editing.create_annotation(world.project, world.images[0], body, by="ann")
    assert drawn in seen(boss, first, None, drafts="1")


def test_names_from_outside_are_escaped(world, boss):
    confirmed(world, world.images[0])
    first = published(world)
    projects.change_class(LabelClass.objects.get(class_id="cat"), name="<script>alert(1)</script>", by="olga")
    a_box(world, world.images[1], class_name="Dog", attributes={"<img src=x>": "<b>"})
    type(world.images[1]).objects.filter(pk=world.images[1].pk).update(path='a/"><script>.png')
    text = seen(boss, first, None, drafts="1")
    assert "<script>alert" not in text and '"><script>' not in text and "&lt;script&gt;alert(1)" in text


def test_pages_hold_ten_images_and_cost_no_more_queries(world, boss):
    first = published(world, allow_empty=True)
    for image in world.images[:3]:
        confirmed(world, image)
    few = len(queries_of(boss, page(first, None)))
    for image in world.images[3:]:
        confirmed(world, image, boxes=3)
    assert len(queries_of(boss, page(first, None))) <= few
    one, two = seen(boss, first, None), seen(boss, first, None, p=1)
    assert one.count('<details class="image"') == 10 and two.count('<details class="image"') == 2
    assert "Page 1 of 2" in one and "Page 2 of 2" in two
    assert "Nothing differs" in seen(boss, first, None, p="9" * 30) and seen(boss, first, None, p="x", drafts="?")


def test_what_cannot_be_compared_is_said_in_the_list(world, boss):
    confirmed(world, world.images[0])
    save, version = saved(world), published(world)
    Artifact.objects.filter(version=save).update(removed_at=save.created_at)
    level, said = told(boss.get(page(save, version), follow=True))[0]
    assert level == "error" and "retention" in said
    assert told(boss.get(page(None, None), follow=True))[0][0] == "error"
    confirmed(world, world.images[1])
    assert "Choose two" in told(act(boss, "compare", [save, version, published(world)]))[0][1]
    assert boss.get(reverse("admin:versions_version_compare", args=[version.pk, 10**17])).status_code == 404


def test_only_staff_who_may_see_versions_look(world):
    confirmed(world, world.images[0])
    version = published(world)
    assert somebody_with("view_version").get(page(version, None)).status_code == 200
    assert somebody_with("view_job").get(page(version, None)).status_code == 403
    outsider = Client()
    outsider.force_login(a_user("vic"))
    assert outsider.get(page(version, None)).status_code == 302
