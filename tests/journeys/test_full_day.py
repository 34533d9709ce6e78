"""A day in its life (design.md section 2) over HTTP, up to the loss of the database and the way back."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pycocotools.coco import COCO

from tests.journeys import days
from tests.journeys.conftest import S3
from tests.system import ROOT, Api, RunningSystem, in_path

SAMPLE = ROOT / "labeler" / "demo" / "blood-cells"
DATASET = "ds_bccd_sample"
SCHEMA = json.loads((ROOT / "tests" / "golden" / "contract" / "dice-1.0.schema.json").read_text())
TRUTH = {
    image["file_name"]: image["annotations"]
    for image in json.loads((SAMPLE / "ground-truth.json").read_text())["images"]
}

# What may differ after the database was lost, and why.
RENEWED = {
    "url", "download_url", "download_url_expires_at", "beacon_token", "beacon_token_expires_at",  # made at every read
}  # fmt: skip
FORGOTTEN = {
    "synced_at", "attempts",  # platform_sync: the store knows that it was written, not how often it was tried
}  # fmt: skip


# The other journeys run on folders, so a whole day on them is for those who have the time.
@pytest.mark.parametrize("stores", [pytest.param("folder", marks=pytest.mark.long), S3])
def test_a_day_with_the_sample_dataset(systems, stores, tmp_path):
    system = systems(stores)
    lay_out_dataset(system)
    system.start()
    olga, ann = system.person("olga", staff=True), system.person("ann")

    project = open_dataset(olga)
    label_until_saved(system, olga, ann, project)
    first = publish_whole(system, olga, project, tmp_path)
    second = publish_again(system, olga, ann, project, first)
    restore_first(system, olga, project, first)
    lose_the_database(system, olga, project, [first, second])


# 1. A dataset is opened -------------------------------------------------------------------------


def lay_out_dataset(system: RunningSystem) -> None:
    for path in sorted((SAMPLE / "images").iterdir()):
        system.put_object("platform", f"datasets/{DATASET}/images/{path.name}", path.read_bytes())
    system.put_object("platform", f"datasets/{DATASET}/annotations.json", (SAMPLE / "annotations.json").read_bytes())
    people = [("olga", "Olga Owner", "o@example.org"), ("ann", "Ann Otator", "a@example.org")]
    system.put_platform_rows([(DATASET, "BCCD blood cells (sample)", 40)], people)


def open_dataset(olga: Api) -> str:
    made = olga(
        "POST",
        "/projects",
        {"name": "Blood cells", "description": "혈액 세포", "dataset_id": DATASET, "task_types": ["detection"]},
        expect=201,
    )
    job = days.wait_for_job(olga, made["job_id"])
    assert job["result"]["images"] == 40
    assert job["result"]["most_bytes_of_an_image"] <= 64 * 1024
    assert job["result"]["bytes_fetched"] <= 40 * 64 * 1024
    told = {"imported": 242, "skipped": 0, "total": 242, "warned": 0, "errors": [], "warnings": []}
    assert job["result"]["annotations"] == told
    project = olga("GET", f"/projects/{made['id']}")
    assert (project["status"], project["total_images"], project["annotated_images"]) == ("active", 40, 16)
    images = olga("GET", f"/projects/{made['id']}/images?limit=200")["images"]
    assert {(image["width"], image["height"]) for image in images} == {(640, 480)}
    assert olga.download(images[0]["url"]) == (SAMPLE / "images" / images[0]["id"]).read_bytes()
    olga("POST", f"/projects/{made['id']}/members", {"user_id": "ann", "role": "annotator"}, expect=201)
    return made["id"]


# 2. and 3. Labeling, confirming, the first autosave ---------------------------------------------


def label_until_saved(system: RunningSystem, olga: Api, ann: Api, project: str) -> None:
    images = [image["id"] for image in olga("GET", f"/projects/{project}/images?limit=200")["images"]]
    for number, image in enumerate(images[:9], start=1):
        assert confirm(ann, project, image)["auto_save"] == {
            "queued": False, "confirmed_since_save": number, "threshold": 10
        }  # fmt: skip
    assert ann("GET", f"/projects/{project}/working-version")["version"] is None
    assert confirm(ann, project, images[9])["auto_save"]["queued"] is True
    saved = system.wait(
        lambda: ann("GET", f"/projects/{project}/working-version")["version"], "the tenth confirmation's save"
    )
    assert (saved["version_number"], saved["trigger"], saved["annotation_count"]) == ("v0.1", "images", 242)
    for image in images[10:30]:
        draw_missing(ann, project, image)
        confirm(ann, project, image)
    following = ann("GET", f"/projects/{project}/images/next")
    assert following["id"] == images[30]
    for image in images[30:]:
        draw_missing(ann, project, image)
    answer = ann("POST", f"/projects/{project}/images/bulk-confirm", {"image_ids": images[30:]})
    assert (answer["confirmed"], answer["failed"]) == (10, 0)
    assert ann.send("GET", f"/projects/{project}/images/next")[0] == 204
    stats = ann("GET", f"/projects/{project}/stats")["task_stats"][0]
    assert (stats["completed"], stats["in_progress"], stats["not_started"]) == (40, 0, 0)


def confirm(api: Api, project: str, image: str) -> dict[str, Any]:
    return api("POST", f"/projects/{project}/images/{in_path(image)}/confirm", {})


def draw_missing(ann: Api, project: str, image: str) -> None:
    present = {
        tuple(each["geometry"]["bbox"])
        for each in ann("GET", f"/annotations/project/{project}?image_id={image}&limit=1000")
    }
    bodies = [
        {
            "project_id": project,
            "image_id": image,
            "annotation_type": "bbox",
            "geometry": {"type": "bbox", "bbox": box["bbox"]},
            "class_name": box["class_name"],
        }
        for box in TRUTH[image]
        if tuple(box["bbox"]) not in present
    ]
    if bodies:
        answer = ann("POST", "/annotations/batch", {"annotations": bodies, "atomic": True})
        assert answer["created"] == len(bodies)


# 4. Publishing --------------------------------------------------------------------------------


def publish_whole(system: RunningSystem, olga: Api, project: str, folder: Path) -> dict[str, Any]:
    preview = olga("GET", f"/projects/{project}/versions/publish/preview")
    assert (preview["next_version_number"], preview["annotation_count"], preview["image_count"]) == ("v1.0", 546, 40)
    assert (preview["blockers"], preview["warnings"]) == ([], [])
    version = publish(olga, project, {"description": "첫 버전"})
    assert (version["version_number"], version["annotation_count"], version["image_count"]) == ("v1.0", 546, 40)
    version = wait_for_sync(system, olga, project, version)
    files = download_all(olga, version)
    assert system.read_object("platform", f"datasets/{DATASET}/annotations.json") == files["dice"]
    check_official_metadata(system, version)
    check_agreement(files, folder)
    return {**version, "bytes": files}


def publish(olga: Api, project: str, body: dict[str, Any]) -> dict[str, Any]:
    version = olga("POST", f"/projects/{project}/versions/publish?wait=20", body, expect=201)
    assert version["status"] == "ready", version
    return version


def wait_for_sync(system: RunningSystem, olga: Api, project: str, version: dict[str, Any]) -> dict[str, Any]:
    def synced() -> dict[str, Any] | None:
        found = olga("GET", f"/projects/{project}/versions/{version['id']}")
        return found if found["platform_sync"]["status"] == "synced" else None

    return system.wait(synced, "the official file")


def download_all(olga: Api, version: dict[str, Any]) -> dict[str, bytes]:
    assert [file["format"] for file in version["exports"]] == ["dice", "coco", "yolo"]
    files = {}
    for file in version["exports"]:
        content = olga.download(file["download_url"])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size_bytes"], file["sha256"])
        told = olga("GET", f"/versions/{version['id']}/download?format={file['format']}")
        assert (told["sha256"], told["size_bytes"]) == (file["sha256"], file["size_bytes"])
        assert olga.download(told["download_url"]) == content
        files[file["format"]] = content
    return files


def check_official_metadata(system: RunningSystem, version: dict[str, Any]) -> None:
    key = f"datasets/{DATASET}/annotations.json"
    if system.stores == "folder":
        sides = [json.loads(path.read_text()) for path in (system.folder / "platform-store/.store/meta").glob("*.json")]
        found = next(side for side in sides if side["metadata"].get("version"))
        content_type, metadata = found["content_type"], found["metadata"]
    else:
        found = system.client("platform").head_object(Bucket=system.buckets["platform"]["bucket_name"], Key=key)
        content_type = found["ContentType"]
        # Ceph gives underscores back as dashes.
        metadata = {name.replace("-", "_"): value for name, value in found["Metadata"].items()}
    assert content_type == "application/json"
    assert (metadata["dataset_id"], metadata["version"]) == (DATASET, version["version_number"])
    assert metadata["updated_at"].replace("%3A", ":") == version["created_at"]


def check_agreement(files: dict[str, bytes], folder: Path) -> None:
    """DICE validates, COCO loads, YOLO's boxes are DICE's: annotation by annotation."""
    dice = json.loads(files["dice"])
    jsonschema.validate(dice, SCHEMA)
    assert dice["statistics"]["total_annotations"] == 546
    path = folder / "coco.json"
    path.write_bytes(files["coco"])
    coco = COCO(str(path))
    assert (len(coco.imgs), len(coco.anns), len(coco.cats)) == (40, 546, 3)
    with zipfile.ZipFile(BytesIO(files["yolo"])) as yolo:
        for image in dice["images"]:
            lines = yolo.read(f"labels/{image['file_name'].removesuffix('.jpg')}.txt").decode().splitlines()
            assert len(lines) == len(image["annotations"])
            for entry, line in zip(image["annotations"], lines, strict=True):
                agrees(entry, coco.anns[entry["id"]], line, image)


def agrees(entry: dict[str, Any], coco: dict[str, Any], line: str, image: dict[str, Any]) -> None:
    x, y, w, h = entry["bbox"]
    assert (coco["bbox"], coco["area"], coco["category_id"]) == ([x, y, w, h], w * h, entry["class_id"] + 1)
    number, *values = line.split()
    wanted = [(x + w / 2) / image["width"], (y + h / 2) / image["height"], w / image["width"], h / image["height"]]
    assert int(number) == entry["class_id"]
    assert [float(value) for value in values] == pytest.approx(wanted, abs=1e-6)


# 5. Work goes on --------------------------------------------------------------------------------


def publish_again(system: RunningSystem, olga: Api, ann: Api, project: str, first: dict[str, Any]) -> dict[str, Any]:
    frozen_before = system.query("SELECT count(*) FROM annotation_snapshots")[0][0]
    images = [image["id"] for image in olga("GET", f"/projects/{project}/images?limit=3")["images"]]
    changed = 0
    for image in images:
        rows = ann("GET", f"/annotations/project/{project}?image_id={image}")
        x, y, w, h = rows[0]["geometry"]["bbox"]
        body = {"geometry": {"type": "bbox", "bbox": [x, y, w - 1, h - 1]}, "version": rows[0]["version"]}
        assert ann("PATCH", f"/annotations/{rows[0]['id']}", body)["annotation_state"] == "draft"
        confirm(ann, project, image)
        changed += 1
    ann("DELETE", f"/annotations/{rows[1]['id']}", expect=204)
    confirm(ann, project, images[2])
    second = publish(olga, project, {"export_formats": ["dice", "coco", "yolo"]})
    assert (second["version_number"], second["annotation_count"]) == ("v2.0", 545)
    second = wait_for_sync(system, olga, project, second)
    opened = system.query("SELECT count(*) FROM annotation_snapshots")[0][0] - frozen_before
    assert opened == changed == 3
    again = olga("GET", f"/projects/{project}/versions/v1.0")
    assert [file["sha256"] for file in again["exports"]] == [file["sha256"] for file in first["exports"]]
    assert download_all(olga, again) == first["bytes"]
    assert system.read_object("platform", f"datasets/{DATASET}/annotations.json") != first["bytes"]["dice"]
    said = system.manage("verify_artifacts", "--project", project)
    assert said.count("rebuilt byte for byte") == 2 * 4 and "are what was recorded" in said
    for method in ("PUT", "PATCH", "DELETE"):
        olga(method, f"/projects/{project}/versions/{first['id']}", {}, expect=405)
    return {**second, "bytes": download_all(olga, second)}


def restore_first(system: RunningSystem, olga: Api, project: str, first: dict[str, Any]) -> None:
    body = {"source": "version", "version_id": first["id"]}
    would = olga("POST", f"/projects/{project}/restore", body)
    assert (would["added"], would["updated"], would["removed"], would["unchanged"]) == (1, 3, 0, 542)
    assert olga("GET", f"/projects/{project}")["total_annotations"] == 545
    done = olga("POST", f"/projects/{project}/restore", {**body, "dry_run": False})
    assert (done["added"], done["updated"], done["removed"], done["unchanged"]) == (1, 3, 0, 542)
    export = olga("POST", f"/projects/{project}/export?wait=20", {"export_formats": ["dice", "coco"]})
    live = json.loads(olga.download(export["exports"][0]["download_url"]))
    assert boxes(live) == boxes(json.loads(first["bytes"]["dice"]))


def boxes(dice: dict[str, Any]) -> list[tuple]:
    return [
        (image["file_name"], entry["id"], entry["bbox"], entry["class_name"], entry["state"])
        for image in dice["images"]
        for entry in image["annotations"]
    ]


# 6. The database is lost --------------------------------------------------------------------------


def lose_the_database(system: RunningSystem, olga: Api, project: str, versions: list[dict[str, Any]]) -> None:
    days.quiet(system, olga, project)
    before = every_answer(olga, project)
    system.stop()
    drop(system)
    system.environment |= {"DATABASE_URL": system.new_database(), "LABELER_SECRET_KEY": secrets.token_urlsafe(60)}
    system.manage("migrate", "--verbosity", "0")
    would = system.manage("rebuild_from_stores", "--dry-run")
    assert f"{project}: would be rebuilt; 40 images, 546 annotations, versions v1.0, v2.0" in would
    said = system.manage("rebuild_from_stores")
    assert f"{project}: rebuilt; 40 images, 546 annotations, versions v1.0, v2.0" in said
    assert "already in the database" in system.manage("rebuild_from_stores")
    system.start()
    olga = system.person("olga", staff=True)
    after = every_answer(olga, project)
    assert sorted(before) == sorted(after)
    for route in before:
        assert after[route] == before[route], route
    for version in versions:
        again = olga("GET", f"/projects/{project}/versions/{version['version_number']}")
        assert download_all(olga, again) == version["bytes"]
    assert "are what was recorded" in system.manage("verify_artifacts")
    assert system.manage("recount_progress", "--dry-run").count("0 differ") == 1
    third = publish(olga, project, {})
    assert third["version_number"] == "v3.0" and third["id"] > max(version["id"] for version in versions)


def drop(system: RunningSystem) -> None:
    import psycopg

    name = system.environment["DATABASE_URL"].rpartition("/")[2]
    with psycopg.connect(os.environ["TEST_SERVER_URL"], autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def every_answer(api: Api, project: str) -> dict[str, Any]:
    """What every GET route says of the project, without what RENEWED and FORGOTTEN name."""
    base = f"/projects/{project}"
    routes = [
        "/projects", base, f"{base}/stats", f"{base}/classes", f"{base}/members", f"{base}/images?limit=200",
        f"{base}/images?status=completed", f"{base}/images/status?limit=200", f"{base}/images/next?status=completed",
        f"{base}/working-version", f"{base}/versions?limit=200", f"{base}/versions/publish/preview",
        f"{base}/versions/v1.0/snapshots?limit=1000", f"{base}/versions/v2.0/snapshots?limit=1000",
        f"/annotations/project/{project}?limit=1000", f"/datasets/{DATASET}/project", "/datasets", "/me",
    ]  # fmt: skip
    answers = {route: api("GET", route) for route in routes}
    for version in answers[f"{base}/versions?limit=200"]["versions"]:
        answers[f"version {version['id']}"] = api("GET", f"{base}/versions/{version['id']}")
        forget_old_sync(answers[f"version {version['id']}"])
    for row in answers[f"/annotations/project/{project}?limit=1000"][:20]:
        answers[f"annotation {row['id']}"] = api("GET", f"/annotations/{row['id']}")
    for version in answers[f"{base}/versions?limit=200"]["versions"]:
        forget_old_sync(version)
    for status in answers[f"{base}/images/status?limit=200"]["statuses"]:
        # The number of a progress row is nobody's handle: project, image and task name it.
        del status["id"]
    return {route: without(answer, RENEWED | FORGOTTEN) for route, answer in answers.items()}


def forget_old_sync(version: dict[str, Any]) -> None:
    """Of v1.0 the official file only tells that a newer version replaced it (superseded); that it once was official
    itself (synced) stood in the lost database alone."""
    if version.get("version_number") == "v1.0":
        assert version["platform_sync"].pop("status") in ("synced", "superseded")


def without(answer: Any, names: set[str]) -> Any:
    if isinstance(answer, dict):
        return {name: without(value, names) for name, value in answer.items() if name not in names}
    return [without(each, names) for each in answer] if isinstance(answer, list) else answer
