"""``kill -9`` at the worst moments: the rows say what is owed, and a new worker finishes it alone."""

from __future__ import annotations

import hashlib
import os

import pytest

from tests.journeys import days
from tests.proxy import Proxy


@pytest.fixture
def proxy():
    made = Proxy(os.environ["TEST_S3_MOTO"])
    yield made
    made.stop()


@pytest.mark.parametrize("part", ["v1.0/annotations_coco.json", "v1.0/manifest.json", "ds_generated/annotations.json"])
def test_a_worker_killed_while_it_uploads_is_made_good_by_the_next(systems, proxy, part):
    system = systems("moto")
    system.environment |= {"LABELER_STORE_ENDPOINT": proxy.endpoint, "PLATFORM_STORE_ENDPOINT": proxy.endpoint}
    days.a_dataset(system, 4)
    system.start()
    olga = system.person("olga", staff=True)
    project = days.a_project(olga)
    images = days.paths(olga, project)
    for image in images:
        days.draw(olga, project, image)
    days.confirm(olga, project, images)
    # The versioned part of the key keeps the hold to the step in question.
    proxy.holding = lambda method, path: method == "PUT" and path.endswith(part) and "working" not in path
    version = olga("POST", f"/projects/{project}/versions/publish", {}, expect=201)
    assert proxy.held.wait(30), system.logs()
    held = olga("GET", f"/projects/{project}/versions/{version['id']}")
    if "ds_generated" not in part:
        assert held["status"] == "exporting" and held["exports"] == []
        olga("GET", f"/versions/{version['id']}/download", expect=409)
    system.kill("worker")
    proxy.holding = lambda method, path: False
    proxy.release.set()
    system.start_program("worker")
    whole = days.published(system, olga, project, version["id"])
    assert [file["format"] for file in whole["exports"]] == ["dice", "coco", "yolo"]
    for file in whole["exports"]:
        assert hashlib.sha256(olga.download(file["download_url"])).hexdigest() == file["sha256"]
    assert olga("GET", f"/projects/{project}/versions?version_type=published")["total"] == 1
    assert "rebuilt byte for byte" in system.manage("verify_artifacts", "--version-number", "v1.0")
    dice = system.read_object("labeler", whole["export_path"])
    assert system.read_object("platform", "datasets/ds_generated/annotations.json") == dice
