"""Counters and statuses equal what a recount gives, after anything in any order."""

from __future__ import annotations

import random

import pytest
from django.db.utils import IntegrityError

from annotations import confirming, editing
from annotations.acting import acting
from annotations.errors import AnnotationError
from annotations.models import Annotation, ImageStatus
from annotations.progress import recount
from annotations.states import Role
from tests.world import World, a_box, a_world, confirmed, raw

pytestmark = pytest.mark.django_db(transaction=True)
MARKER = {"annotation_type": "no_object", "attributes": {"task_type": "detection"}}


def some_row(chance: random.Random) -> Annotation | None:
    rows = list(Annotation.objects.order_by("pk"))
    return chance.choice(rows) if rows else None


def step(world: World, chance: random.Random) -> None:
    """One random deed; what the rules refuse changes nothing."""
    image, row = chance.choice(world.images), some_row(chance)
    geometry = {"type": "bbox", "bbox": [chance.randint(0, 50), 5, 20, 20]}
    deeds = [
        lambda: a_box(world, image, x=chance.randint(0, 90)),
        lambda: editing.create_annotation(world.project, image, MARKER, by="ann"),
        lambda: confirming.confirm_image(image, "detection", by="ann", allow_empty=chance.random() < 0.5),
        lambda: confirming.unconfirm_image(image, "detection", by="ann", keep_annotations=chance.random() < 0.5),
        lambda: raw("DELETE FROM annotations WHERE image_id = %s", [image.pk]),
        lambda: raw("UPDATE annotations SET state = 'draft', confirmed_at = NULL, confirmed_by = NULL"),
        lambda: raw("UPDATE annotations SET notes = 'x' WHERE image_id = %s", [image.pk]),
    ]
    if row is not None:
        deeds += [
            lambda: editing.update_annotation(row.pk, {"geometry": geometry}, by="ann"),
            lambda: editing.delete_annotation(row.pk, by="ann"),
            lambda: editing.delete_batch([row.pk, row.pk + 1, row.pk + 2], by="ann"),
            lambda: confirming.confirm_annotation(row.pk, by="ann"),
            lambda: confirming.unconfirm_annotation(row.pk, by="rev", role=Role.REVIEWER),
            lambda: confirming.verify_annotation(row.pk, by="rev"),
            lambda: confirming.bulk_confirm([row.pk, row.pk + 1], by="ann"),
        ]
    try:
        chance.choice(deeds)()
    except AnnotationError:
        return


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_deeds_leaves_counters_a_recount_gives(seed):
    chance, world = random.Random(seed), a_world(count=3)
    for _ in range(60):
        step(world, chance)
        assert recount(dry_run=True) == []
    for status in ImageStatus.objects.all():
        assert status.total_annotations == status.confirmed_annotations + status.draft_annotations
        assert status.is_image_confirmed == (status.status == "completed")
        if status.total_annotations:
            assert status.status != "not-started" and status.first_modified_at


def test_counters_are_not_typed_by_hand():
    world = a_world()
    confirmed(world, world.images[0])
    with pytest.raises(IntegrityError, match="counters follow"):
        raw("UPDATE image_annotation_status SET total_annotations = 9, draft_annotations = 9 - confirmed_annotations")


def test_a_recount_mends_what_a_broken_backup_brought():
    world = a_world()
    confirmed(world, world.images[0], boxes=2)
    with acting("backup"):
        raw("SELECT set_config('labeler.recounting', 'yes', true)")
        raw("UPDATE image_annotation_status SET total_annotations = 5, draft_annotations = 5, confirmed_annotations = 0"
            " WHERE total_annotations = 2")  # fmt: skip
    assert recount(dry_run=True) == [("a/1.png", "detection")]
    assert recount(dry_run=True) == [("a/1.png", "detection")], "a dry run changes nothing"
    assert recount() == [("a/1.png", "detection")]
    assert recount(dry_run=True) == []
    assert ImageStatus.objects.get(image=world.images[0]).confirmed_annotations == 2


def test_every_image_has_a_row_for_every_task_from_the_first_moment():
    world = a_world(tasks=("detection", "segmentation"))
    assert ImageStatus.objects.count() == 6
    from annotations import projects

    projects.add_task(world.reload(), "keypoint", by="adm")
    assert ImageStatus.objects.count() == 9
