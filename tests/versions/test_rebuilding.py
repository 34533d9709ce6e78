"""The database is lost: what the labeler store alone gives back, and what it says is missing."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from annotations import confirming, editing, projects
from annotations.models import Annotation, Image, ImageStatus, LabelClass, Member, Project, ProjectTask
from annotations.progress import recount
from exports import stores as api
from tests.world import a_box, a_world, confirmed, published, saved
from versions import autosave, opening, publishing, rebuilding, records, restoring
from versions.errors import NothingInStores
from versions.models import Artifact, FrozenAnnotations, FrozenVersion, Snapshot, Version, VersionImage

pytestmark = pytest.mark.django_db(transaction=True)


def lose_the_database() -> None:
    """Every row of ours goes; ids begin at 1 again, as in a new database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE projects, project_tasks, project_members, classes, dataset_images, image_annotation_status,"
            " annotations, annotation_history, image_history, class_history, history_marks, journal_segments,"
            " image_marks, annotation_versions, version_exports,"
            " frozen_annotations, version_images, save_states, jobs, idempotency_keys"
            " RESTART IDENTITY CASCADE"
        )


def rebuild(**options) -> list[rebuilding.Rebuilt]:
    return rebuilding.rebuild(say=lambda line: None, **options)


def write_records() -> None:
    for project_id in records.owed():
        records.write_project_record(project_id)


def rows(model, *without: str) -> list[dict]:
    fields = [field.attname for field in model._meta.concrete_fields if field.attname not in without]
    return sorted(model.objects.values(*fields), key=str)


REVISIONS = ("record_revision", "recorded_revision", "images_revision", "images_recorded_revision")
NUMBERS = ("revision", "saved_revision", "confirmed_revision", "id")


def everything() -> dict[str, list[dict]]:
    return {
        "projects": rows(
            Project, "record_revision", "recorded_revision", "images_revision", "images_recorded_revision"
        ),
        "members": rows(Member, "id"),
        "classes": rows(LabelClass, "id"),
        "images": rows(Image),
        "annotations": [row | {"label_class_id": None} for row in rows(Annotation)],
        "progress": rows(ImageStatus, *NUMBERS),
        "versions": rows(
            Version, "attempts", "finished_at", "platform_synced_at", "platform_attempts", "retry_at", "pieces"
        ),
        "files": rows(Artifact, "id", "created_at"),
        "snapshots": rows(Snapshot, "task_id"),
        "frozen annotations": rows(FrozenAnnotations, "id", "task_id"),
        "frozen images": rows(VersionImage, "id", "task_id"),
        "looked at": rows(FrozenVersion, "task_id"),
    }


@pytest.fixture
def world():
    """Two versions with changes between them, a renamed and a retired class, a save with drafts, an unstarted image."""
    made = a_world(count=4)
    first, second = confirmed(made, made.images[0], boxes=2)
    confirmed(made, made.images[1])
    published(made, description="설명")
    editing.delete_annotation(second.pk, by="ann")
    confirming.confirm_image(made.images[0], "detection", by="rev")
    projects.change_class(first.label_class, by="adm", name="Tiger")
    projects.remove_class(LabelClass.objects.get(name="Dog"), by="adm")
    published(made)
    a_box(made, made.images[2], class_name=None, notes="half done", attributes={"k": [1, None, "ü"]})
    saved(made)
    write_records()
    return made


def test_everything_the_store_holds_comes_back_as_it_was(stores):
    made = a_world(count=4)
    confirmed(made, made.images[0], boxes=2)
    published(made)
    a_box(made, made.images[2], notes="half done")
    saved(made)
    write_records()
    before = everything()
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and (told.images, told.annotations) == (4, 3)
    assert everything() == before
    assert recount(dry_run=True) == []


