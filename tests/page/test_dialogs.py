"""The dialogs on top of the page: publishing, versions and the way back, export."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from annotations.models import Annotation
from tests.world import a_box, confirmed, published, saved
from versions import publishing, work
from versions.models import Job, Version

pytestmark = pytest.mark.django_db(transaction=True)


def soon(look: Callable):
    """What a request of the page made in the database."""
    for _ in range(150):
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("the request did not arrive")


def the_job(kind: str) -> Job:
    job = soon(lambda: Job.objects.filter(kind=kind, status="queued").first())
    return work.run(job.pk)


def test_publishing_shows_what_goes_in_and_ends_with_links(workspace):
    here = workspace()
    confirmed(here.world, here.world.images[0], boxes=2)
    a_box(here.world, here.world.images[1])
    adm = here.person("adm").opens()
    adm.page.get_by_role("button", name="Publish").click()
    dialog = adm.page.get_by_role("dialog", name="Publish")
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


def test_going_back_to_a_version_says_what_changes_and_then_does_it(workspace):
    here = workspace()
    kept = confirmed(here.world, here.world.images[0])[0]
    published(here.world)
    Annotation.objects.all().delete()
    saved(here.world)
    adm = here.person("adm").opens()
    adm.page.get_by_role("button", name="Versions").click()
    dialog = adm.page.get_by_role("dialog", name="Versions")
    dialog.get_by_role("button", name="Restore …").click()
    the_job("restore")
    expect(dialog.locator(".note.warn")).to_contain_text("adds 1, changes 0 and removes 0")
    assert not Annotation.objects.exists()
    with adm.page.expect_navigation():
        dialog.get_by_role("button", name="Go back").click()
        the_job("restore")
    adm.ready()
    adm.shows(1)
    assert Annotation.objects.get().pk == kept.pk
    adm.page.locator("#working-version").click()
    expect(adm.page.locator("[data-version]").first).to_contain_text("v0.")


def test_an_annotator_sees_versions_but_goes_back_to_none(workspace):
    here = workspace()
    confirmed(here.world, here.world.images[0])
    published(here.world)
    ann = here.person("ann").opens()
    expect(ann.page.get_by_role("button", name="Publish")).to_have_count(0)
    ann.page.get_by_role("button", name="Versions").click()
    row = ann.page.locator("[data-version='v1.0']")
    expect(row.get_by_role("link")).to_have_count(3)
    expect(row.get_by_role("button")).to_have_count(0)


def test_an_export_ends_with_links_to_the_chosen_files(workspace):
    here = workspace()
    a_box(here.world, here.world.images[0])
    ann = here.person("ann").opens()
    ann.page.get_by_role("button", name="Export").click()
    dialog = ann.page.get_by_role("dialog", name="Export")
    dialog.get_by_label("COCO").check()
    dialog.get_by_label("Drafts too").check()
    dialog.get_by_role("button", name="Make the files").click()
    job = the_job("export")
    assert job.params["formats"] == ["dice", "coco"] and job.result["exports"][0]["annotation_count"] == 1
    expect(dialog.get_by_role("link")).to_have_count(2)
