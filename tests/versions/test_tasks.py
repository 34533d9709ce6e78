"""Long work is a row: a message is only a nudge, and a broker that is away costs nobody anything."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, connection, connections, transaction
from django.utils import timezone
from kombu import pools

from annotations.models import Project
from exports import stores as api
from tests.world import a_box, a_client, a_world, confirmed, published, raw
from versions import autosave, jobs, publishing, records, snapshots, staging, tasks, timetable, work
from versions.alone import alone, is_held
from versions.errors import InvalidRequest
from versions.models import Job, SaveState, Version
from versions.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker_at():
    """Point Celery's sending at another address."""
    from labeler.celery import app

    before = app.conf.broker_url

    def point(url: str) -> None:
        app.conf.broker_url = url
        pools.reset()
        app.amqp._producer_pool = None
        app._pool = None

    yield point
    point(before)


def test_a_broker_nobody_listens_at_is_only_logged(broker_at, caplog):
    broker_at("redis://127.0.0.1:1/0")
    tasks.nudge(tasks.sweep)
    assert "The broker is away" in caplog.text


def test_a_broker_that_hangs_holds_nobody_for_long(broker_at, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker_at(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        done = threading.Event()

        def send() -> None:
            tasks.nudge(tasks.sweep)
            connections.close_all()
            done.set()

        threading.Thread(target=send, daemon=True).start()
        assert done.wait(10), "sending still waits"
    assert "The broker is away" in caplog.text


def test_nothing_is_sent_before_the_commit(monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.sweep, "apply_async", lambda args, retry: sent.append(args))
    with transaction.atomic():
        tasks.nudge(tasks.sweep)
        assert sent == []
    assert sent == [[]]


@pytest.fixture
def sent(monkeypatch):
    """What a worker is woken for."""
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks, "nudge", lambda task, *ids: sent.append((task.name.rpartition(".")[2], *map(str, ids))))
    return sent


def test_the_sweep_finds_everything_that_is_owed_without_any_message(sent):
    world = a_world(count=10)
    for image in world.images:
        confirmed(world, image)
    version = published(world, finish=False)
    job = jobs.start("rescan", by="adm", project=world.project)
    tasks.sweep()
    assert sorted(sent) == sorted([
        ("advance_publish", str(version.pk)), ("run_job", str(job.pk)), ("save_if_due", str(world.task.pk)),
        ("write_project_record", world.project.pk), ("write_journal", world.project.pk),
    ])  # fmt: skip


def test_every_task_may_run_twice():
    world = a_world(count=10)
    for image in world.images:
        confirmed(world, image)
    version = published(world, finish=False)
    assert [tasks.advance_publish(str(version.pk)) for _ in range(2)] == ["ready", "ready"]
    assert [tasks.save_if_due(str(world.task.pk)) for _ in range(2)] == ["v0.1", None]
    job = jobs.start("rescan", by="adm", project=world.project)
    assert [tasks.run_job(str(job.pk)) for _ in range(2)] == ["done", "done"]
    assert [tasks.write_project_record(world.project.pk) for _ in range(2)] == [None, None]
    assert Version.objects.count() == 2 and records.owed() == []


@contextmanager
def another_process_at(kind, subject):
    """Somebody else does it meanwhile."""
    started, release = threading.Event(), threading.Event()

    def hold() -> None:
        with alone(kind, subject):
            started.set()
            release.wait(60)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert started.wait(10)
        yield
    finally:
        release.set()
        holder.join()


def test_a_job_two_workers_take_is_done_by_one():
    world = a_world()
    job = jobs.start("rescan", by="adm", project=world.project)
    with another_process_at("job", job.pk):
        assert work.run(job.pk).status == "queued"
    assert work.run(job.pk).status == "done"


def test_no_worker_waits_for_a_save_that_another_one_makes(sent):
    world = a_world(count=11)
    for image in world.images[:10]:
        confirmed(world, image)
    with another_process_at("save", world.task.pk):
        assert tasks.save_if_due(str(world.task.pk)) is None and sent == []
        path = f"/api/v1/projects/{world.project.pk}/images/{world.images[10].path}/confirm"
        told = a_client("ann").post(path, {"task_type": "detection", "allow_empty": True}, format="json").json()
        assert told["auto_save"] == {"queued": True, "confirmed_since_save": 11, "threshold": 10}
        assert sent == [], "who is at it looks afterwards"
    assert tasks.save_if_due(str(world.task.pk)) == "v0.1"


def by_somebody_else(act):
    """In a thread of its own, with a connection of its own."""

    def acting():
        try:
            return act()
        finally:
            connections.close_all()

    return acting


def _ten_confirmed(world) -> None:
    for image in world.images[:10]:
        confirmed(world, image)


def _ask_for_a_save(world):
    return a_client("ann").post(
        f"/api/v1/projects/{world.project.pk}/working-version/save", {"trigger": "manual"}, format="json"
    )


def test_what_became_due_while_a_save_was_made_is_asked_for_when_the_task_is_free(sent, monkeypatch):
    world = a_world(count=10)
    a_box(world, world.images[0])
    SaveState.objects.want(world.task, "publish", by="ann")
    assert tasks.save_if_due(str(world.task.pk)) == "v0.1" and sent == [], "nothing became due"
    a_box(world, world.images[1])
    SaveState.objects.want(world.task, "publish", by="ann")
    settle, held = autosave._settle, []

    def late(*arguments, **named):
        with ThreadPoolExecutor(1) as others:
            others.submit(by_somebody_else(lambda: _ten_confirmed(world))).result(60)
        settle(*arguments, **named)

    def note(task, *ids):
        sent.append((task.name.rpartition(".")[2], *map(str, ids)))
        held.append(is_held("save", world.task.pk))

    monkeypatch.setattr(autosave, "_settle", late)
    monkeypatch.setattr(tasks, "nudge", note)
    assert tasks.save_if_due(str(world.task.pk)) == "v0.2"
    assert (sent, held) == ([("save_if_due", str(world.task.pk))], [False]), "once, when the lock was given back"


def test_who_found_nothing_to_save_looks_again_as_well(sent, monkeypatch):
    world = a_world(count=10)
    looked = autosave.is_due

    def then_ten_are_confirmed(task):
        due = looked(task)
        monkeypatch.setattr(autosave, "is_due", looked)
        _ten_confirmed(world)
        return due

    monkeypatch.setattr(autosave, "is_due", then_ten_are_confirmed)
    assert tasks.save_if_due(str(world.task.pk)) is None
    assert sent == [("save_if_due", str(world.task.pk))]


def test_a_save_somebody_asked_for_waits_its_turn_and_not_in_a_worker(sent):
    world = a_world()
    a_box(world, world.images[0])
    asked = _ask_for_a_save(world).json()
    job = ("run_job", asked["job_id"])
    assert sent == [job]
    with another_process_at("save", world.task.pk):
        assert tasks.run_job(asked["job_id"]) == "queued"
        assert sent == [job], "nobody asks again and again while it is held"
        waiting = Job.objects.get()
        assert (waiting.attempts, waiting.error, waiting.retry_at) == (0, "", None)
        assert _ask_for_a_save(world).json() == {**asked, "status": "coalesced"}
    sent.clear()
    assert tasks.save_if_due(str(world.task.pk)) == "v0.1"
    assert sent == [job], "whoever held the task wakes it"
    assert tasks.run_job(asked["job_id"]) == "done"
    assert Job.objects.get().result == {"status": "unchanged", "version_number": "v0.1"}
    assert sent == [job]


def test_a_save_that_was_made_meanwhile_waits_for_no_further_one(sent):
    world = a_world()
    a_box(world, world.images[0])
    asked = _ask_for_a_save(world).json()
    assert tasks.save_if_due(str(world.task.pk)) == "v0.1"
    with another_process_at("save", world.task.pk):
        assert tasks.run_job(asked["job_id"]) == "done"
    assert Job.objects.get().result == {"status": "unchanged", "version_number": "v0.1"}


def test_after_a_restore_its_save_is_asked_for_at_once(sent):
    world = a_world()
    confirmed(world, world.images[0])
    first = published(world)
    a_box(world, world.images[1])
    params = {"source": "version", "version_id": first.pk, "task_type": "detection"}
    job = jobs.start("restore", by="adm", project=world.project, params=params)
    assert tasks.run_job(str(job.pk)) == "done", Job.objects.get(pk=job.pk).error
    assert sent == [("save_if_due", str(world.task.pk))]


def test_saves_have_a_queue_of_their_own_from_which_every_worker_takes():
    from labeler.celery import app

    queues = {
        name: app.amqp.router.route({}, name)["queue"].name for name in (tasks.save_if_due.name, tasks.run_job.name)
    }
    assert queues == {tasks.save_if_due.name: "saves", tasks.run_job.name: "celery"}
    assert set(app.amqp.queues.consume_from) == {"celery", "saves"}


def test_a_job_that_fails_says_why_and_one_that_met_a_dead_store_is_tried_again(settings):
    world = a_world()
    bad = jobs.start("restore", by="adm", project=world.project, params={"source": "working"})
    done = work.run(bad.pk)
    assert (done.status, done.result["code"]) == ("failed", "not_found") and "no working save" in done.error
    options = {"alias": "labeler", "bucket_name": "b", "endpoint_url": "http://127.0.0.1:1", "access_key": "a",
               "secret_key": "s"}  # fmt: skip
    right = settings.STORAGES
    settings.STORAGES = {**right, "labeler": {"BACKEND": "labeler.storage.S3Store", "OPTIONS": options}}
    params = {"formats": ["dice"], "include_draft": True}
    job = jobs.start("export", by="ann", project=world.project, params=params)
    waiting = work.run(job.pk)
    assert waiting.status == "queued" and waiting.retry_at and "does not answer" in waiting.error
    assert jobs.left_behind() == []
    settings.STORAGES = right
    assert work.run(job.pk).status == "done"


def test_a_job_that_never_ended_is_given_up():
    world = a_world()
    job = jobs.start("rescan", by="adm", project=world.project)
    Job.objects.filter(pk=job.pk).update(status="running", attempts=jobs.ATTEMPTS)
    done = work.run(job.pk)
    assert done.status == "failed" and "never ended" in done.error


def test_a_job_the_database_broke_off_is_done_again(monkeypatch):
    world = a_world()
    job = jobs.start("rescan", by="adm", project=world.project)

    def broken(*_):
        raise OperationalError("deadlock detected")

    monkeypatch.setitem(work.HANDLERS, "rescan", broken)
    waiting = work.run(job.pk)
    assert waiting.status == "queued" and "deadlock" in waiting.error and waiting.retry_at
    monkeypatch.undo()
    assert work.run(job.pk).status == "done"


def test_a_job_whose_query_was_cancelled_is_done_again(other_session):
    world = a_world()
    a_box(world, world.images[0])
    _, job = autosave.ask_for_save(world.task, "manual", by="ann")
    assert job is not None
    with ThreadPoolExecutor(1) as worker, other_session.transaction():
        other_session.execute("LOCK TABLE image_annotation_status IN ACCESS EXCLUSIVE MODE")
        running = worker.submit(run_elsewhere, job)
        assert wait_until(cancelled, 60)
        waiting = running.result(60)
    assert waiting.status == "queued" and "canceling statement" in waiting.error and waiting.retry_at
    assert work.run(job.pk).status == "done" and Version.objects.working().count() == 1


def cancelled() -> bool:
    """Ends the query that waits for a lock, as an operator or a timeout does; False while there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE '%image_annotation_status%'"
        )
        return cursor.fetchone() is not None


def run_elsewhere(job: Job) -> Job:
    try:
        return work.run(job.pk)
    finally:
        connections.close_all()


def test_what_postgresql_says_while_rows_are_copied_or_pushed_comes_in_django_words():
    with pytest.raises(OperationalError), transaction.atomic():
        raw("SET LOCAL statement_timeout = 100")
        list(snapshots.pushed("SELECT pg_sleep(20)", {}))
    with pytest.raises(DataError):
        list(snapshots.pushed("SELECT 1 / 0", {}))
    with pytest.raises(DataError):
        staging.copy_rows("journal_segments", ("number",), [["none"]])


def test_a_defect_in_a_job_is_told_and_raised():
    world = a_world()
    job = jobs.start("export", by="ann", project=world.project, params={})
    with pytest.raises(KeyError):
        work.run(job.pk)
    job.refresh_from_db()
    assert job.status == "failed" and "Internal error" in job.error


def test_exports_past_their_days_are_removed(settings):
    world = a_world()
    a_box(world, world.images[0])
    params = {"formats": ["dice"], "include_draft": True}
    job = work.run(jobs.start("export", by="ann", project=world.project, params=params).pk)
    key = job.result["exports"][0]["s3_key"]
    settings.LABELER_EXPORT_DAYS = -1
    assert tasks.remove_expired_exports() == 1
    assert api.find("labeler", key) is None and Job.objects.get().result == {"expired": True}
    assert tasks.remove_expired_exports() == 0


def test_what_a_killed_process_left_on_disk_is_swept_by_age(settings):
    from versions import artifacts

    with artifacts.scratch() as working:
        left = settings.LABELER_SCRATCH / "build-left"
        left.mkdir()
        (left / "annotations_dice.json").write_bytes(b"half")
        os.utime(left, (0, 0))
        # What is gone between the listing and the look: listed, and not there.
        (settings.LABELER_SCRATCH / "build-gone").symlink_to(left / "nowhere")
        tasks.remove_expired_exports()
        assert not left.exists() and working.exists()


def test_the_timetable_is_seeded_once_and_what_staff_changed_stays():
    from django.apps import apps
    from django_celery_beat.models import PeriodicTask

    timetable.seed(apps, 60)
    PeriodicTask.objects.filter(name="Finish what is owed").update(enabled=False)
    timetable.seed(apps, 60)
    assert PeriodicTask.objects.get(name="Finish what is owed").enabled is False
    assert PeriodicTask.objects.count() == 3


def test_a_project_record_is_owed_after_every_change_and_written_once():
    world = a_world()
    tasks.write_project_record(world.project.pk)
    assert records.owed() == []
    Project.objects.filter(pk=world.project.pk).update(name="Other")
    assert records.owed() == [world.project.pk]
    tasks.write_project_record(world.project.pk)
    assert b'"Other"' in api.read_small("labeler", f"exports/{world.project.pk}/project.json")


def test_a_wish_nobody_can_fulfil_is_an_error_of_its_own():
    from versions import exporting

    with pytest.raises(InvalidRequest):
        exporting.check_wish([], None)


def test_what_a_clock_that_ran_ahead_wrote_keeps_nothing_waiting():
    world = a_world()
    confirmed(world, world.images[0])
    version = published(world, finish=False)
    job = jobs.start("rescan", by="adm", project=world.project)
    SaveState.objects.update(requested_at=None)
    soon, in_two_days = (timezone.now() + timedelta(seconds=seconds) for seconds in (60, 2 * 24 * 3600))
    for retry_at, owed in ((soon, False), (in_two_days, True)):
        Version.objects.update(retry_at=retry_at)
        Job.objects.update(retry_at=retry_at)
        SaveState.objects.update(retry_at=retry_at, last_saved_at=in_two_days)
        assert publishing.left_behind() == [version.pk] * owed
        assert jobs.left_behind() == [job.pk] * owed
        assert autosave.due_tasks() == [world.task.pk] * owed
