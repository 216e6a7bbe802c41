"""The bar on small screens: its steps say what they mean, and it leaves room for the texts."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from labeling.domain.desk import Desk, save_desk
from labeling.models import Project
from tests.browser.conftest import PAGE, press_and_wait, wait_for_pair
from tests.browser.test_judge import list_faults
from tests.labeling.rows import add_pair

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHONE = {"width": 390, "height": 844}
SIZES = [PHONE, {"width": 1024, "height": 768}, {"width": 1440, "height": 900}]
LONG = "\n\n".join(f"Paragraph {number}: " + "words to read " * 12 for number in range(30))
EVERYTHING = {"reasons": ["Correct", "Clear", "Complete", "Polite"], "axes": ["Helpful", "Correct"], "asks_fixes": True}
# What is wider than its box, of all that stands in the bar.
OVERFLOWING = """[...document.querySelectorAll('.verdict :is(button, label, legend, p, .axes, .extras, .remarks)')]
  .filter((part) => !part.matches('.hidden-text, .hidden-text *'))
  .filter((part) => part.clientWidth > 1 && part.scrollWidth > part.clientWidth + 1)
  .map((part) => part.innerText)"""

RECTANGLES = "parts => parts.map((part) => part.getBoundingClientRect().toJSON())"


def measure(page: Page, selector: str) -> dict[str, float]:
    return page.locator(selector).first.evaluate("part => part.getBoundingClientRect().toJSON()")


def read_caption(page: Page) -> list[str]:
    """Return what stands over the steps, as it is seen."""
    return [words for words in page.locator(".caption").inner_text().split("\n") if words]


def write_fix(page: Page, key: str) -> None:
    page.keyboard.press("e")
    page.keyboard.press(key)
    page.wait_for_function("() => document.getElementById('fix').value !== ''")
    page.wait_for_timeout(100)


@pytest.mark.parametrize(
    ("scale", "legend"),
    [
        ("seven", ["A is much better", "About the same", "B is much better"]),
        ("forced", ["A is significantly better", "Negligibly better, or unsure", "B is significantly better"]),
        ("eight", ["4 is as much better as can be, 1 is hardly better at all."]),
    ],
)
def test_a_phone_says_over_the_steps_what_the_ends_and_the_middle_mean(kitchen, grace, open_page, scale, legend):
    Project.objects.update(scale=scale)
    add_pair(kitchen)
    page = open_page(grace, PAGE, viewport=PHONE)
    wait_for_pair(page)

    assert read_caption(page) == legend
    assert measure(page, ".caption")["bottom"] <= measure(page, ".steps")["top"]
    page.set_viewport_size({"width": 1440, "height": 900})
    assert measure(page, ".caption")["width"] == 1, "the steps have their words there"


def test_a_step_says_in_full_what_it_means_once_it_is_tapped_or_reached(kitchen, grace, open_page):
    Project.objects.update(scale="seven", axes=["Helpful"])
    add_pair(kitchen)
    page = open_page(grace, PAGE, viewport=PHONE, has_touch=True)
    wait_for_pair(page)

    page.locator(".steps label").nth(1).tap()
    tapped = read_caption(page)
    page.keyboard.press("ArrowRight")
    reached = read_caption(page)
    page.locator(".axis label").nth(4).tap()
    of_axis = read_caption(page)
    page.locator("#comparison").focus()
    left = read_caption(page)

    assert tapped == ["A is better: A is clearly better, though B has its merits."]
    assert reached == ["A is slightly better: A is better by a detail or a matter of taste."]
    assert of_axis == ["Helpful: B is slightly better"]
    assert left == reached, "what was chosen of the whole stands there again"
    assert page.locator("[role=status]", has_text="A is slightly better:").count() == 1, "the ear hears it, too"


def test_a_choice_that_waits_says_what_it_means(kitchen, grace, open_page):
    add_pair(kitchen)
    page = open_page(grace, PAGE, viewport=PHONE)
    wait_for_pair(page)
    assert read_caption(page) == []

    page.keyboard.press("Shift+J")
    waiting = read_caption(page)
    page.keyboard.press("Escape")

    assert waiting == ["B is clearly better, though A has its merits."]
    assert read_caption(page) == []


@pytest.mark.parametrize("scale", ["quick", "seven", "forced", "eight"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size["width"]))
def test_steps_are_of_one_size_and_nothing_in_the_bar_overflows(
    kitchen, grace, open_page, size: dict[str, Any], scale: str
):
    Project.objects.update(scale=scale, **EVERYTHING)
    add_pair(kitchen)
    for language in ("en", "de"):
        save_desk(grace, Desk(language=language))
        page = open_page(grace, PAGE, viewport=size)
        wait_for_pair(page)

        overflowing = page.evaluate(OVERFLOWING)
        write_fix(page, "f" if scale == "quick" else "2")
        overflowing += page.evaluate(OVERFLOWING)

        assert overflowing == []
        boxes = page.locator(".choices button, .steps label").evaluate_all(RECTANGLES)
        assert min(box["height"] for box in boxes) >= 44
        if scale != "quick":
            assert max(box["width"] for box in boxes) - min(box["width"] for box in boxes) < 0.1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# Every scale in the language whose words are longer, and one in the other.
@pytest.mark.parametrize(
    ("scale", "language"), [("quick", "de"), ("seven", "de"), ("forced", "de"), ("eight", "de"), ("seven", "en")]
)
def test_a_phone_keeps_half_its_screen_for_the_texts(kitchen, grace, open_page, scale, language):
    Project.objects.update(scale=scale, axes=["Helpful", "Correct"])
    save_desk(grace, Desk(language=language))
    add_pair(kitchen, text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport=PHONE)
    wait_for_pair(page)

    top = measure(page, ".verdict")["top"]

    assert top - measure(page, ".conversation")["top"] > 0.5 * PHONE["height"]
    assert top - measure(page, ".completion .text")["top"] > 0.25 * PHONE["height"], "and some of it for a completion"


@pytest.mark.parametrize("is_first", [True, False], ids=["axes first", "overall first"])
def test_many_axes_scroll_in_the_bar(kitchen, grace, open_page, is_first):
    Project.objects.update(scale="seven", axes=[f"Quality {number}" for number in range(12)], axes_first=is_first)
    add_pair(kitchen, text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport=PHONE)
    wait_for_pair(page)

    page.locator(".axis input").last.focus()

    bar, last = measure(page, ".verdict"), measure(page, ".axis:last-child")
    assert bar["top"] >= 0.5 * PHONE["height"]
    assert bar["bottom"] <= PHONE["height"]
    assert bar["top"] < last["top"] < last["bottom"] < measure(page, ".remarks")["top"]


@pytest.mark.parametrize(
    ("size", "scale", "side"),
    [*((size, "seven", "left") for size in SIZES), (PHONE, "quick", "right"), (PHONE, "forced", "right")],
)
def test_what_is_rewritten_stays_in_sight_above_the_bar(
    kitchen, grace, open_page, size: dict[str, Any], scale: str, side: str
):
    Project.objects.update(scale=scale, **EVERYTHING)
    add_pair(kitchen, text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport=size)
    wait_for_pair(page)

    write_fix(page, {"quick": "fj", "seven": "17", "forced": "18"}[scale][side == "right"])

    bar, field, save = (measure(page, part) for part in (".verdict", "#fix", ".save"))
    original = measure(page, f".completion[data-side={side}] .text")
    assert bar["top"] >= 0.4 * size["height"]
    assert min(bar["top"], original["bottom"]) - max(original["top"], 0) >= 150
    assert bar["top"] < field["top"] < field["bottom"] < save["top"] < save["bottom"] <= size["height"]
    assert field["height"] >= 96
    assert list_faults(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_a_line_without_a_break_does_not_widen_the_bar_when_it_is_rewritten(kitchen, grace, open_page, size):
    Project.objects.update(scale="seven", **EVERYTHING)
    add_pair(kitchen, text_a="https://example.org/" + "x" * 400, text_b="https://example.org/" + "y" * 400)
    page = open_page(grace, PAGE, viewport=size)
    wait_for_pair(page)

    write_fix(page, "1")

    assert page.evaluate("[document.documentElement.scrollWidth <= innerWidth, scrollX]") == [True, 0]
    assert 0 <= measure(page, "#fix")["left"] < measure(page, ".save")["right"] <= size["width"]
    assert measure(page, "#fix")["width"] > 0.8 * size["width"]


@pytest.mark.parametrize("layout", ["auto", "stacked"])
def test_short_texts_leave_the_bar_where_long_ones_have_it(kitchen, grace, open_page, layout):
    save_desk(grace, Desk(layout=layout))
    add_pair(kitchen, "first", text_a="Yes.", text_b="No.", priority=1)
    add_pair(kitchen, "second", text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport=PHONE if layout == "auto" else {"width": 1440, "height": 900})
    slot = wait_for_pair(page)

    short = measure(page, ".choices")
    press_and_wait(page, "x", slot)

    assert measure(page, ".choices") == short
    assert measure(page, ".verdict")["bottom"] == page.viewport_size["height"]


def test_the_editor_never_moves_a_card_by_itself(kitchen, grace, open_page):
    Project.objects.update(scale="seven", **EVERYTHING)
    add_pair(kitchen, text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport={"width": 1440, "height": 900})
    wait_for_pair(page)

    write_fix(page, "2")

    scrollers = "[...document.querySelectorAll('.completion .text')].map((text) => getComputedStyle(text).overflowY)"
    assert page.evaluate(scrollers) == ["visible", "visible"]
    assert page.evaluate("scrollY") == 0
    page.locator("#comparison").focus()
    page.keyboard.press("s")
    assert page.evaluate(scrollers) == ["auto", "auto"]


def test_the_guideline_has_the_same_margin_on_both_sides(kitchen, grace, open_page):
    add_pair(kitchen)
    page = open_page(grace, PAGE, viewport=PHONE)
    wait_for_pair(page)

    page.keyboard.press("g")

    sheet, text = measure(page, "#guideline"), measure(page, "#guideline .prose")
    assert sheet["left"] == 0, "not beyond the edge, by the width of the window's own scrollbar"
    assert abs(text["left"] - (sheet["right"] - text["right"])) <= 1
