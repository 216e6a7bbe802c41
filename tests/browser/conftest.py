"""A real browser on a real server: Debian's Chromium, no network but the test's own server; and a person judging."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.models import Project, User

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no chromium here: apt-get install chromium")
    # Playwright keeps an event loop in this thread, and Django takes that for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, live_server: LiveServer) -> Iterator[Callable[..., Page]]:
    """Return a function that logs a user in and opens an address; options are the browser context's."""
    contexts = []

    def open_address(user: User, address: str, **options: Any) -> Page:
        context = browser.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        client = Client()
        client.force_login(user, backend="labeling.accounts.PasswordBackend")
        cookie = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
        context.set_default_timeout(30_000)
        page = context.new_page()
        # What the content security policy had to stop is a fault of ours, or an attack that got too far.
        page.add_init_script(
            "window.violations = []; document.addEventListener('securitypolicyviolation', (event) => "
            "window.violations.push(`${event.violatedDirective} ${event.blockedURI}`))"
        )
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()


PAGE = "/judge/kitchen/"
PAIR = "#comparison [data-act=vote]"


@pytest.fixture
def kitchen(transactional_db: None) -> Project:
    project = Project.objects.create(slug="kitchen", name="Kitchen")
    publish_guideline(project, "Choose the **better** one.")
    return project


@pytest.fixture
def grace(kitchen: Project) -> User:
    user = User.objects.create_user("grace", password="correct horse")
    add_member(kitchen, user, role="labeler")
    return user


def wait_for_pair(page: Page) -> str:
    """Wait until a pair is there and calm enough to be judged; return its slot."""
    page.wait_for_selector(PAIR)
    page.wait_for_timeout(300)
    return read_slot(page)


def wait_until_ready(page: Page) -> str:
    """Wait until the pair after this one is there too, unseen; return the slot in sight."""
    slot = wait_for_pair(page)
    page.wait_for_selector("main[data-reserve=ready]", state="attached")
    return slot


def read_slot(page: Page) -> str:
    return page.locator("form.vote [name=slot]").input_value()


def press_and_wait(page: Page, key: str, slot: str) -> str:
    """Press a key and wait for another pair."""
    page.keyboard.press(key)
    return wait_for_another(page, slot)


def wait_for_another(page: Page, slot: str) -> str:
    page.wait_for_function(
        "slot => (document.querySelector('form.vote [name=slot]')?.value ?? slot) !== slot", arg=slot
    )
    return wait_for_pair(page)


def wait_until_saved(page: Page) -> None:
    """Wait until the outbox is empty."""
    page.wait_for_selector(".sync[data-state=saved]", state="attached")


@pytest.fixture
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where pictures go: the folder of --images, or one that is thrown away."""
    asked = request.config.getoption("--images")
    return Path(asked) if asked else tmp_path
