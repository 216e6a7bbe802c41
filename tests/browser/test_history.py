"""The labeler's own pages in a real browser: without JavaScript, in German, for every eye and every width."""

from __future__ import annotations

from pathlib import Path

import polib
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from labeling.domain.desk import DEFAULT_KEYS, Desk, save_desk
from labeling.domain.gold import make_gold
from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.domain.skipping import decline_slice, skip_comparison
from labeling.models import Judgment, Project, Skip, Slice, User
from tests.browser.conftest import wait_until_saved
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGE = "/judge/kitchen/history/"
CATALOGUE = Path(__file__).parent.parent.parent / "locale/de/LC_MESSAGES/django.po"
# Whatever a person reads or hears: texts that stand on their own, and what is said of pictures, buttons and fields.
READ_ALOUD = """() => {
  const said = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode()); ) {
    if (!node.parentElement.closest("script, style, kbd, .prose")) said.push(node.textContent);
  }
  for (const element of document.body.querySelectorAll("*")) {
    for (const name of ["aria-label", "title", "placeholder", "alt"]) said.push(element.getAttribute(name) ?? "");
    if (element.matches("[data-live]")) said.push(...Object.values(element.dataset));
  }
  return said.map((text) => text.trim().replace(/\\s+/g, " ")).filter(Boolean);
}"""


@pytest.fixture
def kitchen(transactional_db: None) -> Project:
    project = Project.objects.create(slug="kitchen", name="Kitchen", reasons=["clear"], asks_fixes=True)
    publish_guideline(project, "Choose the **better** one.")
    return project


@pytest.fixture
def grace(kitchen: Project) -> User:
    user = User.objects.create_user("grace")
    add_member(kitchen, user, role="labeler")
    return user


def skip(project: Project, labeler: User) -> Skip:
    slot = claim(project, labeler)
    return skip_comparison(slot.pk, labeler, lease_token=slot.lease_token, reason="unsafe")


def list_english() -> set[str]:
    """Return what German says otherwise."""
    pairs = [(entry.msgid, entry.msgstr) for entry in polib.pofile(str(CATALOGUE))]
    return {english for english, german in pairs if german and english != german and "%" not in english}


def read_english(page: Page) -> list[str]:
    """Return what the page says in English."""
    return sorted(set(page.evaluate(READ_ALOUD)) & list_english())


@pytest.mark.parametrize("scale", ["quick", "seven"])
@pytest.mark.parametrize("choice", ["browser", "desk"])
def test_the_judge_page_is_wholly_german(kitchen, grace, open_page, scale, choice):
    Project.objects.update(scale=scale, axes=["tone"] if scale == "seven" else [])
    add_pairs(kitchen, 2)
    if choice == "desk":
        save_desk(grace, Desk(language="de", shows_timer=True))
    page = open_page(grace, "/judge/kitchen/", locale="de-DE" if choice == "browser" else "en-US")

    page.wait_for_selector("form[data-act=vote]")
    page.wait_for_timeout(300)

    assert page.locator("html").get_attribute("lang") == "de"
    assert "Welche Antwort ist besser?" in page.evaluate(READ_ALOUD)
    assert "Beurteilen" in page.evaluate(READ_ALOUD)
    assert read_english(page) == []
    page.keyboard.press("f" if scale == "quick" else "1")
    if scale == "seven":
        page.keyboard.press("Enter")
    wait_until_saved(page)
    assert Judgment.objects.count() == 1
    assert read_english(page) == []


@pytest.mark.parametrize("address", ["/", PAGE, f"{PAGE}?kind=skipped", "/desk/", "/judge/kitchen/exam/"])
def test_her_own_pages_are_wholly_german(kitchen, grace, open_page, address):
    prepare(kitchen, grace)
    page = open_page(grace, address, locale="de-DE")

    assert page.locator("html").get_attribute("lang") == "de"
    assert read_english(page) == []


