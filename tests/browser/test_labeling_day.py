"""A labeling day in miniature: an exam, work, a lost network, a second tab, a lost login, a lapsed lease, a long text."""

from __future__ import annotations

import pytest

from labeling.domain.gold import make_gold
from labeling.domain.people import add_member
from labeling.models import Judgment, Membership, Project, Skip, Slot, User
from tests.browser.conftest import (
    PAGE,
    press_and_wait,
    wait_for_pair,
    wait_until_ready,
    wait_until_saved,
)
from tests.labeling.rows import add_pair, add_pairs, expire

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "A sentence that goes on. " * 40_000  # one megabyte


def answer_rightly(page, slot: str) -> str:
    """Press the key of the side on which the word `right` stands."""
    left = page.locator("#completion-left").locator("xpath=..").inner_text()
    return press_and_wait(page, "f" if "right" in left else "j", slot)


def test_a_labeling_day(kitchen, grace, open_page):
    ada = User.objects.create_user("ada")
    add_member(kitchen, ada, role="manager")
    for number in range(2):
        pair = add_pair(kitchen, f"exam {number}", text_a=f"the right answer {number}", text_b=f"nonsense {number}")
        make_gold(pair, ada, strength_min=-3, strength_max=-1, is_exam=True)
    Project.objects.update(exam_size=2, gold_share=0, scale="quick")
    add_pair(kitchen, "the long one", text_a=LONG, text_b="short")

    # Nine o'clock: the exam, then the first pair of work, which is a megabyte long.
    page = open_page(grace, PAGE)
    slot = wait_for_pair(page)
    slot = answer_rightly(page, slot)
    slot = answer_rightly(page, slot)
    assert Membership.objects.get(user=grace).exam == "passed"
    assert page.locator(".turn[data-last]").inner_text().splitlines()[-1] == "the long one"
    assert page.evaluate("document.body.textContent.length") < 1_500_000
    add_pairs(kitchen, 8)
    slot = press_and_wait(page, "f", slot)

    # A slip and its undo; a pair passed on.
    slot = press_and_wait(page, "j", wait_until_ready(page))
    wait_until_saved(page)
    page.keyboard.press("u")
    page.wait_for_selector("form[data-act=revise]")
    page.wait_for_timeout(300)
    page.keyboard.press("x")
    slot = wait_for_pair(page)
    page.keyboard.press("k")
    slot = press_and_wait(page, "1", slot)
    wait_until_saved(page)

    # The network goes, with a pair at hand; it comes back.
    slot = wait_until_ready(page)
    page.context.set_offline(True)
    page.keyboard.press("f")
    page.wait_for_selector(".sync[data-state=unsynced]")
    page.context.set_offline(False)
    wait_until_saved(page)

    # A second tab shows the same pair; both vote, and one judgment comes of it.
    slot = wait_until_ready(page)
    other = page.context.new_page()
    other.goto(PAGE)
    wait_for_pair(other)
    page.keyboard.press("f")
    other.keyboard.press("f")
    wait_until_saved(page)
    wait_until_saved(other)
    other.close()

    # Lunch: the lease runs out, and the vote after it counts all the same.
    page.reload()
    slot = wait_for_pair(page)
    expire(Slot.objects.get(pk=int(slot)))
    page.keyboard.press("f")
    wait_until_saved(page)

    # Somebody ended her session: the vote waits for her, and arrives once she is back.
    page.wait_for_function("slot => document.querySelector('form.vote [name=slot]')?.value !== slot", arg=slot)
    page.wait_for_timeout(300)
    cookies = page.context.cookies()
    page.context.clear_cookies(name="sessionid")
    page.keyboard.press("j")
    page.wait_for_selector(".sync[data-state=login]")
    page.context.add_cookies([cookie for cookie in cookies if cookie["name"] == "sessionid"])
    page.goto(PAGE)
    page.wait_for_selector("#comparison")
    wait_until_saved(page)

    first_words = Judgment.objects.filter(labeler=grace, revises__isnull=True)
    comparisons = list(first_words.values_list("comparison", flat=True))
    assert len(comparisons) == len(set(comparisons)) == 2 + 1 + 1 + 1 + 1 + 1 + 1
    assert Judgment.objects.filter(revises__isnull=False).count() == 1
    assert Skip.objects.count() == 1
    assert first_words.filter(is_extra=True).count() == 0
    assert page.evaluate("window.violations") == []