def test_changes_between_versions_classes_and_drafts_come_back(world):
    before = everything()
    lose_the_database()
    rebuild()
    after = everything()
    states = {row["version_number"]: row["platform_status"] for row in after.pop("versions")}
    assert states["v1.0"] == "superseded", "the official file tells of the newest version only"
    before.pop("versions")
    assert after == before


def test_ids_and_numbers_go_on_above_all_that_were_ever_given_out(world):
    gone = a_box(world, world.images[3], class_name="Tiger").pk
    editing.delete_annotation(gone, by="ann")
    saved(world)
    highest_version = Version.objects.order_by("-pk").first().pk
    lose_the_database()
    rebuild()
    again = Project.objects.prefetch_related("tasks").get()
    world.project, world.task = again, projects.task_of(again, None)
    box = a_box(world, Image.objects.get(path="a/4.png"), class_name="Tiger")
    assert box.pk > gone
    confirming.confirm_image(box.image, "detection", by="ann")
    version = published(world)
    assert version.version_number == "v3.0" and version.pk > highest_version
    assert Snapshot.objects.filter(version=version).count() == 1, "nothing that did not change is frozen again"
    assert saved(world).version_number == "v0.3"


def test_nothing_is_due_after_a_rebuild_from_a_save_that_held_everything(world):
    autosave.save_working(world.task, trigger="manual")
    lose_the_database()
    rebuild()
    task = projects.task_of(Project.objects.prefetch_related("tasks").get(), None)
    assert autosave.status_of(task).dirty is False
    assert autosave.save_working(task, trigger="manual") is None, "the same content gives the same hash"


def test_a_version_newer_than_the_last_save_is_laid_over_it():
    made = a_world()
    moved = confirmed(made, made.images[0])[0]
    draft = a_box(made, made.images[1])
    saved(made)
    editing.update_annotation(moved.pk, {"geometry": {"type": "bbox", "bbox": [3, 3, 9, 9]}}, by="ann")
    confirming.confirm_image(made.images[0], "detection", by="ann")
    fresh = confirmed(made, made.images[2])[0]
    published(made)
    write_records()
    lose_the_database()
    rebuild()
    assert Annotation.objects.get(pk=moved.pk).geometry["bbox"] == [3, 3, 9, 9]
    assert Annotation.objects.get(pk=draft.pk).state == "draft", "what only the save knows stays"
    assert Annotation.objects.get(pk=fresh.pk).state == "confirmed"
    assert autosave.status_of(projects.task_of(Project.objects.prefetch_related("tasks").get(), None)).dirty


def test_without_any_save_the_newest_version_gives_the_rows():
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    write_records()
    lose_the_database()
    rebuild()
    assert Annotation.objects.count() == 1
    assert ImageStatus.objects.get(image__path="a/1.png").status == "completed"


def test_several_projects_and_tasks_and_tombstones_come_back():
    first = a_world(tasks=("detection", "segmentation"))
    confirmed(first, first.images[0])
    published(first)
    further = projects.task_of(first.project, "segmentation")
    polygon = {"type": "polygon", "points": [[1, 1], [40, 1], [20, 30]]}
    body = {"annotation_type": "polygon", "geometry": polygon, "class_name": "Cat"}
    editing.create_annotation(first.project, first.images[0], body, by="ann")
    autosave.save_working(further, trigger="manual")
    autosave.save_working(first.task, trigger="manual")
    second = a_world(dataset="ds_second")
    opening.close_project(second.project, by="olga", force=True)
    write_records()
    before = {model: model.objects.count() for model in (Project, Image, Annotation, Version)}
    lose_the_database()
    told = rebuild()
    assert len(told) == 2 and {model: model.objects.count() for model in before} == before
    assert Project.objects.get(dataset_id="ds_second").deleted_at is not None
    assert set(Annotation.objects.values_list("task_type", flat=True)) == {"detection", "segmentation"}


