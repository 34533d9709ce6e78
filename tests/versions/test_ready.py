"""Ready texts: what did not change is copied, and the copy is what the rows would give."""

from __future__ import annotations

import random

import pytest
from django.db import connection
from django.db.models.expressions import RawSQL

from annotations import confirming, editing, projects
from annotations.models import Annotation, Image, LabelClass
from exports import renderers, writer
from exports import stores as api
from tests.world import World, a_box, a_world, confirmed, in_a_deadlock, published, raw, saved
from versions import artifacts, publishing, ready, verifying
from versions.models import ReadyTexts, Version

pytestmark = pytest.mark.django_db(transaction=True)


def kept(form: str = "published") -> dict[int, int]:
    """The state of every image whose pieces are kept."""
    return dict(ReadyTexts.objects.filter(form=form).values_list("image_id", "state"))


def rendered(world: World, version: Version, tmp_path) -> list[int]:
    """The images a build of the version had to render."""
    spool = artifacts.build_next(version, world.task, tmp_path)[1]
    stretches = list(zip(*spool.stretches, strict=True))
    images = Image.objects.filter(project=world.project).order_by("pk").values_list("pk", flat=True)
    found = [pk for pk in images if any(first <= pk <= last for first, last in stretches)]
    assert spool.count == len(found)
    return found


def test_two_who_keep_pieces_and_wait_for_each_other_cost_no_version(two_sessions):
    world = a_world(count=3)
    for image in world.images:
        confirmed(world, image)
    published(world)
    for image in world.images:
        a_box(world, image, x=150)
        confirming.confirm_image(image, "detection", by="ann")
    version = published(world, finish=False)
    hold = "SELECT FROM ready_texts WHERE form = 'published' AND image_id = %s FOR UPDATE"
    # They are let go in the order in which they lie, wherever the table had room.
    lie = ReadyTexts.objects.filter(form="published").order_by(RawSQL("ctid", ()))
    rows = list(lie.values_list("image_id", flat=True))
    assert in_a_deadlock(lambda: publishing.advance(version.pk).status, two_sessions, hold, rows) == "ready"
    assert set(kept().values()) == {1}
    assert_as_the_rows_say(Version.objects.get(pk=version.pk))


def assert_as_the_rows_say(version: Version) -> None:
    said = [finding.said for finding in verifying.verify(version)]
    assert said and all(each.startswith("ok") for each in said), said


def test_files_that_renderers_made_are_those_of_the_rows(monkeypatch, settings, caplog):
    monkeypatch.setattr(renderers, "ALONE", 0)
    monkeypatch.setattr(renderers, "FEW", 1)
    monkeypatch.setattr(writer, "BATCH", 2)
    world = a_world(count=7)
    for image in world.images:
        confirmed(world, image, boxes=2)
    settings.LABELER_RENDERERS = 2
    first = published(world)
    assert kept() == {image.pk: 1 for image in world.images}
    a_box(world, world.images[3], x=150)
    confirming.confirm_image(world.images[3], "detection", by="ann")
    second = published(world)
    assert kept()[world.images[3].pk] == 2
    assert "renderer" not in caplog.text, "they rendered"
    settings.LABELER_RENDERERS = 0
    assert_as_the_rows_say(first)
    assert_as_the_rows_say(second)


def test_the_second_publish_renders_what_changed_and_copies_the_rest(tmp_path):
    world = a_world(count=4)
    for image in world.images:
        confirmed(world, image, boxes=2)
    first = published(world)
    assert kept() == dict.fromkeys([image.pk for image in world.images], 1)
    changed = [world.images[0], world.images[2]]
    for image in changed:
        a_box(world, image, x=150)
        confirming.confirm_image(image, "detection", by="ann")
    second = published(world, finish=False)
    assert rendered(world, second, tmp_path) == [image.pk for image in changed]
    assert_as_the_rows_say(publishing.advance(second.pk))
    assert kept() == {image.pk: 2 if image in changed else 1 for image in world.images}
    assert_as_the_rows_say(first)


def test_an_older_version_takes_a_newer_ones_pieces_of_what_is_the_same_in_both(tmp_path):
    world = a_world()
    changing, same = world.images[:2]
    box = confirmed(world, changing)[0]
    confirmed(world, same)
    first = published(world, finish=False)
    editing.update_annotation(box.pk, {"geometry": {"type": "bbox", "bbox": [1, 2, 3, 4]}}, by="ann")
    confirming.confirm_image(changing, "detection", by="ann")
    second = published(world)
    assert kept() == {changing.pk: 2, same.pk: 2}
    assert rendered(world, first, tmp_path) == [changing.pk]
    assert_as_the_rows_say(publishing.advance(first.pk))
    assert_as_the_rows_say(second)
    assert kept() == {changing.pk: 2, same.pk: 2}


