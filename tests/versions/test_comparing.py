"""Two versions side by side: every kind of change and shape, live rows and saves; nothing that did not change."""

from __future__ import annotations

import uuid
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, strategies

from annotations import confirming, editing, projects
from annotations.acting import acting
from annotations.models import Annotation, Image, LabelClass
from annotations.projects import task_of
from annotations.states import Role
from tests.cases import made_up
from tests.world import World, a_box, a_client, a_world, confirmed, published, saved
from versions import artifacts, comparing, importing, snapshots
from versions.comparing import compared
from versions.models import Artifact, Version
from versions.replacing import replace_rows

pytestmark = pytest.mark.django_db(transaction=True)
ZERO = {"class_changed": False, "geometry_changed": False, "position_changed": False, "size_changed": False,
        "confidence_changed": False, "attributes_changed": False}  # fmt: skip


@pytest.fixture
def world() -> World:
    return a_world()


def asked(a: Any, b: Any, page: str = "", **query: Any) -> dict[str, Any]:
    """What the route answers; versions, or None for the live rows."""
    path = "/".join(str(version.pk if version else -1) for version in (a, b)).replace("/", "/compare/")
    answer = a_client("vic").get(f"/api/v1/version-diff/versions/{path}{page}", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def figures(answer: dict[str, Any]) -> tuple[int, int, int, int]:
    """(added, removed, modified, unchanged)."""
    return tuple(answer["summary"][f"total_{name}"] for name in ("added", "removed", "modified", "unchanged"))


def settle(image: Image, task: str = "detection") -> None:
    confirming.confirm_image(image, task, by="ann", allow_empty=True)


def change(box: Annotation, **fields: Any) -> None:
    """Edit an annotation and confirm its image again."""
    editing.update_annotation(box.pk, fields, by="ann")
    settle(box.image, box.task_type)


def at(x: float, *, w: float = 20) -> dict[str, Any]:
    return {"type": "bbox", "bbox": [x, 20, w, 30]}


# Kinds of change ---------------------------------------------------------------------------------


def test_a_version_equals_itself(world):
    confirmed(world, world.images[0], boxes=3)
    version = published(world)
    answer = asked(version, version)
    assert figures(answer) == (0, 0, 0, 3) and answer["image_diffs"] == {} and answer["class_stats"] == {}


def test_added_removed_and_moved_boxes_are_told_apart(world):
    gone, moved, _same = confirmed(world, world.images[0], boxes=3)
    first = published(world)
    editing.delete_annotation(gone.pk, by="ann")
    change(moved, geometry=at(120))
    new = confirmed(world, world.images[1])[0]
    second = published(world)
    answer = asked(first, second)
    assert figures(answer) == (1, 1, 1, 1)
    assert list(answer["image_diffs"]) == ["a/1.png", "a/2.png"]
    diff = answer["image_diffs"]["a/1.png"]
    assert [row["id"] for row in diff["removed"]] == [gone.pk] and diff["added"] == [] and diff["unchanged"] == []
    (pair,) = diff["modified"]
    assert pair["old"]["id"] == pair["new"]["id"] == moved.pk
    assert pair["old"]["geometry"]["bbox"] == [35, 20, 20, 30] and pair["new"]["geometry"]["bbox"] == [120, 20, 20, 30]
    assert pair["changes"]["position_changed"] and not pair["changes"]["size_changed"]
    assert diff["summary"] == {"listing": "both", "added": 0, "removed": 1, "modified": 1, "unchanged": 1,
                               "total_changes": 2}  # fmt: skip
    assert [row["id"] for row in answer["image_diffs"]["a/2.png"]["added"]] == [new.pk]
    assert answer["summary"] | {"images_with_changes": 2, "total_images": 2, "images_added": 1,
                                "total_changes": 3} == answer["summary"]  # fmt: skip
    assert answer["class_stats"] == {"Cat": {"added": 1, "removed": 1, "modified": 1}}


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"geometry": at(10, w=40)}, {"geometry_changed": True, "size_changed": True}),
        ({"geometry": at(60)}, {"geometry_changed": True, "position_changed": True}),
        ({"class_name": "Dog"}, {"class_changed": True}),
        ({"confidence": 50}, {"confidence_changed": True}),
        ({"attributes": {"occluded": True}}, {"attributes_changed": True}),
    ],
    ids=["size", "place", "class", "confidence", "attributes"],
)
def test_each_kind_of_change_is_named(world, fields, flags):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    change(box, **fields)
    answer = asked(first, published(world))
    (pair,) = answer["image_diffs"]["a/1.png"]["modified"]
    assert {name: pair["changes"][name] for name in ZERO} == ZERO | flags
    assert pair["changes"]["old_class"] == "Cat" and figures(answer) == (0, 0, 1, 0)
    assert (pair["changes"]["old_geometry"] is not None) == ("geometry" in fields)
    assert (pair["changes"]["new_attributes"] is not None) == ("attributes" in fields)


