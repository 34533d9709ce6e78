"""Rows of the fault table (docs/reliability.md) that only a running system can show, one by one."""

from __future__ import annotations

import threading
import time

import pytest

from tests.faults import runs
from tests.faults.stage import dice_boxes
from tests.system import in_path

pytestmark = pytest.mark.long


def timed(act) -> float:
    """Seconds it took."""
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


@pytest.mark.parametrize("mode", ["refuse", "blackhole"])
def test_without_a_broker_every_request_is_acknowledged_soon_and_the_work_is_done_later(stage, job, mode):
    stage.broker.mode = mode
    stage.broker.cut()
    for image in (1, 2, 3):
        job.draw(image, image)
    # Three confirmed images make a save due; the publish is a row.
    slowest = max(timed(lambda image=image: job.confirm(image)) for image in (1, 2, 3))
    assert slowest < 5 and timed(job.publish) < 5
    assert stage.broker.did(mode) > 0
    stage.broker.heal()
    stage.broker.cut()
    job.heal()
    job.prove()
    assert stage.olga("GET", f"/projects/{job.id}/working-version")["dirty"] is False


def test_a_flushed_broker_costs_no_publish_and_no_save(stage, job):
    stage.system.kill("worker")
    job.draw(1, 1)
    job.confirm(1)
    job.publish()
    job.save()
    runs.flush(stage)
    stage.restart("worker")
    job.heal()
    job.prove()


def test_a_publish_waits_for_no_pile_of_saves(stage, job):
    stage.system.kill("worker")
    job.draw(1, 1)
    job.confirm(1)
    runs.pile_up_saves(stage, job.id, 2000)
    job.publish()
    stage.restart("worker")
    job.heal()
    assert runs.saves_waiting(stage) > 0
    job.prove()


def test_without_a_scheduler_nudges_do_and_two_of_them_do_no_harm(stage, job):
    stage.system.kill("beat")
    job.draw(1, 1)
    job.confirm(1)
    job.publish()
    job.save()
    stage.restart("beat")
    first = stage.system.children.pop("beat")
    stage.restart("beat")
    try:
        job.draw(2, 2)
        job.confirm(2)
        job.publish()
        job.heal()
    finally:
        first.stop()
    job.prove()


@pytest.mark.parametrize("kind", ["status", "drop_before", "drop_after", "truncate"])
def test_every_request_of_a_publish_and_a_save_may_fail_and_all_is_done(stage, job, kind):
    # Twice each: the client of the store tries twice by itself, so that the step itself fails once.
    paths = [rf"exports/{job.id}/v1.0/{name}" for name in ("annotations_dice", "annotations_coco", "annotations_yolo",
                                                           "frozen_rows", "manifest")]  # fmt: skip
    paths += [rf"exports/{job.id}/working/", rf"datasets/{job.dataset}/working/annotations",
              rf"datasets/{job.dataset}/working/metadata"]  # fmt: skip
    faults = [stage.labeler.strike(kind, "PUT", path, times=2) for path in paths]
    faults.append(stage.platform.strike(kind, "PUT", rf"datasets/{job.dataset}/annotations", times=2))
    job.draw(1, 1)
    job.confirm(1)
    job.publish()
    job.heal(240)
    assert all(fault.struck for fault in faults), [fault.path for fault in faults if not fault.struck]
    job.prove()


def test_a_store_that_is_away_costs_nobody_a_request_and_the_platforms_only_the_official_file(stage, job):
    job.draw(1, 1)
    job.confirm(1)
    away = [stage.platform.strike("status", method, rf"datasets/{job.dataset}/annotations", times=None)
            for method in ("HEAD", "PUT", "GET")]  # fmt: skip
    number = job.publish()
    where = f"/projects/{job.id}/versions/{job.version_ids[number]}"
    version = stage.system.wait(
        lambda: (v := stage.olga("GET", where))["platform_sync"]["last_error"] and v, "a failed sync"
    )
    assert version["status"] == "ready" and version["platform_sync"]["status"] == "pending"
    assert len(version["exports"]) == 3 and any(fault.struck for fault in away)
    job.draw(2, 2)
    job.confirm(2)
    job.publish()
    stage.calm()
    job.heal()
    job.prove()
    states = dict(stage.query("SELECT version_number, platform_status FROM annotation_versions WHERE project_id = %s"
                              " AND version_type = 'published'", job.id))  # fmt: skip
    assert states["v2.0"] == "synced" and states["v1.0"] in ("synced", "superseded")


