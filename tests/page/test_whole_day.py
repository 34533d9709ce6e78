"""A day in its life, in the page as people do it: from signing in to a version that was gone back to."""

from __future__ import annotations

import contextlib
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Locator, expect

from annotations import projects
from annotations.models import Annotation, Image, Project
from annotations.states import Role
from exports import stores
from tests.page.workspace import Person, Workspace, a_picture, soon, the_job
from tests.world import World, a_client, a_user
from versions import autosave, publishing
from versions.models import Version

pytestmark = pytest.mark.django_db(transaction=True)

DATASET = "ds_day"
FILES = ("DICE", "COCO", "YOLO")
OFFICIAL = f"datasets/{DATASET}/annotations.json"


def test_a_day_by_mouse_and_keyboard(workspace, settings, platform_rows, put_object):
    settings.LABELER_SAVE_IMAGES = 3
    platform_rows(datasets=[(DATASET, "Blood", 6)])
    here = workspace(count=1)
    lay_out(put_object)
    here.world = opened_by_olga()

    ann = here.visitor("ann").comes_in()
    label_until_saved(here, ann)
    adm = here.visitor("adm").comes_in()
    first = publish(adm, "v1.0")
    closes(adm, "Versions")
    assert official() == first["DICE"]
    work_goes_on(ann)
    second = publish(adm, "v2.0", fetched=("DICE",))
    assert official() == second["DICE"] != first["DICE"]
    compare_both(adm)
    assert downloads(adm.page.locator("[data-version='v1.0']"), adm) == first
    bring_back_what_was_deleted(here, adm, ann)
    crash_with_unsent_work(here, ann)
    go_back_to_the_first(here, adm, first)
    close_the_tab(ann)


# 1. A dataset is opened -------------------------------------------------------------------------


def lay_out(put_object) -> None:
    """Six pictures, and boxes somebody drew elsewhere on the first of them."""
    for number in range(1, 7):
        put_object("platform", f"datasets/{DATASET}/images/{number}.png", a_picture(number))
    boxes = [
        {"id": number + 1, "class_id": number, "bbox": [20 + 60 * number, 20, 30, 30], "bbox_format": "xywh"}
        for number in range(2)
    ]
    drawn = {
        "classes": [{"id": 0, "name": "Red"}, {"id": 1, "name": "White"}],
        "images": [{"id": 1, "file_name": "1.png", "width": 200, "height": 100, "annotations": boxes}],
    }
    put_object("platform", OFFICIAL, json.dumps(drawn).encode())


def opened_by_olga() -> World:
    """The page has no form for this: the API is asked."""
    a_user("olga", is_staff=True)
    body = {"name": "Blood cells", "dataset_id": DATASET, "task_types": ["detection"]}
    made = a_client("olga").post("/api/v1/projects", body, format="json")
    assert made.status_code == 201, made.content
    assert the_job("open").result["annotations"]["imported"] == 2
    project = Project.objects.prefetch_related("tasks").get(pk=made.json()["id"])
    for user_id, role in (("ann", Role.ANNOTATOR), ("adm", Role.ADMIN)):
        projects.set_member(project, user_id, role, by="olga", by_role=Role.OWNER)
    images = list(Image.objects.filter(project=project).order_by("pk"))
    assert {(image.width, image.height) for image in images} == {(200, 100)}
    return World(project, projects.task_of(project, None), images)


# 2. and 3. Labeling, confirming, the first working save -----------------------------------------


def label_until_saved(here: Workspace, ann: Person) -> None:
    # The page opens with the first image nobody has begun; the first of all has boxes already.
    shows_image(ann, "2.png")
    goes_to(ann, "1.png")
    ann.shows(2)
    confirm_and_go_on(ann, "2.png")
    ann.draws_a_box(20, 20)
    ann.draws_a_box(100, 20)
    # The class of what is selected, which is what was drawn last, and of what comes next.
    ann.presses("2")
    confirm_and_go_on(ann, "3.png")
    expect(ann.page.locator("#working-version")).to_contain_text("No working version yet")
    ann.draws_a_box(60, 30)
    confirm_and_go_on(ann, "4.png")
    ann.is_saved()
    assert autosave.save_if_due(soon(autosave.due_tasks)[0]).trigger == "images"
    expect(ann.page.locator("#working-version")).to_contain_text("v0.1")
    drawn = [(row.image.path, row.label_class.name, row.state) for row in here.rows if row.image.path != "1.png"]
    assert drawn == [("2.png", "Red", "confirmed"), ("2.png", "White", "confirmed"), ("3.png", "White", "confirmed")]


def confirm_and_go_on(ann: Person, to: str) -> None:
    ann.presses("Control+Enter")
    shows_image(ann, to)


def goes_to(person: Person, path: str) -> None:
    person.page.locator(".row", has_text=path).click()
    shows_image(person, path)


def shows_image(person: Person, path: str) -> None:
    person.until(f"labeler.store.state.image.id === '{path}'")
    person.ready()


# 4. Publishing ----------------------------------------------------------------------------------


def publish(adm: Person, number: str, *, fetched: tuple[str, ...] = FILES) -> dict[str, bytes]:
    """By the dialog, which ends with links; the list of versions stays open."""
    adm.page.get_by_role("button", name="Publish").click()
    dialog = adm.page.get_by_role("dialog", name="Publish")
    expect(dialog.get_by_label("Number")).to_have_attribute("placeholder", number)
    dialog.get_by_label("Description").fill(f"this is {number}")
    dialog.get_by_role("button", name="Publish").click()
    publishing.advance(soon(lambda: Version.objects.filter(version_number=number).first()).pk)
    expect(dialog.get_by_role("heading", level=3)).to_have_text(f"{number} ready official")
    files = downloads(dialog, adm, fetched)
    dialog.get_by_role("button", name="All versions").click()
    expect(adm.page.locator(f"[data-version='{number}']")).to_contain_text(f"this is {number}")
    return files