def test_notes_states_and_who_did_it_are_no_change(world):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    editing.update_annotation(box.pk, {"notes": "seen"}, by="rev")
    confirming.verify_annotation(box.pk, by="rev")
    with acting("x"):
        Annotation.objects.update(updated_by="x")
    second = published(world)
    assert second.pk != first.pk and figures(asked(first, second)) == (0, 0, 0, 1)
    assert asked(first, second)["summary"]["images_with_changes"] == 0


def test_a_size_a_client_told_is_no_change(world):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    change(box, geometry={**at(10), "image_width": 200, "image_height": 100})
    assert figures(asked(first, published(world))) == (0, 0, 0, 1)


SHAPES = {
    "rotated_bbox": ("detection", {"bbox": [10, 10, 20, 30, 0]}, {"bbox": [10, 10, 20, 30, 15]}),
    "polygon": ("segmentation", {"points": [[1, 1], [9, 1], [9, 9]]}, {"points": [[1, 1], [9, 1], [9, 9], [5, 7]]}),
    "mask": ("segmentation", {"rle": {"size": [100, 200], "counts": [0, 5, 19995]}},
             {"rle": {"size": [100, 200], "counts": [0, 6, 19994]}}),
    "keypoints": ("keypoint", {"keypoints": [[5, 5, 2], [9, 9, 2]]}, {"keypoints": [[5, 5, 2], [9, 9, 1]]}),
    "line": ("line", {"points": [[0, 5], [9, 5]]}, {"points": [[0, 5], [9, 6]]}),
    "polyline": ("geometry", {"points": [[0, 0], [5, 5], [9, 0]]}, {"points": [[0, 0], [5, 6], [9, 0]]}),
    "circle": ("geometry", {"center": [50, 50], "radius": 10}, {"center": [50, 50], "radius": 11}),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_is_compared(kind):
    task, before, after = SHAPES[kind]
    world = a_world(tasks=(task,))
    body = {"annotation_type": kind, "geometry": {"type": kind, **before}, "class_name": "Cat"}
    box = editing.create_annotation(world.project, world.images[0], body, by="ann")[0]
    settle(world.images[0], task)
    first = published(world)
    change(box, geometry={"type": kind, **after})
    (pair,) = asked(first, published(world))["image_diffs"]["a/1.png"]["modified"]
    assert pair["changes"]["geometry_changed"] and not pair["changes"]["class_changed"]
    if kind in ("rotated_bbox", "polygon", "keypoints"):
        assert not pair["changes"]["position_changed"] and not pair["changes"]["size_changed"]


def test_labels_and_markers_are_compared():
    world = a_world(tasks=("classification",))
    label = {"annotation_type": "classification", "geometry": {"type": "classification"}, "class_name": "Cat"}
    nothing = {"annotation_type": "no_object", "geometry": {"type": "no_object"},
               "attributes": {"task_type": "classification"}}  # fmt: skip
    box = editing.create_annotation(world.project, world.images[0], label, by="ann")[0]
    settle(world.images[0], "classification")
    first = published(world)
    editing.create_annotation(world.project, world.images[1], nothing, by="ann")
    settle(world.images[1], "classification")
    change(box, class_name="Dog")
    answer = asked(first, published(world))
    assert answer["class_stats"]["Dog"]["modified"] == 1 and answer["class_stats"]["__background__"]["added"] == 1


# Which sides -------------------------------------------------------------------------------------


def test_the_older_one_is_always_a(world):
    confirmed(world, world.images[0])
    first = published(world)
    confirmed(world, world.images[1])
    second = published(world)
    there, back = asked(first, second), asked(second, first)
    assert not there["swapped"] and back["swapped"]
    assert {**there, "swapped": True} == back and back["version_a"] == first.pk and back["version_b_number"] == "v2.0"


def test_versions_far_apart_forget_what_came_and_went_between(world):
    box, other = confirmed(world, world.images[0], boxes=2)
    first = published(world)
    change(box, geometry=at(100))
    between = confirmed(world, world.images[1])[0]
    published(world)
    change(box, geometry=at(10))
    editing.delete_annotation(between.pk, by="ann")
    change(other, class_name="Dog")
    third = published(world)
    answer = asked(first, third)
    assert figures(answer) == (0, 0, 1, 1) and list(answer["image_diffs"]) == ["a/1.png"]


def test_live_rows_are_compared_with_the_newest_and_with_an_older_version(world):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    change(box, class_name="Dog")
    second = published(world)
    assert figures(asked(second, None)) == (0, 0, 0, 1)
    confirmed(world, world.images[1], boxes=2)
    assert figures(asked(second, None)) == (2, 0, 0, 1)
    assert figures(asked(None, first)) == (2, 0, 1, 0)
    live = asked(None, first)
    assert live["version_b"] == -1 and live["version_b_number"] == "live" and live["swapped"]


def test_drafts_count_as_the_version_counts_them_or_as_asked(world):
    confirmed(world, world.images[0])
    first = published(world)
    a_box(world, world.images[1])
    assert figures(asked(first, None)) == (0, 0, 0, 1)
    assert figures(asked(first, None, include_draft="true")) == (1, 0, 0, 1)
    second = published(world, include_draft=True)
    assert figures(asked(second, None)) == (0, 0, 0, 2)
    assert figures(asked(second, None, include_draft="false")) == (0, 1, 0, 1)
    assert figures(asked(first, second)) == (1, 0, 0, 1)


def test_a_selection_that_goes_back_and_forth_is_followed(world):
    confirmed(world, world.images[0])
    first = published(world)
    a_box(world, world.images[1])
    published(world, include_draft=True)
    third = published(world)
    assert figures(asked(first, third)) == (0, 0, 0, 1)
    assert figures(asked(first, None, include_draft="true")) == (1, 0, 0, 1)


def test_an_edit_of_a_confirmed_box_is_lost_from_the_settled_rows_until_confirmed(world):
    box = confirmed(world, world.images[0])[0]
    version = published(world)
    editing.update_annotation(box.pk, {"geometry": at(90)}, by="ann")
    assert figures(asked(version, None)) == (0, 1, 0, 0)
    assert figures(asked(version, None, include_draft="true")) == (0, 0, 1, 0)


def test_a_working_save_is_compared_with_versions_saves_and_live_rows(world):
    box = confirmed(world, world.images[0])[0]
    editing.update_annotation(box.pk, {"confidence": 33.333333333333336}, by="ann")
    settle(world.images[0])
    save = saved(world)
    version = published(world)
    assert figures(asked(save, version)) == (0, 0, 0, 1)
    change(box, geometry=at(70), class_name="Dog")
    a_box(world, world.images[1])
    later = saved(world)
    assert figures(asked(save, later)) == (1, 0, 1, 0)
    assert figures(asked(version, later)) == (0, 0, 1, 0), "without drafts, as the version is"
    assert figures(asked(version, later, include_draft="true")) == (1, 0, 1, 0)
    assert figures(asked(later, None)) == (0, 0, 0, 2)
    (pair,) = asked(version, later)["image_diffs"]["a/1.png"]["modified"]
    assert (pair["changes"]["old_class"], pair["changes"]["new_class"]) == ("Cat", "Dog")


@pytest.mark.parametrize("kind", SHAPES)
def test_a_save_of_any_shape_equals_the_rows_it_saved(kind):
    task, shape, _ = SHAPES[kind]
    world = a_world(tasks=(task,))
    body = {"annotation_type": kind, "geometry": {"type": kind, **shape}, "class_name": "Cat", "confidence": 12.5,
            "attributes": {"a": [1, 2.5]}, "notes": "n"}  # fmt: skip
    editing.create_annotation(world.project, world.images[0], body, by="ann")
    settle(world.images[0], task)
    assert figures(asked(saved(world), None)) == (0, 0, 0, 1)


def test_a_save_that_retention_let_go_is_said_to_be_gone(world):
    confirmed(world, world.images[0])
    save, version = saved(world), published(world)
    Artifact.objects.filter(version=save).update(removed_at=save.created_at)
    answer = a_client("vic").get(f"/api/v1/version-diff/versions/{save.pk}/compare/{version.pk}")
    assert answer.status_code == 404 and "retention" in answer.json()["detail"]


def test_a_save_whose_file_was_tampered_with_is_refused(world, put_object):
    confirmed(world, world.images[0])
    save, version = saved(world), published(world)
    put_object("labeler", Artifact.objects.get(version=save).s3_key, b"{}")
    answer = a_client("vic").get(f"/api/v1/version-diff/versions/{save.pk}/compare/{version.pk}")
    assert answer.status_code == 503 and "other bytes" in answer.json()["detail"]


def test_a_request_reads_no_file_beyond_its_limit(world, monkeypatch):
    confirmed(world, world.images[0], boxes=2)
    save, version = saved(world), published(world)
    monkeypatch.setattr(comparing, "MOST_FROM_FILE", 1)
    answer = a_client("vic").get(f"/api/v1/version-diff/versions/{save.pk}/compare/{version.pk}")
    assert answer.status_code == 400 and list(answer.json()["errors"]) == ["a"]


# Refusals ----------------------------------------------------------------------------------------


def test_versions_that_do_not_belong_together_are_refused(world):
    confirmed(world, world.images[0])
    version = published(world)
    elsewhere = a_world(dataset="ds_other")
    confirmed(elsewhere, elsewhere.images[0])
    foreign = published(elsewhere)
    vic = a_client("vic")
    for a, b, field in ((version.pk, foreign.pk, "b"), (-1, -1, "b")):
        answer = vic.get(f"/api/v1/version-diff/versions/{a}/compare/{b}")
        assert answer.status_code == 400 and list(answer.json()["errors"]) == [field], answer.content


def test_versions_of_two_tasks_are_refused():
    world = a_world(tasks=("detection", "classification"))
    confirmed(world, world.images[0])
    version = published(world)
    label = {"annotation_type": "classification", "geometry": {"type": "classification"}, "class_name": "Cat"}
    editing.create_annotation(world.project, world.images[0], {**label, "task_type": "classification"}, by="ann")
    settle(world.images[0], "classification")
    other = World(world.project, task_of(world.reload(), "classification"), world.images)
    answer = a_client("vic").get(f"/api/v1/version-diff/versions/{version.pk}/compare/{published(other).pk}")
    assert answer.status_code == 400 and answer.json()["errors"] == {"b": ["is of another task."]}


def test_a_foreign_version_beside_ones_own_is_as_good_as_missing(world):
    confirmed(world, world.images[0])
    version = published(world)
    elsewhere = a_world(dataset="ds_other")
    projects.remove_member(elsewhere.project, "vic", by="olga", by_role=Role.OWNER)
    confirmed(elsewhere, elsewhere.images[0])
    foreign = published(elsewhere)
    vic = a_client("vic")
    answers = [vic.get(f"/api/v1/version-diff/versions/{version.pk}/compare/{b}") for b in (foreign.pk, 10**18)]
    assert [answer.status_code for answer in answers] == [404, 404] and answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("query", "status"),
    [("limit=101", 400), ("offset=-1", 400), ("include_draft=perhaps", 400), ("image_id=none.png", 404)],
)
def test_bad_queries_are_named(world, query, status):
    confirmed(world, world.images[0])
    version = published(world)
    assert a_client("vic").get(f"/api/v1/version-diff/versions/{version.pk}/compare/-1?{query}").status_code == status


