"""Files people bring: sent, imported by a job, reported on; and the command that does it without HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connections

from annotations import editing
from annotations.models import Annotation, AnnotationHistory, LabelClass
from exports import keys, stores
from tests.conftest import behind_proxy
from tests.world import a_box, a_client, a_world, broken_off, confirmed, imported, published
from versions import artifacts, tasks, uploads, work
from versions.models import Job, Version

pytestmark = pytest.mark.django_db(transaction=True)

COCO = {
    "images": [{"id": 1, "file_name": "a/1.png", "width": 200, "height": 100}, {"id": 2, "file_name": "gone.png"}],
    "categories": [{"id": 1, "name": "Cat"}, {"id": 9, "name": "Bird"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 20, 30]},
        {"id": 2, "image_id": 1, "category_id": 9, "bbox": [50, 20, 20, 30]},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [1, 1, 2, 2]},
        {"id": 4, "image_id": 1, "category_id": 1, "bbox": [1, 1, -2, 2]},
    ],
}


@pytest.fixture
def world():
    return a_world()


def done(world: Any, content: bytes | dict, **wish: Any) -> Job:
    """An import somebody sent, run to its end."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return work.run(imported(world, content, **wish).pk)


def report(world: Any, job: Job) -> list[dict[str, str]]:
    """The lines of an import's report, as downloaded."""
    address = f"/api/v1/projects/{world.project.pk}/imports/{job.pk}/report"
    answer = a_client("adm").get(address)
    assert answer.status_code == 200 and answer.json()["download_url"].startswith("http"), answer.content
    moved = a_client("adm").get(address, {"redirect": "1"})
    assert moved.status_code == 302
    with stores.open_read("labeler", keys.import_report(world.project.pk, str(job.pk))) as body:
        return [json.loads(line) for line in body.read().splitlines()]


def boxes() -> list[tuple[str, list[float]]]:
    return [
        (each.label_class.name, each.geometry["bbox"])
        for each in Annotation.objects.select_related("label_class").order_by("pk")
    ]


def test_a_sent_file_is_imported_beside_what_is_there_and_every_problem_is_listed(world):
    a_box(world, world.images[0])
    job = done(world, COCO)
    assert job.status == "done", job.error
    assert boxes() == [("Cat", [10, 20, 20, 30]), ("Bird", [50, 20, 20, 30])]
    told = job.result
    assert (told["imported"], told["skipped"], told["total"]) == (2, 2, 4)
    assert (told["added"], told["unchanged"], told["removed"]) == (1, 1, 0)
    lines = report(world, job)
    assert [line["outcome"] for line in lines] == ["changed", "skipped", "skipped"]
    assert "gone.png" in lines[0]["where"] and "annotations[2]" in lines[1]["where"]
    assert all(line["reason"] for line in lines)


def test_an_import_that_is_done_at_once_is_answered_at_once(world, settings):
    settings.CELERY_TASK_ALWAYS_EAGER = True
    form = {"file": SimpleUploadedFile("boxes.json", json.dumps(COCO).encode())}
    answer = a_client("adm").post(f"/api/v1/projects/{world.project.pk}/import", form, format="multipart")
    assert answer.status_code == 200 and answer.json()["imported"] == 2
    assert Job.objects.get(pk=answer.json()["job_id"]).params["file_name"] == "boxes.json"


def test_replacing_takes_the_others_away_and_saves_them_first(world):
    a_box(world, world.images[1], x=60)
    job = done(world, COCO, mode="replace")
    assert job.status == "done" and (job.result["added"], job.result["removed"]) == (2, 1)
    save = Version.objects.get(version_type="working")
    assert save.annotation_count == 1 and save.trigger == "restore"


def test_atomic_imports_nothing_when_an_entry_cannot_be_read_and_the_report_says_which(world):
    job = done(world, COCO, atomic="true")
    assert job.status == "failed" and "2 entries cannot be read" in job.error
    assert not Annotation.objects.exists() and not LabelClass.objects.filter(name="Bird").exists()
    assert (job.result["imported"], job.result["skipped"]) == (0, 2)
    lines = report(world, job)
    assert [line["outcome"] for line in lines] == ["changed", "skipped", "skipped", "refused"]


def test_a_dry_run_says_what_would_happen_and_changes_nothing(world):
    a_box(world, world.images[0])
    before = AnnotationHistory.objects.count()
    told = done(world, COCO, dry_run="true").result
    assert told["dry_run"] is True and (told["added"], told["unchanged"]) == (1, 1)
    assert len(boxes()) == 1 and AnnotationHistory.objects.count() == before
    assert not LabelClass.objects.filter(name="Bird").exists()


