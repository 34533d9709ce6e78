"""The labeling page in a real browser: the system's Chromium, Django's live server, real PostgreSQL and stores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.db import connection
from playwright.sync_api import Browser, expect, sync_playwright

from tests.page.chromium import NoBrowser, chromium
from tests.page.workspace import Contexts, Workspace, a_workspace

# Playwright runs an event loop in this thread, and Django then refuses the database. No view is asynchronous here.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
# A machine with much else to do is slow, and that is no failure.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a process; each test has contexts of its own."""
    try:
        program = chromium()
    except NoBrowser as error:
        pytest.fail(str(error), pytrace=False)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="session", autouse=True)
def _files_stay_in_the_browser() -> Iterator[None]:
    """As where the page is served for people, a browser does not ask for each script again at each page."""
    plainly = StaticFilesHandler.serve

    def serve(self, request):
        answer = plainly(self, request)
        answer["Cache-Control"] = "max-age=3600"
        return answer

    StaticFilesHandler.serve = serve
    yield
    StaticFilesHandler.serve = plainly


@pytest.fixture(scope="session")
def contexts(browser) -> Contexts:
    """Profiles for the people of the tests."""
    return Contexts(browser)


def wait_until_quiet() -> None:
    """What a closing page still sent is dealt with: nobody else works in the database when it is emptied."""
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (state <> 'idle' OR state_change > clock_timestamp() - interval '120 milliseconds')"
    )
    for _ in range(200):
        time.sleep(0.03)
        with connection.cursor() as cursor:
            cursor.execute(busy)
            if not cursor.fetchone()[0]:
                return


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A failure is told in Python's own words: pytest's need the parser, which greenlets of Playwright upset (3.11)."""
    before, item.config.option.tbstyle = item.config.option.tbstyle, "native"
    try:
        return (yield)
    finally:
        item.config.option.tbstyle = before


@pytest.fixture
def workspace(contexts, live_server, transactional_db, settings) -> Iterator[Callable[..., Workspace]]:
    """Make a world with pictures: ``workspace(tasks=("segmentation",))``; fails if a page said anything wrong."""
    settings.ALLOWED_HOSTS = ["*"]
    made: list[Workspace] = []

    def make(**wish) -> Workspace:
        made.append(a_workspace(live_server.url, contexts, **wish))
        return made[-1]

    yield make
    wrong = [line for each in made for line in each.complaints]
    contexts.give_back(live_server.url)
    wait_until_quiet()
    assert not wrong, "the page complained: " + "; ".join(wrong)