# Matching rows without a common id ---------------------------------------------------------------


def restage(world: World, tmp_path: Path, move: float = 0) -> None:
    """Everything leaves and comes back as a foreign file brings it: the same shapes (moved a little), new ids."""
    rows = Annotation.objects.select_related("image", "label_class").order_by("pk")
    boxes = [
        {"id": n, "image_id": row.image_id, "category_id": row.label_class.index,
         "bbox": [row.bbox[0] + move, *row.bbox[1:]]}
        for n, row in enumerate(rows, 1)
    ]  # fmt: skip
    content = {
        "images": [{"id": i.pk, "file_name": i.path, "width": 200, "height": 100} for i in world.images],
        "annotations": boxes,
        "categories": [{"id": entry.index, "name": entry.name} for entry in LabelClass.objects.order_by("index")],
    }
    path = tmp_path / "foreign.json"
    path.write_bytes(orjson.dumps(content))
    replace_rows(world.task, lambda: importing.stage_file(path, world.task, by="adm"), by="adm", action="import")
    assert not set(Annotation.objects.values_list("pk", flat=True)) & {row.pk for row in rows}
    for image in world.images:
        settle(image)


def test_a_foreign_import_of_the_same_shapes_changes_nothing(world, tmp_path):
    for image in world.images:
        confirmed(world, image, boxes=2)
    first = published(world)
    restage(world, tmp_path)
    second = published(world)
    assert figures(asked(first, second)) == (0, 0, 0, 6)
    assert len(asked(first, second, image_id="a/1.png")["image_diffs"]["a/1.png"]["unchanged"]) == 2


