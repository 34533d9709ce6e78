"""``make screenshots``: pictures of the page for docs/screenshots/, in light and dark.

Starts a Labeler of its own with the demo dataset in a folder that is gone afterwards, publishes a version, and takes
every scene of ``SCENES``. A scene whose dialog is not there yet says so and fails the command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from playwright.sync_api import Browser, Page, sync_playwright

from labeler.embedded.processes import free_port
from tests.page.chromium import chromium

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "screenshots"
MOST_BYTES = 250_000
THEMES = ("light", "dark")
# An image of the demo with a dozen confirmed boxes, which differs between the two versions that are shown.
IMAGE = "BloodImage_00136.jpg"


def workspace(page: Page, project: str) -> None:
    """An image with its annotations, one of them selected."""
    page.goto(f"/projects/{project}/label?image={IMAGE}")
    page.wait_for_selector("body[data-ready]")
    page.wait_for_selector(".annotation")
    page.locator(".annotation .pick").nth(2).click()
    _rest(page)


def dashboard(page: Page, project: str) -> None:
    """How the project goes."""
    page.goto(f"/projects/{project}")
    _rest(page)


def projects(page: Page, project: str) -> None:
    """What one is a member of."""
    page.goto("/")
    _rest(page)


def dialog(name: str, *clicks: str, shows: str = "") -> Callable[[Page, str], None]:
    """A dialog as the button with ``data-dialog`` opens it, after clicks in it; taken once ``shows`` is there."""

    def scene(page: Page, project: str) -> None:
        if f"/projects/{project}/label" not in page.url:
            workspace(page, project)
        page.evaluate("for (const each of document.querySelectorAll('dialog[open]')) each.close()")
        page.locator(f'[data-dialog="{name}"]').first.click()
        page.wait_for_selector("dialog[open]")
        for each in clicks:
            page.locator(f"dialog[open] {each}").first.click()
        if shows:
            page.locator(shows).first.wait_for()
        _rest(page)

    return scene


def publish(page: Page, project: str) -> None:
    """What would be published, what stands in the way and what to know of."""
    dialog("publish", shows="dialog .findings .note")(page, project)
    page.locator("dialog [name=states]").select_option("drafts")
    page.locator("dialog .note.bad").wait_for()
    _rest(page)


def _rest(page: Page) -> None:
    """Pictures are drawn and nothing moves any more."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(700)


