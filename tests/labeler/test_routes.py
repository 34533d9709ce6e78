"""Every route with every role in its own project: nobody, an outsider, the roles below the minimum, and those above.

What belongs to another project is in `test_access.py`.

The table must name every route there is: one without a row fails the build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from annotations import projects
from annotations.models import Annotation, AnnotationHistory, ClassHistory, LabelClass
from annotations.tokens import issue_token
from tests.world import World, a_box, a_client, a_user, a_world, confirmed, imported, published, saved
from versions import jobs, uploads, work
from versions.models import Job, Version

pytestmark = pytest.mark.django_db

ROLES = ["viewer", "annotator", "reviewer", "admin", "owner"]
PERSON = {"viewer": "vic", "annotator": "ann", "reviewer": "rev", "admin": "adm", "owner": "olga"}
BOX = {"type": "bbox", "bbox": [1, 1, 20, 20]}
MISSING_JOB = "00000000-0000-4000-8000-000000000000"
ABSENT = {
    "project": "proj_none", "dataset": "ds_none", "annotation": 999_999_999, "version": 999_999_999,
    "history": 999_999_999, "class_history": 999_999_999,
    "job": MISSING_JOB, "import": MISSING_JOB, "image": "none", "class_id": "none", "member": "none",
}  # fmt: skip


@dataclass
class Row:
    """One route: its minimum role, a body, what success answers, and what an outsider sees."""

    method: str
    path: str
    role: str
    expect: int = 200
    body: Any = None
    query: str = ""
    prepare: Callable[[World], None] = field(default=lambda world: None)
    # Where the ids stand in the body, an outsider's answer is in errors[], not the status.
    outsider: int = 404
    # Sent as a form with this as its ``file``.
    file: bytes | None = None
    # Its transaction is REPEATABLE READ, and so stands in no other.
    commits: bool = False

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}"


def _first(world: World) -> Annotation:
    return Annotation.objects.filter(image=world.images[0]).order_by("pk").first()


def _confirm(world: World) -> None:
    from annotations.confirming import confirm_annotation

    confirm_annotation(_first(world).pk, by="ann")


def _confirm_image(world: World) -> None:
    from annotations.confirming import confirm_image

    confirm_image(world.images[0], "detection", by="ann")


def _rename(world: World) -> None:
    projects.change_class(LabelClass.objects.get(project=world.project, class_id="cat"), by="adm", name="Kitten")


P, A, IMAGE = "/projects/{project}", "/annotations/{annotation}", "/projects/{project}/images/{image}"
LOCKS, LOCK = "/image-locks/{project}", "/image-locks/{project}/{image}"
ROWS = [
    Row("GET", P, "viewer"),
    Row("PATCH", P, "admin", body={"name": "Renamed"}),
    Row("DELETE", P, "owner", 204, query="?force=true"),
    Row("GET", f"{P}/stats", "viewer"),
    Row("POST", f"{P}/task-types", "admin", body={"task_type": "segmentation"}),
    Row("GET", "/datasets/{dataset}/project", "viewer"),
    Row("GET", f"{P}/classes", "viewer"),
    Row("POST", f"{P}/classes", "admin", 201, body={"name": "Cow", "color": "#112233"}),
    Row("PATCH", f"{P}/classes/{{class_id}}", "admin", body={"name": "Kitten"}),
    Row("DELETE", f"{P}/classes/{{class_id}}", "admin", 204, prepare=lambda world: Annotation.objects.all().delete()),
    Row("PUT", f"{P}/classes/reorder", "admin", body={"class_ids": ["dog", "cat"]}),
    Row("GET", f"{P}/audit", "admin"),
    Row("GET", f"{P}/members", "viewer"),
    Row("POST", f"{P}/members", "admin", 201, body={"user_id": "new", "role": "viewer"}),
    Row("PATCH", f"{P}/members/{{member}}", "admin", body={"role": "annotator"}),
    Row("DELETE", f"{P}/members/{{member}}", "admin", 204),
    Row("GET", f"{P}/images", "viewer"),
    Row("GET", f"{P}/images/status", "viewer"),
    Row("POST", f"{P}/images/split", "admin", body={"image_ids": ["a/1.png"], "split": "val"}),
    Row("GET", f"{P}/images/next", "viewer"),
    Row("GET", LOCKS, "viewer"),
    Row("GET", f"{LOCK}/status", "viewer"),
    Row("POST", f"{LOCK}/acquire", "annotator"),
    Row("POST", f"{LOCK}/heartbeat", "annotator"),
    Row("DELETE", LOCK, "annotator"),
    Row("DELETE", f"{LOCK}/force", "admin"),
    Row("POST", f"{P}/images/rescan", "admin", 202),
    Row("POST", f"{P}/images/bulk-confirm", "annotator", body={"image_ids": ["a/1.png"]}),
    Row("POST", f"{IMAGE}/confirm", "annotator", body={}),
    Row("POST", f"{IMAGE}/unconfirm", "annotator", body={}),
    Row("GET", f"{P}/review-queue", "reviewer"),
    Row("POST", f"{IMAGE}/verify", "reviewer", body={}, prepare=_confirm_image),
    Row(
        "POST", "/annotations", "annotator", 201,
        body={"project_id": "{project}", "image_id": "a/1.png", "annotation_type": "bbox", "geometry": BOX},
    ),
    Row("GET", A, "viewer"),
    Row("PUT", A, "annotator", body={"geometry": BOX}),
    Row("PATCH", A, "annotator", body={"notes": "seen"}),
    Row("DELETE", A, "annotator", 204),
    Row("POST", f"{A}/confirm", "annotator", body={}),
    Row("POST", f"{A}/unconfirm", "annotator", body={}),
    Row("POST", f"{A}/verify", "reviewer", body={}, prepare=_confirm),
    Row("GET", "/annotations/project/{project}", "viewer"),
    Row(
        "POST", "/annotations/batch", "annotator", outsider=200,
        body={"annotations": [
            {"project_id": "{project}", "image_id": "a/1.png", "annotation_type": "bbox", "geometry": BOX}]},
    ),
    Row("POST", "/annotations/batch-update", "annotator", outsider=200,
        body={"updates": [{"id": "{annotation}", "notes": "x"}]}),
    Row("POST", "/annotations/batch-delete", "annotator", outsider=200, body={"annotation_ids": ["{annotation}"]}),
    Row("GET", "/annotations/history/project/{project}", "viewer"),
    Row("GET", "/annotations/history/annotation/{annotation}", "viewer"),
    Row("POST", "/annotations/history/{history}/undo", "annotator", body={}),
    Row("POST", f"{P}/annotations/undo", "annotator", body={"mine": False}),
    Row("POST", f"{P}/annotations/restore-deleted", "reviewer", body={}),
    Row("GET", f"{P}/classes/history", "viewer"),
    Row("POST", f"{P}/classes/history/{{class_history}}/undo", "admin", body={}, prepare=_rename),
    Row("POST", "/annotations/bulk-confirm", "annotator", outsider=200, body={"annotation_ids": ["{annotation}"]}),
    Row("POST", "/annotations/import/project/{project}", "admin", 202, query="?force=true&wait=0"),
    Row("POST", f"{P}/import", "admin", 202, query="?wait=0", file=b'{"images": [], "annotations": []}'),
    Row("GET", f"{P}/imports/{{import}}/report", "admin"),
    Row("GET", f"{P}/working-version", "viewer"),
    Row("POST", f"{P}/working-version/save", "annotator", 202, body={"trigger": "manual"}),
    Row("POST", f"{P}/restore", "admin", 202, body={"source": "version", "version_id": "{version}"}, query="?wait=0"),
    Row("POST", f"{P}/rollback", "admin", 202, body={"version_id": "{version}"}, query="?wait=0"),
    Row("POST", f"{P}/export", "annotator", 202, body={"export_format": "coco"}),
    Row("POST", f"{P}/versions/publish", "admin", 201, body={"allow_empty": True}, commits=True),
    Row("GET", f"{P}/versions/publish/preview", "admin"),
    Row("GET", f"{P}/versions", "viewer"),
    Row("GET", f"{P}/versions/{{version}}", "viewer"),
    Row("GET", f"{P}/versions/{{version}}/snapshots", "viewer"),
    Row("POST", f"{P}/versions/{{version}}/platform-sync", "admin", 202),
    Row("GET", "/versions/{version}/download", "viewer"),
    Row("GET", "/version-diff/versions/{version}/compare/-1", "viewer", commits=True),
    Row("GET", "/version-diff/versions/-1/compare/{version}/summary", "viewer", commits=True),
    Row("GET", "/version-diff/versions/{version}/compare/{version}/images", "viewer", commits=True),
    Row("GET", "/jobs/{job}", "admin"),
]  # fmt: skip

# Routes that are about oneself, or about projects not there yet: tested by name below.
OWN = {
    "GET /me", "GET /me/tokens", "POST /me/tokens", "DELETE /me/tokens/{token_id}", "POST /auth/token",
    "GET /projects", "POST /projects", "GET /datasets",
}  # fmt: skip


def make_world(**names: Any) -> World:
    """A project with a published version, a save, drafts, an import and a job of the admin's."""
    made = a_world(**names)
    confirmed(made, made.images[1])
    published(made)
    a_box(made, made.images[0])
    saved(made)
    jobs.start("rescan", by="adm", project=made.project)
    work.run(imported(made, b'{"images": [], "annotations": []}').pk)
    return made


