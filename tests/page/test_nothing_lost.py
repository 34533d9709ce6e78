"""Nothing drawn is lost: reload, crash, no network, signed out, lost answers, conflicts, a closing tab."""

from __future__ import annotations

import contextlib
import re

import pytest
from playwright.sync_api import Error, Route, expect

from annotations import confirming, editing, locks, projects
from annotations.models import Annotation
from tests.page.workspace import no_answer_after_arrival, soon
from tests.world import a_box
from versions import work
from versions.models import Job, Version

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_was_not_sent_survives_a_reload_and_is_there_once(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.fails("**/api/v1/annotations*", lambda route: route.abort())
    ann.draws_a_box()
    ann.is_in_state("offline")
    ann.sees("unsaved")
    assert here.rows == []
    # The page that goes sends it with keepalive, the page that comes sends what it finds kept.
    ann.page.reload()
    ann.ready()
    ann.shows(1)
    ann.page.unroute_all()
    ann.page.evaluate("labeler.outbox.retry()")
    ann.is_saved()
    assert len(here.rows) == 1


def test_after_a_crash_another_tab_sends_what_was_kept(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.fails("**/api/v1/annotations*", lambda route: route.abort())
    ann.draws_a_box()
    ann.is_in_state("offline")
    with contextlib.suppress(Error):
        ann.page.goto("chrome://crash", timeout=3000)
    assert here.rows == []
    ann.opens()
    # The tab that crashed is believed alive for some seconds; this is after those.
    ann.page.evaluate(
        "Object.keys(localStorage).filter((key) => key.startsWith('labeler.tab.') && !key.endsWith("
        "sessionStorage['labeler.tab'])).forEach((key) => localStorage.removeItem(key)), labeler.outbox.adopt()"
    )
    ann.shows(1)
    ann.is_saved()
    assert len(here.rows) == 1


def test_offline_and_back(workspace):
    here = workspace()
    ann = here.person().opens()
    with ann.cut_off():
        ann.draws_a_box(10, 10)
        ann.draws_a_box(80, 10)
        ann.presses("ArrowRight", "2")
        ann.is_in_state("offline")
    ann.is_saved()
    assert [row.label_class.name for row in here.rows] == ["Cat", "Dog"]


def test_an_answer_that_got_lost_makes_nothing_twice(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.page.route("**/api/v1/annotations", no_answer_after_arrival, times=1)
    ann.draws_a_box()
    ann.until("labeler.outbox.pauses > 0")
    ann.page.route("**/api/v1/annotations/*", no_answer_after_arrival, times=1)
    ann.presses("2")
    ann.page.evaluate("labeler.outbox.retry()")
    ann.is_saved()
    (row,) = here.rows
    assert row.label_class.name == "Dog" and ann.state("annotations[0].problem") is None


def test_signed_out_everything_is_kept_until_the_same_person_signs_in(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.sign_out()
    ann.draws_a_box()
    ann.is_in_state("signed-out")
    ann.sees("You are signed out.")
    assert ann.page.get_by_role("link", name="Sign in again").get_attribute("target") == "_blank"
    assert here.rows == []
    ann.sign_in()
    other = ann.context.new_page()
    other.goto(f"{here.address}/signed-in/")
    ann.is_saved()
    assert len(here.rows) == 1
    expect(ann.page.locator("#notices .note")).to_have_count(0)


def test_another_person_who_signs_in_does_not_send_it(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.sign_out()
    ann.draws_a_box()
    ann.is_in_state("signed-out")
    ann.name = "rev"
    ann.sign_in()
    ann.page.get_by_role("button", name="I have signed in").click()
    ann.sees("You are signed in as rev now.")
    assert here.rows == []


def _conflict(here, ann):
    box = a_box(here.world, here.world.images[0], x=20)
    ann.opens()
    editing.update_annotation(box.pk, {"class_name": "Dog"}, by="rev")
    ann.page.evaluate("labeler.store.set({selected: new Set([labeler.store.state.annotations[0].key])})")
    ann.presses("ArrowRight")
    ann.is_in_state("problem")
    ann.sees("Somebody else changed it meanwhile.")
    ann.page.get_by_role("button", name="Decide").click()
    return box


def test_a_conflict_shows_both_and_keeps_mine_if_i_say_so(workspace):
    here = workspace()
    ann = here.person()
    box = _conflict(here, ann)
    dialog = ann.page.get_by_role("dialog", name="Somebody else changed this annotation")
    expect(dialog.locator("[data-side=theirs]")).to_contain_text("Dog")
    expect(dialog.locator("[data-side=mine]")).to_contain_text("20 × 30")
    expect(dialog.locator("svg image").first).to_have_attribute("href", re.compile("/files/"))
    dialog.get_by_role("button", name="Keep mine").click()
    ann.is_saved()
    box.refresh_from_db()
    assert box.geometry["bbox"][0] == 21 and box.label_class.name == "Dog" and box.version == 3


def test_a_conflict_given_to_the_other_leaves_theirs(workspace):
    here = workspace()
    ann = here.person()
    box = _conflict(here, ann)
    ann.page.get_by_role("button", name="Take theirs").click()
    ann.is_saved()
    ann.until("labeler.store.state.annotations[0].class_name === 'Dog'")
    box.refresh_from_db()
    assert box.version == 2 and box.geometry["bbox"][0] == 20


def test_what_somebody_deleted_meanwhile_can_be_drawn_again(workspace):
    here = workspace()
    box = a_box(here.world, here.world.images[0])
    ann = here.person().opens()
    editing.delete_annotation(box.pk, by="rev")
    ann.presses("Control+a", "ArrowRight")
    ann.sees("Somebody deleted this annotation")
    ann.page.get_by_role("button", name="Decide").click()
    ann.page.get_by_role("button", name="Keep mine").click()
    ann.is_saved()
    (row,) = here.rows
    assert row.pk != box.pk and row.geometry["bbox"][0] == 11


def test_a_refusal_stands_next_to_the_annotation(workspace):
    here = workspace()
    ann = here.person().opens()
    projects.remove_class(projects.class_for(here.world.task, "cat"), by="adm")
    ann.draws_a_box()
    ann.sees("Not saved: class_id names no class of the task detection.")
    ann.presses("2")
    ann.is_saved()
    assert [row.label_class.name for row in here.rows] == ["Dog"]


def test_two_people_on_one_image_see_each_other(workspace):
    here = workspace()
    rev = here.person("rev").opens()
    rev.until("labeler.store.state.image")
    rev.page.wait_for_timeout(200)
    ann = here.person().opens()
    ann.sees("rev is working on this image too")
    rev.draws_a_box(10, 10)
    ann.draws_a_box(100, 10)
    rev.is_saved()
    ann.is_saved()
    assert [row.created_by for row in here.rows] == ["rev", "ann"]


def test_with_locks_as_a_rule_the_second_persons_stroke_waits(workspace):
    here = workspace()
    projects.change_project(here.world.project, by="olga", settings={"image_locks": True})
    locks.acquire(here.world.images[0], by="rev")
    ann = here.person().opens()
    ann.draws_a_box()
    ann.is_in_state("waiting")
    assert here.rows == []
    # Nobody is on the next image: what is drawn there goes its way.
    ann.presses("d")
    ann.until("labeler.store.state.image.id === 'a/2.png'")
    ann.draws_a_box()
    ann.until("labeler.outbox.counts.all === 1")
    assert [row.image.path for row in here.rows] == ["a/2.png"]
    ann.is_in_state("waiting")
    locks.release(here.world.images[0], by="rev")
    ann.page.evaluate("labeler.outbox.retry()")
    ann.is_saved()
    assert len(here.rows) == 2


def test_what_comes_late_or_fails_once_takes_nothing_from_the_page(workspace):
    here = workspace()
    ann = here.person()
    late, asked = [], []

    def rows_of_the_image(route: Route) -> None:
        # First for showing the image, then to see whether others changed it since: that answer is kept back.
        asked.append(route)
        if "1.png" in route.request.url and len([each for each in asked if "1.png" in each.request.url]) == 2:
            late.append((route, route.fetch()))
        else:
            route.continue_()

    def link_that_ran_out(route: Route) -> None:
        ann.context.unroute("**/files/**")
        route.fulfill(status=403)

    ann.context.route("**/annotations/project/*", rows_of_the_image)
    ann.context.route("**/files/**", link_that_ran_out)
    ann.opens()
    ann.draws_a_box()
    ann.is_saved()
    # The page asks beside the drawing; the browser's requests come in while it is spoken to.
    held = soon(lambda: late or ann.page.wait_for_timeout(20))[0]
    held[0].fulfill(response=held[1])
    ann.page.wait_for_timeout(500)
    ann.shows(1)


def test_closing_the_tab_leads_to_a_working_version(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.draws_a_box()
    ann.is_saved()
    ann.page.close(run_before_unload=True)
    soon(lambda: Job.objects.exists())
    work.run(Job.objects.get().pk)
    saved = Version.objects.get()
    assert (saved.version_number, saved.annotation_count, saved.trigger) == ("v0.1", 1, "beforeunload")


def test_a_tab_closed_at_once_sends_its_last_stroke_first(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.page.evaluate("labeler.outbox.pump = () => {}")
    ann.draws_a_box()
    ann.until("labeler.outbox.changes[0]?.seq")
    ann.page.close(run_before_unload=True)
    soon(Annotation.objects.exists)


def test_confirmed_images_and_drafts_are_told_apart_after_a_crash(workspace):
    here = workspace()
    box = a_box(here.world, here.world.images[0])
    confirming.confirm_annotation(box.pk, by="ann")
    ann = here.person().opens()
    with ann.cut_off():
        ann.presses("Control+a", "ArrowRight")
        ann.is_in_state("offline")
    assert ann.state("annotations[0].annotation_state") == "draft"
    ann.is_saved()
