"""A person judges: keys, undo, skip, a lost connection, no JavaScript, hostile text, and eyes that need contrast."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from labeling.domain.assignment import find_claim, find_reserved
from labeling.models import Judgment, Project, Skip, Slot
from tests.browser.conftest import (
    PAGE,
    press_and_wait,
    read_slot,
    wait_for_another,
    wait_for_pair,
    wait_until_ready,
    wait_until_saved,
)
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair, add_pairs

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_one_key_votes_and_shows_the_next_pair_in_one_request(kitchen, grace, open_page):
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.method} {request.url.split('/', 3)[3]}"))

    following = press_and_wait(page, "f", slot)
    wait_until_saved(page)

    assert requests == ["POST judge/kitchen/judgments/"]
    assert find_reserved(kitchen, grace) is not None
    judgment = Judgment.objects.get()
    assert (str(judgment.slot_id), judgment.verdict) == (slot, "A" if judgment.a_shown_left else "B")
    assert str(find_claim(kitchen, grace).pk) == following
    assert page.locator("[data-live]").text_content() == "Saved. Next pair."
    assert page.locator(".pace .number").inner_text() == "1 today · 2 left"
    assert page.evaluate("window.violations") == []


def test_every_key_says_what_its_button_says(kitchen, grace, open_page):
    add_pairs(kitchen, 6)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    for key in ("f", "j", " ", "x", "F"):
        slot = press_and_wait(page, key, slot)

    shown = [
        (row.strength if row.a_shown_left else -row.strength, row.both_bad) for row in Judgment.objects.order_by("id")
    ]
    assert shown == [(-2, False), (2, False), (0, False), (0, True), (-2, False)]


# The pressed button, and how long its pair stayed before the next: a busy machine can only lengthen that.
WATCH_FLASH = """slot => {
  let began, pressed;
  window.flash = new Promise((tell) => {
    new MutationObserver(() => {
      const form = document.querySelector("form.vote:has([name=slot])");
      const button = form?.querySelector("[aria-pressed=true]");
      if (button) [began, pressed] = [began ?? performance.now(), button.innerText.split("\\n")[0]];
      if (form && form.querySelector("[name=slot]").value !== slot) tell([pressed, performance.now() - began > 250]);
    }).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-pressed"] });
  });
}"""


def test_the_choice_flashes_before_the_next_pair_comes(kitchen, grace, open_page):
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)
    page.evaluate(WATCH_FLASH, slot)

    page.keyboard.press("j")

    assert page.evaluate("window.flash") == ["B is better", True]


def test_other_keys_do_not_vote(kitchen, grace, open_page):
    add_pair(kitchen)
    page = open_page(grace, PAGE)
    wait_for_pair(page)

    for key in ("Control+f", "Alt+j", "q", "1", "7", "Backspace", "Delete", "Enter", "ArrowLeft"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)

    assert Judgment.objects.count() == 0


def test_a_key_held_down_votes_once(kitchen, grace, open_page):
    add_pairs(kitchen, 5)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    for _ in range(12):
        page.keyboard.down("f")
    wait_for_another(page, slot)
    page.keyboard.down("f")
    page.wait_for_timeout(600)

    assert Judgment.objects.count() == 1


def test_keys_belong_to_the_note_while_one_is_written(kitchen, grace, open_page):
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("n")
    page.keyboard.type("fjx 1 k?")
    assert Judgment.objects.count() == 0
    page.keyboard.press("Escape")
    page.locator("form.vote button[value=tie]").click()
    wait_for_another(page, slot)
    wait_until_saved(page)

    assert Judgment.objects.get().note == "fjx 1 k?"


def test_an_open_sheet_takes_the_keys(kitchen, grace, open_page):
    add_pair(kitchen)
    page = open_page(grace, PAGE)
    wait_for_pair(page)

    page.keyboard.press("g")
    assert page.locator("#guideline .prose").inner_text() == "Choose the better one."
    page.keyboard.press("f")
    page.keyboard.press("g")
    assert not page.locator("#guideline").is_visible()
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("j")
    page.wait_for_timeout(200)

    assert Judgment.objects.count() == 0


def test_undo_reopens_the_last_pair_and_a_new_choice_goes_on(kitchen, grace, open_page):
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    following = press_and_wait(page, "f", wait_for_pair(page))

    page.keyboard.press("u")
    page.wait_for_url("**/judgments/*/")
    assert page.locator("form.vote [aria-pressed=true]").get_attribute("value") == "left"
    page.wait_for_timeout(300)
    page.keyboard.press("j")
    page.wait_for_selector("form.vote [name=slot]", state="attached")
    wait_until_saved(page)

    first, second = Judgment.objects.order_by("id")
    assert (second.revises, second.strength) == (first, -first.strength)
    assert read_slot(page) == following
    assert page.url.endswith(PAGE)


def test_undo_goes_back_as_far_as_she_likes_and_each_change_is_a_revision(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)
    for key in "fjf":
        slot = press_and_wait(page, key, slot)
    wait_until_saved(page)
    first, second, third = Judgment.objects.order_by("id")

    for judgment in (third, second):
        page.keyboard.press("u")
        page.wait_for_url(f"**/judgments/{judgment.pk}/")
    page.wait_for_timeout(300)
    page.keyboard.press("Space")
    page.wait_for_selector("form.vote [name=slot]", state="attached")
    wait_until_saved(page)
    revision = Judgment.objects.exclude(revises=None).get()
    assert (revision.revises, revision.verdict, read_slot(page)) == (second, "tie", slot)
    for judgment in (revision, third, first, first):
        page.keyboard.press("u")
        page.wait_for_url(f"**/judgments/{judgment.pk}/")
    page.wait_for_selector("text=there is none before it")

    assert Judgment.objects.count() == 4


def test_a_skip_has_a_reason_and_can_be_undone(kitchen, grace, open_page):
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("k")
    following = press_and_wait(page, "3", slot)
    assert Skip.objects.get().reason == "language"
    assert press_and_wait(page, "u", following) == slot

    assert Skip.objects.count() == 0


def test_seven_steps_are_chosen_by_number_and_saved_by_enter(kitchen, grace, open_page):
    Project.objects.update(scale="seven")
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("7")
    page.keyboard.press("x")
    assert Judgment.objects.count() == 0
    press_and_wait(page, "Enter", slot)

    judgment = Judgment.objects.get()
    assert (judgment.strength, judgment.both_bad) == (3 if judgment.a_shown_left else -3, True)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scale", ["forced", "eight"])
def test_eight_steps_are_chosen_by_number_and_none_of_them_is_cut_off(kitchen, grace, open_page, scale, width):
    Project.objects.update(scale=scale)
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE, viewport={"width": width, "height": 844})
    slot = wait_for_pair(page)

    steps = page.locator(".steps label")
    boxes = [steps.nth(number).bounding_box() for number in range(8)]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert boxes[0]["x"] >= 0
    assert boxes[7]["x"] + boxes[7]["width"] <= width
    assert (
        page.evaluate(
            "[...document.querySelectorAll('.steps label')].filter((step) => step.scrollWidth > step.clientWidth + 1).length"
        )
        == 0
    )
    page.keyboard.press("4")
    page.keyboard.press("8")
    assert page.locator(".steps :checked").get_attribute("value") == "4"
    press_and_wait(page, "Enter", slot)

    judgment = Judgment.objects.get()
    assert (judgment.strength, judgment.scale) == (4 if judgment.a_shown_left else -4, scale)


def test_the_form_works_without_javascript(kitchen, grace, open_page):
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE, java_script_enabled=False)

    page.get_by_role("button", name="Start judging").click()
    slot = read_slot(page)
    page.get_by_role("button", name="B is better").click()
    assert read_slot(page) != slot
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Tie").click()
    page.locator("summary", has_text="Skip").click()
    page.get_by_role("button", name="Not my language").click()

    assert list(Judgment.objects.order_by("id").values_list("verdict", "slot")) == [
        ("B" if Slot.objects.get(pk=slot).a_shown_left else "A", int(slot)),
        ("tie", None),
    ]
    assert Skip.objects.count() == 1
    assert page.get_by_role("heading", name="You have judged all you can").is_visible()


def test_hostile_text_acts_on_nothing_and_loads_nothing(kitchen, grace, open_page):
    attack = "\n\n".join(PAYLOADS[:-1]).replace("alert(1)", "(window.pwned=1)")
    add_pair(
        kitchen, attack[:15_000], text_a=attack[:19_000], text_b="![x](http://127.0.0.2:9/beacon.png)" + attack[:18_000]
    )
    page = open_page(grace, "/projects/")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))

    page.goto(PAGE)
    slot = wait_for_pair(page)
    page.wait_for_timeout(500)

    served = page.url.split("/judge/")[0]
    assert [url for url in requests if not url.startswith(f"{served}/")] == []
    assert [url for url in requests if "/judge/" in url] == [
        f"{served}{PAGE}",
        f"{served}{PAGE}claims/",
        f"{served}{PAGE}claims/reserve/",
    ]
    assert page.evaluate("[window.pwned, window.violations]") == [None, []]
    assert (Judgment.objects.count(), read_slot(page)) == (0, slot)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scale", ["quick", "seven", "forced", "eight"])
def test_everyone_can_read_and_reach_a_pair(kitchen, grace, open_page, scheme, scale):
    Project.objects.update(scale=scale)
    code = "# Title\n\n`code` [link](https://example.org)\n\n```python\nx = 1  # one\n```"
    wide = "a\u202eb\n\n$$" + "x + " * 60 + "y$$\n\n|a|b|\n|-|-|\n|" + "long_name_" * 20 + "|w|"
    add_pair(kitchen, text_a=f"{code}\n\n$$\\frac{{1}}{{n}} \\sum_{{i=1}}^n x_i$$", text_b=wide)
    page = open_page(grace, PAGE, color_scheme=scheme)
    wait_for_pair(page)

    faults = list_faults(page)
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    wait_for_pair(page)
    faults += list_faults(page)
    page.keyboard.press("?")
    faults += list_faults(page)

    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_and_reach_the_pages_around_it(kitchen, grace, open_page, scheme):
    Project.objects.update(scale="seven")
    add_pair(kitchen)
    page = open_page(grace, "/", color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})

    faults = []
    for address in ("/", "/projects/", "/projects/kitchen/", "/accounts/password/change/"):
        page.goto(address)
        faults += list_faults(page)

    assert faults == []


def list_faults(page: Page) -> list[str]:
    """Return what axe finds wrong on the page, with the elements."""
    found = Axe().run(page).response["violations"]
    return [f"{fault['id']}: {node['html'][:120]}" for fault in found for node in fault["nodes"]]


def test_no_page_scrolls_sideways(kitchen, grace, open_page):
    add_pair(
        kitchen, text_a="x" * 2000 + "\n\n```\n" + "y" * 500 + "\n```", text_b="|a|b|\n|-|-|\n|" + "z" * 300 + "|w|"
    )
    page = open_page(grace, PAGE)
    wait_for_pair(page)

    for address in (PAGE, "/", "/projects/", "/projects/kitchen/"):
        page.goto(address)
        for width in (390, 768, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{address} at {width}"