def values_of(world: World) -> dict[str, Any]:
    """What stands for the words in braces."""
    mine = {"project": world.project}
    return {
        "project": world.project.pk,
        "dataset": world.project.dataset_id,
        "image": quote(world.images[0].path, safe=""),
        "annotation": _first(world).pk if _first(world) else 0,
        "version": Version.objects.published().filter(**mine).first().pk,
        "job": Job.objects.filter(**mine).order_by("created_at").first().pk,
        "import": Job.objects.get(kind=uploads.KIND, **mine).pk,
        "history": AnnotationHistory.objects.filter(project_id=world.project.pk).latest("pk").pk,
        "class_history": ClassHistory.objects.filter(project_id=world.project.pk).latest("pk").pk,
        "class_id": "cat",
        "member": "vic",
    }


def call(client: APIClient, row: Row, values: dict[str, Any]) -> Any:
    """Send a row's request."""
    address = f"/api/v1{row.path.format(**values)}{row.query}"
    if row.file is not None:
        return client.post(address, {"file": SimpleUploadedFile("file.json", row.file)}, format="multipart")
    body = None if row.body is None else _filled(row.body, values)
    return client.generic(
        row.method, address, data="" if body is None else json.dumps(body), content_type="application/json"
    )


def _filled(body: Any, values: dict[str, Any]) -> Any:
    if isinstance(body, dict):
        return {name: _filled(value, values) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(each, values) for each in body]
    return body.format(**values) if isinstance(body, str) else body


