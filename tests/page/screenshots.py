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
SIZE = (1280, 800)
MOST_BYTES = 250_000
THEMES = ("light", "dark")
# An image of the demo with a dozen confirmed boxes.
IMAGE = "BloodImage_00136.jpg"


def workspace(page: Page, project: str) -> None:
    """An image with its annotations."""
    page.goto(f"/projects/{project}/label?image={IMAGE}")
    page.wait_for_selector("body[data-ready]")
    page.wait_for_timeout(1500)


def dashboard(page: Page, project: str) -> None:
    """How the project goes."""
    page.goto(f"/projects/{project}")


def dialog(name: str) -> Callable[[Page, str], None]:
    """The workspace with a dialog open, as the button with ``data-dialog`` opens it."""

    def scene(page: Page, project: str) -> None:
        workspace(page, project)
        page.locator(f'[data-dialog="{name}"]').first.click()
        page.wait_for_selector("dialog[open]")
        page.wait_for_timeout(1500)

    return scene


# To be added when their dialogs are there: "publish": dialog("publish"), "history": dialog("versions"), and "compare".
SCENES: dict[str, Callable[[Page, str], None]] = {
    "workspace": workspace,
    "dashboard": dashboard,
    "help": dialog("help"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures asked for; 0 if all are there and small enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.page.screenshots", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"some of {', '.join(SCENES)}; all of them if none is named")
    parser.add_argument("--language", choices=("en", "ko"), default="en")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    wish = parser.parse_args(arguments)
    unknown = [name for name in wish.scenes if name not in SCENES]
    if unknown:
        parser.error(f"no scene is called {', '.join(unknown)}; there are {', '.join(SCENES)}.")
    wish.folder.mkdir(parents=True, exist_ok=True)
    with _labeler() as (address, demo), _browser() as browser:
        project = _prepare(address, demo)
        pictures = [
            _take(browser, address, demo, project, name, theme, wish)
            for name in wish.scenes or SCENES
            for theme in THEMES
        ]
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
    """A published version to show; returns the project's id."""
    project = _call(address, demo, "GET", "/projects")[0]["id"]
    _call(address, demo, "POST", f"/projects/{project}/versions/publish?wait=20", {"description": "First release"})
    return project


def _call(address: str, demo: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {demo['token']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/v1{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def _take(
    browser: Browser, address: str, demo: dict[str, str], project: str, name: str, theme: str, wish: argparse.Namespace
) -> Path:
    """One scene in a browser context of its own, as ``NAME-THEME.png``."""
    context = browser.new_context(
        base_url=address, viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme=theme, locale=wish.language
    )
    page = context.new_page()
    page.goto("/accounts/login/")
    page.fill("input[name=username]", demo["login"])
    page.fill("input[name=password]", demo["password"])
    page.locator("main button").click()
    page.wait_for_selector(".projects")
    SCENES[name](page, project)
    target = wish.folder / f"{name}-{theme}.png"
    _write(page.screenshot(), target)
    context.close()
    print(f"{target} {target.stat().st_size // 1000} kB", flush=True)
    return target


def _write(content: bytes, target: Path) -> None:
    """As a PNG of 256 colours, which is enough for a page and a quarter of the size."""
    with Picture.open(BytesIO(content)) as picture:
        few = picture.convert("RGB").quantize(256, method=Picture.Quantize.MEDIANCUT, dither=Picture.Dither.NONE)
        few.save(target, "PNG", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