def test_a_shape_drawn_anew_nearby_is_the_shape_modified(world, tmp_path):
    confirmed(world, world.images[0], boxes=3)
    first = published(world)
    restage(world, tmp_path, move=4)
    answer = asked(first, published(world))
    assert figures(answer) == (0, 0, 3, 0)
    for pair in answer["image_diffs"]["a/1.png"]["modified"]:
        assert pair["new"]["bbox"][0] == pair["old"]["bbox"][0] + 4 and pair["old"]["id"] != pair["new"]["id"]


def test_a_shape_of_another_class_or_far_away_is_another_shape(world):
    near, far = confirmed(world, world.images[0], boxes=2)
    first = published(world)
    for box in (near, far):
        editing.delete_annotation(box.pk, by="ann")
    a_box(world, world.images[0], x=10, class_name="Dog")
    a_box(world, world.images[0], x=100)
    settle(world.images[0])
    answer = asked(first, published(world))
    assert figures(answer) == (2, 2, 0, 0)
    assert answer["class_stats"] == {"Cat": {"added": 1, "removed": 2, "modified": 0},
                                     "Dog": {"added": 1, "removed": 0, "modified": 0}}  # fmt: skip


def test_of_equal_shapes_only_as_many_are_the_same_as_there_were(world):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    editing.delete_annotation(box.pk, by="ann")
    a_box(world, world.images[0])
    a_box(world, world.images[0])
    settle(world.images[0])
    assert figures(asked(first, published(world))) == (1, 0, 0, 1)


