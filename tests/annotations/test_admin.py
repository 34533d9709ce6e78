"""The admin of the annotations room: staff keeps the rules members keep, and history says it was them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.admin.templatetags import admin_list
from django.db import connection
from django.urls import reverse

from annotations import editing, images
from annotations.models import (
    Annotation,
    AnnotationHistory,
    ApiToken,
    ClassHistory,
    Image,
    ImageStatus,
    LabelClass,
    Member,
    Project,
    User,
)
from annotations.projects import create_class, delete_project, set_member
from annotations.states import Role
from annotations.tokens import is_living, issue_token
from tests.staff import act, address, queries_of, send, somebody_with, the_boss, the_form, told
from tests.world import a_box, a_user, a_world, confirmed, in_a_deadlock, somebody_waits
from versions.waiting import wait_until

pytestmark = pytest.mark.django_db


def make_world():
    made = a_world()
    confirmed(made, made.images[0])
    a_box(made, made.images[1])
    return made


@pytest.fixture
def boss():
    return the_boss()


def member_at(form: dict, user_id: str) -> str:
    """The prefix of a member's line in the project's form."""
    return next(key for key, value in form.items() if value == user_id and key.startswith("members-"))[:-8]


def roles() -> dict[str, str]:
    return dict(Member.objects.values_list("user_id", "role"))


# Lists ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Annotation, AnnotationHistory, Image, ImageStatus, LabelClass, Project])
def test_a_list_shows_the_cells_that_the_admin_itself_would_show(world, boss, model):
    Project.objects.update(name="<b>&'", deleted_at=None)
    shown = boss.get(address(model)).context["cl"]
    theirs = ["".join(cells) for cells in admin_list.results(shown)]
    assert theirs and shown.rows() == theirs


# Projects and members ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["proj_23", "proj_5F", "proj_2F"])
def test_any_id_of_a_project_leads_to_its_page(boss, name):
    Project.objects.create(id=name, name="Odd", dataset_id=name, dataset_name="Odd", owner_id="olga")
    link = address(Project, "change", Project(id=name))
    assert f'href="{link}' in boss.get(address(Project)).content.decode()
    assert boss.get(link).context["original"].pk == name


def test_the_classes_of_a_project_are_one_click_away(world, boss):
    a_world(dataset="ds_other")
    link = f"{address(LabelClass)}?project__id__exact={world.project.pk}"
    assert link in boss.get(address(Project, "change", world.project)).content.decode()
    assert {row.project_id for row in boss.get(link).context["cl"].queryset} == {world.project.pk}


def test_a_page_of_a_project_asks_no_more_for_more_members_and_classes(world, boss):
    page = address(Project, "change", world.project)
    queries_of(boss, page)
    few = len(queries_of(boss, page))
    for number in range(12):
        set_member(world.project, f"person{number}", Role.VIEWER, by="olga", by_role=Role.OWNER)
        create_class(world.task, name=f"Class {number}", by="olga")
    assert len(queries_of(boss, page)) == few


def test_a_project_shows_its_members_tasks_and_classes(world, boss):
    page = boss.get(address(Project, "change", world.project)).content.decode()
    for word in ("olga", "detection", "Cat", "Dog"):
        assert word in page


def test_saving_a_project_untouched_changes_no_member(world, boss):
    before = roles()
    assert told(send(boss, world.project))[0][0] == "success"
    assert roles() == before


def test_a_member_added_by_staff_says_who_added_them(world, boss):
    send(boss, world.project, **{"members-TOTAL_FORMS": 6, "members-5-user_id": "new", "members-5-role": "viewer"})
    member = Member.objects.get(user_id="new")
    assert (member.role, member.added_by) == ("viewer", "boss")


def test_the_role_of_a_member_is_changed_and_a_member_taken_out(world, boss):
    form = the_form(boss, world.project)
    send(
        boss, world.project, **{f"{member_at(form, 'vic')}-role": "reviewer", f"{member_at(form, 'ann')}-DELETE": "on"}
    )
    assert roles() == {"olga": "owner", "adm": "admin", "rev": "reviewer", "vic": "reviewer"}


def test_staff_hands_a_project_over_when_its_owner_left(world, boss):
    send(boss, world.project, **{f"{member_at(the_form(boss, world.project), 'adm')}-role": "owner"})
    assert (roles()["adm"], roles()["olga"]) == ("owner", "admin")
    assert Project.objects.get().owner_id == "adm"


@pytest.mark.parametrize("typed", [("olga", "role", "viewer"), ("olga", "DELETE", "on")])
def test_a_project_keeps_one_owner(world, boss, typed):
    person, field, value = typed
    before = roles()
    line = member_at(the_form(boss, world.project), person)
    answer = send(boss, world.project, **{f"{line}-{field}": value, "name": "Renamed"})
    assert told(answer)[0][0] == "error" and "owner" in told(answer)[0][1]
    assert roles() == before
    assert Project.objects.get().name == "World"


def test_a_member_line_is_not_moved_to_another_person(world, boss):
    line = member_at(the_form(boss, world.project), "vic")
    send(boss, world.project, **{f"{line}-user_id": "stranger"})
    assert "stranger" not in roles() and roles()["vic"] == "viewer"


def test_a_project_whose_dataset_is_open_again_stays_deleted(world, boss):
    delete_project(world.project, by="olga")
    a_world()
    level, said = told(act(boss, "bring_back", [world.project]))[0]
    assert level == "error" and "opened again" in said
    assert Project.objects.get(pk=world.project.pk).deleted_at is not None


def test_who_may_only_look_brings_no_project_back_and_revokes_no_token(world):
    delete_project(world.project, by="olga")
    plain, token = issue_token(a_user("vic"), name="script")
    looker = somebody_with("view_project", "view_apitoken")
    act(looker, "bring_back", [world.project])
    act(looker, "revoke", [token])
    assert Project.objects.get().deleted_at is not None
    assert is_living(plain)


# Classes and images -----------------------------------------------------------------------------


def test_renaming_a_class_names_who_did_it(world, boss):
    send(boss, LabelClass.objects.get(class_id="cat"), name="Feline")
    entry = ClassHistory.objects.order_by("-id").first()
    assert entry.changed_by == "boss"
    assert (entry.previous_state["name"], entry.new_state["name"]) == ("Cat", "Feline")


@pytest.mark.parametrize("name", ["Dog", "__background__", " "])
def test_a_class_name_that_cannot_be_is_refused_in_words(world, boss, name):
    cat = LabelClass.objects.get(class_id="cat")
    answer = send(boss, cat, name=name)
    assert answer.status_code == 200
    assert LabelClass.objects.get(pk=cat.pk).name == "Cat"
    said = [level for level, _ in told(answer)]
    assert said == ["error"] or answer.context["errors"]


def test_a_class_in_use_is_not_retired_and_an_unused_one_is(world, boss):
    cat, dog = LabelClass.objects.order_by("index")
    levels = {level for level, _ in told(act(boss, "retire", [cat, dog]))}
    assert levels == {"error", "info"}
    assert list(LabelClass.objects.filter(retired_at=None)) == [cat]
    assert ClassHistory.objects.order_by("-id").first().changed_by == "boss"


def test_the_size_of_an_image_has_both_sides_or_none(world, boss):
    image = world.images[2]
    answer = send(boss, image, width="", height="50")
    assert answer.context["errors"]
    assert Image.objects.get(pk=image.pk).width == 200
    send(boss, image, width="300", height="50")
    assert Image.objects.get(pk=image.pk).width == 300


def test_an_unknown_split_is_refused_and_a_known_one_taken(world, boss):
    send(boss, world.images[0], split="holdout")
    assert Image.objects.get(pk=world.images[0].pk).split is None
    send(boss, world.images[0], split="val")
    assert Image.objects.get(pk=world.images[0].pk).split == "val"


# Two at once ------------------------------------------------------------------------------------

HOLD = "SELECT FROM image_annotation_status WHERE image_id = %s FOR UPDATE"


def waiting(pool: ThreadPoolExecutor, deed: Callable[[], Any]) -> Future[Any]:
    """The deed on its way, in a thread of its own, once it waits for somebody else's lock."""

    def run() -> Any:
        try:
            return deed()
        finally:
            connection.close()

    done = pool.submit(run)
    assert wait_until(somebody_waits, 60)
    return done


