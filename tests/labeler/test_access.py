"""Another project's things: every route, role and field that takes an id answers as if they were not there.

Routes come from the address book (`test_routes.py` fails for one without a row), fields from the OpenAPI document: a
field whose name is on neither list here fails the build. What each role may do in its own project is in
`test_routes.py`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Concat
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from annotations.models import Annotation, AnnotationHistory, Image, ImageStatus, LabelClass, Member
from tests.labeler import test_routes as routes
from tests.labeler.test_routes import ABSENT, MISSING_JOB, PERSON, ROWS, Row, call, values_of
from tests.world import World, a_client, a_user
from versions.models import Job, Version

pytestmark = pytest.mark.django_db

# Nobody, a stranger, staff of the site who is no member, and every role of a project that is not the one asked for.
PEOPLE = [None, "oscar", "boss", *PERSON.values()]
PARTS = ["image", "class_id", "member", "version", "import", "class_history"]

# What a field takes, by its name: the id of another project's thing, and one that nothing has.
IDS = {
    "project_id": "project", "image_id": "path", "image_ids": "path", "after": "path", "around": "path",
    "annotation_ids": "annotation", "id": "annotation", "class_id": "class_id", "class_ids": "class_id",
    "class_name": "class_name", "version_id": "version", "batch_id": "batch", "changed_by": "person", "by": "person",
    "user_id": "person",
}  # fmt: skip
# Names of nothing that belongs to a project. A dataset is opened by those who may see every dataset; a token of a
# closing page is signed for its project; a client's own id names what it makes; a cursor is a place in the version it
# is sent to.
PLAIN = {
    "action", "allow_empty", "annotation_state", "annotation_type", "annotations", "as_of", "atomic", "attributes",
    "beacon_token", "change", "classes", "client_id", "code", "color", "confidence", "confirmed", "cursor",
    "dataset_id", "days", "description", "dry_run", "export_format", "export_formats", "file", "force", "format",
    "geometry", "hand_over", "include_draft", "keep_annotations", "keypoints", "limit", "mine", "mode", "name",
    "notes", "offset", "order", "password", "reason", "redirect", "redo", "role", "search", "settings", "since",
    "skeleton", "skip", "source", "split", "status", "steps", "supercategory", "task_classes", "task_config",
    "task_type", "task_types", "trigger", "until", "updated_since", "updates", "username", "verified",
    "verified_only", "version", "version_number", "version_type", "wait", "waivers",
}  # fmt: skip
# Where a field stands in another body than the row's own.
BODIES = {
    ("POST /annotations/batch-delete", "project_id"): {"project_id": "{project}", "image_ids": ["a/1.png"]},
    ("POST /annotations/batch-delete", "image_ids"): {"project_id": "{project}", "image_ids": ["a/1.png"]},
}
# Differs from answer to answer.
FLEETING = {"job_id", "added_at", "batch_id", "url"}


@dataclass
class Two:
    """Two projects without a common member."""

    ours: World
    others: World


def make_world() -> Two:
    """Both with everything that has an id; images and one class of the others have names of their own."""
    others = routes.make_world(dataset="ds_others", folder="b", classes=("Cat", "Dog", "Cow"))
    Member.objects.filter(project=others.project).update(user_id=Concat(Value("other-"), "user_id"))
    ours = routes.make_world()
    for name in PEOPLE[1:]:
        a_user(name, is_staff=name == "boss")
    return Two(ours, others)


def client_of(name: str | None) -> APIClient:
    """Somebody's client, or nobody's."""
    return APIClient() if name is None else a_client(name)


def told(answer: Any, *ids: Any) -> tuple[int, Any]:
    """Status and body, with what was asked for and what is new each time taken out."""
    content = json.loads(answer.content) if answer.content else None
    return answer.status_code, _without(content, {str(each) for each in ids})


def _without(value: Any, ids: set[str], name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _without(each, ids, key) for key, each in value.items() if key not in FLEETING}
    if isinstance(value, list):
        return [_without(each, ids, name) for each in value]
    if isinstance(value, str):
        words = "|".join(re.escape(each) for each in ids)
        return re.sub(rf"(?<!\w)({words})(?!\w)", "what was asked for", value)
    return "what was asked for" if name.endswith(("id", "ids")) and str(value) in ids else value


def state_of(world: World) -> list[Any]:
    """Everything of a project that a request might change."""
    mine = {"project": world.project}
    return [
        list(Annotation.objects.filter(**mine).order_by("pk").values_list("pk", "version", "state", "image")),
        AnnotationHistory.objects.filter(project_id=world.project.pk).count(),
        list(Image.objects.filter(**mine).order_by("pk").values_list("pk", "split")),
        list(ImageStatus.objects.filter(**mine).order_by("pk").values_list("pk", "status", "revision")),
        list(LabelClass.objects.filter(**mine).order_by("pk").values_list("pk", "name", "order", "retired_at")),
        list(Member.objects.filter(**mine).order_by("pk").values_list("user_id", "role")),
        list(Version.objects.filter(**mine).order_by("pk").values_list("pk", "status")),
        list(Job.objects.filter(**mine).order_by("pk").values_list("pk", "status")),
    ]


def tried(send: Any) -> Any:
    """The answer to a request, and everything as it was before."""
    with transaction.atomic():
        answer = send()
        transaction.set_rollback(True)
    return answer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_another_projects_things_are_as_good_as_none_for_every_role(world, row):
    foreign, before = values_of(world.others), state_of(world.others)
    nobody, stranger = (told(call(client_of(name), row, ABSENT), *ABSENT.values()) for name in PEOPLE[:2])
    assert nobody[0] == 401 and stranger[0] == row.outsider
    for name in PEOPLE:
        there = call(client_of(name), row, foreign)
        assert told(there, *foreign.values()) == (nobody if name is None else stranger), name
    assert state_of(world.others) == before


NESTED = [(row, part) for row in ROWS for part in PARTS if f"{{{part}}}" in row.path and "{project}" in row.path]


@pytest.mark.parametrize(("row", "part"), NESTED, ids=lambda each: getattr(each, "key", each))
def test_another_projects_things_are_not_found_below_ones_own_project(world, row, part):
    ours, before = values_of(world.ours), state_of(world.others)
    foreign = {**values_of(world.others), "class_id": "cow", "member": "other-vic"}[part]
    for name in (PERSON[row.role], "olga"):
        there = tried(lambda: call(client_of(name), row, ours | {part: foreign}))  # noqa: B023
        nowhere = tried(lambda: call(client_of(name), row, ours | {part: ABSENT[part]}))  # noqa: B023
        assert told(there, foreign) == told(nowhere, ABSENT[part]), name
        assert there.status_code == 404, there.content
    assert state_of(world.others) == before


@pytest.mark.parametrize("way", ["{ours}/compare/{theirs}", "{theirs}/compare/{ours}", "-1/compare/{theirs}"])
@pytest.mark.parametrize("tail", ["", "/summary", "/images"])
def test_a_version_is_not_compared_with_another_projects(world, way, tail):
    ours, theirs = values_of(world.ours)["version"], values_of(world.others)["version"]
    olga, path = a_client("olga"), f"/api/v1/version-diff/versions/{way}{tail}"
    there = olga.get(path.format(ours=ours, theirs=theirs))
    nowhere = olga.get(path.format(ours=ours, theirs=ABSENT["version"]))
    assert told(there) == told(nowhere) and there.status_code == 404


# Fields ---------------------------------------------------------------------------------------------


def fields() -> list[tuple[str, str, tuple[str, ...]]]:
    """(route, "query" or "body", where in it) of every field the OpenAPI document has."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    found: set[tuple[str, str, tuple[str, ...]]] = set()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            key = routes._shape(f"{method.upper()} {path.removeprefix('/api/v1')}")
            asked = [each["name"] for each in route.get("parameters", []) if each["in"] == "query"]
            found |= {(key, "query", (name,)) for name in asked}
            for content in route.get("requestBody", {}).get("content", {}).values():
                found |= {(key, "body", place) for place in _places(document, content["schema"])}
    return sorted(found)


