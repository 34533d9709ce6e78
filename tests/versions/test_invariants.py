"""The checker finds what is broken, names it, and has nothing to say of what is whole."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError, connection
from django.utils import timezone

from annotations import confirming, editing
from annotations import invariants as live
from annotations.models import Annotation, ImageStatus
from exports import keys
from exports import stores as api
from tests.world import DATASET, a_box, a_world, confirmed, official_key, published, raw, saved
from versions import invariants, jobs, records, store_invariants
from versions.alone import alone, is_held
from versions.models import Job, SaveState, Version
from versions.store_invariants import Depth

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = Depth(pause=0)


def check(*arguments: str) -> tuple[int, str]:
    """The exit code and the words."""
    out = StringIO()
    try:
        call_command("check_invariants", *arguments, stdout=out, stderr=StringIO())
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    except CommandError as refused:
        return refused.returncode, out.getvalue() + str(refused)
    return 0, out.getvalue()


def past_the_rules(*statements: str) -> None:
    """As somebody who switches every trigger off."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET session_replication_role = DEFAULT")


@pytest.fixture
def a_whole_world(monkeypatch):
    """Something of everything: edits, a delete, undone states, two versions, a further task, saves."""
    monkeypatch.setattr(store_invariants, "LOOKS", 1)
    world = a_world(tasks=("detection", "segmentation"), count=4)
    first, second, third, _ = world.images
    confirmed(world, first, boxes=3)
    confirmed(world, second, boxes=2)
    published(world)
    gone = a_box(world, third)
    editing.delete_annotation(gone.pk, version=gone.version, by="ann")
    confirming.unconfirm_image(second, "detection", by="ann")
    saved(world)
    published(world)
    for project_id in records.owed():
        records.write_project_record(project_id)
    return world


def test_nothing_is_said_of_a_project_that_is_whole(stores, a_whole_world):
    code, said = check("--deep")
    assert (code, said.strip()) == (0, "All is as promised.")
    code, said = check("--json", "--project", a_whole_world.project.pk)
    assert (code, orjson.loads(said)) == (0, {"findings": [], "found": 0, "refused": None})


def test_rows_changed_past_the_triggers_are_named(a_whole_world):
    one, other, third = Annotation.objects.order_by("pk")[:3]
    past_the_rules(
        f"UPDATE annotations SET area = area + 1 WHERE id = {one.pk}",
        f"DELETE FROM annotations WHERE id = {other.pk}",
        f"DELETE FROM annotation_history WHERE annotation_id = {third.pk} AND previous_state IS NULL",
        f"UPDATE annotations SET state = 'draft', confirmed_at = NULL, confirmed_by = NULL WHERE id = {third.pk}",
        f"DELETE FROM image_annotation_status WHERE image_id = {a_whole_world.images[3].pk}",
    )
    found = {(each.invariant, each.said) for each in live.rows(a_whole_world.project)}
    assert {
        ("I1", f"annotation {one.pk}: its last row of history is not what it is now"),
        ("I1", f"annotation {third.pk}: its last row of history is not what it is now"),
        ("I1", f"annotation {other.pk} is gone, and its history does not say who deleted it"),
        ("I1", f"annotation {third.pk}: between two rows of its history a change is missing"),
        ("I2", "image a/1.png (detection) is completed, but has drafts"),
        ("I2", "image a/1.png (detection): its counters are not what a count gives"),
        ("I2", "image a/4.png (segmentation) has no progress row"),
    } <= found
    code, said = check()
    assert code == 1 and "mend: manage.py recount_progress" in said and "things are not as promised" in said


def test_the_same_moment_told_in_another_time_zone_is_no_finding(a_whole_world):
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'Asia/Seoul'")
        raw("UPDATE annotations SET notes = 'seen', updated_at = now()")
        cursor.execute("SET TIME ZONE 'UTC'")
    assert list(live.rows(a_whole_world.project)) == []


def test_of_many_findings_some_are_listed_and_all_are_counted(a_whole_world, monkeypatch):
    monkeypatch.setattr(live, "LISTED", 2)
    past_the_rules("UPDATE annotations SET area = area + 1")
    said = [each.said for each in live.rows(a_whole_world.project)]
    assert len(said) == 3 and said[-1] == "... and 3 more of this kind"