# Classes and lists of images ---------------------------------------------------------------------


def test_renamed_added_and_retired_classes_change_no_annotation(world):
    confirmed(world, world.images[0])
    first = published(world)
    cat, dog = LabelClass.objects.order_by("index")
    projects.change_class(cat, name="Kitten", by="olga")
    projects.remove_class(dog, by="olga")
    projects.create_class(world.task, name="Cow", class_id="cow", by="olga")
    answer = asked(first, None)
    assert answer["classes"] == {
        "renamed": [{"class_id": "cat", "old_name": "Cat", "new_name": "Kitten"}],
        "added": [{"class_id": "cow", "name": "Cow"}],
        "removed": [{"class_id": "dog", "name": "Dog"}],
    }
    assert figures(answer) == (0, 0, 0, 1) and answer["image_diffs"] == {}
    assert asked(first, published(world))["classes"] == answer["classes"]


def test_a_changed_box_of_a_renamed_class_is_told_with_both_names(world):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    projects.change_class(LabelClass.objects.get(class_id="cat"), name="Kitten", by="olga")
    change(box, geometry=at(100))
    answer = asked(first, published(world))
    (pair,) = answer["image_diffs"]["a/1.png"]["modified"]
    assert (pair["changes"]["old_class"], pair["changes"]["new_class"]) == ("Cat", "Kitten")
    assert not pair["changes"]["class_changed"] and list(answer["class_stats"]) == ["Kitten"]


