"""What a publish is told, what stops it, and what somebody takes responsibility for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction

from annotations import confirming, editing, projects
from annotations.models import Annotation, Image, LabelClass
from annotations.progress import recount
from exports import stores
from tests.world import World, a_box, a_client, a_world, confirmed, published, raw
from versions import artifacts, gate, publishing, rebuilding, restoring, snapshots
from versions.errors import InvalidRequest, PublishBlocked
from versions.gate import Waiver
from versions.models import Snapshot, Version
from versions.snapshots import EVERYTHING

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world() -> World:
    return a_world()


def told(world: World, **wish: Any) -> dict[str, dict[str, Any]]:
    """The preview's warnings by code."""
    return {each["code"]: each for each in publishing.preview(world.task, **wish)["warnings"]}


def blocked(world: World, **wish: Any) -> dict[str, dict[str, Any]]:
    return {each["code"]: each for each in publishing.preview(world.task, **wish)["blockers"]}


def path(world: World, rest: str) -> str:
    return f"/api/v1/projects/{world.project.pk}{rest}"


def strict(world: World) -> None:
    projects.change_project(world.project, by="adm", settings={"strict_publish": True})
    world.task.refresh_from_db()
    world.task.project.refresh_from_db()


# Blockers -------------------------------------------------------------------------------------------


def test_a_shape_outside_its_image_stops_a_publish_and_is_named(world):
    rows = confirmed(world, world.images[0], boxes=2)
    raw("UPDATE dataset_images SET width = 20 WHERE id = %s", [world.images[0].pk])
    assert blocked(world)["shape_outside_image"]["sample"] == [rows[1].pk]
    with pytest.raises(PublishBlocked) as refused:
        published(world)
    assert refused.value.errors == {"shape_outside_image": [rows[1].pk]}
    assert not Version.objects.published().exists() and not Snapshot.objects.exists()
    raw("UPDATE dataset_images SET width = 36 WHERE id = %s", [world.images[0].pk])
    assert blocked(world) == {} and published(world).status == "ready"


def test_a_size_corrected_after_a_version_is_looked_at_by_the_next(world):
    rows = confirmed(world, world.images[0])
    published(world)
    raw("UPDATE dataset_images SET height = 10 WHERE id = %s", [world.images[0].pk])
    assert blocked(world)["shape_outside_image"]["sample"] == [rows[0].pk]
    with pytest.raises(PublishBlocked):
        published(world)


def test_a_mask_of_another_size_than_its_image_stops_a_publish(world):
    world = a_world(tasks=("segmentation",), dataset="ds_masks")
    image = world.images[0]
    # A square of 10 pixels well within: nothing else is to be said of it.
    before = 20 * image.height + 20
    square = [before, 10, *[image.height - 10, 10] * 9]
    rle = {"size": [image.height, image.width], "counts": [*square, image.height * image.width - sum(square)]}
    mask = {"annotation_type": "mask", "geometry": {"rle": rle}, "class_name": "Cat"}
    row, _ = editing.create_annotation(world.project, image, mask, by="ann")
    confirming.confirm_image(image, "segmentation", by="ann")
    assert blocked(world) == {}
    raw("UPDATE dataset_images SET height = height + 1 WHERE id = %s", [image.pk])
    assert blocked(world)["mask_size"]["sample"] == [row.pk]
    with pytest.raises(PublishBlocked) as refused:
        published(world)
    assert refused.value.errors == {"mask_size": [row.pk]}
    raw("UPDATE dataset_images SET width = NULL, height = NULL WHERE id = %s", [image.pk])
    assert list(blocked(world)) == ["image_size_unknown"]


def test_a_line_along_the_edge_is_not_outside():
    world = a_world(tasks=("line",))
    edge = {"annotation_type": "line", "geometry": {"type": "line", "points": [[0, 5], [0, 50]]}, "class_name": "Cat"}
    editing.create_annotation(world.project, world.images[0], edge, by="ann")
    confirming.confirm_image(world.images[0], "line", by="ann")
    assert blocked(world) == {} and "tiny_boxes" not in told(world)


