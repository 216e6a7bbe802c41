"""Texts that flood, hide or pretend: they stay in their boxes, what they hide is marked, and the controls stay in reach."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.models import Judgment, Slot, User
from tests.browser.conftest import PAGE, press_and_wait, wait_for_pair
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.domain.odd import FLOODS, ODD, UNSEEN, WIDE
from tests.labeling.rows import add_pair
from tests.labeling.votes import say

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PRETENDERS = [
    "# SYSTEM: your session expired\n\n[log in here](https://evil.example/accounts/login/) and press **A**",
    "<div style='position:fixed;inset:0;z-index:99'>SYSTEM: press A</div>",
    "<style>.completion{position:fixed;inset:0} .verdict{display:none}</style>x",
    "$$\\rule{9999em}{9999em}$$ $\\raise{-999em}{x}\\hspace{-999em}x$",
    "\u202e\u2067" + "x" * 19_000,
    "W\u0337\u0335\u0334\u0353\u0322" * 4_000,
    WIDE,
    "line\n\n" * 4_000,
    "line\n" * 4_000,
    "- " * 9_000,
    "|" + "a|" * 300 + "\n|" + "-|" * 300,
    "```\n" + "x" * 19_000 + "\n```",
]
# Every control in sight: is it what one hits in its middle? Every text: does it keep to its box, and that to its place?
COVERED = """() => {
  const faults = [], all = (selector) => [...document.querySelectorAll(selector)];
  for (const control of all(".verdict :is(button, summary, label), .desk :is(button, summary)")) {
    const { x, y, width, height } = control.getBoundingClientRect(), middle = y + height / 2;
    if (!control.checkVisibility() || middle < 0 || middle > innerHeight) continue;
    const hit = document.elementFromPoint(x + width / 2, middle);
    if (hit?.closest(".verdict, .desk") !== control.closest(".verdict, .desk")) faults.push(`covered: ${control.innerText}`);
  }
  const bar = document.querySelector(".verdict").getBoundingClientRect();
  if (bar.bottom > innerHeight + 1 || bar.top < innerHeight / 3) faults.push(`the bar is at ${bar.top} to ${bar.bottom}`);
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page scrolls sideways");
  const [a, b] = all(".completion").map((side) => side.getBoundingClientRect());
  if (a.left < 0 || b.right > innerWidth + 1) faults.push("wider than the window");
  const areUneven = a.left !== b.left && (a.right > b.left || Math.abs(a.width - b.width) > 1);
  if (areUneven) faults.push("one side takes from the other");
  for (const element of all(".comparison .prose, .comparison .prose *")) {
    const box = element.closest(".completion, .conversation").getBoundingClientRect();
    const { top } = element.getBoundingClientRect(), { position } = getComputedStyle(element);
    if (["fixed", "absolute", "sticky"].includes(position) && !element.matches("[data-copies]")) faults.push("placed");
    if (element.checkVisibility() && top < box.top - 1) faults.push(`above its box: ${element.outerHTML.slice(0, 80)}`);
  }
  return faults;
}"""
READ_CONTROLS = """() => [...document.querySelectorAll(".verdict .vote :is(button[name=choice], .remarks input)")]
  .map((control) => (control.name === "choice" ? control.value : control.name))"""


def judge_all(page: Page, n: int, look: Any) -> list[Any]:
    """Look at each of n pairs, and what of it is at the end of the page, and vote it away."""
    slot, seen = wait_for_pair(page), []
    for number in range(n):
        seen.append(look(page))
        if number + 1 < n:
            slot = press_and_wait(page, "x", slot)
    return seen


def find_covered(page: Page) -> list[str]:
    faults = list(page.evaluate(COVERED))
    for key in ("r", "r"):  # raw, and rendered again
        page.keyboard.press(key)
        page.wait_for_timeout(60)
        faults += page.evaluate(COVERED)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    faults += page.evaluate(COVERED)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    return [*faults, *page.evaluate(COVERED)]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_no_text_covers_a_control_or_leaves_its_box(kitchen, grace, open_page, width, height):
    for number, text in enumerate(PRETENDERS):
        add_pair(kitchen, f"{number}\n\n{text}", text_a=text, text_b="short")
    page = open_page(grace, PAGE, viewport={"width": width, "height": height})

    seen = judge_all(page, len(PRETENDERS), find_covered)

    assert [sorted(set(faults)) for faults in seen] == [[]] * len(PRETENDERS)


def test_no_text_widens_a_page_around_it(kitchen, grace, open_page):
    ada = User.objects.create_user("ada")
    add_member(kitchen, ada, role="manager")
    publish_guideline(kitchen, WIDE)
    pair = add_pair(kitchen, WIDE, text_a=WIDE, text_b=f"not {WIDE}")
    say(pair, grace, 2, note="n" * 500)
    say(pair, ada, -2)
    page = open_page(ada, "/projects/", viewport={"width": 390, "height": 844})
    parts = [
        f"comparisons/{pair.pk}/",
        f"prompts/{pair.prompt_id}/",
        f"review/{pair.pk}/",
        "",
        "guidelines/",
        "judgments/",
    ]

    wide = []
    for address in [PAGE, *(f"/projects/kitchen/{part}" for part in parts)]:
        page.goto(address)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(address)

    assert wide == []


def test_no_link_in_a_text_leads_the_window_away_or_knows_where_it_was_opened(kitchen, grace, open_page):
    links = "\n\n".join(
        ["[here](https://evil.example/login)", "<https://evil.example>", *(p for p in PAYLOADS if "](" in p)]
    )
    add_pair(kitchen, links, text_a=links, text_b="short")
    page = open_page(grace, PAGE)
    wait_for_pair(page)
    page.context.route(
        "https://evil.example/**", lambda route: route.fulfill(body="you are there", content_type="text/html")
    )

    anchors = page.evaluate(
        "() => [...document.querySelectorAll('.comparison .prose a')].map((a) => [a.target, a.rel, a.href.split(':')[0],"
        " a.nextElementSibling?.className ?? ''])"
    )
    with page.context.expect_page() as opened:
        page.locator(".completion .prose a").first.click()
    opened.value.wait_for_load_state()

    assert len(anchors) >= 4
    assert {(target, rel, place) for target, rel, _scheme, place in anchors} == {
        ("_blank", "noopener nofollow noreferrer", "host")
    }
    assert {scheme for _target, _rel, scheme, _place in anchors} <= {"", "http", "https", "mailto"}
    assert opened.value.evaluate("[window.opener, document.referrer]") == [None, ""]
    assert page.url.endswith(PAGE)


def test_what_hides_is_marked_and_turns_nothing_around(kitchen, grace, open_page):
    add_pair(kitchen, "plain", text_a="plain", text_b="plainer", priority=1)
    for number, text in enumerate(ODD):
        add_pair(kitchen, f"{number} {text}", text_a=text, text_b=f"other {text}")
    page = open_page(grace, PAGE)

    def look(page: Page) -> tuple[list[str], set[str], list[float]]:
        marks = page.locator(".completion [data-render=rendered] .invisible").all_inner_texts()
        places = [
            page.locator(f"button[value={name}]").bounding_box()["x"] for name in ("left", "tie", "both_bad", "right")
        ]
        return page.evaluate(READ_CONTROLS), set(marks), places

    seen = judge_all(page, 1 + len(ODD), look)

    assert {tuple(controls) for controls, _marks, _places in seen} == {
        ("left", "tie", "both_bad", "right", "unsafe_left", "unsafe_right")
    }
    assert {tuple(places) for _controls, _marks, places in seen} == {tuple(sorted(seen[0][2]))}
    assert len(UNSEEN) == 14
    assert set(UNSEEN) - set().union(*(marks for _controls, marks, _places in seen)) == set()


def test_floods_leave_the_page_light_and_usable(kitchen, grace, open_page):
    for number, text in enumerate(FLOODS):
        add_pair(kitchen, f"{number} {text}", text_a=text, text_b=f"{text}!")
    page = open_page(grace, "/projects/")
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(len(answer.body())) if "/judge/" in answer.url else None)

    page.goto(PAGE)
    faults = judge_all(page, len(FLOODS), find_covered)
    page.get_by_role("button", name="Show all").first.wait_for()
    page.keyboard.press("j")
    page.wait_for_selector("#comparison .empty")
    page.wait_for_selector(".sync[data-state=saved]", state="attached")

    assert [sorted(set(found)) for found in faults] == [[]] * len(FLOODS)
    assert max(answers) < 1_500_000
    assert Judgment.objects.count() == len(FLOODS) == Slot.objects.filter(state="done").count()
