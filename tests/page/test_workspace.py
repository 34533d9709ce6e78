"""Going through images, confirming, the long list, the policy of the browser."""

from __future__ import annotations

import pytest
from django.test import Client
from playwright.sync_api import expect

from annotations.models import Annotation, ImageStatus
from tests.world import a_box, a_user, confirmed

pytestmark = pytest.mark.django_db(transaction=True)


def _image(person) -> str:
    return person.state("image.id")


def test_control_and_enter_confirms_and_goes_to_the_next_image_not_started(workspace):
    here = workspace(count=4)
    confirmed(here.world, here.world.images[1])
    ann = here.person().opens("a/1.png")
    ann.draws_a_box()
    ann.presses("Control+Enter")
    ann.until("labeler.store.state.image.id === 'a/3.png'")
    ann.is_saved()
    status = ImageStatus.objects.get(image=here.world.images[0])
    assert (status.status, status.confirmed_by, status.confirmed_annotations) == ("completed", "ann", 1)
    expect(ann.page.locator(".row[aria-selected=true] .name")).to_have_text("a/3.png")
    expect(ann.page.locator(".row", has_text="a/1.png").locator(".dot")).to_have_class("dot completed")


def test_an_empty_image_is_confirmed_when_it_is_said_twice(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.presses("Control+Enter")
    ann.sees("There is nothing on this image.")
    assert _image(ann) == "a/1.png"
    ann.presses("Control+Enter")
    ann.until("labeler.store.state.image.id === 'a/2.png'")
    ann.is_saved()
    assert ImageStatus.objects.get(image=here.world.images[0]).status == "completed"


def test_the_last_image_says_that_all_are_started(workspace):
    here = workspace(count=1)
    ann = here.person().opens()
    ann.draws_a_box()
    ann.presses("Control+Enter")
    ann.sees("Every image is started.")


def test_confirming_one_and_confirming_all(workspace):
    here = workspace()
    for x in (10, 50, 90):
        a_box(here.world, here.world.images[0], x=x)
    ann = here.person().opens()
    ann.page.locator("#annotations").get_by_role("button", name="Confirm").first.click()
    ann.page.get_by_role("button", name="Confirm all (2 drafts)").click()
    ann.until("labeler.store.state.annotations.every((row) => row.annotation_state === 'confirmed')")
    ann.is_saved()
    assert Annotation.objects.filter(state="confirmed").count() == 3
    ann.page.locator("#annotations").get_by_role("button", name="Take the confirmation back").first.click()
    ann.page.get_by_role("button", name="Confirm all (1 draft)").wait_for()
    ann.is_saved()
    assert Annotation.objects.filter(state="draft").count() == 1


def test_next_and_previous_go_by_the_list(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.presses("d")
    ann.until("labeler.store.state.image.id === 'a/2.png'")
    expect(ann.page.locator("#image-position")).to_have_text("2 / 3")
    ann.presses("a", "a")
    ann.sees("This is the first image of the list.")
    assert "image=a%2F1.png" in ann.page.url


def test_the_list_is_filtered_by_status_and_searched(workspace):
    here = workspace(count=12)
    confirmed(here.world, here.world.images[2])
    ann = here.person().opens()
    rows = ann.page.locator(".row")
    ann.page.get_by_role("radio", name="completed").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("a/3.png")
    ann.page.get_by_role("radio", name="All").click()
    ann.page.get_by_label("Search names").fill("a/1")
    expect(rows).to_have_count(4)
    name = ann.page.locator(".row .name").first
    before = name.bounding_box()["height"]
    ann.page.get_by_role("button", name="Small pictures").click()
    expect(rows.first.locator("img")).to_have_js_property("naturalWidth", 200)
    ann.page.reload()
    ann.ready()
    expect(rows.first.locator("img")).to_have_js_property("complete", True)
    assert name.bounding_box()["height"] == before
    ann.page.get_by_label("Search names").fill("nowhere")
    ann.sees("No image is like that.")


def test_a_missing_picture_is_told_and_the_page_goes_on(workspace):
    here = workspace()
    ann = here.person()
    ann.context.route("**/files/**", lambda route: route.fulfill(status=404))
    ann.opens_blindly()
    ann.sees("The picture a/1.png cannot be shown")
    ann.context.unroute_all()
    ann.presses("d")
    ann.until("labeler.store.state.imageState === 'ready'")


def test_keys_are_explained_and_typing_is_left_alone(workspace):
    here = workspace()
    ann = here.person().opens()
    ann.presses("?")
    expect(ann.page.get_by_role("dialog", name="Keyboard")).to_contain_text("Copy from the previous image")
    ann.presses("Escape")
    ann.page.get_by_label("Search names").type("n")
    ann.page.wait_for_timeout(100)
    assert here.rows == []


def test_zoom_goes_to_the_cursor_and_f_fits_again(workspace):
    here = workspace()
    ann = here.person().opens()
    place = ann.at(150, 50)
    ann.page.mouse.move(*place)
    ann.page.mouse.wheel(0, -400)
    ann.until("labeler.canvas.view.scale > 4")
    assert ann.at(150, 50) == pytest.approx(place, abs=1)
    ann.presses("f")
    ann.until("labeler.canvas.view.fitted")


def test_light_and_dark_follow_the_system_until_somebody_chooses(workspace):
    here = workspace()
    ann = here.person(color_scheme="dark").opens()
    root = ann.page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    ann.page.get_by_label("Light or dark").click()
    ann.page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    ann.ready()


def test_nothing_inline_is_allowed_anywhere(workspace):
    here = workspace()
    client = Client()
    client.force_login(a_user("ann"))
    for path in ("/", f"/projects/{here.world.project.pk}/label", "/accounts/login/", "/admin/login/", "/api/v1/me"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path


def test_the_admin_and_the_api_page_live_with_the_policy(workspace):
    here = workspace()
    a_user("root", is_staff=True, is_superuser=True)
    root = here.person("root")
    root.page = here.contexts.tab(root.context, console=root._listen)
    for path in ("/admin/", "/admin/annotations/project/", "/api/docs/"):
        root.page.goto(here.address + path)
    root.page.locator(".swagger-ui .info").wait_for()


def test_a_project_of_others_is_not_there(workspace):
    here = workspace()
    client = Client()
    client.force_login(a_user("oscar"))
    assert client.get(f"/projects/{here.world.project.pk}/label").status_code == 404
    assert Client().get(f"/projects/{here.world.project.pk}/label").headers["Location"].startswith("/accounts/login/")


def test_a_reviewer_verifies_and_a_completed_image_is_opened_again(workspace):
    here = workspace()
    confirmed(here.world, here.world.images[0], boxes=2)
    rev = here.person("rev").opens()
    rev.page.get_by_role("button", name="Verify all (2)").click()
    expect(rev.page.locator("[data-state=verified]")).to_have_count(2)
    rev.page.get_by_role("button", name="Take the verification back").first.click()
    rev.is_saved()
    assert sorted(row.state for row in here.rows) == ["confirmed", "verified"]
    ann = here.person("ann").opens()
    expect(ann.page.get_by_role("img", name="Verified by a reviewer")).to_have_count(1)
    expect(ann.page.get_by_role("button", name="Take the confirmation back")).to_have_count(1)
    ann.page.get_by_role("button", name="Open again").click()
    expect(ann.page.locator("#image-status")).to_have_text("in progress")
    ann.is_saved()
    assert ImageStatus.objects.get(image=here.world.images[0]).status == "in-progress"
    expect(ann.page.get_by_role("button", name="Open again")).to_be_hidden()
    assert sorted(row.state for row in here.rows) == ["confirmed", "verified"]