def test_images_that_enter_and_leave_the_list_are_changes(world):
    box = confirmed(world, world.images[0])[0]
    first = published(world)
    editing.delete_annotation(box.pk, by="ann")
    settle(world.images[2])
    second = published(world)
    for answer in (asked(first, second), asked(first, None)):
        listing = {path: diff["summary"]["listing"] for path, diff in answer["image_diffs"].items()}
        assert listing == {"a/1.png": "removed", "a/3.png": "added"}
        told = {name: answer["summary"][name] for name in ("total_images", "images_added", "images_removed")}
        assert told == {"total_images": 2, "images_added": 1, "images_removed": 1}


# Pages -------------------------------------------------------------------------------------------


def test_pages_are_complete_and_repeat_nothing():
    world = a_world(count=11)
    confirmed(world, world.images[0])
    first = published(world)
    for number, image in enumerate(world.images[1:], 1):
        confirmed(world, image, boxes=1 + number % 2)
    second = published(world)
    whole = asked(first, second, limit=100)
    seen: list[str] = []
    for offset in range(0, 12, 3):
        page = asked(first, second, limit=3, offset=offset)
        seen += page["image_diffs"]
        listed = asked(first, second, "/images", limit=3, offset=offset)
        assert [row["image_id"] for row in listed["images"]] == list(page["image_diffs"]) and listed["total"] == 10
        assert page["summary"] == whole["summary"] == asked(first, second, "/summary")["summary"]
    assert seen == sorted(image.path for image in world.images[1:]) == list(whole["image_diffs"])


def test_changed_images_are_listed_by_the_kind_of_their_changes(world):
    moved = confirmed(world, world.images[0])[0]
    first = published(world)
    change(moved, geometry=at(120))
    confirmed(world, world.images[2])
    listed = {
        kind: asked(first, None, "/images", limit=1, **query)
        for kind, query in {"all": {}, **{each: {"change": each} for each in ("added", "removed", "modified")}}.items()
    }
    assert {kind: answer["total"] for kind, answer in listed.items()} == {
        "all": 2,
        "added": 1,
        "removed": 0,
        "modified": 1,
    }
    assert [row["image_id"] for row in listed["added"]["images"]] == ["a/3.png"]


