"""``kill -9`` at every step of a publish and of a save: rows say what is owed, and it is finished by itself.

Each kill counts only because the proxy, or PostgreSQL's own list of waiting sessions, shows the step in flight.
"""

from __future__ import annotations

import pytest

from tests.faults import runs


@pytest.mark.parametrize("step", runs.PUBLISH_STEPS)
def test_a_publish_killed_at_any_step_is_finished_once_and_whole(stage, job, step):
    # The whole program at one step, its children alone at the next.
    run = runs.kill_in_publish(stage, job, step, whole=runs.PUBLISH_STEPS.index(step) % 3 == 1)
    assert run.struck and list(job.published) == ["v1.0"]


@pytest.mark.parametrize("step", runs.SAVE_STEPS)
def test_a_save_killed_at_any_step_is_made_by_the_next(stage, job, step):
    run = runs.kill_in_save(stage, job, step, whole=step == "copy to latest")
    assert run.struck
    assert stage.olga("GET", f"/projects/{job.id}/working-version")["dirty"] is False


def test_a_web_process_killed_in_a_request_takes_the_request_with_it_or_none(stage, job):
    script = runs.Script(stage, job, runs.random.Random(7))
    script.kill_web()
    job.heal()
    job.prove()
    assert len(job.boxes) == 1 and job.retries >= 1