def test_a_renamed_class_lets_no_old_piece_into_a_file(tmp_path):
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    saved(world)
    projects.change_class(LabelClass.objects.get(class_id="cat"), by="adm", name="Tiger")
    second = published(world)
    assert b"Tiger" in api.read_small("labeler", second.artifacts.get(format="dice").s3_key)
    assert_as_the_rows_say(second)
    save = saved(world)
    assert save is not None and b'"class_name":"Cat"' not in api.read_small("labeler", save.artifacts.get().s3_key)


def test_a_publish_without_a_format_keeps_nothing_a_later_one_could_miss(tmp_path):
    world = a_world()
    confirmed(world, world.images[0])
    published(world, formats=("dice",))
    second = published(world)
    assert sorted(second.artifacts.values_list("format", flat=True)) == [
        "coco", "dice", "frozen_rows", "manifest", "yolo"
    ]  # fmt: skip
    assert_as_the_rows_say(second)


def test_a_save_renders_the_images_that_changed_since_the_last(tmp_path):
    world = a_world(count=3)
    for image in world.images:
        confirmed(world, image)
    saved(world)
    before = kept("working")
    raw("UPDATE annotations SET notes = 'seen' WHERE image_id = %s", [world.images[1].pk])
    save = saved(world)
    changed = {pk for pk, state in kept("working").items() if before[pk] != state}
    assert changed == {world.images[1].pk}
    fresh = without_pieces(world, save)
    assert api.read_small("labeler", save.artifacts.get().s3_key) == fresh


def without_pieces(world: World, save: Version) -> bytes:
    """The save's file as it would be had nothing been kept."""
    ReadyTexts.objects.all().delete()
    with artifacts.working_file(save, world.task, lambda: None) as (built, _):
        return built.path.read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_people_do_the_files_are_what_the_rows_give(seed):
    world, dice = a_world(count=5), random.Random(seed)
    for _ in range(4):
        for _ in range(6):
            something(world, dice)
        version = published(world, allow_empty=True)
        assert_as_the_rows_say(version)
        save = saved(world)
        if save is not None:
            assert api.read_small("labeler", save.artifacts.get().s3_key) == without_pieces(world, save)


def something(world: World, dice: random.Random) -> None:
    """One thing an annotator might do."""
    image, row = dice.choice(world.images), dice.choice([*Annotation.objects.order_by("pk"), None])
    deed = dice.randrange(6)
    if deed == 0 or row is None:
        a_box(world, image, x=dice.randrange(150))
    elif deed == 1:
        editing.delete_annotation(row.pk, by="ann")
    elif deed == 2:
        editing.update_annotation(row.pk, {"notes": str(dice.random())}, by="ann")
    elif deed == 3:
        Image.objects.filter(pk=image.pk).update(split=dice.choice(["train", "val", None]))
    elif deed == 4:
        confirming.unconfirm_image(image, "detection", by="ann")
    else:
        confirming.confirm_image(image, "detection", by="ann", allow_empty=True)


def test_a_spoiled_piece_is_found_by_verifying():
    world = a_world()
    confirmed(world, world.images[0])
    published(world)
    raw(
        "UPDATE ready_texts SET dice_text = overlay(dice_text placing 'X'::bytea from 40 for 1)"
        " WHERE form = 'published'"
    )
    a_box(world, world.images[1])
    confirming.confirm_image(world.images[1], "detection", by="ann")
    said = {finding.format: finding.said for finding in verifying.verify(published(world))}
    assert said["dice"] == "the frozen rows give other bytes than are stored"


def test_letting_go_of_many_stretches_reads_those_texts_alone_whatever_the_statistics_know():
    """PostgreSQL expects one kept text where nobody counted; in a plain join it walks every stretch for each text."""
    world = a_world()
    dice = ready.COLUMNS["dice"]
    raw(
        f"INSERT INTO ready_texts (task_id, form, image_id, state, context, {', '.join(dice)})"
        f" SELECT {world.task.pk}, 'published', n, 1, gen_random_uuid(), {', '.join(repr('') for _ in dice)}"
        " FROM generate_series(1, 2000) n"
    )
    stretches = {"first": list(range(1, 2000, 4)), "last": list(range(2, 2000, 4))}
    values = {"task": world.task.pk, "form": "published", "ordinal": None, **stretches}
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {ready.REPLACED}", values)
        assert rows_read(cursor.fetchone()[0][0]["Plan"]) <= 4 * 1000, "found, then deleted"
    assert ReadyTexts.objects.count() == 1000


def rows_read(plan: dict) -> int:
    """How many rows the scans of kept texts gave or threw away, and how many pairs a join did."""
    of_texts = plan.get("Relation Name") == "ready_texts"
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if of_texts else 0
    rows += plan.get("Rows Removed by Join Filter", 0)
    return int(rows * plan["Actual Loops"]) + sum(rows_read(child) for child in plan.get("Plans", []))