def marked(row: Row) -> Any:
    """The row as a parameter, in a test with commits of its own where it needs them."""
    return pytest.param(row, id=row.key, marks=[pytest.mark.django_db(transaction=True)] if row.commits else [])


@pytest.mark.parametrize("row", [marked(row) for row in ROWS])
def test_a_route_opens_from_its_minimum_role_upwards_and_for_nobody_below(world, row):
    row.prepare(world)
    values = values_of(world)
    before = _fingerprint()
    answers = [call(APIClient(), row, values), call(a_client("oscar"), row, values)]
    assert answers[0].status_code == 401, answers[0].content
    assert answers[1].status_code == row.outsider, answers[1].content
    if row.outsider == 200:
        assert [error["code"] for error in answers[1].json()["errors"]] == ["not_found"]
    for role in ROLES[: ROLES.index(row.role)]:
        _is_refused(call(a_client(PERSON[role]), row, values), row)
    assert _fingerprint() == before, "somebody below the role changed something"
    for role in ROLES[ROLES.index(row.role) :]:
        answer = _in_vain(lambda: call(a_client(PERSON[role]), row, values), row)  # noqa: B023
        assert answer.status_code == row.expect, (role, answer.content)


def _in_vain(send: Callable[[], Any], row: Row) -> Any:
    """The answer; what was changed is taken back, where it is not the route's own transaction."""
    if row.commits:
        return send()
    with transaction.atomic():
        answer = send()
        transaction.set_rollback(True)
    return answer


def _is_refused(answer: Any, row: Row) -> None:
    if row.path == "/jobs/{job}":
        assert answer.status_code == 404, answer.content
    elif row.outsider == 200:
        assert [error["code"] for error in answer.json()["errors"]] == ["forbidden"], answer.content
    else:
        assert answer.status_code == 403, answer.content
        assert answer.json()["code"] == "forbidden"


def _fingerprint() -> list[Any]:
    return [
        list(Annotation.objects.order_by("pk").values_list("pk", "version", "state")),
        list(Version.objects.order_by("pk").values_list("pk", "status")),
        Job.objects.count(),
    ]