def test_nothing_to_publish_is_said_beforehand(world):
    assert list(blocked(world)) == ["nothing_to_publish"]


def test_a_freeze_finds_by_the_way_what_a_look_finds():
    world = a_world(count=6, tasks=("segmentation",), dataset="ds_findings")
    published(world, allow_empty=True, include_draft=True)
    for image in world.images:
        rle = {"size": [image.height, image.width], "counts": [0, 50, image.height * image.width - 50]}
        for geometry in (
            {"rings": [[[1, 1], [9, 1], [9, 9]]]}, {"rings": [[[1, 1], [9, 1], [9, 9]]]},
            {"rings": [[[1, 1], [1.5, 1], [9, 9], [1, 9]]]}, {"rings": [[[30, 30], [31, 30], [31, 30.5]]]},
        ):  # fmt: skip
            a_box(world, image, annotation_type="polygon", geometry={"type": "polygon", **geometry})
        a_box(world, image, annotation_type="mask", geometry={"rle": rle})
        confirming.confirm_image(image, "segmentation", by="ann")
    raw("UPDATE dataset_images SET width = 5 WHERE id = %s", [world.images[1].pk])
    raw("UPDATE dataset_images SET width = NULL, height = NULL WHERE id = %s", [world.images[2].pk])
    no_class = "UPDATE annotations SET class_id = NULL, state = 'draft', confirmed_by = NULL, confirmed_at = NULL"
    raw(f"{no_class} WHERE image_id = %s", [world.images[3].pk])
    looked = gate.look(world.task, EVERYTHING, gate.changed_images(world.task))
    with artifacts.repeatable(), transaction.atomic(durable=True):
        previous = publishing.last_published(world.task)
        opened = snapshots.open_version(world.task, EVERYTHING, since=previous, by="adm")
        version = publishing._new_version(world.task, publishing.PublishWish(), "adm", previous, opened)
        frozen = snapshots.freeze(
            version, world.task, EVERYTHING, since=previous, images=opened.images, by_the_way=gate.BY_THE_WAY
        )
        found = gate.look(world.task, EVERYTHING, frozen.looked_at, frozen.found)
        transaction.set_rollback(True)
    assert replace(found, images=None) == replace(looked, images=None)
    counts = found.outside[0], found.tiny[0], len(found.unclassed), len(found.unsized), found.repeated[0]
    assert min(counts) > 0 and len(found.misfit) == 1, counts


@pytest.mark.parametrize(
    ("bbox", "tiny", "found"),
    [
        ([20, 30, 40, 50], 2, None),
        ([-40, 30, 40, 50], 2, "shape_outside_image"),
        ([20, -50, 40, 50], 2, "shape_outside_image"),
        ([200, 30, 40, 50], 2, "shape_outside_image"),
        ([20, 100, 40, 50], 2, "shape_outside_image"),
        ([0, 30, 0, 50], 0, "shape_outside_image"),
        ([20, 30, 1.9, 50], 2, "tiny_boxes"),
        ([20, 30, 40, 1.9], 2, "tiny_boxes"),
        ([20, 30, 2, 2], 2, None),
    ],
)
def test_what_there_is_to_find_of_one_box_is_found(world, settings, bbox, tiny, found):
    settings.LABELER_TINY_PIXELS = tiny
    confirmed(world, world.images[0])
    raw("UPDATE annotations SET bbox = %s, version = version + 1", [json.dumps(bbox)])
    assert [*blocked(world), *(code for code in told(world) if code != "unfinished_images")] == [found] * bool(found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([-5, 10, 20, 20], [5, 10, 20, 20]),
        ([5, 10, 0.5, 0.5], [5, 10, 5000, 5000]),
        ([0.5, 0.7, 10, 10], [5000, 7000, 10, 10]),
    ],
)
def test_boxes_that_postgresql_hashes_alike_are_no_doubles(world, one, other):
    for bbox in (one, other):
        row = a_box(world, world.images[0])
        raw("UPDATE annotations SET bbox = %s, version = version + 1 WHERE id = %s", [json.dumps(bbox), row.pk])
    assert gate.look(world.task, EVERYTHING, None).repeated == (0, [])


