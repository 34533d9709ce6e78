"""The journal: every committed change reaches the labeler store, in order, once, whatever happens in between."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from threading import Thread

import pytest
from django.db import connection, connections, transaction

from annotations import confirming, editing, projects
from annotations.acting import acting
from annotations.models import Annotation, AnnotationHistory, ClassHistory, HistoryMark, ImageHistory
from exports import stores as api
from exports.errors import StoreUnavailable
from tests.world import a_box, a_world, confirmed, saved
from versions import journal
from versions.alone import alone
from versions.models import JournalSegment, SaveState

pytestmark = pytest.mark.django_db(transaction=True)
AWAY = {
    "alias": "labeler",
    "bucket_name": "nobody",
    "endpoint_url": "http://127.0.0.1:1",
    "access_key": "nobody",
    "secret_key": "nothing",
}


def lines(project_id: str, number: int) -> list[dict]:
    content = api.read_small("labeler", f"exports/{project_id}/journal/{number:09}.jsonl.gz")
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def test_a_segment_holds_every_change_with_who_what_and_when(stores):
    made = a_world()
    box = a_box(made, made.images[0], notes="ü")
    confirming.confirm_image(made.images[0], "detection", by="rev")
    projects.change_class(box.label_class, by="adm", name="Tiger")
    assert journal.write(made.project.pk) == 1
    head, *rows = lines(made.project.pk, 1)
    assert (head["number"], head["previous"], head["count"]) == (1, "", len(rows))
    told = [each["annotation"] for each in rows if "annotation" in each]
    assert [(row["action"], row["changed_by"]) for row in told] == [("create", "ann"), ("confirm", "rev")]
    assert told[0]["new_state"]["notes"] == "ü" and told[0]["new_state"]["geometry"]["bbox"] == [10, 20, 20, 30]
    assert [each["image"]["new_state"]["status"] for each in rows if "image" in each] == ["in-progress", "completed"]
    assert [each["class"]["new_state"]["name"] for each in rows if "class" in each][-1] == "Tiger"
    assert not HistoryMark.objects.exists() and journal.write(made.project.pk) == 0


def test_segments_are_a_chain_of_hashes():
    made = a_world()
    for number in range(3):
        a_box(made, made.images[number])
        journal.write(made.project.pk)
    segments = list(JournalSegment.objects.order_by("number"))
    assert [each.number for each in segments] == [1, 2, 3]
    for before, after in pairwise(segments):
        assert lines(made.project.pk, after.number)[0]["previous"] == before.sha256
    for each in segments:
        key = f"exports/{made.project.pk}/journal/{each.number:09}.jsonl.gz"
        assert api.hash_of("labeler", key) == each.sha256 == api.head("labeler", key).sha256


def test_a_change_in_flight_goes_into_a_later_segment(other_session):
    made = a_world()
    first, second = a_box(made, made.images[0]), a_box(made, made.images[1])
    journal.write(made.project.pk)
    other_session.execute(f"BEGIN; UPDATE annotations SET notes = 'early' WHERE id = {first.pk}")
    editing.update_annotation(second.pk, {"notes": "late"}, by="ann")
    journal.write(made.project.pk)
    assert [row["annotation"]["new_state"]["notes"] for row in lines(made.project.pk, 2)[1:]] == ["late"]
    other_session.execute("COMMIT")
    journal.write(made.project.pk)
    (row,) = lines(made.project.pk, 3)[1:]
    assert row["annotation"]["new_state"]["notes"] == "early"
    assert row["annotation"]["id"] < lines(made.project.pk, 2)[1]["annotation"]["id"], "its id is the lower one"


def test_what_was_rolled_back_is_in_no_segment(other_session):
    made = a_world()
    box = a_box(made, made.images[0])
    journal.write(made.project.pk)
    other_session.execute(f"BEGIN; DELETE FROM annotations WHERE id = {box.pk}; ROLLBACK")
    assert journal.write(made.project.pk) == 0


def test_a_crash_between_the_object_and_its_row_leaves_one_segment():
    made = a_world()
    a_box(made, made.images[0])
    journal.write(made.project.pk)
    # As a kill right after the upload leaves it.
    JournalSegment.objects.update(sealed_at=None, sha256="", size_bytes=0)
    a_box(made, made.images[1])
    assert journal.waiting() == [made.project.pk]
    assert journal.write(made.project.pk) == 2, "the same again, then what came since"
    assert journal.numbers(made.project.pk) == [1, 2]
    assert sum(lines(made.project.pk, number)[0]["count"] for number in (1, 2)) == sum(
        model.objects.count() for model in (AnnotationHistory, ImageHistory, ClassHistory)
    )
    assert lines(made.project.pk, 2)[0]["previous"] == JournalSegment.objects.get(number=1).sha256 != ""


def test_the_same_segment_packed_by_another_zlib_is_our_own(put_object):
    made = a_world()
    a_box(made, made.images[0])
    segment = journal._take(made.project.pk)
    head = json.dumps(json.loads(json.dumps(journal.header(segment)))).encode()
    key = f"exports/{made.project.pk}/journal/{1:09}.jsonl.gz"
    put_object("labeler", key, gzip.compress(head + b"\n", 1))
    assert journal.write(made.project.pk) == 1
    assert JournalSegment.objects.get().sha256 == api.hash_of("labeler", key)


def test_a_store_that_is_away_misses_nothing(settings):
    made = a_world()
    a_box(made, made.images[0])
    there = settings.STORAGES
    settings.STORAGES = {**there, "labeler": {"BACKEND": "labeler.storage.S3Store", "OPTIONS": AWAY}}
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            journal.write(made.project.pk)
    settings.STORAGES = there
    a_box(made, made.images[1])
    assert journal.behind_since() is not None
    assert journal.write(made.project.pk) == 2 and journal.behind_since() is None


def test_a_long_change_becomes_several_segments(monkeypatch):
    monkeypatch.setattr(journal, "MOST", 5)
    made = a_world(count=4)
    for image in made.images:
        a_box(made, image)
    written = journal.write(made.project.pk)
    rows = [row for number in range(1, written + 1) for row in lines(made.project.pk, number)[1:]]
    assert written == 2 and sum("annotation" in row for row in rows) == 4
    assert max(lines(made.project.pk, number)[0]["count"] for number in range(1, written + 1)) == 5


COPIES = """
INSERT INTO annotations (project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id, attributes,
    state, version, created_by, created_at, updated_by, updated_at)