@pytest.mark.django_db(transaction=True)
def test_a_size_typed_while_a_drawing_tells_it_waits_for_the_drawing(world, boss, other_session):
    image = world.images[2]
    Image.objects.filter(pk=image.pk).update(width=None, height=None)
    # Were there a deadlock, the admin would be told.
    other_session.execute("SET deadlock_timeout = '5min'")
    with ThreadPoolExecutor(1) as pool:
        with other_session.transaction():
            other_session.execute(HOLD, [image.pk])
            done = waiting(pool, lambda: send(boss, image, width="300", height="50"))
            other_session.execute("UPDATE dataset_images SET width = 640, height = 480 WHERE id = %s", [image.pk])
        assert told(done.result(60))[0][0] == "success"
    assert Image.objects.get(pk=image.pk).width == 300


@pytest.mark.django_db(transaction=True)
def test_a_split_given_while_somebody_draws_waits_for_the_drawing(world, other_session):
    image = world.images[2]
    other_session.execute("SET deadlock_timeout = '5min'")
    with ThreadPoolExecutor(1) as pool:
        with other_session.transaction():
            other_session.execute(HOLD, [image.pk])
            done = waiting(pool, lambda: images.set_split(world.project, [image.pk], "val", by="adm"))
            # What the foreign key of a new annotation asks.
            other_session.execute("SELECT FROM dataset_images WHERE id = %s FOR KEY SHARE", [image.pk])
        assert done.result(60) == 1