def test_boxes_turned_the_other_way_are_no_doubles(world):
    for angle in (30, -30, 30):
        turned = {"type": "rotated_bbox", "bbox": [50, 50, 40, 20, angle]}
        a_box(world, world.images[0], annotation_type="rotated_bbox", geometry=turned)
    assert gate.look(world.task, EVERYTHING, None).repeated[0] == 1


def test_an_image_that_a_look_passes_over_has_nothing_to_find():
    world = a_world(count=150)
    for image in world.images:
        a_box(world, image)
        a_box(world, image, x=70)
    # About every other box lies well within its image; the others at, over and beyond its edges.
    at, sides = "(ARRAY[-10, -9.5, -0.5, 0, 9, 199.5, 200, 201])", "(ARRAY[0, 0.5, 1.9, 2, 2.5, 9.5, 10, 300])"
    picked = "CASE WHEN random() < 0.5 THEN {among}[ceil(random() * 8)] ELSE {else_} END"
    x, y = picked.format(among=at, else_="20"), picked.format(among=at, else_="30")
    w, h = picked.format(among=sides, else_="40"), picked.format(among=sides, else_="50")
    raw("SELECT setseed(0.5)")
    raw(f"UPDATE annotations SET bbox = jsonb_build_array({x}, {y}, {w}, {h}), version = version + 1")
    raw("UPDATE dataset_images SET width = 200, height = 200")
    raw("UPDATE annotations SET class_id = NULL, version = version + 1 WHERE random() < 0.05")
    values = gate._values(world.task, EVERYTHING, None)
    exact = gate._row(gate.LOOK.replace(gate.SUSPECT, "SELECT id FROM dataset_images"), values)
    assert gate._row(gate.LOOK, values) == exact
    outside, _, tiny, _, unclassed, _, repeated, *_ = exact
    suspects = gate._row(f"SELECT count(*) FROM ({gate.SUSPECT}) s", values)[0]
    assert outside and tiny and unclassed and repeated and suspects < 150, (exact, suspects)


# Warnings -------------------------------------------------------------------------------------------


def test_tiny_and_repeated_shapes_are_counted_with_their_ids(world):
    first = a_box(world, world.images[0])
    same = a_box(world, world.images[0])
    tiny = a_box(world, world.images[0], geometry={"type": "bbox", "bbox": [5, 5, 1.5, 40]})
    a_box(world, world.images[0], class_name="Dog")
    a_box(world, world.images[1])
    for image in world.images[:2]:
        confirming.confirm_image(image, "detection", by="ann")
    warnings = told(world)
    assert (warnings["tiny_boxes"]["count"], warnings["tiny_boxes"]["sample"]) == (1, [tiny.pk])
    assert (warnings["duplicate_shapes"]["count"], warnings["duplicate_shapes"]["sample"]) == (1, [same.pk])
    version = published(world)
    assert {each["code"]: each for each in version.manifest["warnings"]} == warnings
    assert first.pk