def test_versions_that_are_not_whole_are_named(a_whole_world):
    first, last = Version.objects.published().order_by("pk")
    past_the_rules(
        f"DELETE FROM version_exports WHERE version_id = {first.pk} AND format = 'coco'",
        f"UPDATE version_exports SET sha256 = '' WHERE version_id = {first.pk} AND format = 'yolo'",
        "UPDATE frozen_annotations SET annotation_ids = trim_array(annotation_ids, 1),"
        " snapshots = trim_array(snapshots, 1)"
        f" WHERE id = (SELECT max(id) FROM frozen_annotations WHERE version_id = {first.pk})",
        f"UPDATE frozen_versions SET images = '{{}}' WHERE version_id = {last.pk}",
        f"UPDATE annotation_versions SET content_hash = '', major = 7, version_number = 'v7.0' WHERE id = {first.pk}",
    )
    found = [(each.invariant, each.said) for each in invariants.project(a_whole_world.project, AT_ONCE)]
    assert ("I3", "coco: has no file") in found and ("I3", "has no content hash") in found
    assert any(said.startswith("yolo: recorded without size or hash") for _, said in found)
    assert ("I4", "holds 4 annotations, says 5") in found
    assert ("I4", "changed rows of 1 images it does not say it looked at") in found
    assert ("I6", "comes after v7.0") in found
    past_the_rules(f"DELETE FROM version_exports WHERE version_id = {first.pk}", "DELETE FROM frozen_versions",
                   f"DELETE FROM annotation_versions WHERE id = {first.pk}")  # fmt: skip
    found = [(each.invariant, each.said) for each in invariants.project(a_whole_world.project, AT_ONCE)]
    assert ("I3", "frozen_annotations holds rows of version 1, which is not there") in found
    assert any(invariant == "I6" and "a version is missing" in said for invariant, said in found)
    assert last.ordinal == 2


def test_a_frozen_row_that_leaves_out_older_ones_wrongly_is_named():
    world = a_world()
    one, _ = confirmed(world, world.images[0], boxes=2)
    published(world)
    editing.update_annotation(one.pk, {"notes": "later"}, by="ann")
    confirming.confirm_image(world.images[0], "detection", by="ann")
    published(world)
    assert list(invariants.frozen(world.task)) == []
    past_the_rules("UPDATE frozen_annotations SET whole_since = 2 WHERE opened = 2")
    assert [each.said for each in invariants.frozen(world.task)] == ["holds 1 annotations, says 2"]


def test_what_is_late_is_named_and_what_somebody_is_at_is_not(a_whole_world):
    world, long_ago = a_whole_world, timezone.now() - timedelta(hours=3)
    version = published(world, finish=False)
    Version.objects.filter(pk=version.pk).update(platform_error="")
    past_the_rules(f"UPDATE annotation_versions SET created_at = '{long_ago.isoformat()}' WHERE id = {version.pk}")
    SaveState.objects.update(requested_at=long_ago)
    job = jobs.start("rescan", by="adm", project=world.project)
    Job.objects.update(created_at=long_ago)
    said = [each.said for each in invariants.project(world.project, AT_ONCE)]
    assert sum("waits" in each for each in said) == 2 and sum("was asked for" in each for each in said) == 2
    with alone("advance", version.pk), alone("job", job.pk), alone("save", world.task.pk):
        assert is_held("save", world.task.pk)
        said = [each.said for each in invariants.project(world.project, AT_ONCE)]
    assert len(said) == 1 and "was asked for" in said[0] and not is_held("save", world.task.pk)
    SaveState.objects.update(requested_at=None, last_saved_at=long_ago)
    ImageStatus.objects.filter(is_image_confirmed=True).update(confirmed_at=long_ago)
    past_the_rules("UPDATE image_annotation_status SET revision = saved_revision + 1, last_modified_at ="
                   f" '{long_ago.isoformat()}' WHERE status <> 'not-started'")  # fmt: skip
    said = [each.said for each in invariants.late_save(world.task, AT_ONCE)]
    assert len(said) == 1 and said[0].startswith("changes are in no save since")


def test_stores_that_do_not_hold_what_was_recorded_are_named(a_whole_world, put_object):
    world = a_whole_world
    first, last = Version.objects.published().order_by("pk")
    put_object("labeler", first.artifacts.get(format="coco").s3_key, b"{}")
    api.remove("labeler", first.artifacts.get(format="yolo").s3_key)
    api.remove("labeler", keys.image_list(world.project.pk))
    put_object("labeler", keys.published(world.project.pk, "v9.0", "dice"), b"{}")
    put_object("labeler", "exports/stranger.txt", b"?")
    found = {(each.invariant, each.subject, each.said) for each in store_invariants.objects()}
    assert {invariant for invariant, _, _ in found} == {"I4", "I6", "I9", "I10"}
    assert ("I6", f"{world.project.pk} v9.0", "lies in the store, the database does not know it") in found
    assert ("I10", "exports/stranger.txt", "is no object of ours") in found
    assert sum("is recorded and not in the store" in said for _, _, said in found) == 1
    assert any("bytes" in said for _, _, said in found)
    code, said = check("--deep")
    assert code == 1 and "coco: " in said and last.version_number not in said


