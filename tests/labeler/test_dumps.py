"""Dumps of the database: made, kept, refused, brought back; and a database of yesterday brought up to date."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from annotations import confirming, editing, projects
from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus, Member, Project, User
from annotations.progress import recount
from exports import keys
from exports import stores as api
from labeler import dumping
from labeler.embedded import platform_db
from tests.system import ROOT
from tests.versions.test_rebuilding import everything, rows, write_records
from tests.world import a_box, a_world, confirmed, published, saved
from versions import artifacts, journal, rebuilding
from versions.models import Snapshot, Version

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def empty_database():
    """Another database of the same server, with nothing in it; its URL."""
    server, name = os.environ["TEST_SERVER_URL"], f"restored_{uuid.uuid4().hex[:8]}"
    platform_db.create_database(server, name)
    yield f"{server.rsplit('/', 1)[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def restored(empty_database):
    """Bring the newest dump into the empty database, and have everything after it speak to that one."""
    ours, moved = connections["default"].settings_dict, []

    def bring() -> None:
        connections["default"].close()
        moved.append(ours["NAME"])
        ours["NAME"] = empty_database.rsplit("/", 1)[1]
        dumping.restore()
        # As the command is a process of its own: the next query opens a connection.
        connections["default"].close()

    yield bring
    connections["default"].close()
    ours["NAME"] = moved[0] if moved else ours["NAME"]


def test_a_dump_brings_back_everything_but_sessions(stores, restored):
    made = a_world()
    User.objects.create_user("kim", password="quite-a-secret-1")
    confirmed(made, made.images[0])
    published(made)
    before, history = everything(), rows(AnnotationHistory)
    dump = dumping.dump()
    assert api.hash_of("labeler", keys.dump(dump.name)) == dump.sha256
    editing.delete_annotation(Annotation.objects.get().pk, by="ann")
    restored()
    assert everything() == before and rows(AnnotationHistory) == history
    assert User.objects.get(username="kim").check_password("quite-a-secret-1")
    assert recount(dry_run=True) == []
    with pytest.raises(Exception, match="only appended"):
        AnnotationHistory.objects.all().delete()


def test_a_database_that_is_not_empty_is_refused():
    dumping.dump()
    with pytest.raises(CommandError, match="into an empty one only"):
        call_command("restore_dump")


def test_a_dump_with_other_bytes_is_refused(restored, put_object):
    dump = dumping.dump()
    put_object("labeler", keys.dump(dump.name), b"other bytes")
    with pytest.raises(api.StoreRefused, match="other bytes than were written"):
        restored()


def test_an_empty_store_has_no_dump(restored):
    with pytest.raises(dumping.DumpError, match="no complete dump"):
        restored()


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="pg_dump was not found: set PG_BIN"):
        call_command("dump_database")


def a_dump_of(*days: float) -> list[str]:
    """Dumps of so many days ago; their names."""
    now, names = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0), []
    for each in days:
        with artifacts.scratch() as folder:
            (folder / "dump").write_bytes(b"dump")
            names.append(dumping._upload(folder / "dump", now - timedelta(days=each)).name)
    return names


def test_old_dumps_go_and_the_newest_stays(settings):
    settings.LABELER_KEEP_DUMP_DAYS = 2
    oldest, morning, evening, newest = a_dump_of(3, 2.1, 2, 1)
    assert dumping.prune() == [oldest]
    assert [each.name for each in dumping.listed()] == [morning, evening, newest]
    settings.LABELER_KEEP_DUMP_DAYS = 0
    assert dumping.prune() == [morning, evening] and len(list(api.listing("labeler", keys.DUMPS))) == 2


def test_a_clock_that_leaps_takes_one_day_of_dumps_with_it():
    oldest, *others = a_dump_of(*range(13, 0, -1), 0, -40)
    assert dumping.prune() == [oldest]
    assert [each.name for each in dumping.listed()] == others


def test_the_password_is_in_no_command_line(monkeypatch, tmp_path):
    spy = tmp_path / "pg_dump"
    spy.write_text('#!/bin/sh\necho "$@" >&2; exit 1\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(dumping.DumpError) as told:
        dumping.dump()
    assert connections["default"].settings_dict["PASSWORD"] not in str(told.value)


# Yesterday ------------------------------------------------------------------------------------


def a_day_after_the_dump(made) -> None:
    """Work of every kind that the dump does not know: a version, a save, changes, a class, a member."""
    first = confirmed(made, made.images[1], boxes=2)[0]
    published(made)
    Member.objects.create(project=made.project, user_id="new", role="annotator", added_by="olga")
    fresh = projects.create_class(made.task, name="Wolf", class_id="wolf", by="adm")
    a_box(made, made.images[2], class_name=fresh.name, notes="after the dump")
    saved(made)
    editing.update_annotation(first.pk, {"geometry": {"type": "bbox", "bbox": [1, 2, 3, 4]}}, by="rev")
    editing.delete_annotation(Annotation.objects.order_by("pk").first().pk, by="ann")
    confirming.confirm_image(made.images[3], "detection", by="rev", allow_empty=True)


@pytest.fixture
def yesterday():
    """A project of which a dump was taken, and on which work went on for a day."""
    made = a_world(count=5)
    confirmed(made, made.images[0])
    published(made)
    journal.write(made.project.pk)
    a_box(made, made.images[0])
    write_records()
    dumping.dump()
    a_day_after_the_dump(made)
    write_records()
    journal.write(made.project.pk)
    return made


def rebuild() -> list[rebuilding.Rebuilt]:
    return rebuilding.rebuild(say=lambda line: None)


def today() -> dict:
    """All that must be as before; the times of a platform sync and of an image's last change are near enough."""
    found = everything()
    for row in found["progress"]:
        row.pop("last_modified_at")
    for row in found["versions"]:
        row.pop("platform_status")
    return found


