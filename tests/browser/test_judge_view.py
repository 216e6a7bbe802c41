"""How a labeler wants to see and say it: keys, layout, raw text, differences, reasons, fixes, warnings, breaks."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from labeling.domain.desk import DEFAULT_KEYS, Desk, save_desk
from labeling.domain.projects import publish_guideline
from labeling.models import Demonstration, Guideline, Judgment, Project, Slice, Slot
from tests.browser.conftest import (
    PAGE,
    press_and_wait,
    read_slot,
    wait_for_another,
    wait_for_pair,
    wait_until_ready,
    wait_until_saved,
)
from tests.browser.test_judge import list_faults
from tests.labeling.rows import add_pair, add_pairs

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "\n\n".join(f"Paragraph {number}: " + "words to read " * 12 for number in range(60))


def is_pressed(page: Page, name: str) -> bool:
    return page.locator(f"[data-toggle={name}]").get_attribute("aria-pressed") == "true"


def test_own_keys_do_what_the_houses_did_and_those_do_nothing(kitchen, grace, open_page):
    save_desk(grace, Desk(keys=DEFAULT_KEYS | {"left": "a", "tie": "t", "skip": ";"}))
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("k")
    page.wait_for_timeout(300)
    assert read_slot(page) == slot
    slot = press_and_wait(page, "a", slot)
    slot = press_and_wait(page, "t", slot)
    wait_until_saved(page)

    shown = [row.strength if row.a_shown_left else -row.strength for row in Judgment.objects.order_by("id")]
    assert shown == [-2, 0]
    page.keyboard.press("?")
    assert page.locator("#help dt").all_inner_texts()[:3] == ["A", "J", "T"]


def test_the_words_that_differ_are_marked_on_both_sides_and_stay_marked(kitchen, grace, open_page):
    add_pair(kitchen, "1", text_a="Boil the eggs for six minutes.", text_b="Fry the eggs for six minutes.")
    add_pair(kitchen, "2", text_a="Take the big pan now.", text_b="Take the big pot now.")
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("d")
    page.wait_for_selector(".compared:visible")
    first = page.locator(".compared").inner_html()
    assert (first.count("<del>"), first.count("<ins>")) == (1, 1)
    assert not page.locator(".completions").is_visible()
    press_and_wait(page, "j", slot)
    page.wait_for_selector(".compared:visible")
    page.keyboard.press("d")
    assert page.locator(".completions").is_visible()
    wait_until_saved(page)

    assert Judgment.objects.get().trace["used_diff"] is True


def test_texts_too_long_to_be_compared_stay_in_sight_and_say_so(kitchen, grace, open_page):
    add_pair(kitchen, text_a="**bold** " * 3000, text_b="short")
    page = open_page(grace, PAGE, viewport={"width": 390, "height": 844})
    wait_for_pair(page)

    page.keyboard.press("d")

    page.wait_for_selector("text=too long to be compared")
    assert page.locator(".completions").is_visible()
    assert page.locator(".switch").is_visible()
    assert page.locator(".completion", has_text="bold").locator(".remark").inner_text() == (
        "Too long for Markdown: shown as it was written."
    )


def test_a_phone_has_no_switch_between_texts_that_are_compared_in_one(kitchen, grace, open_page):
    add_pair(kitchen, "1", text_a="Boil the eggs for six minutes.", text_b="Fry the eggs for six minutes.")
    page = open_page(grace, PAGE, viewport={"width": 390, "height": 844})
    wait_for_pair(page)
    assert page.locator(".switch").is_visible()

    page.keyboard.press("d")

    page.wait_for_selector(".compared:visible")
    assert not page.locator(".switch").is_visible()


@pytest.mark.parametrize("scale", Project._meta.get_field("scale").choices, ids=lambda choice: choice[0])
def test_why_a_pair_is_skipped_can_be_read_on_a_phone(kitchen, grace, open_page, scale):
    Project.objects.filter(pk=kitchen.pk).update(scale=scale[0])
    add_pair(kitchen)
    page = open_page(grace, PAGE, viewport={"width": 390, "height": 844})
    wait_for_pair(page)

    page.locator(".verdict .skip > summary").click()

    menu = page.locator(".verdict .skip > div").bounding_box()
    assert menu["x"] >= 0
    assert menu["x"] + menu["width"] <= 390
    assert 0 <= menu["y"] <= menu["y"] + menu["height"] <= 844


def test_raw_text_shows_every_mark_and_what_is_invisible(kitchen, grace, open_page):
    add_pair(kitchen, text_a="**bold**\ttab", text_b="plain")
    page = open_page(grace, PAGE)
    wait_for_pair(page)
    assert page.locator(".completion strong").inner_text() == "bold"

    page.keyboard.press("r")

    shown = [text for text in page.locator(".completion .text").all_inner_texts() if "bold" in text]
    assert shown == ["**bold**⇥\ttab"]
    page.reload()
    wait_for_pair(page)
    assert is_pressed(page, "raw")
    assert page.locator(".completion [data-render=raw]").first.is_visible()


def test_both_texts_scroll_together(kitchen, grace, open_page):
    add_pair(kitchen, text_a=LONG, text_b=LONG[: len(LONG) // 2])
    page = open_page(grace, PAGE, viewport={"width": 1280, "height": 800})
    wait_for_pair(page)

    page.keyboard.press("s")
    page.locator(".completion .text").first.evaluate("text => { text.scrollTop = text.scrollHeight; }")

    page.wait_for_function(
        "() => { const text = document.querySelectorAll('.completion .text')[1];"
        " return text.scrollTop / (text.scrollHeight - text.clientHeight) > 0.98; }"
    )
    assert list_faults(page) == []


def test_each_text_scrolls_by_itself_where_she_wants_it_so_until_she_ties_them(kitchen, grace, open_page):
    save_desk(grace, Desk(layout="boxes"))
    add_pair(kitchen, text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport={"width": 1280, "height": 800})
    wait_for_pair(page)
    places = "[...document.querySelectorAll('.completion .text')].map((text) => text.scrollTop)"

    page.locator(".completion .text").first.focus()
    page.keyboard.press("PageDown")
    page.wait_for_function(f"() => {places}[0] > 0")
    page.wait_for_timeout(300)
    left, right = page.evaluate(places)
    assert (left > 0, right, page.evaluate("scrollY")) == (True, 0, 0)
    assert list_faults(page) == []

    page.locator("#comparison").focus()
    page.keyboard.press("s")
    page.locator(".completion .text").nth(1).evaluate("text => { text.scrollTop = text.scrollHeight; }")
    page.wait_for_function(
        "() => { const text = document.querySelectorAll('.completion .text')[0];"
        " return text.scrollTop / (text.scrollHeight - text.clientHeight) > 0.98; }"
    )


@pytest.mark.parametrize(
    ("scale", "key", "control"), [("seven", "2", ".steps label"), ("quick", "Shift+F", ".choices button")]
)
def test_a_choice_is_seen_in_the_colours_of_the_system_too(kitchen, grace, open_page, scale, key, control):
    Project.objects.update(scale=scale)
    add_pair(kitchen)
    page = open_page(grace, PAGE, forced_colors="active")
    wait_for_pair(page)

    page.keyboard.press(key)

    page.wait_for_function(
        """([control, place]) => {
            const all = [...document.querySelectorAll(control)].map((one) => getComputedStyle(one).backgroundColor);
            const [chosen] = all.splice(place, 1);
            return !all.includes(chosen);
        }""",
        arg=[control, 1 if scale == "seven" else 0],
        timeout=5_000,
    )


def test_completions_stand_side_by_side_or_one_below_the_other(kitchen, grace, open_page):
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE, viewport={"width": 1280, "height": 800})
    slot = wait_for_pair(page)

    def boxes():
        return [page.locator(".completion").nth(number).bounding_box() for number in (0, 1)]

    left, right = boxes()
    assert (left["y"], left["width"]) == (right["y"], right["width"])
    page.keyboard.press("l")
    left, right = boxes()
    assert left["y"] + left["height"] <= right["y"]
    assert left["width"] == right["width"]
    press_and_wait(page, "f", slot)
    wait_until_saved(page)
    assert Judgment.objects.get().trace["layout"] == "stacked"


def test_on_a_phone_both_completions_are_one_tap_away(kitchen, grace, open_page):
    add_pair(kitchen, text_a=LONG, text_b=LONG.upper())
    page = open_page(grace, PAGE, viewport={"width": 390, "height": 844}, has_touch=True)
    wait_for_pair(page)

    page.locator(".switch a", has_text="B").tap()
    page.wait_for_function(
        "() => { const top = document.querySelectorAll('.completion')[1].getBoundingClientRect().top;"
        " return 0 <= top && top < 200; }"
    )
    page.locator(".switch [aria-current]", has_text="B").wait_for()
    page.keyboard.press("w")

    page.locator(".switch [aria-current]", has_text="A").wait_for()
    assert page.locator(".choices").bounding_box()["y"] < 844


def test_a_choice_with_shift_waits_for_its_reasons(kitchen, grace, open_page):
    Project.objects.update(reasons=["Clearer", "Shorter"])
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)
    assert not page.locator(".reasons").is_visible()

    page.keyboard.press("Shift+F")
    page.wait_for_selector(".reasons:visible")
    page.keyboard.press("2")
    page.keyboard.press("q")
    assert Judgment.objects.count() == 0
    slot = press_and_wait(page, "Enter", slot)
    wait_until_saved(page)
    press_and_wait(page, "j", slot)
    wait_until_saved(page)

    first, second = Judgment.objects.order_by("id")
    assert (first.reasons, first.unsafe_a if first.a_shown_left else first.unsafe_b) == (["Shorter"], True)
    assert (second.reasons, second.trace["input_method"]) == ([], "key")


def test_who_wants_to_be_asked_for_reasons_is_asked_every_time(kitchen, grace, open_page):
    Project.objects.update(reasons=["Clearer"])
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("c")
    page.locator("form.vote button[value=right]").click()
    page.keyboard.press("Escape")
    assert not page.locator("[data-save]").is_visible()
    page.locator("form.vote button[value=left]").click()
    page.locator(".reasons label").click()
    page.locator("[data-save]").click()
    wait_for_another(page, slot)
    wait_until_saved(page)

    judgment = Judgment.objects.get()
    assert (judgment.reasons, judgment.trace["input_method"]) == (["Clearer"], "mouse")
    assert is_pressed(page, "asks")


def test_no_digit_of_a_number_that_markdown_takes_for_a_lists_falls_off_the_edge(kitchen, grace, open_page):
    # Chromium draws a marker beside its item, and the edge of the card cut it: of 123456789. there stood 6789.
    add_pair(kitchen, text_a="123456789.", text_b="1999. It was a good year.\n2000. So was this.")
    page = open_page(grace, PAGE, viewport={"width": 390, "height": 844})
    wait_for_pair(page)

    places = page.evaluate(
        """[...document.querySelectorAll('.completion ol')].map((list) => {
          const style = getComputedStyle(list);
          return `${style.listStylePosition} ${style.paddingInlineStart}`;
        })"""
    )

    assert places == ["inside 0px", "inside 0px"]


def test_seven_steps_take_reasons_by_shift_and_number_and_axes_by_arrow(kitchen, grace, open_page):
    Project.objects.update(scale="seven", reasons=["Clearer", "Shorter"], axes=["Helpful"])
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("2")
    page.keyboard.press("Shift+Digit1")
    page.locator(".axis input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    press_and_wait(page, "Enter", slot)
    wait_until_saved(page)

    judgment = Judgment.objects.get()
    sign = 1 if judgment.a_shown_left else -1
    assert (judgment.strength, judgment.reasons, judgment.axes) == (sign * -2, ["Clearer"], {"Helpful": sign * -2})


def test_the_better_completion_is_rewritten_from_its_exact_text(kitchen, grace, open_page):
    Project.objects.update(asks_fixes=True)
    add_pair(kitchen, text_a="A\u202e **says**  so\n", text_b="B says")
    add_pairs(kitchen, 1)
    Slot.objects.filter(comparison__completion_a__text__startswith="A\u202e").update(priority=5)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)
    key = "f" if Slot.objects.get(pk=slot).a_shown_left else "j"

    page.keyboard.press("e")
    page.keyboard.press(key)
    page.wait_for_function("() => document.getElementById('fix').value !== ''")
    assert page.locator("#fix").input_value() == "A\u202e **says**  so\n"
    page.keyboard.press("Control+End")
    page.keyboard.type("Better.")
    page.evaluate(
        "document.getElementById('fix').dispatchEvent(new ClipboardEvent('paste',"
        " {bubbles: true, clipboardData: (() => { const d = new DataTransfer(); d.setData('text', 'four'); return d })()}))"
    )
    press_and_wait(page, "Control+Enter", slot)
    wait_until_saved(page)

    assert Demonstration.objects.get().completion.text == "A\u202e **says**  so\nBetter."
    trace = Judgment.objects.get().trace
    assert (trace["paste_count"], trace["paste_chars"]) == (1, 4)


def test_a_fix_that_changes_nothing_is_no_fix(kitchen, grace, open_page):
    Project.objects.update(asks_fixes=True)
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)

    page.keyboard.press("e")
    page.keyboard.press("j")
    page.wait_for_function("() => document.getElementById('fix').value !== ''")
    press_and_wait(page, "Control+Enter", slot)
    wait_until_saved(page)

    assert (Judgment.objects.count(), Demonstration.objects.count()) == (1, 0)


def test_texts_behind_a_warning_are_shown_when_she_asks(kitchen, grace, open_page):
    Project.objects.update(content_warning="Knives and fire.")
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    page.wait_for_selector(".veil:visible")
    page.wait_for_selector(".completion", state="attached")
    page.wait_for_timeout(400)

    page.keyboard.press("f")
    page.wait_for_timeout(300)
    assert Judgment.objects.count() == 0
    assert page.locator(".completion .text").first.evaluate("text => getComputedStyle(text).filter") != "none"
    assert list_faults(page) == []
    page.keyboard.press("b")
    slot = wait_for_pair(page)
    assert page.locator(".completion .text").first.evaluate("text => getComputedStyle(text).filter") == "none"
    press_and_wait(page, "f", slot)
    assert not page.locator(".completions[inert]").is_visible()
    wait_until_saved(page)
    page.reload()

    wait_for_pair(page)
    assert not page.locator(".veil").is_visible()


def test_a_kind_of_pair_is_declined_from_the_skip_menu(kitchen, grace, open_page):
    fire = Slice.objects.create(project=kitchen, name="fire")
    add_pairs(kitchen, 2)
    Slot.objects.update(slice=fire)
    page = open_page(grace, PAGE)
    wait_for_pair(page)

    page.keyboard.press("k")
    page.keyboard.press("6")
    page.wait_for_selector("#comparison .empty")

    grace.memberships.get().refresh_from_db()
    assert grace.memberships.get().declined == ["fire"]
    assert "You will not be given “fire” again." in page.locator("#comparison .message").inner_text()


def test_a_break_is_suggested_after_the_projects_minutes_of_work(kitchen, grace, open_page):
    Project.objects.update(break_after_min=50)
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    wait_for_pair(page)
    assert not page.locator("[data-rest]").is_visible()

    page.evaluate("sessionStorage.setItem('prefloop:work', `${50 * 60_000 - 100}:${Date.now()}`)")
    page.mouse.move(5, 5)
    page.wait_for_selector("[data-rest]:visible")
    page.get_by_role("button", name="Got it").click()

    assert not page.locator("[data-rest]").is_visible()


@pytest.mark.parametrize("is_first", [False, True], ids=["a newer one", "the first one"])
def test_a_guideline_published_meanwhile_is_told_and_judgments_name_what_was_before_her(
    kitchen, grace, open_page, is_first
):
    if is_first:
        Guideline.objects.all().delete()
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    newer = publish_guideline(kitchen, "Choose the **longer** one.", is_breaking=True)

    slot = press_and_wait(page, "f", slot)  # shown before it was published
    wait_until_saved(page)
    assert page.locator("[data-newer]").is_hidden()
    slot = press_and_wait(page, "f", wait_until_ready(page))  # made ready before
    page.wait_for_selector("[data-newer]")
    assert page.locator("[data-newer]").inner_text().startswith("There is a new version of the guideline")
    press_and_wait(page, "f", slot)
    wait_until_saved(page)
    assert page.locator("[data-newer]").is_visible()
    page.keyboard.press("g")
    page.wait_for_selector("#guideline:popover-open")

    assert page.locator("#guideline .prose").inner_text() == "Choose the longer one."
    assert page.locator("[data-newer]").is_hidden()
    seen = None if is_first else 1
    assert list_followed() == [seen, seen, newer.version]


def list_followed():
    return list(Judgment.objects.order_by("id").values_list("guideline__version", flat=True))


def test_a_newer_guideline_that_does_not_arrive_is_no_judgments_until_it_does(kitchen, grace, open_page):
    add_pairs(kitchen, 7)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    publish_guideline(kitchen, "Choose the **longer** one.", is_breaking=True)
    page.route("**/judge/kitchen/", lambda route: route.abort())
    for _ in range(3):
        slot = press_and_wait(page, "f", slot)
        wait_until_saved(page)
        slot = wait_until_ready(page)
    assert page.locator("[data-newer]").is_hidden()

    page.unroute("**/judge/kitchen/")
    slot = press_and_wait(page, "f", slot)
    page.wait_for_selector("[data-newer]")
    press_and_wait(page, "f", slot)
    wait_until_saved(page)

    assert list_followed() == [1, 1, 1, 1, 2]


def test_text_size_width_and_timer_are_hers(kitchen, grace, open_page):
    save_desk(grace, Desk(font_size=22, width="full", shows_timer=True, layout="stacked"))
    add_pairs(kitchen, 1)
    page = open_page(grace, PAGE, viewport={"width": 2560, "height": 1200})
    wait_for_pair(page)

    assert page.locator(".completion .prose").first.evaluate("text => getComputedStyle(text).fontSize") == "22px"
    assert page.locator("#main").bounding_box()["width"] > 2500
    assert page.locator("[data-timer]").is_visible()
    assert is_pressed(page, "stacked")
    assert page.evaluate("[window.violations, document.querySelectorAll('[style]').length]") == [[], 0]


def test_everything_is_reached_by_tab_and_seen_when_it_is(kitchen, grace, open_page):
    Project.objects.update(reasons=["Clearer"], asks_fixes=True)
    add_pairs(kitchen, 2)
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)
    reached = []

    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "[document.activeElement.innerText || document.activeElement.name || '',"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.append(name.split("\n")[0].strip())
        assert outline != "none", name
        if name.startswith("Skip"):
            break
    page.locator("form.vote button[value=tie]").focus()
    press_and_wait(page, "Enter", slot)
    wait_until_saved(page)

    wanted = ["A is better", "Tie", "Both bad", "B is better", "unsafe_left", "unsafe_right", "Wait to save", "Fix"]
    assert [name for name in reached if name in wanted] == wanted
    assert reached[-1] == "Skip"
    assert Judgment.objects.get().strength == 0


def test_text_from_right_to_left_keeps_to_its_box(kitchen, grace, open_page):
    add_pair(kitchen, "שאלה: איך מבשלים ביצה?", text_a="להרתיח מים (10 דקות)!", text_b="left to right")
    page = open_page(grace, PAGE)
    wait_for_pair(page)

    shown = page.evaluate(
        "[...document.querySelectorAll('.completion .prose:not([hidden])')].map((prose) =>"
        " [getComputedStyle(prose).direction, getComputedStyle(prose).unicodeBidi])"
    )
    assert sorted(shown) == [["ltr", "isolate"], ["rtl", "isolate"]]
    assert page.locator(".choices button").first.inner_text().startswith("A is better")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_hard_to_read_or_reach_with_all_of_it_open(kitchen, grace, open_page, scheme):
    Project.objects.update(scale="seven", axes=["Helpful", "Correct"], reasons=["Clearer", "Shorter"], asks_fixes=True)
    add_pair(kitchen, text_a="Take the pan.\n\nSecond.", text_b="Take the pot.\n\nSecond.")
    page = open_page(grace, PAGE, color_scheme=scheme)
    wait_for_pair(page)

    page.keyboard.press("3")
    page.keyboard.press("e")
    page.wait_for_function("() => document.getElementById('fix').value !== ''")
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.wait_for_selector(".compared:visible")
    faults = list_faults(page)
    for width in (390, 768, 1440, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
    page.set_viewport_size({"width": 390, "height": 844})

    assert faults + list_faults(page) == []


def test_a_block_of_code_is_copied_whole_and_as_it_was_written(kitchen, grace, open_page):
    add_pair(kitchen, "1", text_a="Run this:\n\n```python\nif hungry:\n    eat('<egg>')\n```", text_b="Just eat.")
    page = open_page(grace, PAGE)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    wait_for_pair(page)

    page.get_by_role("button", name="Copy").click()

    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "if hungry:\n    eat('<egg>')\n"


def test_where_the_browser_lends_no_clipboard_the_code_is_marked(kitchen, grace, open_page):
    add_pair(kitchen, "1", text_a="```\nboil(egg)\n```", text_b="Just eat.")
    page = open_page(grace, PAGE)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no permission')); }")
    wait_for_pair(page)

    page.get_by_role("button", name="Copy").click()

    page.get_by_role("button", name="Marked").wait_for()
    assert page.evaluate("getSelection().toString()").strip() == "boil(egg)"
