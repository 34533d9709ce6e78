"""Requests made up from the OpenAPI document, as every role: no answer of 5xx, none of a status or a shape that the
document does not name. `make hostile` tries thousands."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import schemathesis
from django.db import connection
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from annotations.models import Annotation, AnnotationHistory, ClassHistory
from annotations.tokens import issue_token
from labeler.wsgi import application
from tests.cases import SOAK, made_up
from tests.world import World, a_box, a_user, a_world, confirmed, imported, published, saved
from versions import jobs, work
from versions.models import Job, Version

pytestmark = pytest.mark.django_db(transaction=True)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# As whom, and how many requests to one world: the mighty come last, as they delete much of it.
ROLES = {"nobody": 20, "stranger": 40, "vic": 60, "ann": 90, "rev": 70, "staff": 40, "adm": 90, "olga": 90}
MODES = [GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.fixture(autouse=True)
def _nobody_waits(settings):
    """There is no worker to wait for."""
    settings.LABELER_WAIT_SECONDS = 0


@pytest.fixture(scope="module")
def operations() -> list[Any]:
    """Every route of the document as clients get it."""
    document = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    return [each.ok() for each in document.get_all_operations()]


def everything(number: int) -> World:
    """A world in which each kind of thing that has an id is there."""
    world = a_world(dataset=f"ds_{number}")
    confirmed(world, world.images[0])
    published(world)
    a_box(world, world.images[1])
    saved(world)
    jobs.start("rescan", by="adm", project=world.project)
    work.run(imported(world, b'{"images": [], "annotations": []}').pk)
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
    history = AnnotationHistory.objects.filter(project_id=project)
    return {
        "project_id": [project],
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


@st.composite
def requests(draw: Any, operations: list[Any], known: dict[str, list[Any]]) -> Any:
    """A request as the document allows it, or (one in three) as it does not."""
    dice = random.Random(draw(st.integers(0, 2**64)))
    operation = dice.choice(operations)
    mode = draw(st.sampled_from(MODES)) if _may_be_wrong(operation) else GenerationMode.POSITIVE
    case = draw(operation.as_strategy(generation_mode=mode))
    for part in ("path_parameters", "query", "body"):
        said = getattr(case, part)
        if said:
            setattr(case, part, type(said)(with_ids(said, known, dice)) if isinstance(said, dict) else said)
    return case


def _may_be_wrong(operation: Any) -> bool:
    return bool(operation.body or operation.query)


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

    def ask_much(self, requests: Any, role: str, times: int) -> None:
        """So many requests of one role."""
        headers = signed_in(role)

        @settings(made_up(1, phases=[Phase.generate]), max_examples=times)
        @given(case=requests)
        def ask(case):
            self.ask(case, role, headers)

        ask()


def test_no_made_up_request_breaks_anything(operations):
    heard = Heard()
    for number in range(SOAK):
        known = ids_of(everything(number))
        for role, times in ROLES.items():
            heard.ask_much(requests(operations, known), role, times)
    print(f"{heard.asked.total()} requests to {len(heard.asked)} routes answered {dict(sorted(heard.answered.items()))}")
    assert not heard.wrong, "\n\n".join(f"{name}\n{said}" for name, said in heard.wrong.items())
    assert len(heard.asked) == len(operations), set(each.label for each in operations) - set(heard.asked)