@pytest.mark.django_db(transaction=True)
def test_staff_in_a_deadlock_is_asked_to_try_again(world, boss, two_sessions):
    a_box(world, world.images[2])
    boxes = list(Annotation.objects.order_by("image_id"))
    boss.raise_request_exception = False
    # Theirs come in another order than all of ours, as a plan over many rows may have it.
    rows = [box.image_id for box in boxes]
    answer = in_a_deadlock(lambda: act(boss, "delete_them", boxes), two_sessions, HOLD, rows)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "nothing was changed here. Try again." in answer.content.decode()
    assert Annotation.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_staff_is_asked_to_try_again_while_the_database_is_away(boss, monkeypatch):
    boss.raise_request_exception = False
    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "PORT", "1")
        connection.close()
        answer = boss.get(address(Image))
    assert answer.status_code == 503
    assert "The database does not answer; try again in a moment." in answer.content.decode()
    assert boss.get(address(Image)).status_code == 200


# Large tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Image, ImageStatus, Annotation, AnnotationHistory, ClassHistory])
def test_a_list_reads_no_whole_table_for_its_filters_or_its_counts(world, boss, model):
    asked = [sql for sql in queries_of(boss, address(model)) if model._meta.db_table in sql]
    assert not [sql for sql in asked if "DISTINCT" in sql]
    counts = [sql for sql in asked if "count(" in sql.lower()]
    assert counts and all("LIMIT" in sql for sql in counts)


def test_filters_offer_every_word_and_keep_what_they_say(world, boss):
    Image.objects.filter(pk=world.images[0].pk).update(split="val")
    listed = {
        value: [row.pk for row in boss.get(address(Image), {"split": value}).context["cl"].queryset]
        for value in ("val", "train", "none")
    }
    assert listed["val"] == [world.images[0].pk] and listed["train"] == [] and len(listed["none"]) == 2
    shown = boss.get(address(Annotation), {"annotation_type": "bbox"}).context["cl"].queryset
    assert len(shown) == 2
    assert not boss.get(address(Annotation), {"annotation_type": "polygon"}).context["cl"].queryset


@pytest.mark.parametrize(
    ("words", "found"),
    [("a/1.png", 1), ("CAT", 2), ("ann", 2), ("cat a/2", 1), ("nothing-like-this", 0)],
)
def test_annotations_are_found_by_image_class_and_person(world, boss, words, found):
    assert len(boss.get(address(Annotation), {"q": words}).context["cl"].queryset) == found


def test_annotations_are_found_by_their_number_and_their_project(world, boss):
    row = Annotation.objects.first()
    assert row in boss.get(address(Annotation), {"q": str(row.pk)}).context["cl"].queryset
    assert len(boss.get(address(Annotation), {"q": world.project.pk}).context["cl"].queryset) == 2
    assert boss.get(address(Annotation), {"q": "9" * 40}).status_code == 200


