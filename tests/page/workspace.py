"""A project with pictures in the store, and people at the page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import Client
from PIL import Image as Picture
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from annotations.models import Annotation
from tests.world import DATASET, World, a_user, a_world
from versions import work
from versions.models import Job

WIDTH, HEIGHT = 200, 100
PASSWORD = "a long enough password"
# Told to the console by the browser itself where a test cuts the line or the server refuses on purpose.
EXPECTED = ("Failed to load resource",)


@dataclass
class Workspace:
    """The world, and browsers that look at it."""

    world: World
    address: str
    contexts: Contexts
    complaints: list[str] = field(default_factory=list)

    def person(self, name: str = "ann", *, size: tuple[int, int] = (1280, 720), **options: Any) -> Person:
        """Somebody signed in, in a browser context of their own."""
        someone = self.visitor(name, size=size, **options)
        someone.sign_in()
        return someone

    def visitor(self, name: str, *, size: tuple[int, int] = (1280, 720), **options: Any) -> Person:
        """Somebody at a browser who has not signed in yet."""
        return Person(self, self.contexts.fresh(viewport={"width": size[0], "height": size[1]}, **options), name)

    @property
    def rows(self) -> list[Annotation]:
        """What is in the database."""
        return list(Annotation.objects.with_names().order_by("pk"))


@dataclass
class Person:
    """A person at the page: ``page`` is the tab in front."""

    workspace: Workspace
    context: BrowserContext
    name: str
    page: Page = field(init=False)

    def sign_in(self) -> None:
        """The session's cookie, as signing in gives it."""
        client = Client()
        client.force_login(a_user(self.name))
        value = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": self.workspace.address}]
        )

    def sign_out(self) -> None:
        """The session ends somewhere else."""
        self.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)

    def comes_in(self) -> Person:
        """By the front door: the sign-in form, the list of projects, the labeling page as the list opens it."""
        user = a_user(self.name)
        user.set_password(PASSWORD)
        user.save()
        self.takes_a_tab()
        self.page.goto(self.workspace.address)
        self.page.get_by_label("Name").fill(self.name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("link", name=f"Open {self.workspace.world.project.name}", exact=True).click()
        self.ready()
        return self

    def opens(self, image: str | None = "a/1.png", *, task: str | None = None) -> Person:
        """The labeling page in a new tab, with an image, ready for work."""
        self.opens_blindly(image, task=task)
        self.ready()
        return self

    def opens_blindly(self, image: str | None = "a/1.png", *, task: str | None = None) -> None:
        """As ``opens``, whatever the page then shows."""
        self.takes_a_tab()
        query = "&".join(f"{name}={value}" for name, value in (("image", image), ("task", task)) if value)
        self.page.goto(f"{self.workspace.address}/projects/{self.workspace.world.project.pk}/label?{query}")

    def takes_a_tab(self) -> None:
        """A tab with nothing in it comes to the front; what goes wrong in it is heard."""
        complain = self.workspace.complaints.append
        self.page = self.workspace.contexts.tab(
            self.context, pageerror=lambda error: complain(str(error)), console=self._listen
        )

    def _listen(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            self.workspace.complaints.append(message.text)

    def ready(self) -> None:
        """The page is put together and shows an image."""
        self.until("document.body.dataset.ready && labeler.store.state.imageState === 'ready'")

    def until(self, condition: str, seconds: float = 30) -> None:
        """A condition of the page's scripts has come true. (The policy refuses what Playwright would wait with.)"""
        end = time.monotonic() + seconds
        careful = f"(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"
        while not self.page.evaluate(careful):
            assert time.monotonic() < end, f"{condition} did not come true in {seconds} s"
            time.sleep(0.02)

    def shows(self, count: int) -> None:
        """So many annotations are on the image."""
        self.until(f"labeler.store.state.annotations.length === {count}")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is on the screen."""
        return tuple(
            self.page.evaluate(
                "([x, y]) => { const r = document.getElementById('stage').getBoundingClientRect();"
                " const [a, b] = labeler.canvas.view.toScreen([x, y]); return [r.left + a, r.top + b]; }",
                [x, y],
            )
        )

    def drags(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse from one pixel of the image to another."""
        mouse = self.page.mouse
        mouse.move(*self.at(*start))
        mouse.down()
        mouse.move(*self.at((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
        mouse.move(*self.at(*end))
        mouse.up()

    def clicks(self, *points: tuple[float, float], modifiers: list[str] | None = None) -> None:
        """The mouse at pixels of the image, one after the other."""
        for key in modifiers or []:
            self.page.keyboard.down(key)
        for point in points:
            self.page.mouse.move(*self.at(*point))
            self.page.mouse.click(*self.at(*point))
        for key in modifiers or []:
            self.page.keyboard.up(key)

    def draws_a_box(self, x: float = 20, y: float = 20, width: float = 40, height: float = 30) -> None:
        """With the box tool."""
        self.page.keyboard.press("b")
        self.drags((x, y), (x + width, y + height))

    def presses(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def sees(self, words: str) -> None:
        """The words are on the page."""
        expect(self.page.get_by_text(words).first).to_be_visible()

    def state(self, expression: str) -> Any:
        """A value of the page's state."""
        return json.loads(self.page.evaluate(f"JSON.stringify(labeler.store.state.{expression})"))

    def is_saved(self) -> None:
        """Everything drawn is at the server."""
        self.is_in_state("saved")

    def is_in_state(self, state: str) -> None:
        """The save state on top of the page."""
        expect(self.page.locator("#save-state")).to_have_attribute("data-state", state)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """The network is gone."""
        self.context.set_offline(True)
        yield
        self.context.set_offline(False)

    def fails(self, pattern: str, act: Any) -> None:
        """Requests like ``pattern`` are answered by ``act(route)``."""
        self.page.route(pattern, act)


def soon(look: Callable[[], Any]) -> Any:
    """What a request of the page made in the database."""
    for _ in range(500):
        if found := look():
            return found
        time.sleep(0.03)
    raise AssertionError("the request did not arrive")


def the_job(kind: str) -> Job:
    """The work a request asked for, done as a worker does it."""
    job = soon(lambda: Job.objects.filter(kind=kind, status="queued").first())
    return work.run(job.pk)


def no_answer_after_arrival(route: Route) -> None:
    """The request arrives and does its work; its answer is lost."""
    route.fetch()
    route.abort()


class Contexts:
    """Browser contexts, each like a fresh profile; those that are used again keep only the cache of our own files."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.kept: dict[str, list[BrowserContext]] = {}
        self.used: list[tuple[str, BrowserContext]] = []
        self.empty: dict[BrowserContext, Page] = {}
        self.heard: list[tuple[Page, str, Callable]] = []
        self.crashed: set[Page] = set()

    def fresh(self, **options: Any) -> BrowserContext:
        """A context with nothing of anybody in it."""
        kind = repr(sorted(options.items()))
        kept = self.kept.setdefault(kind, [])
        context = kept.pop() if kept else self.browser.new_context(**options)
        context.set_default_timeout(30_000)
        self.used.append((kind, context))
        return context

    def tab(self, context: BrowserContext, **heard: Callable) -> Page:
        """A tab with nothing in it, and who hears its events."""
        page = self.empty.pop(context, None) or context.new_page()
        for event, hears in {**heard, "crash": lambda page: self.crashed.add(page)}.items():
            page.on(event, hears)
            self.heard.append((page, event, hears))
        return page

    def give_back(self, address: str) -> None:
        """Forget cookies, stored data and routes; close every page but one, which is emptied: to open our page in a
        tab whose process is warm costs a quarter of what it costs in a new one."""
        for page, event, hears in self.heard:
            page.remove_listener(event, hears)
        self.heard.clear()
        for kind, context in self.used:
            context.unroute_all(behavior="ignoreErrors")
            context.clear_cookies()
            first, *others = context.pages or [context.new_page()]
            for page in [first, *others] if first in self.crashed else others:
                page.close()
            self.empty[context] = context.pages[0] if context.pages else context.new_page()
            _empty(self.empty[context], address)
            self.kept[kind].append(context)
        self.used.clear()


def _empty(page: Page, address: str) -> None:
    """Leave what the page shows, without a last word to the server, and forget what it stored."""
    page.unroute_all(behavior="ignoreErrors")
    page.context.set_offline(False)
    page.evaluate("() => { navigator.sendBeacon = () => true; window.fetch = () => new Promise(() => {}); }")
    # A page of the same origin without scripts: the process stays, and the tab can forget what it stored for itself.
    page.goto(f"{address}/health/live")
    page.evaluate("sessionStorage.clear()")
    tools = page.context.new_cdp_session(page)
    tools.send("Storage.clearDataForOrigin", {"origin": address, "storageTypes": "local_storage,indexeddb"})
    tools.detach()


def a_workspace(address: str, contexts: Contexts, **wish: Any) -> Workspace:
    """A world (``tests.world``) whose images are real pictures."""
    world = a_world(**wish)
    folder = Path(settings.STORAGES["platform"]["OPTIONS"]["location"]) / f"datasets/{DATASET}/images/a"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, len(world.images) + 1):
        (folder / f"{number}.png").write_bytes(a_picture(number))
    return Workspace(world, address, contexts)


def a_picture(number: int) -> bytes:
    """A PNG file of one colour."""
    out = BytesIO()
    Picture.new("RGB", (WIDTH, HEIGHT), (40 * number % 256, 90, 160)).save(out, "PNG")
    return out.getvalue()