def test_a_store_that_does_not_answer_holds_up_no_request(stage, job):
    job.draw(1, 1)
    held = [stage.labeler.strike("hold", method, job.id, times=None) for method in ("PUT", "HEAD", "GET", "POST")]
    slowest = max(timed(lambda: job.confirm(1)), timed(job.publish), timed(job.save), timed(lambda: job.draw(2, 2)))
    assert slowest < 5
    stage.system.wait(lambda: any(fault.struck for fault in held), "a request that waits")
    stage.calm()
    job.heal()
    job.prove()


def test_a_late_official_file_does_not_undo_a_newer_one(stage, job):
    def another(place: int) -> None:
        job.draw(place, place)
        job.confirm(place)
        job.publish()
        job.heal()

    # The first is written only if nothing is there; those after it only over what they saw.
    another(1)
    late = stage.platform.strike("late", "PUT", rf"datasets/{job.dataset}/annotations\.json")
    another(2)
    another(3)
    late.release.set()
    assert late.landed.wait(30) and late.outcome == 412, "the store itself refused it"
    job.prove()


def test_twenty_publishes_at_once_are_as_many_numbers(stage, job):
    job.draw(1, 1)
    job.confirm(1)
    wish = {"allow_empty": True}
    got: list[dict] = []
    asking = [threading.Thread(target=lambda: got.append(
        stage.olga("POST", f"/projects/{job.id}/versions/publish", wish, expect=201))) for _ in range(20)]  # fmt: skip
    for each in asking:
        each.start()
    for each in asking:
        each.join(120)
    assert sorted(int(v["version_number"][1:-2]) for v in got) == list(range(1, 21))
    for version in got:
        job.published[version["version_number"]] = {pk: box for pk, (box, _) in job.boxes.items()}
        job.version_ids[version["version_number"]] = version["id"]
    job.heal(180)
    job.prove()


def test_a_version_is_one_instant_while_people_edit(stage, job):
    """Every client keeps the boxes of its image in step, in one request: in no version may two of them differ."""
    ending = threading.Event()
    pairs = {image: [job.draw(image, 1), job.draw(image, 1)] for image in (1, 2, 3)}

    def edits(image: int) -> None:
        ids, place = pairs[image], 1
        while not ending.is_set():
            place += 1
            changes = [{"id": pk, "geometry": {"type": "bbox", "bbox": [place % 250, 10, 20, 30]}}
                       for pk in ids]  # fmt: skip
            stage.olga("POST", "/annotations/batch-update", {"updates": changes, "atomic": True})
            stage.olga("POST", f"/projects/{job.id}/images/{in_path(f'{image}.png')}/confirm", {})

    clients = [threading.Thread(target=edits, args=[image], daemon=True) for image in pairs]
    for each in clients:
        each.start()
    versions = [stage.olga("POST", f"/projects/{job.id}/versions/publish", {"include_draft": True}, expect=201)
                for _ in range(6)]  # fmt: skip
    ending.set()
    for each in clients:
        each.join(30)
    job.heal()
    for version in versions:
        whole = stage.olga("GET", f"/projects/{job.id}/versions/{version['id']}")
        boxes = dice_boxes(stage.olga.download(whole["exports"][0]["download_url"]))
        assert len(boxes) == 6
        for one, other in pairs.values():
            assert boxes[one] == boxes[other], whole["version_number"]
    assert stage.findings(job.id) == []
