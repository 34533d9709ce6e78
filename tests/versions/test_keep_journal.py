"""The program that keeps the journal: it needs no queue, tries again what failed, and writes once more when stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from django.conf import settings as live
from django.core.management import call_command
from django.db import connection

from annotations.models import Project
from exports import stores as api
from tests.system import ROOT
from tests.versions.test_journal import AWAY
from tests.world import a_box, a_world
from versions import journal, records, tasks
from versions.management.commands import keep_journal

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_round_writes_what_waits_of_every_project_and_the_records_owed():
    first, second = a_world(), a_world(dataset="ds_second")
    a_box(first, first.images[0])
    call_command("keep_journal", once=True)
    assert journal.numbers(first.project.pk) == journal.numbers(second.project.pk) == [1]
    assert journal.waiting() == [] and records.owed() == []
    Project.objects.filter(pk=first.project.pk).update(name="Other")
    call_command("keep_journal", once=True)
    assert b'"Other"' in api.read_small("labeler", f"exports/{first.project.pk}/project.json")


def test_a_store_that_is_away_is_logged_and_said(settings, caplog):
    a_world()
    settings.STORAGES = {**settings.STORAGES, "labeler": {"BACKEND": "labeler.storage.S3Store", "OPTIONS": AWAY}}
    with pytest.raises(SystemExit):
        call_command("keep_journal", once=True)
    assert "waits for its store" in caplog.text and len(journal.waiting()) == 1


def test_a_disk_that_is_full_is_logged_and_waited_for(settings, tmp_path, caplog):
    made, right = a_world(), settings.LABELER_SCRATCH
    (tmp_path / "file").touch()
    # As a full disk, it takes no folder.
    settings.LABELER_SCRATCH = tmp_path / "file" / "scratch"
    assert keep_journal.write_round() > 0
    assert "waits for the disk of LABELER_SCRATCH" in caplog.text and journal.waiting() == [made.project.pk]
    settings.LABELER_SCRATCH = right
    assert keep_journal.write_round() == 0 and journal.waiting() == []
    assert journal.numbers(made.project.pk) == [1]


def test_the_sweep_does_it_where_nobody_keeps_it():
    made = a_world()
    assert tasks.sweep()["versions.tasks.write_journal"] == 1
    tasks.write_journal(made.project.pk)
    assert tasks.sweep()["versions.tasks.write_journal"] == 0


def test_it_writes_once_more_when_it_is_told_to_stop(tmp_path):
    made = a_world()
    server = os.environ["DATABASE_URL"].rpartition("/")[0]
    environment = {
        **os.environ,
        "DATABASE_URL": f"{server}/{connection.settings_dict['NAME']}",
        "LABELER_JOURNAL_SECONDS": "3600",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "LABELER_STORE_FOLDER": str(live.STORAGES["labeler"]["OPTIONS"]["location"]),
    }
    log = (tmp_path / "log").open("w+")
    keeper = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "keep_journal"], env=environment, stdout=log, stderr=log
    )
    try:
        for _ in range(600):
            if "kept every 3600 s" in (tmp_path / "log").read_text() or keeper.poll() is not None:
                break
            time.sleep(0.1)
        a_box(made, made.images[0])
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        keeper.kill()
    assert journal.waiting() == [] and journal.numbers(made.project.pk) == [1]
