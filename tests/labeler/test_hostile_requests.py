"""Requests made up from the OpenAPI document, as every role: no answer of 5xx, none of a status or a shape that the
document does not name. `make hostile` tries thousands."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import schemathesis
from django.db import connection
from hypothesis import Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from annotations import projects
from annotations.models import Annotation, AnnotationHistory, ClassHistory
from annotations.tokens import issue_token
from labeler.wsgi import application
from tests.cases import SOAK, made_up
from tests.labeler.test_routes import make_world
from tests.world import World, a_user
from versions.models import Job, Version

pytestmark = pytest.mark.django_db(transaction=True)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# As whom, and how many routes of a shuffled pack; the mighty come last, as they delete much of a world.
ROLES = {"nobody": 5, "stranger": 8, "vic": 16, "ann": 24, "rev": 16, "staff": 6, "adm": 28, "olga": 27}
# Requests to a route in one go. Hypothesis makes the first one as plain as it can be.
EACH = 3
# Every third request is not as the document allows it.
MODES = [GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
DELETES = "DELETE /api/v1/projects/{project_id}"


@pytest.fixture(autouse=True)
def _nobody_waits(settings):
    """There is no worker to wait for."""
    settings.LABELER_WAIT_SECONDS = 0


@pytest.fixture(scope="module")
def operations(django_db_setup, django_db_blocker) -> list[Any]:
    """Every route of the document as clients get it."""
    with django_db_blocker.unblock():
        # A request asks of a connection that is there whether it still works.
        document = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    return [each.ok() for each in document.get_all_operations()]


def everything(number: int) -> World:
    """A world in which each kind of thing that has an id is there, and nobody has asked too often."""
    world = make_world(dataset=f"ds_{number}")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM throttle_counts")
    return world


def signed_in(role: str) -> dict[str, str]:
    """The headers of a role's requests."""
    if role == "nobody":
        return {}
    user = a_user(role, is_staff=role == "staff")
    return {"Authorization": f"Bearer {issue_token(user, name='test')[0]}"}


def ids_of(world: World) -> dict[str, list[Any]]:
    """By the name of a parameter or field, what it may be."""
    project, paths = world.project.pk, [image.path for image in world.images]
    versions = [version.pk for version in Version.objects.filter(project=project)]
    annotations = list(Annotation.objects.filter(project=project).values_list("pk", flat=True))
    spare = projects.create_project(dataset_id=f"spare {project}", dataset_name="Spare", name="Spare", by="olga",
                                    task_types=["detection"])  # fmt: skip
    history = AnnotationHistory.objects.filter(project_id=project)
    return {
        "project_id": [project], "spare": [spare.pk],
        "dataset_id": [world.project.dataset_id, "ds_none"],
        "annotation_id": annotations, "annotation_ids": annotations, "id": annotations,
        "image_id": paths, "image_ids": paths, "after": paths, "around": paths,
        "version_id": [*map(str, versions), "v1.0", "v0.1"], "a": [*versions, -1], "b": [*versions, -1],
        "history_id": [*history.values_list("pk", flat=True),
                       *ClassHistory.objects.filter(project_id=project).values_list("pk", flat=True)],
        "batch_id": [str(batch) for batch in history.values_list("batch_id", flat=True)],
        "job_id": [str(job) for job in Job.objects.filter(project=project).values_list("pk", flat=True)],
        "class_id": ["cat", "dog", "none"], "class_ids": ["cat", "dog"], "class_name": ["Cat", "Cow"],
        "user_id": ["vic", "new"], "changed_by": ["ann"], "by": ["ann"],
        "task_type": ["detection"], "format": ["dice", "coco"],
        "annotation_type": ["bbox"], "geometry": [{"type": "bbox", "bbox": [1, 2, 30, 40]}],
    }  # fmt: skip


def with_ids(value: Any, known: dict[str, list[Any]], dice: random.Random) -> Any:
    """The same, with some of the made-up ids replaced by ones that are there."""
    if isinstance(value, list):
        return [with_ids(each, known, dice) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _with_id(name, each, known, dice) for name, each in value.items()}


def _with_id(name: str, value: Any, known: dict[str, list[Any]], dice: random.Random) -> Any:
    if not known.get(name) or dice.random() < 0.2:
        return with_ids(value, known, dice)
    if isinstance(value, list):
        return [dice.choice(known[name]) if dice.random() < 0.8 else each for each in value]
    return dice.choice(known[name])


def filled(case: Any, known: dict[str, list[Any]], dice: random.Random) -> Any:
    """The request with ids of things that are there. A project is deleted beside the one the others work in."""
    known = {**known, "project_id": known["spare"]} if case.operation.label == DELETES else known
    for part in ("path_parameters", "query", "body"):
        said = getattr(case, part)
        if isinstance(said, dict):
            setattr(case, part, type(said)(with_ids(said, known, dice)))
    return case


class Heard:
    """What was asked, answered and found wrong."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()
        self.wrong: dict[str, str] = {}

    def ask(self, case: Any, role: str, headers: dict[str, str]) -> None:
        """One request."""
        self.asked[case.operation.label] += 1
        answer = case.call(headers=headers)
        self.answered[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except (FailureGroup, Failure) as failure:
            first = failure.exceptions[0] if isinstance(failure, FailureGroup) else failure
            name = f"{case.operation.label}: {first.title}"
            self.wrong.setdefault(name, f"as {role}: {first}\n{case.as_curl_command()}"[:2500])

    def ask_much(self, operation: Any, role: str, headers: dict[str, str], known: Any, dice: random.Random) -> None:
        """Some requests of one role to one route."""
        mode = dice.choice(MODES) if operation.body or operation.query else GenerationMode.POSITIVE

        @settings(made_up(1, phases=[Phase.generate]), max_examples=EACH)
        @seed(dice.getrandbits(64))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            self.ask(filled(case, known, dice), role, headers)

        ask()


def test_no_made_up_request_breaks_anything(operations):
    heard, dice = Heard(), random.Random(1 if SOAK == 1 else None)
    for number in range(SOAK):
        known, pack = ids_of(everything(number)), []
        for role, routes in ROLES.items():
            headers = signed_in(role)
            for _ in range(routes):
                pack = pack or dice.sample(operations, len(operations))
                heard.ask_much(pack.pop(), role, headers, known, dice)
    answers = dict(sorted(heard.answered.items()))
    print(f"{heard.asked.total()} requests to {len(heard.asked)} of {len(operations)} routes: {answers}")
    assert not heard.wrong, "\n\n".join(f"{name}\n{said}" for name, said in heard.wrong.items())
    assert len(heard.asked) == len(operations), {each.label for each in operations} - set(heard.asked)