@pytest.mark.parametrize("name", ["x" * 300, "two\nlines", "__background__"])
def test_a_class_that_cannot_be_one_is_listed_and_the_others_are_imported(world, name):
    file = {**COCO, "categories": [{"id": 1, "name": "Cat"}, {"id": 9, "name": "ok"}, {"id": 8, "name": name}]}
    file["annotations"] = [*COCO["annotations"][:2], {"id": 7, "image_id": 1, "class_name": name, "bbox": [1, 1, 9, 9]}]
    job = done(world, file)
    # __background__ is a class of no objects, and so is its annotation, which gives way.
    assert job.status == "done" and job.result["imported"] == 2 and job.result["skipped"] >= 1
    assert not LabelClass.objects.filter(name=name).exists()


def test_a_file_of_other_sizes_is_imported_with_a_warning(world):
    file = {**COCO, "images": [{"id": 1, "file_name": "a/1.png", "width": 400, "height": 200}]}
    result = done(world, file).result
    assert result["imported"] == 2
    assert [each["where"] for each in result["warnings"] if "400 x 200" in each["reason"]] == ["a/1.png"]


def test_two_entries_of_one_image_are_told_as_what_they_are(world):
    file = {**COCO, "images": [{"id": 1, "file_name": "a/1.png"}, {"id": 5, "file_name": "images/a/1.png"}]}
    (warning,) = done(world, file).result["warnings"]
    assert warning["where"] == "images/a/1.png" and "second entry" in warning["reason"]


def test_the_report_lists_more_problems_than_the_answer(world):
    broken = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, -2, 2]}
    job = done(world, {**COCO, "annotations": [broken | {"id": number} for number in range(1200)]})
    assert job.result["skipped"] == 1200 and len(job.result["errors"]) == 1000
    assert len(report(world, job)) == 1201


def test_a_file_that_cannot_be_read_at_all_is_refused_and_named(world):
    job = done(world, b"\x00\x01 neither this nor that")
    assert job.status == "failed" and "file" in job.error.lower()
    assert report(world, job)[-1]["outcome"] == "refused"


def test_formats_are_known_by_their_first_bytes_or_by_name(world):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("data.yaml", "names: [Cat, Dog]\n")
        packed.writestr("labels/a/1.txt", "1 0.5 0.5 0.1 0.2\n")
    cvat = b"""<annotations><image id="0" name="a/2.png" width="200" height="100">
        <box label="Dog" xtl="10" ytl="20" xbr="30" ybr="50"/></image></annotations>"""
    box = {"x": 5, "y": 20, "width": 10, "height": 30, "rotation": 0, "rectanglelabels": ["Cat"]}
    result = {"type": "rectanglelabels", "original_width": 200, "original_height": 100, "value": box}
    studio = json.dumps([{"data": {"image": "/data/a/3.png"}, "annotations": [{"result": [result]}]}]).encode()
    for content in (archive.getvalue(), cvat, studio):
        assert done(world, content).result["imported"] == 1
    assert boxes() == [("Dog", [90, 40, 20, 20]), ("Dog", [10, 20, 20, 30]), ("Cat", [10, 20, 20, 30])]
    wrong = done(world, cvat, format="coco")
    assert wrong.status == "failed"


def test_outlines_become_boxes_where_the_task_holds_boxes_and_are_listed(world):
    outline = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 20, 30],
               "segmentation": [[10, 20, 30, 20, 30, 50, 10, 50]]}  # fmt: skip
    job = done(world, {**COCO, "annotations": [outline]})
    assert boxes() == [("Cat", [10, 20, 20, 30])] and job.result["skipped"] == 0
    assert job.result["warned"] == 2 and "polygon" in job.result["warnings"][1]["reason"]


def test_our_own_published_file_comes_back_with_its_ids(world):
    first = confirmed(world, world.images[0], boxes=2)
    version = published(world)
    with stores.open_read("labeler", version.artifacts.get(format="dice").s3_key) as body:
        content = body.read()
    Annotation.objects.all().delete()
    job = done(world, content)
    assert job.result["added"] == 2
    assert list(Annotation.objects.order_by("pk").values_list("pk", flat=True)) == [each.pk for each in first]


# Bad requests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "file"),
        ({"file": SimpleUploadedFile("empty.json", b"")}, "file"),
        ({"file": "not a file"}, "file"),
        ({"file": SimpleUploadedFile("x", b"{}"), "format": "voc"}, "format"),
        ({"file": SimpleUploadedFile("x", b"{}"), "mode": "merge"}, "mode"),
        ({"file": SimpleUploadedFile("x", b"{}"), "task_type": "drawing"}, "task_type"),
        ({"file": SimpleUploadedFile("x", b"{}"), "atomic": "perhaps"}, "atomic"),
    ],
)
def test_a_wrong_form_names_its_field_and_makes_no_job(world, form, field):
    answer = a_client("adm").post(f"/api/v1/projects/{world.project.pk}/import", form, format="multipart")
    assert answer.status_code == 400 and field in answer.json()["errors"], answer.content
    assert not Job.objects.exists()