def test_one_image_is_told_in_full_and_alone(world):
    same, moved = confirmed(world, world.images[0], boxes=2)
    confirmed(world, world.images[1])
    first = published(world)
    change(moved, geometry=at(120))
    confirmed(world, world.images[2])
    answer = asked(first, None, image_id="a/1.png")
    assert list(answer["image_diffs"]) == ["a/1.png"] and figures(answer) == (0, 0, 1, 1)
    assert [row["id"] for row in answer["image_diffs"]["a/1.png"]["unchanged"]] == [same.pk]
    untouched = asked(first, None, image_id="a/2.png")
    assert figures(untouched) == (0, 0, 0, 1) and len(untouched["image_diffs"]["a/2.png"]["unchanged"]) == 1


def test_the_number_of_queries_does_not_grow(world):
    def queries(a, b) -> int:
        asked(a, b)
        with CaptureQueriesContext(connection) as taken:
            asked(a, b)
        return len(taken)

    box = confirmed(world, world.images[0])[0]
    first = published(world)
    change(box, class_name="Dog")
    second = published(world)
    few = queries(first, second), queries(first, None)
    for _ in range(3):
        for image in world.images:
            confirmed(world, image, boxes=2)
        last = published(world)
    assert (queries(first, last), queries(first, None)) == few


# Against a comparison of everything --------------------------------------------------------------


def everything(version: Version | None, world: World, states=snapshots.SETTLED) -> dict[int, dict[int, tuple]]:
    """Every image a side lists, with what a person can see of its annotations."""
    with artifacts.one_instant():
        rows = snapshots.frozen_rows(version, world.task) if version else snapshots.live_rows(
            world.task, snapshots.Selection(tuple(states)))  # fmt: skip
        return {
            image.id: {
                row.id: (row.class_key, row.type, str(row.geometry), str(row.attributes), row.confidence)
                for row in image.annotations
            }
            for image in rows
        }


def brute(old: dict[int, dict[int, tuple]], new: dict[int, dict[int, tuple]]) -> Counter:
    """Figures by looking at everything; shapes lie far apart, so that only equal ones are one shape under two ids."""
    found: Counter = Counter(images_added=len(new.keys() - old.keys()), images_removed=len(old.keys() - new.keys()))
    for image in old.keys() | new.keys():
        before, after = old.get(image, {}), new.get(image, {})
        common = before.keys() & after.keys()
        modified = sum(before[key] != after[key] for key in common)
        removed = Counter(value for key, value in before.items() if key not in common)
        added = Counter(value for key, value in after.items() if key not in common)
        again = (removed & added).total()
        counts = {"modified": modified, "added": added.total() - again, "removed": removed.total() - again}
        found += Counter(counts) + Counter(unchanged=len(common) - modified + again)
        found["changed"] += bool(sum(counts.values()) or (image in old) != (image in new))
    return +found


DEEDS = strategies.lists(
    strategies.one_of(
        strategies.tuples(strategies.just("draw"), strategies.integers(0, 2), strategies.integers(0, 3)),
        strategies.tuples(strategies.sampled_from(["delete", "class", "notes", "verify", "again"]),
                          strategies.integers(0, 20), strategies.just(0)),
        strategies.tuples(strategies.just("confirm"), strategies.integers(0, 2), strategies.just(0)),
        strategies.tuples(strategies.just("publish"), strategies.integers(0, 3), strategies.just(0)),
    ),
    min_size=4,
    max_size=14,
)  # fmt: skip


def live_through(world: World, deeds: list[tuple[str, int, int]]) -> list[Version]:
    """A history of edits and publishes; returns the versions."""
    versions = []
    for deed, which, place in deeds:
        rows = list(Annotation.objects.filter(project=world.project).order_by("pk"))
        if deed == "draw":
            a_box(world, world.images[which], x=10 + 40 * place)
        elif deed == "confirm":
            settle(world.images[which])
        elif deed == "publish":
            versions.append(published(world, allow_empty=True, finish=False, include_draft=which == 0))
        elif rows:
            touch(world, deed, rows[which % len(rows)])
    return versions