SELECT project_id, image_id, task_type, annotation_type, geometry, bbox, area, class_id, attributes,
    state, 1, created_by, created_at, updated_by, updated_at
FROM annotations CROSS JOIN generate_series(1, 1500) LIMIT 1500"""


def test_rows_of_one_statement_wait_under_few_marks_and_none_is_passed_over(monkeypatch):
    monkeypatch.setattr(journal, "MOST", 500)
    made = a_world()
    a_box(made, made.images[0])
    journal.write(made.project.pk)
    with acting("adm", action="import"), connection.cursor() as cursor:
        cursor.execute(COPIES)
        cursor.execute("INSERT INTO annotation_history SELECT 1000000 + id, annotation_id, project_id, image_id,"
                       " task_type, action, previous_state, new_state, changed_by, timestamp, batch_id, undoes, is_undo"
                       " FROM annotation_history WHERE id % 2 = 0 ORDER BY id DESC LIMIT 3")  # fmt: skip
    marks = HistoryMark.objects.filter(kind="annotation")
    wide = [mark for mark in marks if mark.last_id < 1_000_000]
    assert len(wide) in (2, 3) and len(marks) == len(wide) + 3, "ids with others between them are told apart"
    written = journal.write(made.project.pk)
    segments = [lines(made.project.pk, number) for number in range(2, 2 + written)]
    told = [row["annotation"]["id"] for _, *rows in segments for row in rows if "annotation" in row]
    waited = AnnotationHistory.objects.filter(action="import").order_by("pk").values_list("pk", flat=True)
    assert sorted(told) == list(waited) and written >= 2 and not HistoryMark.objects.exists()
    assert all(head["count"] == len(rows) < 500 + 1000 for head, *rows in segments)


def test_one_writes_at_a_time():
    made = a_world()
    a_box(made, made.images[0])
    answers = []

    def other() -> None:
        answers.append(journal.write(made.project.pk))
        connections.close_all()

    with alone("journal", made.project.pk):
        thread = Thread(target=other)
        thread.start()
        thread.join()
    assert answers == [0] and journal.write(made.project.pk) == 1


def test_a_save_knows_exactly_what_it_holds(other_session):
    made = a_world()
    first, second = a_box(made, made.images[0]), a_box(made, made.images[1])
    journal.write(made.project.pk)
    saved(made)
    other_session.execute(f"BEGIN; UPDATE annotations SET notes = 'in flight' WHERE id = {first.pk}")
    editing.update_annotation(second.pk, {"notes": "waits"}, by="ann")
    version = saved(made)
    other_session.execute("COMMIT")
    last = AnnotationHistory.objects.get(annotation_id=second.pk, action="update").pk
    assert version.manifest["journal"] == {"number": 1, "also": {"annotation": [[last, last]]}}


def test_segments_go_when_every_kept_save_holds_them(settings):
    settings.LABELER_KEEP_SAVES, settings.LABELER_KEEP_SAVE_DAYS = 2, -1
    made = a_world(count=4)
    for number in range(4):
        a_box(made, made.images[number])
        journal.write(made.project.pk)
        saved(made)
    assert journal.numbers(made.project.pk) == [4], "the two kept saves hold segments 1 to 3 and 1 to 4"
    assert [each.number for each in JournalSegment.objects.all()] == [4]


def test_nothing_goes_before_a_save_holds_it():
    made = a_world(tasks=("detection", "segmentation"))
    confirmed(made, made.images[0])
    journal.write(made.project.pk)
    a_box(made, made.images[1])
    journal.write(made.project.pk)
    polygon = {"type": "polygon", "points": [[1, 1], [40, 1], [20, 30]]}
    body = {"annotation_type": "polygon", "geometry": polygon, "class_name": "Cat"}
    editing.create_annotation(made.project, made.images[0], body, by="ann")
    saved(made)
    assert journal.prune(made.project.pk) == 0, "segmentation has changes and no save"


def test_a_database_of_yesterday_begins_a_new_chain_above_what_it_finds(put_object):
    made = a_world()
    a_box(made, made.images[0])
    journal.write(made.project.pk)
    for number in (2, 3):
        put_object("labeler", f"exports/{made.project.pk}/journal/{number:09}.jsonl.gz", b"of another life")
    a_box(made, made.images[1])
    journal.write(made.project.pk)
    assert lines(made.project.pk, 4)[0]["previous"] == ""
    assert SaveState.objects.get(task=made.task).requested_at is not None


def test_raw_sql_and_bulk_changes_are_in_it_too():
    made = a_world()
    boxes = [a_box(made, image) for image in made.images]
    journal.write(made.project.pk)
    with acting("tester"), connection.cursor() as cursor:
        cursor.execute("UPDATE annotations SET notes = 'x'; DELETE FROM annotations WHERE id = %s", [boxes[0].pk])
    journal.write(made.project.pk)
    actions = [row["annotation"]["action"] for row in lines(made.project.pk, 2)[1:] if "annotation" in row]
    assert sorted(actions) == ["delete", "update", "update", "update"]


def test_history_and_its_marks_are_one_transaction():
    made = a_world()
    journal.write(made.project.pk)
    try:
        with transaction.atomic():
            a_box(made, made.images[0])
            raise KeyError
    except KeyError:
        assert not HistoryMark.objects.exists() and not Annotation.objects.exists()


def test_a_journal_is_written_up_to_where_it_was_however_fast_people_draw(monkeypatch):
    made, seal = a_world(), journal._seal

    def and_somebody_draws(segment):
        if segment.number < 5:
            a_box(made, made.images[0])
        seal(segment)

    a_box(made, made.images[0])
    monkeypatch.setattr(journal, "_seal", and_somebody_draws)
    assert journal.write(made.project.pk) == 2 and journal.waiting() == [made.project.pk]