def test_json_is_refused_as_another_kind_of_body(world):
    answer = a_client("adm").post(f"/api/v1/projects/{world.project.pk}/import", {}, format="json")
    assert answer.status_code == 415


def test_a_file_above_the_limit_is_refused_before_it_is_read(world, settings):
    settings.LABELER_UPLOAD_BYTES = 1000
    form = {"file": SimpleUploadedFile("big.json", b" " * 2000)}
    answer = a_client("adm").post(f"/api/v1/projects/{world.project.pk}/import", form, format="multipart")
    assert answer.status_code == 413 and answer.json()["code"] == "too_large"
    assert not Job.objects.exists() and not list(configured.LABELER_SCRATCH.glob("*.upload*"))


def test_a_task_the_project_does_not_have_is_refused(world):
    form = {"file": SimpleUploadedFile("x", b"{}"), "task_type": "segmentation"}
    answer = a_client("adm").post(f"/api/v1/projects/{world.project.pk}/import", form, format="multipart")
    assert answer.status_code in (400, 404) and not Job.objects.exists()


def test_a_project_has_no_report_of_another_projects_import(world):
    job = done(world, COCO)
    other = a_world(dataset="ds_other")
    answer = a_client("adm").get(f"/api/v1/projects/{other.project.pk}/imports/{job.pk}/report")
    assert answer.status_code == 404


def test_a_report_comes_with_the_end_of_its_import(world):
    job = imported(world, json.dumps(COCO).encode())
    answer = a_client("adm").get(f"/api/v1/projects/{world.project.pk}/imports/{job.pk}/report")
    assert answer.status_code == 409 and "queued" in answer.json()["detail"]


# Broken off, repeated, cleaned up -------------------------------------------------------------------


def test_the_same_key_sends_a_file_once(world):
    def send(content: bytes) -> Any:
        return a_client("adm").post(
            f"/api/v1/projects/{world.project.pk}/import?wait=0",
            {"file": SimpleUploadedFile("x.json", content)},
            format="multipart",
            headers={"Idempotency-Key": "once"},
        )

    content = json.dumps(COCO).encode()
    first = send(content).json()["job_id"]
    work.run(first)
    assert send(content).json()["job_id"] == first and Job.objects.count() == 1
    assert send(content + b" ").status_code == 409


def test_a_job_waits_for_a_file_that_has_not_arrived_and_gives_up_after_an_hour(world):
    job = imported(world, json.dumps(COCO).encode())
    stores.remove("labeler", keys.upload(world.project.pk, str(job.pk)))
    job = work.run(job.pk)
    assert job.status == "queued" and job.retry_at is not None and "not arrived" in job.error
    Job.objects.filter(pk=job.pk).update(created_at=job.created_at - timedelta(hours=2))
    job = work.run(job.pk)
    assert job.status == "failed" and "send the file again" in job.error


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_an_import_killed_after_its_commit_is_not_done_again(world, mode):
    job = imported(world, json.dumps(COCO).encode(), mode=mode)
    broken_off(job)
    editing.delete_annotation(Annotation.objects.earliest("pk").pk, by="ann")
    drawn = a_box(world, world.images[1], x=70)
    again = work.run(job.pk)
    assert (again.status, again.result["added"], again.result["skipped"]) == ("done", 2, 2)
    assert boxes() == [("Bird", [50, 20, 20, 30]), ("Cat", [70, 20, 20, 30])]
    assert Annotation.objects.filter(pk=drawn.pk).exists() and len(report(world, job)) == 3


@pytest.fixture
def proxy(settings):
    """The labeler store on moto, behind a proxy that fails on purpose."""
    with behind_proxy(settings, "labeler") as proxy:
        yield proxy


@pytest.mark.parametrize("kind", ["status", "drop_before"])
def test_an_import_waits_for_the_store_that_is_to_keep_its_report(world, proxy, kind):
    job = imported(world, json.dumps(COCO).encode())
    fault = proxy.strike(kind, "PUT", "report.jsonl", times=None)
    waiting = work.run(job.pk)
    assert waiting.status == "queued" and fault.struck and not Annotation.objects.exists()
    proxy.calm()
    done = work.run(job.pk)
    assert done.status == "done" and len(boxes()) == 2 and len(report(world, job)) == 3


