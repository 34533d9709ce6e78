"""Commands for tired people: they say what they did, change nothing when tried dry, exit with 1 when work is left."""

from __future__ import annotations

import json
from io import BytesIO, StringIO

import pytest
from django.core.management import BaseCommand, CommandError, call_command, get_commands
from PIL import Image as Picture

from annotations import confirming, editing
from annotations.models import Annotation, ApiToken, Project, User
from exports import stores as api
from tests.world import a_box, a_user, a_world, confirmed, published, raw, saved
from versions import publishing
from versions.management.speaking import Count
from versions.models import Artifact, Version

pytestmark = pytest.mark.django_db(transaction=True)
OURS = sorted(name for name, app in get_commands().items() if app in ("annotations", "versions", "labeler"))


def run(*arguments: str) -> str:
    """What a command says."""
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def picture() -> bytes:
    out = BytesIO()
    Picture.new("RGB", (60, 40)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("name", OURS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        call_command(name, "--help")
    assert end.value.code == 0 and len(capsys.readouterr().out) > 200


@pytest.mark.parametrize("name", ["restore_working", "restore_version", "save_working"])
def test_a_project_nobody_has_is_said_so(name):
    further = ["v1.0"] if name == "restore_version" else []
    with pytest.raises(CommandError, match="There is no project proj_none"):
        run(name, "proj_none", *further)


def test_long_commands_count_aloud_where_nobody_knows_the_end():
    said = StringIO()
    count = Count(BaseCommand(stderr=said), "images written", step=1000)
    for done in (1, 999, 1000, 1500, 1999, 3200):
        count(done)
    assert said.getvalue().splitlines() == ["1,000 images written", "3,000 images written"]


def test_restore_version_says_what_would_change_and_then_changes_it():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    published(world)
    editing.delete_annotation(box.pk, by="ann")
    assert "1 would be added, 0 would be changed" in run("restore_version", world.project.pk, "v1.0", "--dry-run")
    assert not Annotation.objects.exists()
    assert "1 added, 0 changed, 0 removed" in run("restore_version", world.project.pk, "v1.0", "--by", "boss")
    assert Annotation.objects.get().pk == box.pk
    with pytest.raises(CommandError, match="No such version"):
        run("restore_version", world.project.pk, "v9.0")


def test_restore_version_can_publish_it_too():
    world = a_world()
    box = confirmed(world, world.images[0])[0]
    published(world)
    editing.delete_annotation(box.pk, by="ann")
    said = run("restore_version", world.project.pk, "v1.0", "--publish")
    assert "v2.0: ready, platform synced" in said


def test_restore_working_takes_the_newest_or_a_numbered_save():
    world = a_world()
    box = a_box(world, world.images[0], notes="one")
    saved(world)
    editing.update_annotation(box.pk, {"notes": "two"}, by="ann")
    saved(world)
    editing.update_annotation(box.pk, {"notes": "three"}, by="ann")
    run("restore_working", world.project.pk, "--number", "v0.1")
    assert Annotation.objects.get().notes == "one"
    run("restore_working", world.project.pk)
    assert Annotation.objects.get().notes == "three", "the newest save is the one made before the last restore"
    with pytest.raises(CommandError, match=r"a/9\.png is not in the project"):
        run("restore_working", world.project.pk, "--image", "a/9.png")


def test_save_working_saves_what_changed_and_says_what_did_not():
    first, second = a_world(), a_world(dataset="ds_second")
    a_box(first, first.images[0])
    a_box(second, second.images[0])
    said = run("save_working")
    assert said.count("v0.1, 1 annotations") == 2
    assert run("save_working") == ""
    assert "unchanged" in run("save_working", first.project.pk)
    assert run("save_working", "--due") == ""


def test_save_working_ends_with_an_error_when_a_store_fails(settings):
    world = a_world()
    a_box(world, world.images[0])
    options = {"alias": "labeler", "bucket_name": "b", "endpoint_url": "http://127.0.0.1:1", "access_key": "a",
               "secret_key": "s"}  # fmt: skip
    settings.STORAGES = {
        **settings.STORAGES, "labeler": {"BACKEND": "labeler.storage.S3Store", "OPTIONS": options}
    }  # fmt: skip
    with pytest.raises(CommandError, match="1 tasks could not be saved"):
        run("save_working")


def test_import_dataset_opens_lists_and_imports(platform_rows, put_object, tmp_path):
    platform_rows(datasets=[("ds_cli", "From the command line", 1)])
    put_object("platform", "datasets/ds_cli/images/a.png", picture())
    boxes = [{"id": 1, "class_id": 0, "bbox": [1, 2, 10, 10]}, {"id": 2, "class_id": 0, "bbox": [1, 2, 0, 10]}]
    image = {"id": 1, "file_name": "a.png", "width": 60, "height": 40, "annotations": boxes}
    content = {"classes": [{"id": 0, "name": "Cell"}], "images": [image]}
    put_object("platform", "datasets/ds_cli/annotations.json", json.dumps(content).encode())
    with pytest.raises(CommandError, match="--owner"):
        run("import_dataset", "ds_cli")
    with pytest.raises(CommandError, match="no dataset ds_none"):
        run("import_dataset", "ds_none", "--owner", "olga")
    said = run("import_dataset", "ds_cli", "--owner", "olga")
    assert "1 annotations imported, 1 skipped" in said and "images[0].annotations[1]" in said
    assert Project.objects.get().owner_id == "olga"
    with pytest.raises(CommandError, match="force"):
        run("import_dataset", "ds_cli")
    content["images"][0]["annotations"] = []
    path = tmp_path / "empty.json"
    path.write_text(json.dumps(content))
    assert "would be imported" in run("import_dataset", "ds_cli", "--file", str(path), "--force", "--dry-run")
    assert Annotation.objects.count() == 1 and not Version.objects.exists()
    run("import_dataset", "ds_cli", "--file", str(path), "--force")
    assert Annotation.objects.count() == 0 and Version.objects.working().get().annotation_count == 1
    with pytest.raises(CommandError, match="There is no file"):
        run("import_dataset", "ds_cli", "--file", str(tmp_path / "none.json"))


def test_finish_publishes_does_what_is_owed_and_says_what_is_not_finished():
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world, finish=False)
    assert "v1.0: exporting, platform pending" in run("finish_publishes", "--dry-run")
    assert "1 versions finished" in run("finish_publishes")
    assert "0 versions finished" in run("finish_publishes")
    failed = published(world, finish=False)
    publishing.change(failed, status="failed", last_error="access denied")
    with pytest.raises(CommandError, match="1 failed"):
        run("finish_publishes")
    assert "1 versions finished" in run("finish_publishes", "--retry-failed")
    assert Version.objects.get(pk=version.pk).status == Version.objects.get(pk=failed.pk).status == "ready"


def test_verify_artifacts_proves_every_file_and_finds_a_changed_one(put_object):
    world = a_world()
    confirmed(world, world.images[0], boxes=2)
    published(world)
    saved(world)
    said = run("verify_artifacts")
    assert said.count("rebuilt byte for byte") == 4 and "7 files of 2 versions are what was recorded" in said
    coco = Artifact.objects.get(format="coco")
    good = api.read_small("labeler", coco.s3_key)
    put_object("labeler", coco.s3_key, good.replace(b"Cat", b"Cow"))
    with pytest.raises(CommandError, match="1 of 6 files are not"):
        run("verify_artifacts")
    with pytest.raises(CommandError, match="1 of 5"):
        run("verify_artifacts", "--version-number", "v1.0", "--hash-only")
    api.remove("labeler", coco.s3_key)
    with pytest.raises(CommandError):
        run("verify_artifacts", "--project", world.project.pk)
    with pytest.raises(CommandError, match="No such version"):
        run("verify_artifacts", "--version-number", "v7.0")


def test_recount_progress_lists_mends_and_is_quiet_about_the_rest():
    world = a_world()
    confirmed(world, world.images[0])
    assert "0 counters mended" in run("recount_progress")
    from annotations.acting import acting

    with acting("backup"):
        raw("SELECT set_config('labeler.recounting', 'yes', true)")
        raw("UPDATE image_annotation_status SET total_annotations = 3, draft_annotations = 3, confirmed_annotations = 0"
            " WHERE total_annotations = 1")  # fmt: skip
    with pytest.raises(CommandError, match="1 counters differ"):
        run("recount_progress", "--dry-run")
    said = run("recount_progress", "--project", world.project.pk)
    assert f"{world.project.pk} a/1.png detection" in said and "1 counters mended" in said
    with pytest.raises(CommandError, match="No such project"):
        run("recount_progress", "--project", "proj_none")


def test_create_token_shows_a_token_that_works():
    a_user("vic")
    from rest_framework.test import APIClient

    plain = run("create_token", "vic", "--name", "script").splitlines()
    token = next(line for line in plain if line and " " not in line)
    assert APIClient(HTTP_AUTHORIZATION=f"Bearer {token}").get("/api/v1/me").json()["id"] == "vic"
    assert ApiToken.objects.get().name == "script"
    for bad in (["nobody"], ["vic", "--days", "0"]):
        with pytest.raises(CommandError):
            run("create_token", *bad)


def test_sync_platform_users_adds_those_who_are_missing(platform_rows):
    platform_rows(users=[("u-1", "One", "1@example.org"), ("u-2", "Two", None)])
    a_user("u-1")
    assert "1 accounts would be made" in run("sync_platform_users", "--dry-run")
    assert "1 accounts made" in run("sync_platform_users")
    assert not User.objects.get(username="u-2").has_usable_password()
    assert "0 accounts made" in run("sync_platform_users")


def test_load_demo_may_be_repeated(platform_rows, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    from labeler.demo import loading

    platform_rows(datasets=[(loading.DATASET_ID, "BCCD", 40)])
    assert "Opened" in run("load_demo")
    project = Project.objects.get()
    assert confirming.ImageStatus.objects.filter(project=project, status="completed").count() == loading.DONE
    known = json.loads((tmp_path / "demo.json").read_text())
    assert "Opened" not in run("load_demo")
    assert json.loads((tmp_path / "demo.json").read_text()) == known
    assert Annotation.objects.count() == 242