SCENES: dict[str, Callable[[Page, str], None]] = {
    "workspace": workspace,
    "publish": publish,
    "history": dialog("versions", shows="dialog .versions li"),
    "compare": dialog("versions", "li:first-child button:has-text('…')", shows="dialog .image-changes li"),
    "restore": dialog("versions", "li:nth-child(2) button:nth-last-child(1)", shows="dialog .preview .figures"),
    "export": dialog("export"),
    "help": dialog("help"),
    "dashboard": dashboard,
    "projects": projects,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures asked for; 0 if all are there and small enough."""
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"some of {', '.join(SCENES)}; all of them if none is named")
    parser.add_argument("--language", choices=("en", "ko"), default="en")
    parser.add_argument("--size", default="1280x800", help="width and height of the window in pixels")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    wish = parser.parse_args(arguments)
    unknown = [name for name in wish.scenes if name not in SCENES]
    if unknown:
        parser.error(f"no scene is called {', '.join(unknown)}; there are {', '.join(SCENES)}.")
    wish.folder.mkdir(parents=True, exist_ok=True)
    with _labeler() as (address, demo), _browser() as browser:
        project = _prepare(address, demo)
        pictures = [each for theme in THEMES for each in _take(browser, address, demo, project, theme, wish)]
        if not wish.scenes and wish.language == "en":
            wish.scenes, wish.language = ["workspace"], "ko"
            pictures += _take(browser, address, demo, project, "light", wish)
    return int(any(picture.stat().st_size > MOST_BYTES for picture in pictures))


@contextmanager
def _labeler() -> Iterator[tuple[str, dict[str, str]]]:
    """A Labeler with the demo; yields its address and how to sign in."""
    with tempfile.TemporaryDirectory(prefix="labeler-screenshots-") as folder:
        port = free_port()
        names = {**os.environ, "LABELER_PORT": str(port), "LABELER_DATA": folder}
        command = [sys.executable, "-m", "labeler.embedded.up", "--quiet"]
        with subprocess.Popen(command, cwd=ROOT, env=names) as process:
            try:
                address = f"http://127.0.0.1:{port}"
                _wait(process, address)
                yield address, json.loads((Path(folder) / "demo.json").read_text())
            finally:
                process.terminate()


def _wait(process: subprocess.Popen, address: str) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit("Labeler did not start; what it said stands above.")
        try:
            with urllib.request.urlopen(f"{address}/accounts/login/", timeout=5):
                return
        except OSError:  # not there yet, or slow because it has just started
            time.sleep(0.2)
    raise SystemExit("Labeler did not answer within four minutes.")


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _prepare(address: str, demo: dict[str, str]) -> str:
    """Two published versions that differ, a working one, and drafts; returns the project's id."""
    project = _call(address, demo, "GET", "/projects")[0]["id"]
    path = f"/projects/{project}/versions"
    _call(address, demo, "POST", f"{path}/publish?wait=20", {"description": "First release"})
    _change(address, demo, project)
    _call(address, demo, "POST", f"{path}/publish?wait=20", {"description": "Platelets drawn anew on slide 136"})
    _draw(address, demo, project, "BloodImage_00147.jpg", (212, 80, 190, 182), "WBC")
    _draw(address, demo, project, "BloodImage_00147.jpg", (60, 300, 104, 98), None)
    _call(address, demo, "POST", f"/projects/{project}/working-version/save?wait=20", {})
    return project


def _change(address: str, demo: dict[str, str], project: str) -> None:
    """Some boxes of a confirmed image are moved, one goes and one comes; it is confirmed again."""
    rows = _call(address, demo, "GET", f"/annotations/project/{project}?image_id={IMAGE}")
    rows = rows["annotations"] if isinstance(rows, dict) else rows
    for row in rows[:3]:
        x, y, width, height = row["geometry"]["bbox"]
        moved = {"type": "bbox", "bbox": [max(x - 14, 0), y + 9, width + 10, height - 6]}
        _call(address, demo, "PATCH", f"/annotations/{row['id']}", {"geometry": moved, "version": row["version"]})
    _call(address, demo, "DELETE", f"/annotations/{rows[4]['id']}")
    _draw(address, demo, project, IMAGE, (300, 20, 70, 66), "Platelets")
    _call(address, demo, "POST", f"/projects/{project}/images/{IMAGE}/confirm", {})


def _draw(address: str, demo: dict[str, str], project: str, image: str, box: tuple[int, ...], name: str | None) -> None:
    wish = {"project_id": project, "image_id": image, "annotation_type": "bbox", "class_name": name,
            "geometry": {"type": "bbox", "bbox": list(box)}}  # fmt: skip
    _call(address, demo, "POST", "/annotations", wish)


def _call(address: str, demo: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {demo['token']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/v1{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def _take(
    browser: Browser, address: str, demo: dict[str, str], project: str, theme: str, wish: argparse.Namespace
) -> list[Path]:
    """All scenes in one browser context, as ``NAME-THEME.png`` (another language is part of the name)."""
    width, height = map(int, wish.size.split("x"))
    context = browser.new_context(
        base_url=address, viewport={"width": width, "height": height}, color_scheme=theme, locale=wish.language
    )
    page = context.new_page()
    page.on("console", lambda said: said.type == "error" and print(f"the page complained: {said.text} {said.location}"))
    page.goto("/accounts/login/")
    page.fill("input[name=username]", demo["login"])
    page.fill("input[name=password]", demo["password"])
    page.locator("main button").click()
    page.wait_for_selector(".projects")
    return [_picture(page, project, name, theme, wish) for name in wish.scenes or SCENES]


def _picture(page: Page, project: str, name: str, theme: str, wish: argparse.Namespace) -> Path:
    SCENES[name](page, project)
    language = "" if wish.language == "en" else f"-{wish.language}"
    target = wish.folder / f"{name}{language}-{theme}.png"
    _write(page.screenshot(full_page=True), target)
    print(f"{target} {target.stat().st_size // 1000} kB", flush=True)
    return target


def _write(content: bytes, target: Path) -> None:
    """As a PNG of 256 colours, a third of the size: the commonest as they are, so that the page's own stay true."""
    with Picture.open(BytesIO(content)) as picture:
        shown = picture.convert("RGB")
    common = sorted(shown.getcolors(shown.width * shown.height), reverse=True)[:64]
    rest = shown.quantize(256 - len(common), method=Picture.Quantize.FASTOCTREE).getpalette()
    palette = Picture.new("P", (1, 1))
    palette.putpalette([value for _, colour in common for value in colour] + rest)
    shown.quantize(palette=palette, dither=Picture.Dither.NONE).save(target, "PNG", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