def test_a_dry_run_reads_everything_and_changes_nothing(world):
    lose_the_database()
    (told,) = rebuild(dry_run=True)
    assert told.state == "would be rebuilt" and told.versions == ["v1.0", "v2.0"] and told.saves == ["v0.1"]
    assert not Project.objects.exists() and not Annotation.objects.exists()


def test_what_is_in_the_database_is_left_as_it_is(world):
    before = everything()
    (told,) = rebuild()
    assert "already in the database" in told.state and everything() == before


def test_only_one_project_may_be_asked_for(world):
    a_world(dataset="ds_second")
    write_records()
    lose_the_database()
    rebuild(project_id=world.project.pk)
    assert Project.objects.get().pk == world.project.pk


def test_an_empty_store_is_said_to_be_empty():
    with pytest.raises(NothingInStores, match="is it the right store"):
        rebuild()
    with pytest.raises(CommandError, match="right store"):
        call_command("rebuild_from_stores")


def test_frozen_rows_that_were_changed_in_the_store_are_refused_and_nothing_of_the_project_comes(world, put_object):
    key = Artifact.objects.filter(format="frozen_rows").first().s3_key
    put_object("labeler", key, b"changed")
    lose_the_database()
    (told,) = rebuild()
    assert told.state == "not rebuilt" and "other bytes" in told.missing[0]
    assert not Project.objects.exists()


def test_one_project_that_cannot_come_back_does_not_keep_the_others(world, put_object):
    a_world(dataset="ds_second")
    write_records()
    put_object("labeler", f"exports/{world.project.pk}/project.json", b"{")
    lose_the_database()
    with pytest.raises(CommandError, match="1 things could not be brought back"):
        call_command("rebuild_from_stores")
    assert Project.objects.get().dataset_id == "ds_second"


def test_a_broken_save_does_not_keep_the_rest_from_coming_back(world, put_object):
    key = Artifact.objects.get(version__version_number="v0.1").s3_key
    put_object("labeler", key, b"{}")
    lose_the_database()
    (told,) = rebuild()
    assert told.versions == ["v1.0", "v2.0"] and any("v0.1" in each for each in told.missing)
    assert Annotation.objects.count() == 2, "the newest version's rows"


def test_a_missing_record_is_named():
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    lose_the_database()
    (told,) = rebuild()
    assert told.state == "not rebuilt" and "project.json" in told.missing[0]
    with pytest.raises(CommandError, match="could not be brought back"):
        call_command("rebuild_from_stores")


def test_a_lost_official_file_is_owed_again(world):
    api.remove("platform", "datasets/ds_world/annotations.json")
    lose_the_database()
    rebuild()
    states = dict(Version.objects.published().values_list("version_number", "platform_status"))
    assert states["v2.0"] == "pending"


def test_the_command_lists_what_no_store_holds(world, capsys):
    lose_the_database()
    call_command("rebuild_from_stores")
    said = capsys.readouterr().out
    assert f"{world.project.pk}: rebuilt; 4 images" in said
    for word in ("history", "accounts", "jobs", "of the last seconds"):
        assert word in said


def test_records_hold_nothing_secret(world):
    text = json.dumps(
        [api.read_small("labeler", each.key).decode(errors="replace") for each in api.listing("labeler", "")]
    )
    for word in ("password", "token", "@example.org"):
        assert word not in text.lower()


# What was not finished, and what is gone ----------------------------------------------------------------


def test_a_version_after_an_unfinished_one_comes_back_whole_and_the_unfinished_one_is_owed_again():
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    confirmed(made, made.images[1])
    published(made, finish=False)
    confirmed(made, made.images[2])
    third = published(made)
    write_records()
    before = rows(Snapshot, "task_id"), rows(VersionImage, "id", "task_id")
    lose_the_database()
    (told,) = rebuild()
    assert told.missing == [] and told.versions == ["v1.0", "v3.0"] and "v2.0 was not finished" in told.notes[0]
    assert (rows(Snapshot, "task_id"), rows(VersionImage, "id", "task_id")) == before
    assert Version.objects.get(version_number="v3.0").content_hash == third.content_hash
    call_command("finish_publishes")
    call_command("verify_artifacts")
    assert set(Version.objects.published().values_list("status", flat=True)) == {"ready"}