def prepare(kitchen: Project, grace: User) -> None:
    """Put something of everything on her pages."""
    manager = User.objects.create_user("ada")
    add_member(kitchen, manager, role="manager")
    Slice.objects.create(project=kitchen, name="violence")
    decline_slice(kitchen, grace, "violence")
    add_pairs(kitchen, 3)
    judge(claim(kitchen, grace), grace, note="a note", reasons=["clear"], active_ms=4000)
    skip(kitchen, grace)
    for number in range(2):
        gold = add_pair(kitchen, f"Exam {number} " + "x" * 300, text_a="# Title\n\n`code`", text_b="y" * 900)
        make_gold(gold, manager, strength_min=-3, strength_max=-1, explanation="Why " + "z" * 300, is_exam=True)
    Project.objects.update(exam_size=2)
    kitchen.refresh_from_db()
    for _ in range(2):
        judge(claim(kitchen, grace), grace, preference=-2)


def test_without_javascript_she_searches_changes_and_takes_back(kitchen, grace, open_page):
    add_pair(kitchen, "Boil an egg")
    judge(claim(kitchen, grace), grace, preference=-2)
    add_pair(kitchen, "Fry an egg")
    judge(claim(kitchen, grace), grace, preference=-2)
    add_pair(kitchen, "Peel an egg")
    skip(kitchen, grace)
    page = open_page(grace, PAGE, java_script_enabled=False)

    page.fill("[name=text]", "BOIL")
    page.click("button:has-text('Search')")
    found = page.locator(".entry .opening").all_inner_texts()
    page.click(".entry a:has-text('Change')")
    page.click("button[name=choice][value=right]")
    page.goto(f"{PAGE}?is_revised=on")
    changed = page.locator(".entry .remarks b").all_inner_texts()
    page.click(".tabs a:has-text('Skipped')")
    page.click("button:has-text('Take back')")

    assert (found, changed) == (["Boil an egg"], ["B is better"])
    assert "may come to you again" in page.locator(".messages").inner_text()
    assert Skip.objects.count() == 0


def test_without_javascript_she_sets_her_desk_and_judges_with_her_key(kitchen, grace, open_page):
    add_pair(kitchen)
    page = open_page(grace, "/desk/", java_script_enabled=False)

    page.fill("[name=key_left]", "j")
    page.click("button:has-text('Save')")
    faults = page.locator(".errorlist").all_inner_texts()
    page.fill("[name=key_left]", "a")
    page.select_option("[name=font_size]", "22")
    size = page.evaluate("getComputedStyle(document.querySelector('.sample')).fontSize")
    page.click("button:has-text('Save')")

    assert faults == ["“A is better” and “B is better” cannot both have the key “j”."] * 2
    assert size == "22px"
    grace.refresh_from_db()
    assert grace.desk["keys"] == {"left": "a"}
    judging = open_page(grace, "/judge/kitchen/")
    judging.wait_for_selector("form[data-act=vote]")
    judging.wait_for_timeout(300)
    judging.keyboard.press("a")
    wait_until_saved(judging)
    judgment = Judgment.objects.get()
    assert judgment.strength * (1 if judgment.a_shown_left else -1) == -2
    assert DEFAULT_KEYS["left"] == "f"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_and_reach_her_pages(kitchen, grace, open_page, scheme):
    prepare(kitchen, grace)
    page = open_page(grace, "/", color_scheme=scheme)
    faults: list[str] = []

    for address in (
        "/",
        PAGE,
        f"{PAGE}?kind=skipped",
        f"{PAGE}?text=egg&verdict=tie",
        "/desk/",
        "/judge/kitchen/exam/",
    ):
        page.goto(address)
        found = Axe().run(page).response["violations"]
        faults += [f"{address} {fault['id']}: {node['html'][:120]}" for fault in found for node in fault["nodes"]]
        for width in (390, 768, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
                faults.append(f"{address} scrolls sideways at {width}")

    assert faults == []