def test_the_table_names_every_route():
    known = {row.key.replace("/-1", "/{live}") for row in ROWS} | OWN
    assert set(_routes()) == {_shape(key) for key in known}


def _routes() -> list[str]:
    found = []
    for prefix, pattern in _patterns(get_resolver(), ""):
        if prefix.startswith("api/v1/") and hasattr(pattern.callback, "actions"):
            path = prefix.removeprefix("api/v1").replace("^", "").removesuffix("/?$")
            found += [
                _shape(f"{method.upper()} {_named(path)}") for method in pattern.callback.actions if method != "head"
            ]
    return found


def _patterns(resolver: Any, prefix: str) -> Any:
    for entry in resolver.url_patterns:
        here = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, here)
        elif isinstance(entry, URLPattern):
            yield here, entry


def _named(path: str) -> str:
    # The pattern of a parameter may hold groups of its own.
    while found := re.search(r"\(\?P<(\w+)>", path):
        depth, end = 0, found.start()
        while True:
            depth += {"(": 1, ")": -1}.get(path[end], 0)
            end += 1
            if depth == 0:
                break
        path = path[: found.start()] + f"{{{found[1]}}}" + path[end:]
    return path


def _shape(key: str) -> str:
    return re.sub(r"\{\w+\}", "{}", key)


# Oneself --------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", sorted(OWN - {"POST /auth/token"}))
def test_routes_about_oneself_need_an_identity(route):
    method, path = route.split()
    answer = APIClient().generic(method, f"/api/v1{path.format(token_id=1)}")
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_person_sees_only_their_own_projects_and_tokens(world):
    oscar, vic = a_client("oscar"), a_client("vic")
    assert oscar.get("/api/v1/projects").json() == []
    assert [project["id"] for project in vic.get("/api/v1/projects").json()] == [world.project.pk]
    assert vic.get("/api/v1/me").json()["projects"] == [{"project_id": world.project.pk, "role": "viewer"}]
    _, token = issue_token(a_user("vic"), name="mine")
    assert oscar.delete(f"/api/v1/me/tokens/{token.pk}").status_code == 404
    assert vic.delete(f"/api/v1/me/tokens/{token.pk}").status_code == 204
    assert vic.get("/api/v1/me/tokens").json() == []
    made = vic.post("/api/v1/me/tokens", {"name": "script"}, format="json")
    assert made.status_code == 201
    bearer = APIClient(HTTP_AUTHORIZATION=f"Bearer {made.json()['token']}")
    assert bearer.get("/api/v1/me").json()["id"] == "vic"


def test_signing_in_gives_a_token_that_works():
    user = a_user("vic")
    user.set_password("a long enough password")
    user.save()
    client = APIClient()
    wrong = client.post("/api/v1/auth/token", {"username": "vic", "password": "wrong"}, format="json")
    assert wrong.status_code == 401
    right = client.post("/api/v1/auth/token", {"username": "vic", "password": "a long enough password"}, format="json")
    assert right.status_code == 201
    assert APIClient(HTTP_AUTHORIZATION=f"Bearer {right.json()['token']}").get("/api/v1/me").status_code == 200


def test_opening_datasets_needs_the_permission(platform_rows):
    platform_rows(datasets=[("ds_new", "New", 3)])
    body = {"name": "New", "dataset_id": "ds_new", "task_types": ["object_detection"]}
    assert a_client("vic").post("/api/v1/projects", body, format="json").status_code == 403
    assert a_client("vic").get("/api/v1/datasets").status_code == 403
    a_user("boss", is_staff=True)
    boss = a_client("boss")
    assert boss.get("/api/v1/datasets").json() == [
        {"id": "ds_new", "name": "New", "num_items": 3, "is_open": False, "project_id": None}
    ]
    assert [len(boss.get(f"/api/v1/datasets?search={word}").json()) for word in ("NEW", "old", "")] == [1, 0, 1]
    unanswerable = boss.get("/api/v1/datasets?search=%00")
    assert unanswerable.status_code == 400 and unanswerable.json()["errors"]["search"]
    made = boss.post("/api/v1/projects", body, format="json")
    assert made.status_code == 201 and made.json()["task_types"] == ["detection"] and made.json()["job_id"]
    assert boss.post("/api/v1/projects", body, format="json").status_code == 409
    assert boss.post("/api/v1/projects", {**body, "dataset_id": "ds_none"}, format="json").status_code == 404