def test_a_backup_that_is_not_what_it_says_is_named(a_whole_world, put_object):
    world = a_whole_world
    latest, metadata = keys.working_latest(DATASET), keys.working_metadata(DATASET)
    good = api.read_small("labeler", latest)
    said = orjson.loads(api.read_small("labeler", metadata))

    def backup() -> list[str]:
        return [each.said for each in store_invariants.backup(world.task, AT_ONCE)]

    assert backup() == []
    put_object("labeler", latest, good[:-20])
    assert "is not the file" in backup()[0]
    cut = put_object("labeler", latest, good[:-20])
    put_object("labeler", metadata, orjson.dumps({**said, "sha256": cut.sha256}))
    assert "damaged" in backup()[0] or "not JSON" in backup()[0]
    put_object("labeler", latest, good)
    put_object("labeler", metadata, orjson.dumps({**said, "annotation_count": 99, "version_number": "v0.9"}))
    assert len(backup()) == 2
    api.remove("labeler", metadata)
    assert "is not in the store" in backup()[0]


def test_an_official_file_that_is_not_the_newest_version_is_named(a_whole_world, put_object):
    world = a_whole_world
    last = Version.objects.published().order_by("-ordinal")[0]

    def official(depth: Depth = AT_ONCE) -> list[str]:
        return [each.said for each in store_invariants.official(world.task, depth)]

    assert official() == []
    put_object("platform", official_key(), b"{}")
    assert official() == [f"{official_key()} is not ours, not {last.version_number}"]
    api.remove("platform", official_key())
    assert official() == [f"{official_key()} is not there, not {last.version_number}"]


def test_a_trigger_or_constraint_that_is_gone_or_off_is_named():
    with connection.cursor() as cursor:
        cursor.execute("SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
                       " WHERE NOT tgisinternal")  # fmt: skip
        assert set(cursor.fetchall()) == {*live.TRIGGERS, *invariants.TRIGGERS}, "a trigger nobody checks"
    assert list(invariants.rules()) == []
    try:
        raw("ALTER TABLE annotations DISABLE TRIGGER annotations_updated")
        raw("ALTER TABLE annotations RENAME CONSTRAINT annotation_state_known TO something_else")
        raw("ALTER TRIGGER frozen_stays ON version_images RENAME TO something_else")
        assert [each.subject for each in invariants.rules()] == [
            "trigger annotations_updated of annotations",
            "constraint annotation_state_known",
            "trigger frozen_stays of version_images",
        ]
    finally:
        raw("ALTER TRIGGER something_else ON version_images RENAME TO frozen_stays")
        raw("ALTER TABLE annotations RENAME CONSTRAINT something_else TO annotation_state_known")
        raw("ALTER TABLE annotations ENABLE TRIGGER annotations_updated")


def test_what_is_only_so_for_a_moment_is_no_finding():
    looks = iter([[live.Finding("I7", "x", "moving", "")], []])
    assert store_invariants.lasting(lambda: next(looks), AT_ONCE) == []


def test_nothing_can_be_written_while_it_reads(a_whole_world, monkeypatch):
    def writes(project):
        raw("UPDATE projects SET name = 'x'")
        yield

    monkeypatch.setattr(live, "rows", writes)
    with pytest.raises(InternalError, match="read-only"):
        check()
    monkeypatch.undo()
    raw("UPDATE projects SET name = 'y'")


def test_what_cannot_be_told_is_refused(a_whole_world, settings, monkeypatch):
    code, said = check("--project", "proj_none")
    assert code == 2 and "There is no project proj_none" in said
    code, said = check("--json", "--project", "proj_none")
    assert code == 2

    def away(alias: str, prefix: str):
        raise api.StoreUnavailable("The labeler store does not answer.")

    monkeypatch.setattr(api, "listing", away)
    code, said = check("--json")
    assert code == 2 and orjson.loads(said.partition("}")[0] + "}")["refused"] == "The labeler store does not answer."
