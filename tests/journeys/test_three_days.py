"""The customer's own three days (their strategy document, section 9.1).

Where our save rule (due at ten images newly confirmed since the last save, nothing saved twice) gives other
numbers than the document, the comment says why.
"""

from __future__ import annotations

import json
import urllib.request

from tests.journeys import days
from tests.system import Api, RunningSystem


def test_three_days_of_a_hundred_images(systems):
    system = systems("folder")
    days.a_dataset(system, 100)
    system.start()
    olga, ann = system.person("olga", staff=True), system.person("ann")
    project = days.a_project(olga)
    olga("POST", f"/projects/{project}/members", {"user_id": "ann", "role": "annotator"}, expect=201)
    images = days.paths(olga, project)
    assert len(images) == 100 and olga("GET", f"/projects/{project}")["total_annotations"] == 0

    day_one(system, ann, project, images)
    day_two(system, olga, ann, project, images)
    day_three(system, olga, ann, project, images)


def day_one(system: RunningSystem, ann: Api, project: str, images: list[str]) -> None:
    for image in images[:10]:
        days.draw(ann, project, image)
        days.confirm_one(ann, project, image)
    assert days.saved(system, ann, project, "v0.1")["annotation_count"] == 50
    for image in images[10:30]:
        days.draw(ann, project, image)
    # The document makes one save of these twenty, which is what one request for all of them gives; confirmed one by
    # one they are two tens and would be v0.2 and v0.3.
    days.confirm(ann, project, images[10:30])
    assert days.saved(system, ann, project, "v0.2")["annotation_count"] == 150
    # The document saves v0.3 at the browser's close whatever was done since; we skip a save of nothing new, so
    # there must be something new: a box drawn and not confirmed.
    days.draw(ann, project, images[30], count=1)
    assert close_browser(ann, project)["status"] == "queued"
    closing = days.saved(system, ann, project, "v0.3")
    assert (closing["trigger"], closing["annotation_count"], closing["image_count"]) == ("beforeunload", 151, 31)
    assert close_browser(ann, project) == {
        "status": "unchanged", "job_id": None, "version_number": "v0.3",
        "last_saved_at": ann("GET", f"/projects/{project}/working-version")["last_saved_at"],
    }  # fmt: skip


def close_browser(ann: Api, project: str) -> dict:
    """What ``navigator.sendBeacon`` sends: no header of ours, JSON as plain text, the token in it."""
    token = ann("GET", f"/projects/{project}/working-version")["beacon_token"]
    request = urllib.request.Request(
        f"{ann.address}/api/v1/projects/{project}/working-version/save",
        data=json.dumps({"trigger": "beforeunload", "beacon_token": token}).encode(),
        headers={"Content-Type": "text/plain;charset=UTF-8"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202
        return json.loads(answer.read())


def day_two(system: RunningSystem, olga: Api, ann: Api, project: str, images: list[str]) -> None:
    stats = ann("GET", f"/projects/{project}/stats")["task_stats"][0]
    assert (stats["completed"], stats["in_progress"]) == (30, 1)
    ann(
        "DELETE",
        f"/annotations/{ann('GET', f'/annotations/project/{project}?image_id={images[30]}')[0]['id']}",
        expect=204,
    )
    for ten in range(7):
        for image in images[30 + 10 * ten : 40 + 10 * ten]:
            days.draw(ann, project, image)
            days.confirm_one(ann, project, image)
        days.saved(system, ann, project, f"v0.{4 + ten}")
    first = olga("POST", f"/projects/{project}/versions/publish", {}, expect=201)
    assert (first["version_number"], first["annotation_count"], first["image_count"]) == ("v1.0", 500, 100)
    days.published(system, olga, project, first["id"])
    assert system.query("SELECT count(*) FROM annotation_snapshots")[0][0] == 500
    assert f"exports/{project}/v1.0/annotations_yolo.zip" in system.keys("labeler")
    # A publish makes a save due; as nothing changed since v0.10 it gets no number.
    days.quiet(system, olga, project)


def day_three(system: RunningSystem, olga: Api, ann: Api, project: str, images: list[str]) -> None:
    before = {key: system.read_object("labeler", key) for key in system.keys("labeler") if "/v1.0/" in key}
    for half, number in ((images[:25], "v0.11"), (images[25:50], "v0.12")):
        for image in half:
            ann("POST", f"/projects/{project}/images/{image}/unconfirm", {})
            row = ann("GET", f"/annotations/project/{project}?image_id={image}")[0]
            moved = {"geometry": {"type": "bbox", "bbox": [11, 21, 25, 40]}, "version": row["version"]}
            ann("PATCH", f"/annotations/{row['id']}", moved)
        # As on the first day: each half is confirmed in one request, so it is one save.
        days.confirm(ann, project, half)
        days.saved(system, ann, project, number)
    second = olga("POST", f"/projects/{project}/versions/publish", {}, expect=201)
    assert second["version_number"] == "v2.0"
    days.published(system, olga, project, second["id"])
    assert system.query("SELECT count(DISTINCT image_id) FROM annotation_snapshots WHERE opened = 2")[0][0] == 50
    official = json.loads(system.read_object("platform", f"datasets/{days.DATASET}/annotations.json"))
    assert official["version"] == "v2.0"
    assert before == {key: system.read_object("labeler", key) for key in before} and len(before) == 5
    numbers = [
        v["version_number"] for v in olga("GET", f"/projects/{project}/versions?version_type=working")["versions"]
    ]
    assert numbers == [f"v0.{number}" for number in range(12, 0, -1)]
    back = olga("POST", f"/projects/{project}/rollback", {"version_id": "v1.0"}, expect=201)
    assert (back["version_number"], back["annotation_count"]) == ("v3.0", 500)
