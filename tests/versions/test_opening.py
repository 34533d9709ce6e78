"""Opening a dataset: images listed, sizes from headers, annotations imported, nothing taken twice."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from PIL import Image as Picture

from annotations import editing
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus, LabelClass, Project
from exports import stores as api
from exports.errors import ExportError
from tests.world import a_client, a_user, a_world, broken_off
from versions import jobs, opening, publishing, work
from versions.errors import VersionExists
from versions.models import Job
from versions.publishing import PublishWish

pytestmark = pytest.mark.django_db(transaction=True)
DATASET = "ds_first"


def picture(width: int, height: int, kind: str = "PNG", **options) -> bytes:
    out = BytesIO()
    Picture.new("RGB", (width, height)).save(out, kind, **options)
    return out.getvalue()


def turned(width: int, height: int, orientation: int) -> bytes:
    exif = Picture.Exif()
    exif[0x0112] = orientation
    return picture(width, height, "JPEG", exif=exif)


def nested(*boxes: tuple[str, list]) -> bytes:
    images = {}
    for number, (name, bbox) in enumerate(boxes, start=1):
        images.setdefault(name, []).append({"id": number, "class_id": 0, "bbox": bbox, "bbox_format": "xywh"})
    listed = [
        {"id": number, "file_name": name, "width": 60, "height": 40, "annotations": entries}
        for number, (name, entries) in enumerate(images.items(), start=1)
    ]
    return json.dumps({"classes": [{"id": 0, "name": "Cell"}], "images": listed}).encode()


@pytest.fixture
def opened(platform_rows, put_object):
    """Lay out a dataset and open it: ``opened({"a.png": bytes}, annotations=bytes)`` gives project and job."""
    platform_rows(datasets=[(DATASET, "First", 2)])
    a_user("boss", is_staff=True)

    def open_it(files: dict[str, bytes], annotations: bytes | None = None, task: str = "detection"):
        for name, content in files.items():
            put_object("platform", f"datasets/{DATASET}/images/{name}", content)
        if annotations is not None:
            put_object("platform", f"datasets/{DATASET}/annotations.json", annotations)
        body = {"name": "First", "dataset_id": DATASET, "task_types": [task]}
        made = a_client("boss").post("/api/v1/projects", body, format="json")
        assert made.status_code == 201, made.content
        job = work.run(made.json()["job_id"])
        return Project.objects.get(pk=made.json()["id"]), job

    return open_it


def test_images_come_in_path_order_with_the_size_a_viewer_shows(stores, opened):
    files = {
        "b/two.png": picture(60, 40),
        "a/한국어.png": picture(61, 41),
        "turned.jpg": turned(80, 50, orientation=6),
        "upright.jpg": turned(80, 50, orientation=3),
        "readme.txt": b"not an image",
        "broken.png": b"\x89PNG not really",
    }
    project, job = opened(files)
    assert (job.status, job.error) == ("done", "")
    rows = Image.objects.filter(project=project).in_list_order().values_list("path", "width", "height")
    assert list(rows) == [
        ("a/한국어.png", 61, 41), ("b/two.png", 60, 40), ("broken.png", None, None), ("turned.jpg", 50, 80),
        ("upright.jpg", 80, 50),
    ]  # fmt: skip
    assert job.result["unknown_sizes"] == ["broken.png"]
    assert project.status == "active"
    assert ImageStatus.objects.filter(project=project, status="not-started").count() == 5


def test_at_most_64_kib_of_an_image_are_fetched(opened):
    noise = bytes(range(256)) * 4000
    exif = Picture.Exif()
    exif[0x9286] = "x" * 30_000
    files = {"big.png": picture(60, 40) + noise, "long-header.jpg": picture(60, 40, "JPEG", exif=exif) + noise}
    _, job = opened(files)
    assert job.result["most_bytes_of_an_image"] <= 64 * 1024
    assert job.result["bytes_fetched"] < 2 * 64 * 1024
    assert set(Image.objects.values_list("width", "height")) == {(60, 40)}


def test_the_official_file_is_imported_with_its_classes_and_history(opened):
    project, job = opened({"a.png": picture(60, 40)}, nested(("a.png", [1, 2, 10, 20])))
    assert job.result["annotations"]["imported"] == 1
    row = Annotation.objects.get(project=project)
    assert (row.geometry, row.state, row.label_class.name) == (
        {"type": "bbox", "bbox": [1, 2, 10, 20]},
        "confirmed",
        "Cell",
    )
    assert ImageStatus.objects.get(project=project).status == "in-progress"
    assert AnnotationHistory.objects.get().action == "import"


def test_flat_coco_is_imported_too(opened):
    coco = {
        "images": [{"id": 7, "file_name": "images/a.png", "width": 60, "height": 40}],
        "categories": [{"id": 5, "name": "Cell"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
            {"id": 2, "image_id": 8, "category_id": 5, "bbox": [1, 2, 3, 4]},
        ],
    }
    _, job = opened({"a.png": picture(60, 40)}, json.dumps(coco).encode())
    told = job.result["annotations"]
    assert (told["imported"], told["skipped"], told["total"]) == (1, 1, 2)
    assert "8" in told["errors"][0]["reason"]


def test_every_bad_entry_is_listed_and_the_others_come_in(opened):
    annotations = nested(
        ("a.png", [1, 2, 10, 20]), ("a.png", [1, 2, 0, 20]), ("a.png", [500, 500, 10, 10]), ("gone.png", [1, 1, 5, 5])
    )
    _, job = opened({"a.png": picture(60, 40)}, annotations)
    told = job.result["annotations"]
    assert (told["imported"], told["skipped"]) == (1, 3)
    assert len(told["errors"]) == 3 and all(entry["where"] and entry["reason"] for entry in told["errors"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b'{"images": [' + b"[" * 100_000])
def test_an_unreadable_official_file_fails_the_opening_and_says_why(opened, content):
    project, job = opened({"a.png": picture(60, 40)}, content)
    assert job.status == "failed" and "file" in job.error.lower(), job.error
    project.refresh_from_db()
    assert project.status == "failed" and Annotation.objects.count() == 0
    assert Image.objects.filter(project=project).count() == 1


def test_a_failed_opening_is_mended_by_importing_a_good_file(opened, put_object):
    project, _ = opened({"a.png": picture(60, 40)}, b"{")
    good = nested(("a.png", [1, 2, 10, 20]))
    put_object("platform", f"datasets/{DATASET}/annotations.json", good, "application/json")
    done = work.run(jobs.start("import", by="boss", project=project, params={}).pk)
    project.refresh_from_db()
    assert (done.result["imported"], project.status) == (1, "active")


def test_an_import_killed_after_its_commit_is_not_done_again(opened, put_object):
    project, _ = opened({"a.png": picture(60, 40)}, b"{")
    good = nested(("a.png", [1, 2, 10, 20]), ("a.png", [5, 2, 10, 20]))
    put_object("platform", f"datasets/{DATASET}/annotations.json", good, "application/json")
    first = jobs.start("import", by="boss", project=project, params={})
    broken_off(first)
    project.refresh_from_db()
    assert project.status == "active"
    editing.delete_annotation(Annotation.objects.earliest("pk").pk, by="boss")
    again = work.run(first.pk)
    assert (again.status, again.result["imported"]) == ("done", 2) and Annotation.objects.count() == 1
    second = jobs.start("import", by="boss", project=project, params={"force": True})
    broken_off(second)
    editing.delete_annotation(Annotation.objects.earliest("pk").pk, by="boss")
    assert work.run(second.pk).status == "done" and Annotation.objects.count() == 1


def test_a_file_of_another_task_is_told_and_imports_nothing(opened):
    other = json.loads(nested(("a.png", [1, 2, 10, 20]))) | {"task_type": "object_detection"}
    project, job = opened({"a.png": picture(60, 40)}, json.dumps(other).encode(), task="segmentation")
    assert job.status == "done" and "not for segmentation" in job.result["annotations"]["warnings"][0]["reason"]
    assert Annotation.objects.filter(project=project).count() == 0


def test_a_missing_or_empty_official_file_is_nothing_imported(opened):
    _, job = opened({"a.png": picture(60, 40)}, b"")
    assert job.status == "done" and job.result["annotations"]["imported"] == 0


def test_opening_again_after_a_crash_takes_nothing_twice(opened):
    _, job = opened({"a.png": picture(60, 40)}, nested(("a.png", [1, 2, 10, 20])))
    Job.objects.filter(pk=job.pk).update(status="running")
    again = work.run(job.pk)
    assert again.status == "done" and again.result["new_images"] == 0 and again.result["annotations"] is None
    assert (Image.objects.count(), Annotation.objects.count()) == (1, 1)
    editing.delete_batch([Annotation.objects.get().pk], by="boss")
    Job.objects.filter(pk=job.pk).update(status="running")
    assert work.run(job.pk).result["annotations"] is None and Annotation.objects.count() == 0


def test_a_rescan_adds_images_and_learns_sizes(opened, put_object):
    project, _ = opened({"a.png": b"\x89PNG broken"})
    put_object("platform", f"datasets/{DATASET}/images/a.png", picture(60, 40))
    put_object("platform", f"datasets/{DATASET}/images/b.png", picture(10, 20))
    job = work.run(jobs.start("rescan", by="boss", project=project).pk)
    assert (job.result["images"], job.result["new_images"]) == (2, 1)
    assert list(Image.objects.order_by("path").values_list("width", "height")) == [(60, 40), (10, 20)]


def test_names_that_could_not_be_keys_or_zip_entries_are_left_out(put_object, settings):
    world = a_world(count=0, dataset=DATASET)
    for name in ("ok.png", "tab\there.png", "back\\slash.png"):
        put_object("platform", f"datasets/{DATASET}/images/{name}", picture(6, 4))
    found = opening.load_images(world.project, report=lambda share: None)
    assert list(Image.objects.values_list("path", flat=True)) == ["ok.png"]
    assert found["left_out"] == ["back\\slash.png", "tab\there.png"]


def test_a_dataset_opened_again_goes_on_above_the_number_of_its_official_file(opened):
    project, _ = opened({"a.png": picture(60, 40)}, nested(("a.png", [1, 2, 10, 20])))
    first = publishing.advance(
        publishing.request_publish(project.tasks.get(), PublishWish(version_number="v4.0"), by="boss").pk
    )
    assert first.platform_status == "synced"
    opening.close_project(project, by="boss", force=True)
    again, job = opened({})
    assert again.pk != project.pk and job.result["annotations"]["imported"] == 1
    version = publishing.advance(publishing.request_publish(again.tasks.get(), PublishWish(), by="boss").pk)
    assert (version.version_number, version.platform_status) == ("v5.0", "synced")


def test_ids_of_datasets_that_could_not_be_keys_are_refused(platform_rows):
    platform_rows(datasets=[("../up", "Bad", 1)])
    a_user("boss", is_staff=True)
    body = {"name": "x", "dataset_id": "../up", "task_types": ["detection"]}
    answer = a_client("boss").post("/api/v1/projects", body, format="json")
    assert answer.status_code == 400 and "object name" in answer.json()["detail"]
    with pytest.raises(ExportError):
        opening.keys.safe("a/b")
    assert not Project.objects.exists()


def test_classes_given_at_opening_are_used_by_the_import(platform_rows, put_object):
    platform_rows(datasets=[(DATASET, "First", 1)])
    a_user("boss", is_staff=True)
    put_object("platform", f"datasets/{DATASET}/images/a.png", picture(60, 40))
    put_object("platform", f"datasets/{DATASET}/annotations.json", nested(("a.png", [1, 2, 10, 20])))
    classes = {"c1": {"name": "Cell", "color": "#00FF00"}, "c2": {"name": "Dust"}}
    body = {"name": "x", "dataset_id": DATASET, "task_types": ["detection"], "classes": classes}
    made = a_client("boss").post("/api/v1/projects", body, format="json").json()
    work.run(made["job_id"])
    assert list(LabelClass.objects.order_by("index").values_list("class_id", "name", "color")) == [
        ("c1", "Cell", "#00FF00"), ("c2", "Dust", "#808080")
    ]  # fmt: skip
    assert Annotation.objects.get().label_class.class_id == "c1"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"color": 5}, "color"),
        ({"color": "red"}, "color"),
        ({"supercategory": {"a": 1}}, "supercategory"),
        ({"description": ["x"]}, "description"),
        ({"keypoints": 5}, "keypoints"),
        ({"keypoints": ["a"], "skeleton": [[1]]}, "skeleton"),
        ({"keypoints": ["a"], "skeleton": [[1, 2]]}, "skeleton"),
        ({"order": "first"}, "order"),
        ({"name": ["A"]}, "name"),
    ],
)
@pytest.mark.parametrize("given", ["classes", "task_classes"])
def test_a_class_that_could_not_be_written_to_a_file_is_refused_with_its_field(platform_rows, given, entry, said):
    platform_rows(datasets=[(DATASET, "First", 1)])
    a_user("boss", is_staff=True)
    classes = {"c": {"name": "A", **entry}}
    body = {"name": "x", "dataset_id": DATASET, "task_types": ["detection"],
            given: classes if given == "classes" else {"detection": classes}}  # fmt: skip
    answer = a_client("boss").post("/api/v1/projects", body, format="json")
    assert answer.status_code == 400 and said in answer.json()["detail"], answer.content
    assert not Project.objects.exists()


SEGMENTS = f"datasets/{DATASET}/annotations_segmentation.json"


def published_before(tmp_path, version: str) -> None:
    """The official file of the second task, as a project now gone left it."""
    file = json.loads(nested(("a.png", [1, 2, 10, 20]))) | {"task_type": "instance_segmentation"}
    path = tmp_path / "official"
    path.write_text(json.dumps(file))
    metadata = {"version": version, "dataset_id": DATASET}
    api.put_latest("platform", SEGMENTS, path, content_type="application/json", sha256=api.sha256_of_file(path),
                   size=path.stat().st_size, metadata=metadata)  # fmt: skip


def test_every_task_begins_with_its_official_file_and_above_its_number(platform_rows, put_object, tmp_path):
    platform_rows(datasets=[(DATASET, "First", 1)])
    a_user("boss", is_staff=True)
    put_object("platform", f"datasets/{DATASET}/images/a.png", picture(60, 40))
    published_before(tmp_path, "v3.5")
    body = {"name": "x", "dataset_id": DATASET, "task_types": ["detection", "segmentation"]}
    made = a_client("boss").post("/api/v1/projects", body, format="json").json()
    job = work.run(made["job_id"])
    assert job.result["annotations"]["imported"] == 0
    assert job.result["further_tasks"]["segmentation"]["imported"] == 1
    task = Project.objects.get().tasks.get(task_type="segmentation")
    for taken in ("v1.0", "v3.6"):
        with pytest.raises(VersionExists, match=r"take v4\.0 or above"):
            publishing.request_publish(task, PublishWish(version_number=taken), by="boss")
    version = publishing.advance(publishing.request_publish(task, PublishWish(), by="boss").pk)
    assert (version.version_number, version.platform_status) == ("v4.0", "synced")


def test_one_broken_file_keeps_no_other_task_from_its_own(platform_rows, put_object, tmp_path):
    platform_rows(datasets=[(DATASET, "First", 1)])
    a_user("boss", is_staff=True)
    put_object("platform", f"datasets/{DATASET}/images/a.png", picture(60, 40))
    put_object("platform", f"datasets/{DATASET}/annotations.json", b'{"images": [')
    published_before(tmp_path, "v3.0")
    body = {"name": "x", "dataset_id": DATASET, "task_types": ["detection", "segmentation"]}
    made = a_client("boss").post("/api/v1/projects", body, format="json").json()
    assert work.run(made["job_id"]).status == "failed"
    project = Project.objects.get()
    assert project.status == "failed" and Annotation.objects.get().task_type == "segmentation"
    assert project.tasks.get(task_type="segmentation").number_floor == 3


def test_a_task_that_is_added_later_goes_on_above_its_official_file_too(opened, tmp_path):
    project, _ = opened({"a.png": picture(60, 40)})
    published_before(tmp_path, "v2.0")
    address = f"/api/v1/projects/{project.pk}/task-types"
    answer = a_client("boss").post(address, {"task_type": "segmentation"}, format="json")
    assert answer.json()["task_types"] == ["detection", "segmentation"]
    assert project.tasks.get(task_type="segmentation").number_floor == 2
    assert a_client("boss").post(address, {"task_type": "segmentation"}, format="json").status_code == 409
