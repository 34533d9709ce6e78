"""The dialogs on top of the page: publishing, versions and the way back, export."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from annotations.models import Annotation, Image
from tests.page.workspace import soon, the_job
from tests.world import a_box, confirmed, published, saved
from versions import publishing
from versions.models import Version

pytestmark = pytest.mark.django_db(transaction=True)


def test_publishing_shows_what_goes_in_and_ends_with_links(workspace):
    here = workspace()
    confirmed(here.world, here.world.images[0], boxes=2)
    draft = a_box(here.world, here.world.images[1])
    adm = here.person("adm").opens()
    adm.page.get_by_role("button", name="Publish").click()
    dialog = adm.page.get_by_role("dialog", name="Publish")
    dialog.get_by_role("button", name=f"annotation {draft.pk}").click()
    adm.until(
        "[...labeler.store.state.selected][0] === "
        f"labeler.store.state.annotations.find((row) => row.id === {draft.pk}).key"
    )
    assert adm.state("image.id") == "a/2.png"
    adm.page.get_by_role("button", name="Publish").click()
    expect(dialog.locator(".figures")).to_contain_text("2annotations")
    expect(dialog.locator(".findings")).to_contain_text("images are not completed")
    expect(dialog.get_by_label("Number")).to_have_attribute("placeholder", "v1.0")
    dialog.get_by_label("Description").fill("first one")
    dialog.get_by_label("Reason for 2 images are not completed.").fill("they come next week")
    dialog.get_by_role("button", name="Publish").click()
    version = soon(lambda: Version.objects.published().first())
    assert (version.description, version.created_by) == ("first one", "adm")
    assert version.manifest["waivers"][0]["reason"] == "they come next week"
    publishing.advance(version.pk)
    expect(dialog.get_by_role("heading", level=3)).to_have_text("v1.0 ready official", timeout=15_000)
    expect(dialog.get_by_role("link")).to_have_count(3)


def test_what_stands_in_the_way_is_told_and_nothing_is_published(workspace):
    here = workspace()
    adm = here.person("adm").opens()
    adm.page.get_by_role("button", name="Publish").click()
    dialog = adm.page.get_by_role("dialog", name="Publish")
    expect(dialog.locator(".note.bad")).to_contain_text("No image has anything to publish")
    expect(dialog.get_by_role("button", name="Publish")).to_be_disabled()
    assert not Version.objects.exists()


def test_going_back_says_what_changes_and_then_does_it_whole_or_on_some_images(workspace):
    here = workspace()
    kept = [confirmed(here.world, image)[0] for image in here.world.images[:2]]
    published(here.world)
    Annotation.objects.all().delete()
    saved(here.world)
    adm = here.person("adm").opens()
    adm.page.get_by_role("button", name="Versions").click()
    adm.page.get_by_role("button", name="Restore …").click()
    dialog = adm.page.get_by_role("dialog", name="Go back to v1.0")
    the_job("restore")
    expect(dialog.locator(".preview .note")).to_contain_text("adds 2, changes 0 and removes 0")
    dialog.get_by_label("Only some of those that differ").check()
    expect(dialog.locator(".preview")).to_contain_text("Choose the images")
    expect(dialog.get_by_role("button", name="Go back")).to_be_disabled()
    dialog.get_by_label("a/2.png").check()
    the_job("restore")
    expect(dialog.locator(".preview .note")).to_contain_text("adds 1, changes 0 and removes 0")
    assert not Annotation.objects.exists()
    with adm.page.expect_navigation():
        dialog.get_by_role("button", name="Go back").click()
        the_job("restore")
    adm.ready()
    assert Annotation.objects.get().pk == kept[1].pk
    adm.page.locator("#working-version").click()
    expect(adm.page.locator("[data-version]").first).to_contain_text("v0.")
    adm.page.get_by_role("button", name="Published", exact=True).click()
    adm.page.get_by_role("button", name="Restore …").click()
    dialog.get_by_label("published at once as the next number").check()
    dialog.get_by_label("Description").fill("as it was")
    expect(dialog.get_by_label("All images")).to_be_hidden()
    the_job("restore"), the_job("restore")
    with adm.page.expect_navigation():
        dialog.get_by_role("button", name="Go back").click()
        the_job("rollback")
    adm.ready()
    assert Version.objects.published().get(version_number="v2.0").description == "as it was"
    assert {row.pk for row in here.rows} == {row.pk for row in kept}


def test_two_versions_are_compared_image_by_image(workspace):
    here = workspace(count=4)
    moved, gone = confirmed(here.world, here.world.images[0], boxes=2)
    confirmed(here.world, here.world.images[1])
    published(here.world)
    place = [60, 20, 30, 30]
    Annotation.objects.filter(pk=moved.pk).update(geometry={"type": "bbox", "bbox": place}, bbox=place)
    Annotation.objects.filter(pk=gone.pk).delete()
    confirmed(here.world, here.world.images[2], boxes=3)
    published(here.world)
    vic = here.person("vic").opens()
    vic.page.get_by_role("button", name="Versions").click()
    vic.page.locator("[data-version='v2.0']").get_by_role("button", name="Compare …").click()
    dialog = vic.page.get_by_role("dialog", name="Compare")
    listed = dialog.locator(".changed-images button")
    expect(listed).to_have_count(2)
    totals = "2 images differ+ 3 added− 1 removed~ 1 changed1 annotations are the same"
    expect(dialog.locator(".totals")).to_contain_text(totals)
    expect(dialog.locator("path")).to_have_count(3)
    expect(dialog.locator(".image-changes")).to_contain_text("place")
    vic.presses("x")
    expect(dialog.locator("path.new.modified")).to_be_hidden()
    expect(dialog.locator("path.old.modified")).to_be_visible()
    vic.presses("d")
    expect(dialog.locator("path.added")).to_have_count(3)
    expect(dialog.locator(".place")).to_have_text("2 / 2")
    expect(listed.nth(1)).to_have_attribute("aria-pressed", "true")
    dialog.get_by_role("radio", name="1 changed").click()
    expect(listed).to_have_count(1)
    expect(listed).to_contain_text("a/1.png")
    dialog.get_by_label("After").select_option(label="Now")
    expect(dialog.locator(".changed-images")).to_contain_text("a/1.png")
    dialog.get_by_label("Before").select_option(index=1)
    expect(dialog.locator(".changed-images")).to_contain_text("Nothing differs.")
    dialog.get_by_label("Before").select_option(index=2)
    listed.nth(1).click()
    dialog.get_by_role("button", name="Open this image").click()
    expect(vic.page.locator("dialog")).to_have_count(0)
    vic.until("labeler.store.state.image.id === 'a/3.png'")
    vic.shows(3)


def test_an_annotator_sees_versions_but_goes_back_to_none(workspace):
    here = workspace()
    confirmed(here.world, here.world.images[0])
    published(here.world)
    ann = here.person("ann").opens()
    expect(ann.page.get_by_role("button", name="Publish")).to_have_count(0)
    ann.page.get_by_role("button", name="Versions").click()
    row = ann.page.locator("[data-version='v1.0']")
    expect(row.get_by_role("link")).to_have_count(3)
    expect(row.get_by_role("button")).to_have_text(["Compare …"])


def test_an_export_ends_with_links_to_the_chosen_files_split_as_an_admin_said(workspace):
    here = workspace()
    a_box(here.world, here.world.images[0])
    adm = here.person("adm").opens()
    adm.page.get_by_role("button", name="Export").click()
    dialog = adm.page.get_by_role("dialog", name="Export")
    dialog.get_by_label("val", exact=True).fill("10")
    dialog.get_by_role("button", name="Change for the project").click()
    expect(dialog.get_by_role("status")).to_contain_text("100 % together")
    dialog.get_by_label("train", exact=True).fill("80")
    dialog.get_by_role("button", name="Change for the project").click()
    expect(dialog.get_by_role("status")).to_contain_text("Changed.")
    assert here.world.reload().settings["split_ratios"] == [0.8, 0.1, 0.1]
    dialog.get_by_label("This image").select_option("test")
    soon(lambda: Image.objects.filter(path="a/1.png", split="test").exists())
    dialog.get_by_label("COCO").check()
    dialog.get_by_label("What goes in").select_option("drafts")
    dialog.get_by_role("button", name="Make the files").click()
    job = the_job("export")
    assert job.params["formats"] == ["dice", "coco"] and job.result["exports"][0]["annotation_count"] == 1
    expect(dialog.get_by_role("link")).to_have_count(2)