def downloads(place: Locator, person: Person, wanted: tuple[str, ...] = FILES) -> dict[str, bytes]:
    """Files of a version by their links, with the hashes that the links tell."""
    expect(place.get_by_role("link")).to_have_count(len(FILES))
    files = {}
    for name in wanted:
        link = place.get_by_role("link", name=name)
        with person.page.expect_download() as arrived:
            link.click()
        files[name] = Path(arrived.value.path()).read_bytes()
        assert link.get_attribute("title") == f"SHA-256 {sha256(files[name]).hexdigest()}"
    return files


def closes(person: Person, dialog: str) -> None:
    person.page.get_by_role("dialog", name=dialog).get_by_role("button", name="Close").click()


def official() -> bytes:
    """What the platform gives its trainers."""
    return stores.read_range("platform", OFFICIAL, 0, 1_000_000)


# 5. Work goes on --------------------------------------------------------------------------------


def work_goes_on(ann: Person) -> None:
    """A box of a confirmed image is moved, and a new image done."""
    goes_to(ann, "2.png")
    ann.shows(2)
    ann.presses("v")
    ann.clicks((22, 22))
    ann.drags((40, 35), (60, 55))
    confirm_and_go_on(ann, "4.png")
    ann.draws_a_box(30, 30)
    ann.presses("1")
    confirm_and_go_on(ann, "5.png")
    ann.is_saved()


def compare_both(adm: Person) -> None:
    adm.page.locator("[data-version='v2.0']").get_by_role("button", name="Compare …").click()
    dialog = adm.page.get_by_role("dialog", name="Compare")
    expect(dialog.locator(".totals")).to_contain_text("2 images differ+ 1 added− 0 removed~ 1 changed")
    expect(dialog.locator(".image-name")).to_have_text("2.png")
    expect(dialog.locator("path.old.modified")).to_be_visible()
    expect(dialog.locator("path.new.modified")).to_be_visible()
    expect(dialog.locator(".image-changes")).to_contain_text("place")
    adm.presses("d")
    expect(dialog.locator("path.new.added")).to_be_visible()
    closes(adm, "Compare")


# 6. Ways back -----------------------------------------------------------------------------------


def bring_back_what_was_deleted(here: Workspace, adm: Person, ann: Person) -> None:
    before = contents(here)
    closes(adm, "Versions")
    goes_to(adm, "1.png")
    adm.shows(2)
    adm.presses("Control+a", "Delete")
    adm.shows(0)
    adm.is_saved()
    assert len(here.rows) == len(before) - 2
    goes_to(ann, "1.png")
    ann.shows(0)
    ann.page.get_by_role("tab", name="History").click()
    for place in range(2):
        ann.page.locator("#history [data-action=delete]").nth(place).get_by_role("button", name="Bring back").click()
        ann.shows(place + 1)
    assert contents(here) == before


def crash_with_unsent_work(here: Workspace, ann: Person) -> None:
    before = len(here.rows)
    goes_to(ann, "5.png")
    ann.fails("**/api/v1/annotations*", lambda route: route.abort())
    ann.draws_a_box(70, 40)
    ann.is_in_state("offline")
    with contextlib.suppress(Error):
        ann.page.goto("chrome://crash", timeout=3000)
    assert len(here.rows) == before
    ann.opens("5.png")
    # The tab that crashed is believed alive for some seconds; this is after those.
    ann.page.evaluate(
        "Object.keys(localStorage).filter((key) => key.startsWith('labeler.tab.') && !key.endsWith("
        "sessionStorage['labeler.tab'])).forEach((key) => localStorage.removeItem(key)), labeler.outbox.adopt()"
    )
    ann.shows(1)
    ann.is_saved()
    assert [row.image.path for row in here.rows[before:]] == ["5.png"]


def go_back_to_the_first(here: Workspace, adm: Person, first: dict[str, bytes]) -> None:
    adm.page.get_by_role("button", name="Versions").click()
    adm.page.locator("[data-version='v1.0']").get_by_role("button", name="Restore …").click()
    dialog = adm.page.get_by_role("dialog", name="Go back to v1.0")
    the_job("restore")
    expect(dialog.locator(".preview .note")).to_contain_text("adds 0, changes 1 and removes 2")
    assert Annotation.objects.count() == 7
    with adm.page.expect_navigation():
        dialog.get_by_role("button", name="Go back").click()
        the_job("restore")
    adm.ready()
    assert contents(here) == [
        (entry["id"], image["file_name"], entry["bbox"], entry["class_name"], entry["state"])
        for image in json.loads(first["DICE"])["images"]
        for entry in image["annotations"]
    ]
    # What was there before is kept, and so is what is there again.
    assert autosave.save_if_due(autosave.due_tasks()[0]).trigger == "restore"
    kept = Version.objects.filter(version_type="working").order_by("-minor")
    assert [version.annotation_count for version in kept[:2]] == [5, 7]


def contents(here: Workspace) -> list[tuple[Any, ...]]:
    """The live rows as a file tells them."""
    return [(row.pk, row.image.path, row.geometry["bbox"], row.label_class.name, row.state) for row in here.rows]


def close_the_tab(ann: Person) -> None:
    """The day's last stroke is in a working version, though nobody asked for one."""
    ann.presses("d")
    shows_image(ann, "6.png")
    ann.draws_a_box(20, 20)
    ann.is_saved()
    ann.page.close(run_before_unload=True)
    saved = Version.objects.get(pk=the_job("save").result["version_id"])
    assert (saved.trigger, saved.annotation_count) == ("beforeunload", 6)
