"""axe-core (vendored for tests only) finds nothing serious on the pages, in light and in dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world import a_box, confirmed, published, saved

pytestmark = pytest.mark.django_db(transaction=True)
AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
SERIOUS = ("serious", "critical")
RUN = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


@pytest.fixture
def here(workspace):
    """A project with something of everything."""
    made = workspace(tasks=("detection", "segmentation"))
    confirmed(made.world, made.world.images[0], boxes=2)
    published(made.world, description="First")
    a_box(made.world, made.world.images[1])
    saved(made.world)
    return made


def _findings(page) -> list[str]:
    """What axe-core calls serious or critical: rule, what to do, where."""
    # Evaluated, not added as a script element: the policy of our pages would refuse that one.
    page.evaluate(AXE.read_text())
    found = [each for each in page.evaluate(RUN) if each["impact"] in SERIOUS]
    return [f"{each['id']}: {each['help']}: {node['target']}" for each in found for node in each["nodes"][:5]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_have_no_serious_finding(here, theme):
    someone = here.person("adm", color_scheme=theme)
    someone.opens("a/2.png")
    assert someone.page.evaluate("document.documentElement.dataset.theme") == theme
    findings = [f"workspace: {each}" for each in _findings(someone.page)]
    for name, address in {
        "project list": "/",
        "dashboard": f"/projects/{here.world.project.pk}",
        "sign-in": "/accounts/login/",
    }.items():
        someone.page.goto(here.address + address)
        findings += [f"{name}: {each}" for each in _findings(someone.page)]
    assert not findings, "\n".join(findings)


def test_a_finding_fails(here):
    someone = here.person("adm").opens("a/2.png")
    someone.page.evaluate("document.getElementById('confirm-next').replaceChildren()")
    assert any(found.startswith("button-name") for found in _findings(someone.page))
