"""The admin for staff: every page opens, no page asks more for more rows, actions do what they say."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotations.models import Annotation, AnnotationHistory, ApiToken, Member, Project, User
from annotations.tables import BoundedPaginator
from annotations.tokens import digest_of
from tests.world import a_box, a_user, a_world, confirmed, published, saved
from versions import jobs, opening, publishing
from versions.models import Job, SaveState, Version

pytestmark = pytest.mark.django_db
OURS = [model for model in admin.site._registry if model._meta.app_label in ("annotations", "versions")]


def make_world():
    made = a_world()
    confirmed(made, made.images[0])
    published(made)
    a_box(made, made.images[1])
    saved(made)
    jobs.start("rescan", by="adm", project=made.project)
    return made


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(a_user("boss", is_staff=True, is_superuser=True))
    return client


def changelist(model) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def act(client: Client, model, action: str, rows, **further):
    body = {"action": action, "_selected_action": [row.pk for row in rows], **further}
    return client.post(changelist(model), body, follow=True)


def told(answer) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_list_and_every_detail_opens(world, staff, model):
    assert staff.get(changelist(model)).status_code == 200
    assert staff.get(changelist(model), {"q": "1"}).status_code == 200
    row = model.objects.first()
    if row is not None:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[quote(row.pk)])
        assert staff.get(url).status_code == 200


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_no_address_somebody_makes_up_is_an_error_of_ours(staff, model):
    staff.raise_request_exception = False
    queries = ("q=%00", "task_type=%00", "status__exact=%00", "project=%00", "id=99999999999999999999", "p=-1", "o=zz")
    answers = [staff.get(f"{changelist(model)}?{query}") for query in queries]
    for key in ("zz", "%00", "99999999999999999999", "_00"):
        answers += [staff.get(f"{changelist(model)}{key}/{page}/") for page in ("change", "history", "delete")]
    assert all(answer.status_code < 500 for answer in answers), [answer.request["PATH_INFO"] for answer in answers]


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_people_who_are_not_staff_see_the_login(world, model):
    client = Client()
    client.force_login(a_user("vic"))
    answer = client.get(changelist(model))
    assert answer.status_code == 302 and "/admin/login/" in answer.headers["Location"]


@pytest.mark.django_db(transaction=True)
def test_no_list_asks_more_for_more_rows(world, staff):
    for model in OURS:
        staff.get(changelist(model))
    few = {model.__name__: count_queries(staff, model) for model in OURS}
    more = a_world(dataset="ds_more", count=6)
    for image in more.images:
        confirmed(more, image)
        published(more, finish=False)
        jobs.start("rescan", by="adm", project=more.project)
    saved(more)
    many = {model.__name__: count_queries(staff, model) for model in OURS}
    assert {name for name in few if many[name] > few[name]} == set(), (few, many)


def count_queries(client: Client, model) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(changelist(model)).status_code == 200
    return len(queries)


def test_large_tables_are_estimated_and_not_counted(world, monkeypatch):
    monkeypatch.setattr("annotations.tables.ENOUGH", 2)
    with CaptureQueriesContext(connection) as queries:
        assert BoundedPaginator(AnnotationHistory.objects.order_by("pk"), 50).count >= 3
    assert any("reltuples" in query["sql"] for query in queries)
    counts = [query["sql"] for query in queries if "count(" in query["sql"].lower()]
    assert counts and all("LIMIT 3" in sql for sql in counts)


def test_a_version_shows_its_files_hashes_and_platform_state(world, staff):
    version = Version.objects.published().get()
    page = staff.get(reverse("admin:versions_version_change", args=[version.pk])).content.decode()
    for file in version.artifacts.all():
        assert file.s3_key in page and file.sha256 in page
    assert "synced" in page


def test_snapshots_and_versions_are_looked_at_and_never_typed(world, staff):
    looked_at = ("annotations_annotation", "annotations_annotationhistory")
    for model in ("versions_version", "versions_frozenannotations", *looked_at):
        assert staff.get(reverse(f"admin:{model}_add")).status_code == 403
    snapshot = publishing.snapshots and Version.objects.published().get()
    assert staff.post(reverse("admin:versions_version_delete", args=[snapshot.pk]), {"post": "yes"}).status_code == 403


# Actions ----------------------------------------------------------------------------------------


def test_save_now_makes_a_save_due(world, staff):
    Annotation.objects.update(notes="changed")
    state = SaveState.objects.get(task=world.task)
    assert "queued" in told(act(staff, SaveState, "save_now", [state]))
    state.refresh_from_db()
    assert state.requested_by == "boss" and state.requested_trigger == "manual"


@pytest.mark.django_db(transaction=True)
def test_retry_puts_a_failed_version_back_to_work(world, staff):
    version = published(world, finish=False)
    publishing.change(version, status="failed", last_error="access denied")
    assert "is tried again" in told(act(staff, Version, "retry_publish", [version]))
    version.refresh_from_db()
    assert (version.status, version.last_error) == ("exporting", "")
    assert "nothing had failed" in told(act(staff, Version, "retry_publish", [version]))


@pytest.mark.django_db(transaction=True)
def test_sync_asks_for_the_newest_version_and_refuses_an_older_one(world, staff):
    first = Version.objects.published().get()
    assert "will be written" in told(act(staff, Version, "sync_platform", [first]))
    published(world)
    assert "never goes back" in told(act(staff, Version, "sync_platform", [first]))


def test_restore_asks_first_and_then_starts_a_job(world, staff):
    version = Version.objects.published().get()
    before = Job.objects.count()
    page = act(staff, Version, "restore", [version])
    assert "saved as a working version" in page.content.decode() and Job.objects.count() == before
    answer = act(staff, Version, "restore", [version], confirmed="yes")
    assert "is being restored" in told(answer)
    job = Job.objects.get(kind="restore")
    assert job.created_by == "boss" and job.params["version_id"] == version.pk and job.params["dry_run"] is False


def test_looking_is_not_acting(world):
    viewer = User.objects.create(username="looker", is_staff=True)
    codes = ("view_version", "view_annotation", "view_savestate")
    viewer.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client = Client()
    client.force_login(viewer)
    version = Version.objects.published().get()
    for action in ("retry_publish", "sync_platform"):
        assert "needs the permission" in told(act(client, Version, action, [version]))
    assert "needs the permission" in told(act(client, Annotation, "delete_them", Annotation.objects.all()))
    assert Annotation.objects.count() == 2


def test_the_sidebar_follows_permissions_and_language_at_once(world):
    viewer = a_user("vera", is_staff=True)
    client, page = Client(), changelist(Version)
    client.force_login(viewer)
    for codes, seen in ((["view_version"], 1), (["view_version", "view_annotation"], 2), (["view_version"], 1)):
        viewer.user_permissions.set(Permission.objects.filter(codename__in=codes))
        for _ in range(2):
            assert client.get(page).content.decode().count('<th scope="row">') == seen
    for language, words in (("ko", "토글 메뉴"), ("en", "Toggle navigation"), ("ko", "토글 메뉴")):
        assert words in client.get(page, headers={"accept-language": language}).content.decode()


def test_the_sidebar_marks_the_table_one_is_in_on_lists_and_on_pages_of_rows(world, staff):
    row = Annotation.objects.first()
    pages = {changelist(Annotation): "Annotations", f"{changelist(Annotation)}{row.pk}/change/": "Annotations",
             changelist(Version): "Versions", reverse("admin:index"): None}  # fmt: skip
    for page, name in [*pages.items()] * 2:
        marked = re.findall(r'aria-current="page">([^<]+)<', staff.get(page).content.decode())
        assert marked == ([name] if name else []), page


def test_deleting_annotations_is_one_deed_named_in_the_history(world, staff):
    assert "2 annotations deleted" in told(act(staff, Annotation, "delete_them", Annotation.objects.all()))
    rows = AnnotationHistory.objects.filter(action="delete")
    assert {row.changed_by for row in rows} == {"boss"} and len({row.batch_id for row in rows}) == 1


def test_a_change_of_a_project_names_who_changed_it(world, staff):
    url = reverse("admin:annotations_project_change", args=[quote(world.project.pk)])
    form = staff.get(url).context["adminform"].form
    body = {name: form.initial.get(name) or "" for name in form.fields} | {"name": "Renamed", "settings": "{}",
            "task_config": "{}"}  # fmt: skip
    members = Member.objects.order_by("pk")
    body |= {"members-TOTAL_FORMS": len(members) + 1, "members-INITIAL_FORMS": len(members),
             "tasks-TOTAL_FORMS": 0, "tasks-INITIAL_FORMS": 0}  # fmt: skip
    for number, member in enumerate(members):
        body |= {f"members-{number}-id": member.pk, f"members-{number}-project": world.project.pk,
                 f"members-{number}-user_id": member.user_id, f"members-{number}-role": member.role}  # fmt: skip
    number = len(members)
    body |= {f"members-{number}-project": world.project.pk, f"members-{number}-user_id": "new",
             f"members-{number}-role": "viewer"}  # fmt: skip
    answer = staff.post(url, body)
    assert answer.status_code == 302, answer.context["errors"]
    project = Project.objects.get()
    assert (project.name, project.updated_by) == ("Renamed", "boss")
    assert Member.objects.filter(user_id="new", role="viewer").exists()


def test_a_deleted_project_is_brought_back(world, staff):
    opening.close_project(world.project, by="olga", force=True)
    assert "is back" in told(act(staff, Project, "bring_back", [world.project]))
    assert Project.objects.get().deleted_at is None


def test_a_token_is_shown_once_and_kept_as_a_hash(world, staff):
    user = a_user("vic")
    answer = staff.post(reverse("admin:annotations_apitoken_add"), {"user": user.pk, "name": "script"}, follow=True)
    plain = told(answer).split("shown only now: ")[1].split()[0]
    row = ApiToken.objects.get()
    assert row.digest == digest_of(plain) and row.name == "script"
    assert plain not in staff.get(reverse("admin:annotations_apitoken_change", args=[quote(row.pk)])).content.decode()
    act(staff, ApiToken, "revoke", [row])
    assert ApiToken.objects.get().revoked_at is not None
