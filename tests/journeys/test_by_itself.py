"""Nobody asks for a save: beat and worker make it, because rows say that it is due."""

from __future__ import annotations

import pytest

from tests.journeys import days


def test_a_change_is_saved_by_itself_when_the_interval_is_over(systems):
    system = systems("folder", LABELER_SAVE_SECONDS="2")
    days.a_dataset(system, 2)
    system.start()
    olga = system.person("olga", staff=True)
    project = days.a_project(olga)
    days.draw(olga, project, "line-a/0001.png", count=2)
    version = days.saved(system, olga, project, "v0.1")
    assert (version["trigger"], version["annotation_count"], version["status"]) == ("timer", 2, "ready")
    latest = system.read_object("labeler", f"datasets/{days.DATASET}/working/annotations.json")
    assert latest == system.read_object("labeler", version["export_path"])


# tests/faults loses brokers in every run; this one loses it for a whole start.
@pytest.mark.long
def test_a_lost_broker_costs_a_minute_and_not_a_save(systems):
    system = systems("folder", LABELER_SAVE_IMAGES="2")
    days.a_dataset(system, 3)
    right = system.environment["REDIS_URL"]
    system.start("worker", "beat", "web")
    olga = system.person("olga", staff=True)
    project = days.a_project(olga)
    system.stop()
    # A port nobody listens on: requests must neither fail nor wait for it.
    system.environment["REDIS_URL"] = "redis://127.0.0.1:1/0"
    system.start("web")
    for image in ("line-a/0001.png", "line-a/0002.png"):
        days.draw(olga, project, image)
        answer = days.confirm_one(olga, project, image)
    assert answer["auto_save"]["queued"] is True
    version = olga("POST", f"/projects/{project}/versions/publish", {}, expect=201)
    assert version["status"] == "exporting" and version["exports"] == []
    system.stop()
    system.environment["REDIS_URL"] = right
    system.start()
    days.saved(system, olga, project, "v0.1")
    assert len(days.published(system, olga, project, version["id"])["exports"]) == 3
