"""The labeler store is lost: from the database alone it holds again what a lost database needs."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from annotations import editing
from annotations.models import Annotation
from exports import stores as api
from tests.versions.test_rebuilding import everything, lose_the_database, rebuild, write_records
from tests.world import a_box, a_world, confirmed, published, raw, saved
from versions import autosave, journal
from versions.models import Artifact

pytestmark = pytest.mark.django_db(transaction=True)


def lose_the_store() -> None:
    for stored in list(api.listing("labeler", "")):
        api.remove("labeler", stored.key)


def test_a_lost_store_is_filled_again_and_then_brings_back_the_database():
    made = a_world()
    box = confirmed(made, made.images[0], boxes=2)[0]
    published(made)
    editing.delete_annotation(box.pk, by="ann")
    published(made, allow_empty=True)
    saved(made)
    a_box(made, made.images[1])
    saved(made)
    journal.write(made.project.pk)
    write_records()
    lose_the_store()
    call_command("refill_labeler_store")
    write_records()
    assert autosave.save_if_due(made.task.pk).version_number == "v0.3"
    a_box(made, made.images[2])
    journal.write(made.project.pk)
    call_command("verify_artifacts", version_number="v2.0")
    before = everything()["snapshots"], set(Annotation.objects.values_list("pk", flat=True))
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and told.versions == ["v1.0", "v2.0"] and told.saves == ["v0.3"]
    assert (everything()["snapshots"], set(Annotation.objects.values_list("pk", flat=True))) == before


def test_what_is_there_is_left_alone(capsys):
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    saved(made)
    write_records()
    call_command("refill_labeler_store")
    assert "again" not in capsys.readouterr().out


def test_metadata_of_saves_are_brought_back_and_the_latest_file(capsys):
    made = a_world()
    for image in made.images[:2]:
        a_box(made, image)
        saved(made)
    before = {each.key: api.hash_of("labeler", each.key) for each in api.listing("labeler", "")}
    lost = [key for key in before if key.endswith("metadata.json") or key.startswith("datasets/")]
    assert len(lost) == 4
    for key in lost:
        api.remove("labeler", key)
    call_command("refill_labeler_store")
    assert {each.key for each in api.listing("labeler", "")} == before.keys()
    assert [line for line in capsys.readouterr().out.splitlines() if "again" in line] == [
        f"{made.project.pk}: its record is owed again",
        f"{made.project.pk} detection v0.2: its metadata is written again",
        f"{made.project.pk} detection v0.1: its metadata is written again",
        f"{made.project.pk} detection v0.2: the latest file again",
    ]
    assert autosave.is_due(made.task) is None


def test_a_file_that_the_rows_do_not_give_again_is_named():
    made = a_world()
    confirmed(made, made.images[0])
    version = published(made)
    api.remove("labeler", version.artifacts.get(format="coco").s3_key)
    # As another writer would have written it.
    raw("SET LOCAL session_replication_role = replica; UPDATE version_exports SET sha256 = 'x' WHERE format = 'coco'")
    with pytest.raises(CommandError, match="1 files could not be written again"):
        call_command("refill_labeler_store")
    assert Artifact.objects.filter(format="coco").exists()
