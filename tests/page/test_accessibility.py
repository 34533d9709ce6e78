"""axe-core (vendored for tests only) finds nothing serious on the pages and dialogs, in light and in dark; every dialog
is opened and left by keyboard, and the focus goes in and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from annotations import editing
from tests.page.workspace import the_job
from tests.world import a_box, confirmed, published, saved

pytestmark = pytest.mark.django_db(transaction=True)
AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
SERIOUS = ("serious", "critical")
# The dialog in front if there is one, else all of the page; in the other colours only what colours can change.
RUN = """async () => {
  const front = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document;
  const root = document.documentElement.dataset;
  const wish = { resultTypes: ['violations'], preload: false, iframes: false };
  root.theme = 'light';
  const light = await axe.run(front, wish);
  root.theme = 'dark';
  const dark = await axe.run(front, { ...wish, runOnly: ['color-contrast'] });
  return [...light.violations, ...dark.violations];
}"""
# The button of each dialog, and what is there once it is whole.
DIALOGS = {
    "[data-dialog=publish]": ".findings .note",
    "[data-dialog=export]": "form",
    "[data-dialog=help]": "kbd",
    "#save-state": ".explanation:not(:empty)",
    "#working-version": "[data-version]",
    "[data-dialog=versions]": "[data-version]",
    "dialog [data-version] .files + button": ".image-changes li",
    "dialog [data-version] .files + button + button": ".preview .figures",
}


@pytest.fixture
def here(workspace):
    """A project with something of everything."""
    made = workspace(tasks=("detection", "segmentation"))
    confirmed(made.world, made.world.images[0], boxes=2)
    published(made.world, description="First")
    confirmed(made.world, made.world.images[2])
    published(made.world)
    a_box(made.world, made.world.images[1])
    saved(made.world)
    return made


def _findings(here, page, where: str) -> list[str]:
    """What axe-core calls serious or critical: where, rule, what to do, element."""
    complaints = len(here.complaints)
    # Evaluated, not added as a script element: the policy of our pages would refuse that one.
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = [each for each in page.evaluate(RUN) if each["impact"] in SERIOUS]
    # It tries a style of its own now and then, which the policy refuses as well.
    del here.complaints[complaints:]
    return [f"{where}: {each['id']}: {each['help']}: {node['target']}" for each in found for node in each["nodes"][:5]]


def _opens(page, button: str, whole: str) -> None:
    """By keyboard; the focus is in the dialog."""
    page.locator(button).first.press("Enter")
    front = page.locator("dialog[open]").last
    if whole == DIALOGS["dialog [data-version] .files + button + button"]:
        the_job("restore")
    expect(front.locator(whole).first).to_be_visible()
    assert front.evaluate("(dialog) => dialog.contains(document.activeElement)"), button


def test_pages_and_dialogs_have_no_serious_finding_and_are_left_by_keyboard(here):
    adm = here.person("adm", reduced_motion="reduce").opens("a/2.png")
    page = adm.page
    findings = _findings(here, page, "workspace")
    for button, whole in DIALOGS.items():
        _opens(page, button, whole)
        findings += _findings(here, page, button)
        if button != "[data-dialog=versions]":
            page.keyboard.press("Escape")
            expect(page.locator(button).first).to_be_focused()
    page.evaluate("document.querySelector('dialog button').replaceChildren()")
    assert any("button-name" in found for found in _findings(here, page, "a button without a name"))
    page.keyboard.press("Escape")
    page.locator("#tab-annotations").press("ArrowRight")
    expect(page.locator("#history li").first).to_be_visible()
    findings += _findings(here, page, "history")
    page.locator("#tab-history").press("ArrowLeft")
    findings += _of_a_conflict(here, adm)
    for name, address in {
        "project list": "/",
        "dashboard": f"/projects/{here.world.project.pk}",
        "sign-in": "/accounts/login/",
    }.items():
        page.goto(here.address + address)
        findings += _findings(here, page, name)
    assert not findings, "\n".join(findings)


def _of_a_conflict(here, adm) -> list[str]:
    """Somebody else changes the box, and so do we."""
    (box,) = [row for row in here.rows if row.state == "draft"]
    editing.update_annotation(box.pk, {"notes": "theirs"}, by="rev")
    adm.page.locator("#stage").focus()
    adm.presses("Control+a", "ArrowRight")
    _opens(adm.page, ".annotation .problem button", "[data-choice=mine]")
    findings = _findings(here, adm.page, "conflict")
    adm.page.get_by_role("button", name="Take theirs").press("Enter")
    adm.is_saved()
    return findings