def test_an_import_whose_report_is_refused_imports_nothing(world, proxy):
    job = imported(world, json.dumps(COCO).encode())
    fault = proxy.strike("status", "PUT", "report.jsonl", times=None, status=403)
    assert work.run(job.pk).status == "failed" and fault.struck
    assert not Annotation.objects.exists() and not LabelClass.objects.filter(name="Bird").exists()


def test_a_report_is_kept_while_people_can_work(world, proxy):
    job = imported(world, json.dumps({**COCO, "categories": COCO["categories"][:1]}).encode(), mode="replace")
    fault = proxy.strike("hold", "PUT", "report.jsonl")
    with ThreadPoolExecutor(1) as worker:
        running = worker.submit(run_elsewhere, job)
        assert fault.held.wait(60)
        drawn = a_box(world, world.images[1], x=70)
        fault.release.set()
        assert running.result(30).status == "done"
    assert not Annotation.objects.filter(pk=drawn.pk).exists()
    assert Version.objects.working().get().annotation_count == 1, "it is in the save of what was replaced"


def run_elsewhere(job: Job) -> Job:
    try:
        return work.run(job.pk)
    finally:
        connections.close_all()


def test_a_file_changed_in_the_store_is_not_imported(world):
    job = imported(world, json.dumps(COCO).encode())
    with artifacts.scratch() as folder:
        path = folder / "other"
        path.write_bytes(b"{}")
        uploads.keep_upload(job, path, sha256=stores.sha256_of_file(path), size=2)
    assert work.run(job.pk).status == "failed" and not Annotation.objects.exists()


def test_old_uploads_are_removed_and_their_reports_stay(world, settings):
    job = done(world, COCO)
    settings.LABELER_EXPORT_DAYS = -1
    assert tasks.remove_expired_exports() == 1 and tasks.remove_expired_exports() == 0
    assert stores.find("labeler", keys.upload(world.project.pk, str(job.pk))) is None
    assert len(report(world, job)) == 3


# Commands -------------------------------------------------------------------------------------------


def run(*arguments: str, out: StringIO | None = None) -> str:
    out = out or StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_import_annotations_lists_what_it_skipped_and_ends_with_1(world, tmp_path):
    file, listed = tmp_path / "boxes.json", tmp_path / "report.jsonl"
    file.write_text(json.dumps(COCO))
    with pytest.raises(CommandError, match="2 entries were skipped") as end:
        run("import_annotations", world.project.pk, str(file), "--report", str(listed), "--by", "adm")
    assert end.value.returncode == 1 and len(boxes()) == 2
    assert len(listed.read_text().splitlines()) == 3
    assert set(AnnotationHistory.objects.values_list("changed_by", flat=True)) == {"adm"}
    good = tmp_path / "good.json"
    good.write_text(json.dumps({**COCO, "annotations": COCO["annotations"][:1]}))
    told = json.loads(run("import_annotations", world.project.pk, str(good), "--json"))
    assert (told["imported"], told["unchanged"], told["added"]) == (1, 1, 0)
    with pytest.raises(CommandError) as refused:
        run("import_annotations", world.project.pk, str(file), "--atomic", "--json", out=(said := StringIO()))
    assert refused.value.returncode == 2 and json.loads(said.getvalue()) == {"refused": str(refused.value)}
    with pytest.raises(CommandError, match="There is no file"):
        run("import_annotations", world.project.pk, str(tmp_path / "none"))


def test_export_annotations_writes_the_very_files_people_download(world, tmp_path):
    confirmed(world, world.images[0], boxes=2)
    version = published(world)
    a_box(world, world.images[1])
    told = json.loads(run("export_annotations", world.project.pk, str(tmp_path / "v1"), "--of", "v1.0", "--json"))
    made = {each["format"]: each["sha256"] for each in told}
    assert made == dict(version.artifacts.filter(format__in=made).values_list("format", "sha256")) and len(made) == 3
    live = run("export_annotations", world.project.pk, str(tmp_path / "live"), "--format", "coco", "--include-draft")
    assert "3 annotations on 2 images" in live
    assert len(json.loads((tmp_path / "live/annotations_coco.json").read_bytes())["annotations"]) == 3


@pytest.mark.parametrize("wrong", [["--of", "v9.0"], ["--image", "none.png"], ["--of", "v1.0", "--include-draft"]])
def test_export_annotations_refuses_with_2_and_writes_nothing(world, tmp_path, wrong):
    confirmed(world, world.images[0])
    published(world)
    with pytest.raises(CommandError) as end:
        run("export_annotations", world.project.pk, str(tmp_path / "out"), *wrong)
    assert end.value.returncode == 2 and not Path(tmp_path / "out").exists()