def _places(document: Any, schema: Any) -> Iterator[tuple[str, ...]]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    for name, each in schema.get("properties", {}).items():
        yield (name,)
        yield from ((name, *place) for place in _places(document, each))
    if "items" in schema:
        yield from (("[]", *place) for place in _places(document, schema["items"]))
    for part in schema.get("allOf", []):
        yield from _places(document, part)


def test_of_every_field_it_is_said_whether_it_takes_an_id():
    assert {place[-1] for _, _, place in fields()} == set(IDS) | PLAIN


def taking_ids() -> list[Any]:
    """(row, "query" or "body", place) of every field that takes an id."""
    by_shape = {routes._shape(row.key.replace("/-1", "/{live}")): row for row in ROWS}
    found = [(by_shape.get(key), part, place) for key, part, place in fields() if place[-1] in IDS]
    return [pytest.param(*each, id=f"{each[0].key} {'.'.join(each[2])}") for each in found if each[0] is not None]


@pytest.fixture
def known(world) -> dict[str, tuple[Any, Any]]:
    """By kind: the others' and nobody's."""
    first = Annotation.objects.filter(project=world.others.project).earliest("pk")
    batch = AnnotationHistory.objects.filter(project_id=world.others.project.pk).latest("pk").batch_id
    return {
        "project": (world.others.project.pk, "proj_none"),
        "path": (world.others.images[0].path, "none.png"),
        "annotation": (first.pk, ABSENT["annotation"]),
        "class_id": ("cow", "none"),
        "class_name": ("Cow", "None"),
        "version": (str(values_of(world.others)["version"]), str(ABSENT["version"])),
        "batch": (str(batch), MISSING_JOB),
        "person": ("other-ann", "other-none"),
    }