def touch(world: World, deed: str, row: Annotation) -> None:
    if deed in ("delete", "again"):
        editing.delete_annotation(row.pk, by="ann")
    if deed == "again":
        a_box(world, row.image, x=row.bbox[0])
    elif deed == "class":
        editing.update_annotation(row.pk, {"class_name": "Dog" if row.label_class.name == "Cat" else "Cat"}, by="ann")
    elif deed == "notes":
        editing.update_annotation(row.pk, {"notes": str(row.version)}, by="ann")
    elif deed == "verify" and row.state == "confirmed":
        confirming.verify_annotation(row.pk, by="rev")


@made_up(8)
@given(before=DEEDS, after=DEEDS)
def test_any_history_compares_as_a_comparison_of_everything(before, after):
    world = a_world(dataset=f"ds_{uuid.uuid4().hex}")
    versions = [published(world, allow_empty=True, finish=False), *live_through(world, before)]
    live_through(world, [deed for deed in after if deed[0] != "publish"])
    save = saved(world)
    contents = [everything(version, world) for version in versions]
    for a, old in enumerate(versions):
        for b, new in enumerate(versions[a:], a):
            assert totals(old, new, world) == brute(contents[a], contents[b])
        for drafts in (False, True):
            states = snapshots.EVERYTHING if drafts else snapshots.SETTLED
            live = brute(contents[a], everything(None, world, states))
            assert totals(old, None, world, drafts) == live
            if save is not None:
                assert totals(old, save, world, drafts) == live


def totals(a: Version, b: Version | None, world: World, include_draft: bool | None = None) -> Counter:
    with compared(a, b, world.task, include_draft=include_draft) as comparison:
        found = comparison.overview(limit=100)
        details = comparison.details([change.pk for change in found.page])
        shown = Counter(added=sum(len(d.added) for d in details), removed=sum(len(d.removed) for d in details),
                        modified=sum(len(d.modified) for d in details))  # fmt: skip
    told = Counter(added=found.added, removed=found.removed, modified=found.modified)
    assert +shown == +told
    return +(told + Counter(unchanged=found.unchanged, images_added=found.images_added,
                            images_removed=found.images_removed, changed=found.images_with_changes))  # fmt: skip


# The command -------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and what a command says."""
    out = StringIO()
    try:
        call_command("compare_versions", *arguments, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_the_command_says_what_differs_and_ends_with_0_1_or_2(world):
    box = confirmed(world, world.images[0])[0]
    published(world)
    project = world.project.pk
    code, said = run(project, "v1.0", "live")
    assert code == 0 and "v1.0 to live: 0 added, 0 removed, 0 changed, 1 the same" in said
    change(box, class_name="Dog")
    confirmed(world, world.images[1])
    projects.change_class(LabelClass.objects.get(class_id="dog"), name="Hound", by="olga")
    code, said = run(project, "live", "v1.0", "--images")
    assert code == 1 and "1 added, 0 removed, 1 changed" in said and "class Dog is now Hound" in said
    assert "a/1.png: +0 -0 ~1" in said and "a/2.png: +1 -0 ~0 (added)" in said
    code, said = run(project, "v1.0", "live", "--json", "--images", "--limit", "1")
    told = orjson.loads(said)
    assert (
        code == 1 and told["summary"]["total_changes"] == 2 and [i["image_id"] for i in told["images"]] == ["a/1.png"]
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("v1.0", "v9.0"), "No such version"), (("live", "live"), "compared with a version"),
     (("v1.0", "live", "--task", "line"), "no task line"), (("v1.0", "live", "--images", "--limit", "0"), "--limit")],
)  # fmt: skip
def test_the_command_refuses_with_2_and_says_why(world, arguments, reason):
    confirmed(world, world.images[0])
    published(world)
    code, said = run(world.project.pk, *arguments)
    assert code == 2 and reason in said


def test_the_command_counts_drafts_as_asked(world):
    confirmed(world, world.images[0])
    published(world)
    a_box(world, world.images[1])
    assert run(world.project.pk, "v1.0", "live")[0] == 0
    assert run(world.project.pk, "v1.0", "live", "--drafts")[0] == 1
