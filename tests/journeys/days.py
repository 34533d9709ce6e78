"""Steps that several journeys share: generated images, a project, boxes, confirming."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

from PIL import Image as Picture

from tests.system import Api, RunningSystem, in_path

DATASET = "ds_generated"
WIDTH, HEIGHT = 320, 240


def a_dataset(system: RunningSystem, images: int) -> None:
    """Generated images in the platform store, no annotations."""
    for number in range(1, images + 1):
        out = BytesIO()
        Picture.new("RGB", (WIDTH, HEIGHT), (number % 256, 90, 160)).save(out, "PNG")
        system.put_object("platform", f"datasets/{DATASET}/images/line-a/{number:04}.png", out.getvalue())
    system.put_platform_rows([(DATASET, "Generated", images)], [("olga", "Olga", None), ("ann", "Ann", None)])


def a_project(olga: Api) -> str:
    """The dataset as a project with one class, loaded."""
    made = olga(
        "POST",
        "/projects",
        {
            "name": "Generated",
            "dataset_id": DATASET,
            "task_types": ["detection"],
            "classes": {"cell": {"name": "Cell", "color": "#AA0000"}},
        },
        expect=201,
    )
    wait_for_job(olga, made["job_id"])
    return made["id"]


def wait_for_job(api: Api, job_id: str) -> dict[str, Any]:
    """The job once it is done; fails when it failed."""
    for _ in range(600):
        job = api("GET", f"/jobs/{job_id}")
        assert job["status"] != "failed", job
        if job["status"] == "done":
            return job
        time.sleep(0.1)
    raise AssertionError(f"the job is still {job}")


def paths(api: Api, project: str) -> list[str]:
    """All image ids in list order."""
    return [image["id"] for image in api("GET", f"/projects/{project}/images?limit=200")["images"]]


def a_box(project: str, image: str, number: int) -> dict[str, Any]:
    """The body of a box; each number has its own place."""
    return {
        "project_id": project,
        "image_id": image,
        "annotation_type": "bbox",
        "geometry": {"type": "bbox", "bbox": [10 + 30 * number, 20, 25, 40]},
        "class_id": "cell",
    }


def draw(api: Api, project: str, image: str, count: int = 5) -> list[int]:
    """Some boxes on an image; their ids."""
    boxes = [a_box(project, image, number) for number in range(count)]
    answer = api("POST", "/annotations/batch", {"annotations": boxes, "atomic": True})
    return answer["annotation_ids"]


def confirm(api: Api, project: str, images: list[str]) -> dict[str, Any]:
    """Confirm images in one request."""
    answer = api("POST", f"/projects/{project}/images/bulk-confirm", {"image_ids": images})
    assert answer["failed"] == 0, answer
    return answer


def confirm_one(api: Api, project: str, image: str) -> dict[str, Any]:
    """Confirm one image."""
    return api("POST", f"/projects/{project}/images/{in_path(image)}/confirm", {})


def saved(system: RunningSystem, api: Api, project: str, number: str) -> dict[str, Any]:
    """The working version of that number, once it is the last one."""

    def last() -> dict[str, Any] | None:
        version = api("GET", f"/projects/{project}/working-version")["version"]
        return version if version and version["version_number"] == number else None

    return system.wait(last, f"working save {number}")


def published(system: RunningSystem, api: Api, project: str, version_id: int) -> dict[str, Any]:
    """The published version, once it is ready and official."""

    def whole() -> dict[str, Any] | None:
        version = api("GET", f"/projects/{project}/versions/{version_id}")
        settled = version["platform_sync"]["status"] in ("synced", "superseded")
        return version if version["status"] == "ready" and settled else None

    return system.wait(whole, f"version {version_id} whole and official")


def quiet(system: RunningSystem, api: Api, project: str) -> None:
    """Wait until every save that is due is made and every record is written."""

    def is_quiet() -> bool:
        owed = system.query(
            "SELECT (SELECT count(*) FROM save_states WHERE requested_at IS NOT NULL) + (SELECT count(*) FROM projects"
            " WHERE record_revision <> recorded_revision OR images_revision <> images_recorded_revision)"
        )[0][0]
        return not owed and not api("GET", f"/projects/{project}/working-version")["dirty"]

    system.wait(is_quiet, "the last save and the last record")