def test_a_database_of_yesterday_is_brought_up_to_date(yesterday, restored):
    before, history = today(), rows(AnnotationHistory)
    restored()
    assert Version.objects.published().count() == 1 and not Annotation.objects.filter(notes="after the dump").exists()
    (told,) = rebuild()
    assert told.state == "brought up to date" and told.missing == []
    assert today() == before
    assert rows(AnnotationHistory) == history, "who did what, and nothing added"
    assert recount(dry_run=True) == []
    (again,) = rebuild()
    assert again.state == "already in the database; left as it is"


def test_numbers_and_ids_given_out_since_the_dump_are_not_given_out_again(yesterday, restored):
    highest = Annotation.objects.order_by("-pk").first().pk, Version.objects.order_by("-pk").first().pk
    restored()
    rebuild()
    yesterday.project = Project.objects.prefetch_related("tasks").get()
    yesterday.task = projects.task_of(yesterday.project, None)
    box = a_box(yesterday, Image.objects.get(path="a/5.png"))
    confirming.confirm_image(box.image, "detection", by="ann")
    version = published(yesterday)
    assert (version.version_number, version.status) == ("v3.0", "ready")
    assert box.pk > highest[0] and version.pk > highest[1]
    assert saved(yesterday).version_number == "v0.2" and journal.write(yesterday.project.pk) == 1
    call_command("verify_artifacts")
    live = set(
        Annotation.objects.settled().filter(image__statuses__is_image_confirmed=True).values_list("pk", flat=True)
    )
    assert live <= set(Snapshot.objects.filter(closed=None).values_list("annotation_id", flat=True))


def test_a_database_that_went_its_own_way_is_refused_and_stays(yesterday, restored):
    restored()
    box = a_box(yesterday, Image.objects.get(path="a/5.png"))
    (told,) = rebuild()
    assert told.state == "not rebuilt" and "worked on since it was restored" in told.missing[0]
    assert Annotation.objects.get(pk=box.pk) and Version.objects.published().count() == 1


def test_a_dry_run_on_a_database_of_yesterday_changes_nothing(yesterday, restored):
    restored()
    before = everything()
    (told,) = rebuilding.rebuild(dry_run=True, say=lambda line: None)
    assert told.state == "would be brought up to date" and told.versions == ["v2.0"]
    assert everything() == before


def test_restoring_is_one_command_on_a_database_that_was_never_migrated(yesterday, empty_database):
    said = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "restore_dump"],
        env={**os.environ, "DATABASE_URL": empty_database}, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "The database is as it was at" in said.stdout
    with psycopg.connect(empty_database) as session:
        (count,) = session.execute("SELECT count(*) FROM annotations").fetchone()
    assert count > 0 and ImageStatus.objects.exists()