def test_many_doubles_on_one_image_are_not_held_against_each_other(world):
    """An import done twice gives thousands of them; rows paired by their image alone would be a million here."""
    a_box(world, world.images[0])
    kept = [
        field.column for field in Annotation._meta.concrete_fields if field.column not in ("id", "bbox", "client_id")
    ]
    raw(
        f"INSERT INTO annotations (bbox, {', '.join(kept)}) SELECT jsonb_build_array(n, 1, 9, 9), {', '.join(kept)}"
        " FROM annotations, generate_series(1, 1000) n, generate_series(1, 2) twice"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {gate.LOOK}", gate._values(world.task, EVERYTHING, None))
        said = str(cursor.fetchone()[0])
    assert sum(map(int, re.findall(r"'Rows Removed by Join Filter': (\d+)", said))) <= 2001
    assert gate.look(world.task, EVERYTHING, None).repeated[0] == 1000


def test_a_second_version_looks_only_at_what_changed(world):
    confirmed(world, world.images[0])
    a_box(world, world.images[1])
    a_box(world, world.images[1])
    confirming.confirm_image(world.images[1], "detection", by="ann")
    assert "duplicate_shapes" in {each["code"] for each in published(world).manifest["warnings"]}
    confirmed(world, world.images[2])
    assert "duplicate_shapes" not in told(world)
    assert "duplicate_shapes" not in {each["code"] for each in published(world).manifest["warnings"]}
    a_box(world, world.images[1], x=70)
    confirming.confirm_image(world.images[1], "detection", by="ann")
    assert told(world)["duplicate_shapes"]["count"] == 1


def test_a_version_a_fifth_smaller_than_the_last_is_pointed_out(world):
    rows = [row for image in world.images for row in confirmed(world, image, boxes=5)]
    published(world)
    editing.delete_batch([row.pk for row in rows[:3]], by="ann")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    assert "count_shrunk" not in told(world)
    editing.delete_batch([row.pk for row in rows[5:6]], by="ann")
    confirming.confirm_image(world.images[1], "detection", by="ann")
    assert (told(world)["count_shrunk"]["count"], told(world)["count_shrunk"]["sample"]) == (4, ["v1.0"])


def test_the_answer_shows_the_gates_warnings_beside_the_writers(world):
    confirmed(world, world.images[0])
    published(world)
    answer = a_client("vic").get(path(world, "/versions/v1.0")).json()
    assert [each["code"] for each in answer["warnings"]] == ["unfinished_images"] and answer["waivers"] == []


# Waivers -----------------------------------------------------------------------------------------------


def test_a_strict_project_publishes_only_what_somebody_answers_for(world):
    confirmed(world, world.images[0])
    strict(world)
    adm = a_client("adm")
    assert adm.get(path(world, "/versions/publish/preview")).json()["needs_waivers"] is True
    refused = adm.post(path(world, "/versions/publish"), {}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "publish_blocked")
    assert list(refused.json()["errors"]) == ["unfinished_images"] and "waivers" in refused.json()["detail"]
    waivers = [{"code": "unfinished_images", "reason": "Only line A is of interest"}]
    made = adm.post(path(world, "/versions/publish"), {"waivers": waivers}, format="json")
    assert made.status_code == 201, made.content
    (waiver,) = made.json()["waivers"]
    assert (waiver["code"], waiver["reason"], waiver["by"], waiver["count"]) == (
        "unfinished_images", "Only line A is of interest", "adm", 2,
    )  # fmt: skip


def test_a_waiver_comes_back_with_the_version_from_the_stores(world):
    confirmed(world, world.images[0])
    version = published(world, waivers=(Waiver("unfinished_images", "a pilot"),))
    record = stores.read_small("labeler", f"exports/{world.project.pk}/v1.0/manifest.json")
    assert b"a pilot" in record and version.manifest["waivers"][0]["reason"] == "a pilot"


@pytest.mark.parametrize(
    "waivers",
    [
        [{"code": "unknown_class", "reason": "x"}],
        [{"code": "bad_weather", "reason": "x"}],
        [{"code": "tiny_boxes", "reason": " "}],
        [{"code": "tiny_boxes"}],
        [{"code": "tiny_boxes", "reason": "a"}, {"code": "tiny_boxes", "reason": "b"}],
        [{"code": "tiny_boxes", "reason": "x" * 501}],
        "all",
    ],
)
def test_a_waiver_that_waives_nothing_is_refused(world, waivers):
    confirmed(world, world.images[0])
    answer = a_client("adm").post(path(world, "/versions/publish"), {"waivers": waivers}, format="json")
    assert answer.status_code == 400 and "waivers" in answer.json()["errors"], answer.content
    assert not Version.objects.exists()


def test_a_blocker_is_not_waived(world):
    with pytest.raises(InvalidRequest, match="cannot be waived"):
        published(world, waivers=(Waiver("shape_outside_image", "we like it"),))


def test_a_rollback_in_a_strict_project_asks_nobody(world):
    confirmed(world, world.images[0])
    published(world)
    strict(world)
    assert restoring.rollback(Version.objects.get(), by="adm").version_number == "v2.0"


# Verified only --------------------------------------------------------------------------------------------


def test_a_version_of_verified_ones_holds_nothing_else_and_both_ways_of_publishing_follow_each_other(world):
    kept, left = confirmed(world, world.images[0], boxes=2)
    confirmed(world, world.images[1])
    confirming.verify_annotation(kept.pk, by="rev")
    adm = a_client("adm")
    preview = adm.get(path(world, "/versions/publish/preview?verified_only=true")).json()
    assert (preview["annotation_count"], preview["image_count"]) == (1, 1)
    assert {each["code"]: each["count"] for each in preview["warnings"]}["confirmed_left_out"] == 2
    made = adm.post(path(world, "/versions/publish"), {"verified_only": True}, format="json").json()
    assert (made["annotation_count"], made["image_count"], made["verified_only"]) == (1, 1, True)
    everything = adm.post(path(world, "/versions/publish"), {}, format="json").json()
    assert (everything["annotation_count"], everything["image_count"], everything["verified_only"]) == (3, 2, False)
    again = adm.post(path(world, "/versions/publish"), {"verified_only": True}, format="json").json()
    assert (again["annotation_count"], again["image_count"]) == (1, 1)
    for made in Version.objects.published():
        assert publishing.advance(made.pk).status == "ready"
    hashes = list(Version.objects.published().order_by("ordinal").values_list("content_hash", flat=True))
    assert hashes[0] == hashes[2] != hashes[1]
    back = restoring.rollback(Version.objects.get(version_number="v1.0"), by="adm")
    assert (back.annotation_count, back.manifest["states"]) == (1, ["verified"])
    assert left.pk


def test_drafts_and_verified_only_at_once_make_no_sense(world):
    for route in ("/versions/publish", "/export"):
        body = {"include_draft": True, "verified_only": True}
        answer = a_client("adm").post(path(world, route), body, format="json")
        assert answer.status_code == 400 and "verified_only" in answer.json()["errors"]


# Review -------------------------------------------------------------------------------------------------------


def test_the_review_queue_lists_images_until_they_are_verified(world):
    for image in world.images[:2]:
        confirmed(world, image, boxes=2)
    half_done = [a_box(world, world.images[2]), a_box(world, world.images[2], x=60)]
    confirming.confirm_annotation(half_done[0].pk, by="ann")
    rev = a_client("rev")
    queue = rev.get(path(world, "/review-queue")).json()
    assert [row["image_id"] for row in queue["statuses"]] == ["a/1.png", "a/2.png"] and queue["total"] == 2
    assert queue["statuses"][0]["confirmed_by"] == "ann"
    assert [row["image_id"] for row in rev.get(path(world, "/review-queue?limit=1&offset=1")).json()["statuses"]] == [
        "a/2.png"
    ]
    done = rev.post(path(world, "/images/a/1.png/verify"), {}, format="json").json()
    assert (done["verified_annotations"], done["confirmed_annotations"], done["status"]) == (2, 2, "completed")
    assert [row["image_id"] for row in rev.get(path(world, "/review-queue")).json()["statuses"]] == ["a/2.png"]
    rev.post(path(world, "/images/a/1.png/verify"), {"verified": False}, format="json")
    assert rev.get(path(world, "/review-queue")).json()["total"] == 2
    assert recount(dry_run=True) == []


def test_an_image_with_drafts_is_not_verified(world):
    confirmed(world, world.images[0])
    draft = a_box(world, world.images[0], x=90)
    answer = a_client("rev").post(path(world, "/images/a/1.png/verify"), {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
    assert answer.json()["annotation_ids"] == [draft.pk]


def test_an_image_nobody_confirmed_is_not_verified(world):
    confirming.confirm_annotation(a_box(world, world.images[0]).pk, by="ann")
    answer = a_client("rev").post(path(world, "/images/a/1.png/verify"), {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
    assert Annotation.objects.get().state == "confirmed"


# Merging ------------------------------------------------------------------------------------------------------


def live() -> list[tuple[Any, ...]]:
    return list(Annotation.objects.order_by("pk").values_list("pk", "geometry", "state", "notes"))


def test_a_merge_brings_back_what_is_missing_and_leaves_what_is_there(world):
    gone, changed = confirmed(world, world.images[0], boxes=2)
    version = published(world)
    editing.delete_annotation(gone.pk, by="ann")
    editing.update_annotation(changed.pk, {"notes": "later"}, by="ann")
    new = a_box(world, world.images[1])
    would = restoring.restore(world.task, source="version", version=version, by="adm", dry_run=True, merge=True)
    done = restoring.restore(world.task, source="version", version=version, by="adm", merge=True)
    for answer in (would.changes, done.changes):
        assert (answer.added, answer.updated, answer.removed, answer.unchanged) == (1, 0, 0, 1)
    assert [row[0] for row in live()] == [gone.pk, changed.pk, new.pk]
    assert live()[1][3] == "later"
    assert recount(dry_run=True) == []


def test_a_merge_of_some_images_leaves_the_others(world):
    rows = [confirmed(world, image)[0] for image in world.images]
    published(world)
    editing.delete_batch([row.pk for row in rows], by="ann")
    body = {"source": "version", "version_id": "v1.0", "mode": "merge", "image_ids": ["a/2.png"], "dry_run": False}
    answer = a_client("adm").post(path(world, "/restore?wait=0"), body, format="json")
    assert answer.status_code == 202, answer.content
    from versions import work

    work.run(answer.json()["job_id"])
    assert [row[0] for row in live()] == [rows[1].pk]


def test_a_merge_settles_markers_by_the_rule_of_objects(world):
    marker = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}
    editing.create_annotation(world.project, world.images[0], marker, by="ann")
    box = confirmed(world, world.images[1])[0]
    confirming.confirm_image(world.images[0], "detection", by="ann")
    version = published(world)
    a_box(world, world.images[0])
    editing.delete_annotation(box.pk, by="ann")
    editing.create_annotation(world.project, world.images[1], marker, by="ann")
    restoring.restore(world.task, source="version", version=version, by="adm", merge=True)
    kinds = list(Annotation.objects.order_by("image_id").values_list("image_id", "annotation_type"))
    assert kinds == [(world.images[0].pk, "bbox"), (world.images[1].pk, "bbox")]


def test_a_merge_of_an_equal_shape_under_another_id_adds_nothing(world):
    confirmed(world, world.images[0])
    version = published(world)
    Annotation.objects.all().delete()
    a_box(world, world.images[0])
    done = restoring.restore(world.task, source="version", version=version, by="adm", merge=True)
    assert (done.changes.added, done.changes.unchanged) == (0, 1) and Annotation.objects.count() == 1


# The same content hash after everything ---------------------------------------------------------------------


def test_restore_undoes_a_mass_delete_a_class_rename_and_a_bad_edit_to_the_same_content_hash(world):
    for image in world.images:
        confirmed(world, image, boxes=3)
    first = published(world)
    editing.delete_batch(list(Annotation.objects.values_list("pk", flat=True))[:5], by="ann")
    projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Dog 2", color="#123456")
    projects.change_class(LabelClass.objects.get(class_id="dog"), by="adm", name="Cat")
    raw("UPDATE annotations SET geometry = jsonb_set(geometry, '{bbox,0}', '1'), bbox = jsonb_set(bbox, '{0}', '1')")
    restoring.restore(world.task, source="version", version=first, by="adm")
    assert list(LabelClass.objects.order_by("index").values_list("name", flat=True)) == ["Cat", "Dog"]
    second = published(world)
    assert second.content_hash == first.content_hash


def test_a_name_another_class_has_now_stays_there_and_is_told(world):
    confirmed(world, world.images[0])
    first = published(world)
    projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Feline")
    projects.create_class(world.task, name="Cat", class_id="cat2", by="adm")
    (reason,) = restoring.restore_classes(first, world.task)
    assert "Feline keeps its name" in reason
    assert LabelClass.objects.get(class_id="cat").name == "Feline"
    assert Image.objects.exists() and rebuilding.ACTOR