@pytest.mark.parametrize(("row", "part", "place"), taking_ids())
def test_the_id_of_another_projects_thing_is_refused_as_one_that_nothing_has(world, known, row, part, place):
    foreign, missing = known[IDS[place[-1]]]
    values, before = values_of(world.ours), state_of(world.others)
    client = a_client(PERSON[row.role])
    there = tried(lambda: _send(client, row, values, part, place, foreign))
    nowhere = tried(lambda: _send(client, row, values, part, place, missing))
    assert told(there, foreign) == told(nowhere, missing)
    assert there.status_code < 500
    assert state_of(world.others) == before


def _send(client: APIClient, row: Row, values: dict[str, Any], part: str, place: tuple[str, ...], what: Any) -> Any:
    changed = copy.copy(row)
    if part == "query":
        changed.query = f"{row.query}{'&' if row.query else '?'}{place[-1]}={what}"
    else:
        changed.body = _put(copy.deepcopy(BODIES.get((row.key, place[-1]), row.body)), place, what)
    return call(client, changed, values)


def _put(body: Any, place: tuple[str, ...], what: Any) -> Any:
    """The body with the value in its place."""
    first, *rest = place
    if first == "[]":
        return [_put(each, tuple(rest), what) for each in body]
    if rest:
        return {**body, first: _put(body[first], tuple(rest), what)}
    return {**(body or {}), first: [what] if first.endswith("_ids") else what}


def test_a_client_id_of_another_project_gives_nothing_of_its_row_away(world):
    used = MISSING_JOB.replace("4", "6")
    body = {"image_id": "b/1.png", "annotation_type": "bbox", "geometry": routes.BOX, "client_id": used}
    theirs = a_client("other-ann").post("/api/v1/annotations", {"project_id": world.others.project.pk, **body}, "json")
    assert theirs.status_code == 201
    mine = {"project_id": world.ours.project.pk, **body, "image_id": "a/1.png"}
    answer = a_client("ann").post("/api/v1/annotations", mine, "json")
    assert (answer.status_code, set(answer.json())) == (409, {"detail", "code", "errors"})
    assert "b/1.png" not in answer.content.decode() and world.others.project.pk not in answer.content.decode()