@pytest.mark.parametrize("words", ["1", "boss", "00000000-0000-0000-0000-000000000000", "9" * 40])
def test_history_is_searched_through_its_indexes(world, boss, words):
    asked = [sql for sql in queries_of(boss, address(AnnotationHistory), q=words) if "annotation_history" in sql]
    assert all("UPPER(" not in sql and "::text" not in sql for sql in asked)


def test_the_story_of_an_annotation_is_one_click_away_and_tells_before_and_after(world, boss):
    row = a_box(world, world.images[2])
    editing.update_annotation(row.pk, {"geometry": {"type": "bbox", "bbox": [15, 20, 20, 30]}}, by="ann")
    editing.update_annotation(row.pk, {"class_name": "Dog", "attributes": {"seen": "여과"}}, by="adm")
    link = reverse("admin:annotations_annotation_story", args=[row.pk])
    assert link in boss.get(address(Annotation, "change", row)).content.decode()
    assert boss.get(address(Annotation, "history", row))["Location"] == link
    page = boss.get(link)
    newest, moved, drawn = page.context["entries"]
    assert newest["words"] == ["class Cat \u2192 Dog", "seen: none \u2192 여과"] and newest["changed_by"] == "adm"
    assert moved["words"] == ["moved"] and "at 10, 20" in moved["before"] and "at 15, 20" in moved["after"]
    assert drawn["before"] == "" and drawn["action"] == "create"
    assert [shape["tone"] for shape in moved["drawing"]["shapes"]] == ["before", "after"]
    assert "여과" in page.content.decode()


def test_the_story_is_still_there_when_the_annotation_is_not(world, boss):
    row = Annotation.objects.first()
    editing.delete_annotation(row.pk, by="ann")
    page = boss.get(reverse("admin:annotations_annotation_story", args=[row.pk]))
    assert page.status_code == 200 and page.context["entries"][0]["action"] == "delete"
    for unknown in (999_999_999, 10**30):
        assert boss.get(reverse("admin:annotations_annotation_story", args=[unknown])).status_code == 404


def test_the_story_of_an_image_tells_its_status_and_everything_on_it(world, boss):
    image = world.images[0]
    link = reverse("admin:annotations_image_story", args=[image.pk])
    assert link in boss.get(address(Image, "change", image)).content.decode()
    page = boss.get(link)
    assert "status: in-progress \u2192 completed" in page.context["statuses"][0]["words"]
    assert {entry["action"] for entry in page.context["entries"]} == {"create", "confirm"}
    assert boss.get(address(Image, "history", image)).status_code in (200, 302)


def test_a_long_story_has_pages(world, boss):
    row = a_box(world, world.images[2])
    for number in range(30):
        editing.update_annotation(row.pk, {"confidence": number}, by="ann")
    link = reverse("admin:annotations_annotation_story", args=[row.pk])
    first, second = boss.get(link), boss.get(link, {"p": "1"})
    assert (len(first.context["entries"]), len(second.context["entries"])) == (25, 6)
    assert "?p=1" in first.content.decode() and "?p=0" in second.content.decode()
    for odd in ("x", "-1", "9" * 30):
        assert boss.get(link, {"p": odd}).status_code == 200


def test_stories_take_the_permission_to_look_and_escape_what_people_wrote(world):
    image = world.images[0]
    row = Annotation.objects.first()
    editing.update_annotation(row.pk, {"notes": "<img src=x onerror=alert(1)>"}, by="ann")
    links = [
        reverse("admin:annotations_annotation_story", args=[row.pk]),
        reverse("admin:annotations_image_story", args=[image.pk]),
    ]
    for link in links:
        assert somebody_with("view_project").get(link).status_code == 403
        assert "<img src=x" not in the_boss().get(link).content.decode()


# People and tokens ------------------------------------------------------------------------------


def test_the_permission_to_open_datasets_is_given_here(world, boss):
    vic = a_user("vic")
    page = boss.get(address(User, "change", vic)).content.decode()
    assert "Can open a dataset as a project" in page


def test_the_text_of_a_token_is_told_once(world, boss):
    answer = boss.post(address(ApiToken, "add"), {"user": a_user("vic").pk, "name": "script"}, follow=True)
    plain = told(answer)[0][1].split("shown only now: ")[1].split()[0]
    assert is_living(plain)
    assert plain not in boss.get(address(ApiToken)).content.decode()
    act(boss, "revoke", [ApiToken.objects.get()])
    assert not is_living(plain)