def test_a_version_whose_predecessor_is_gone_is_named_and_not_half_restored(world):
    api.remove("labeler", f"exports/{world.project.pk}/v1.0/manifest.json")
    lose_the_database()
    (told,) = rebuild()
    assert told.versions == [] and "v2.0" in told.missing[0] and not Snapshot.objects.exists()
    assert Annotation.objects.count() == 3, "the live rows come from the save"


def test_a_number_that_files_lie_under_is_not_given_out_again(put_object):
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    confirmed(made, made.images[1])
    write_records()
    saved(made)
    put_object("labeler", f"exports/{made.project.pk}/v2.0/annotations_dice.json", b"of the publish that was lost")
    lose_the_database()
    (told,) = rebuild()
    assert "v2 lie in the store without a record" in told.notes[0]
    made.project = Project.objects.prefetch_related("tasks").get()
    made.task = projects.task_of(made.project, None)
    version = published(made)
    assert (version.version_number, version.status) == ("v3.0", "ready")


def test_a_database_of_yesterday_learns_of_numbers_given_out_since(world, put_object):
    put_object("labeler", f"exports/{world.project.pk}/v3.0/annotations_dice.json", b"published after the backup")
    (told,) = rebuild()
    assert "v3 lie in the store" in told.notes[0]
    world.task.refresh_from_db()
    assert published(world).version_number == "v4.0"


def test_a_project_rebuilt_today_takes_no_id_of_one_rebuilt_tomorrow(world):
    second = a_world(dataset="ds_second")
    a_box(second, second.images[0])
    saved(second)
    write_records()
    ids = set(Annotation.objects.values_list("pk", flat=True)) | set(Image.objects.values_list("pk", flat=True))
    lose_the_database()
    rebuild(project_id=world.project.pk)
    again = Project.objects.prefetch_related("tasks").get()
    made = a_world(dataset="ds_between")
    assert not {image.pk for image in made.images} & ids and again.pk == world.project.pk
    told = rebuild(project_id=second.project.pk)
    assert told[0].state == "rebuilt" and Annotation.objects.filter(project_id=second.project.pk).count() == 1


@pytest.mark.parametrize("content", [b"[]", b'{"record": 1}', b'{"project_id": 5, "tasks": 7}'])
def test_a_record_that_does_not_fit_is_named(world, put_object, content):
    put_object("labeler", f"exports/{world.project.pk}/project.json", content)
    lose_the_database()
    (told,) = rebuild()
    assert told.state == "not rebuilt" and told.missing


@pytest.fixture
def begun_and_taken_back(stores):
    """A version lists an image that the live rows have as never begun, as an older save came back; all of it lost and
    rebuilt."""
    world = a_world()
    confirmed(world, world.images[1])
    saved(world)
    confirmed(world, world.images[0])
    published(world)
    restoring.restore(world.task, source="working", by="adm")
    saved(world)
    write_records()
    lose_the_database()
    rebuild()
    return ProjectTask.objects.get()


def test_what_a_version_lists_and_nobody_has_begun_is_restored_after_a_rebuild(begun_and_taken_back):
    assert Annotation.objects.count() == 1
    version = Version.objects.published().get()
    done = restoring.restore(begun_and_taken_back, source="version", version=version, by="adm")
    assert done.changes.as_dict() == {"added": 1, "updated": 0, "removed": 0, "unchanged": 1}
    assert Annotation.objects.count() == 2


def test_what_nobody_has_begun_is_no_part_of_the_next_version_after_a_rebuild(begun_and_taken_back):
    version = publishing.request_publish(begun_and_taken_back, publishing.PublishWish(), by="adm")
    assert (version.annotation_count, version.image_count) == (1, 1)
