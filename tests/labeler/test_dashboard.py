"""The dashboard of a project: who may see it, what it says, and that it costs the same for a larger project."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotations import projects
from labeler.charts import bar, column_chart, scale
from tests.world import a_box, a_user, a_world, confirmed, published, saved

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world():
    made = a_world(tasks=("detection", "segmentation"))
    projects.create_class(made.task, name="<img src=x onerror=alert(1)>", by="olga")
    confirmed(made, made.images[0], boxes=2)
    published(made)
    saved(made)
    return made


def _page(world, who: str = "vic", query: str = ""):
    client = Client()
    client.force_login(a_user(who))
    return client.get(f"/projects/{world.project.pk}{query}")


def test_it_is_not_there_for_outsiders_and_signing_in_is_asked_of_strangers(world):
    assert _page(world, "oscar").status_code == 404
    assert Client().get(f"/projects/{world.project.pk}").headers["Location"].startswith("/accounts/login/")


def test_every_member_may_read_it_and_nobody_may_send_anything(world):
    for who in ("vic", "ann", "rev", "adm", "olga"):
        assert _page(world, who).status_code == 200
    assert re.findall(r'<form[^>]*action="([^"]*)"', _page(world).content.decode()) == [
        "/language/",
        "/accounts/logout/",
    ]


def test_it_tells_the_figures_of_the_task_asked_for(world):
    first, second = _page(world), _page(world, query="?task=segmentation")
    assert first.context["progress"]["completed"] == 1 and first.context["progress"]["percent"] == 33
    assert [row["number"] for row in first.context["published"]] == ["v1.0"]
    assert "synced" in first.content.decode() and first.context["working"] is not None
    assert second.context["progress"]["completed"] == 0 and second.context["published"] == []
    assert "Nothing has been published yet." in second.content.decode()


def test_a_task_the_project_does_not_have_is_not_found(world):
    assert _page(world, query="?task=keypoint").status_code == 404


def test_names_are_text_and_nothing_is_styled_inline(world):
    text = _page(world).content.decode()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text and "<img src=x" not in text
    assert not re.search(r"\sstyle=|<style|\son\w+=\"", text)


def test_it_costs_as_many_queries_for_a_larger_project(world):
    _page(world)  # what is remembered between requests is then no difference
    few = _queries(world)
    for number, image in enumerate(world.images * 3):
        a_box(world, image, x=number, by=f"person{number}")
    published(world, description="more")
    assert _queries(world) == few


def _queries(world) -> int:
    with CaptureQueriesContext(connection) as asked:
        assert _page(world).status_code == 200
    return len(asked)


def test_the_project_list_and_the_workspace_lead_to_it(world):
    client = Client()
    client.force_login(a_user("vic"))
    for address in ("/", f"/projects/{world.project.pk}/label"):
        assert f'href="/projects/{world.project.pk}"' in client.get(address).content.decode()


@pytest.mark.parametrize(
    ("most", "marks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (4, [0, 1, 2, 3, 4]),
        (5, [0, 2, 4, 6]),
        (40, [0, 10, 20, 30, 40]),
        (41, [0, 20, 40, 60]),
    ],
)
def test_a_scale_has_round_marks_up_to_the_most(most, marks):
    assert scale(most) == marks


def test_columns_stand_on_the_floor_and_on_each_other():
    chart = column_chart([{"label": "1", "title": "", "a": 1, "b": 3}], ["a", "b"])
    lower, upper = chart["columns"][0]["parts"]
    assert float(lower["y"]) + float(lower["height"]) == chart["floor"]
    assert float(upper["y"]) + float(upper["height"]) == pytest.approx(float(lower["y"]), abs=0.11)
    assert float(upper["height"]) == pytest.approx(3 * float(lower["height"]), abs=0.2)


def test_a_bar_shows_shares_of_the_whole_and_nothing_for_none():
    assert bar([("done", 1), ("none", 0), ("begun", 1)], 4) == [
        {"series": "done", "x": "0", "width": "250"},
        {"series": "begun", "x": "250", "width": "250"},
    ]
    assert bar([("done", 0)], 0) == []
