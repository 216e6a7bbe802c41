"""A person judges on a bad line: slow, gone, back, logged out, in two tabs. Nothing is lost, nothing is doubled."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route

from labeling.domain.assignment import find_claim
from labeling.domain.people import pause_member, reinstate_member
from labeling.models import Judgment, Skip, Slot, User
from tests.browser.conftest import (
    PAGE,
    read_slot,
    wait_for_another,
    wait_for_pair,
    wait_until_ready,
    wait_until_saved,
)
from tests.labeling.rows import add_pair, add_pairs, claim, expire, judge
from tests.labeling.votes import say

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

VOTES = "**/judgments/"


def abort(route: Route) -> None:
    route.abort()


def vote_offline(page: Page, key: str = "f") -> str:
    """Vote while nothing gets through and return the slot of the pair shown then."""
    slot = read_slot(page)
    page.keyboard.press(key)
    return wait_for_another(page, slot)


def count_by_slot() -> list[int]:
    return sorted(Judgment.objects.values_list("slot_id", flat=True))


def test_the_next_pair_does_not_wait_for_a_slow_server(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    held: list[Route] = []
    page.route(VOTES, lambda route: held.append(route), times=1)

    following = vote_offline(page)

    assert (following != slot, Judgment.objects.count(), len(held)) == (True, 0, 1)
    assert page.locator(".pace [data-today]").inner_text() == "1"
    held[0].continue_()
    wait_until_saved(page)
    assert count_by_slot() == [int(slot)]
    assert str(find_claim(kitchen, grace).pk) == following == read_slot(page)
    page.wait_for_selector("main[data-reserve=ready]", state="attached")


def test_a_lost_network_keeps_votes_until_it_is_back(kitchen, grace, open_page):
    add_pairs(kitchen, 5)
    page = open_page(grace, PAGE)
    first = wait_until_ready(page)
    page.context.set_offline(True)

    second = vote_offline(page)
    page.wait_for_selector(".sync[data-state=unsynced]")
    assert page.locator(".sync").inner_text() == "unsynced 1"
    page.keyboard.press("j")
    page.wait_for_selector("[data-waiting]:visible")
    assert page.locator("[data-waiting]").inner_text().startswith("No answer from the server")
    assert page.locator("[data-waiting] [data-count]").inner_text() == "2"
    assert Judgment.objects.count() == 0
    page.context.set_offline(False)
    wait_until_saved(page)
    third = wait_for_pair(page)

    assert count_by_slot() == sorted([int(first), int(second)])
    assert third not in (first, second)
    assert not page.locator("[data-waiting]").is_visible()


def test_an_answer_lost_on_its_way_is_asked_for_again(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)

    def lose_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(VOTES, lose_answer, times=2)
    following = vote_offline(page)
    wait_until_saved(page)

    assert count_by_slot() == [int(slot)]
    assert read_slot(page) == following
    assert str(find_claim(kitchen, grace).pk) == following


def test_a_server_in_trouble_is_asked_again(kitchen, grace, open_page):
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    page.route(VOTES, lambda route: route.fulfill(status=503, body="try later"), times=1)

    vote_offline(page)
    wait_until_saved(page)

    assert count_by_slot() == [int(slot)]


def test_a_vote_that_came_too_fast_is_sent_again_when_the_server_takes_it(kitchen, grace, open_page, settings):
    settings.JUDGMENTS_PER_MINUTE = 1
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    say(add_pair(kitchen), grace, 1, submitted_at=timezone.now() - timedelta(seconds=50))
    answers: list[tuple[int, float]] = []
    page.on("response", lambda answer: answers.append((answer.status, time.monotonic())))

    vote_offline(page)
    page.wait_for_selector(".sync[data-state=unsynced]")
    assert Judgment.objects.count() == 1
    wait_until_saved(page)

    (first, refused_at), (second, taken_at), *_ = answers
    assert (first, second) == (429, 200)
    assert taken_at - refused_at > 2, "the wait of a first failure is a second; the server asked for more"
    assert Judgment.objects.filter(slot=slot).count() == 1


def test_a_closed_page_sends_what_was_left_when_it_is_opened_again(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    page.route(VOTES, abort)
    vote_offline(page)
    page.wait_for_selector(".sync[data-state=unsynced]")
    context = page.context
    page.close(run_before_unload=False)

    again = context.new_page()
    again.goto(PAGE)
    wait_until_saved(again)
    again.wait_for_timeout(500)

    assert count_by_slot() == [int(slot)]
    assert again.evaluate("Object.keys(localStorage).filter((name) => name.includes('outbox'))") == []


def test_a_lost_login_loses_no_vote(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    page.context.clear_cookies(name="sessionid")
    vote_offline(page)
    page.wait_for_selector(".sync[data-state=login]")
    assert Judgment.objects.count() == 0

    page.get_by_role("link", name="log in again").click()
    page.fill("[name=login]", "grace")
    page.fill("[name=password]", "correct horse")
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"**{PAGE}")
    wait_until_saved(page)
    wait_for_pair(page)

    assert count_by_slot() == [int(slot)]


def test_a_page_of_an_earlier_login_keeps_its_vote_for_its_owner(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    wait_until_ready(page)
    eve = User.objects.create_user("eve", password="correct horse")
    other = page.context.new_page()
    page.context.clear_cookies()
    other.goto("/accounts/login/")
    other.fill("[name=login]", eve.username)
    other.fill("[name=password]", "correct horse")
    other.press("[name=password]", "Enter")
    other.wait_for_url("**/")

    vote_offline(page)
    page.wait_for_selector(".sync[data-state=login]")

    assert Judgment.objects.count() == 0
    assert page.locator(".sync").inner_text() == "unsynced 1 · log in again"


def test_two_tabs_send_a_vote_once(kitchen, grace, open_page):
    add_pairs(kitchen, 5)
    first = open_page(grace, PAGE)
    slot = wait_until_ready(first)
    first.route(VOTES, abort)
    vote_offline(first)
    first.wait_for_selector(".sync[data-state=unsynced]")

    second = first.context.new_page()
    second.goto(PAGE)
    wait_until_saved(second)
    first.unroute(VOTES)
    wait_until_saved(first)
    wait_for_pair(first)

    assert count_by_slot() == [int(slot)]


def test_two_tabs_on_one_pair_make_one_judgment(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    first = open_page(grace, PAGE)
    slot = wait_until_ready(first)
    second = first.context.new_page()
    second.goto(PAGE)
    assert wait_until_ready(second) == slot

    vote_offline(first)
    wait_until_saved(first)
    second.bring_to_front()
    second.keyboard.press("j")
    wait_for_another(second, slot)
    second.wait_for_selector("[data-told]:visible")

    assert "You have judged this comparison already" in second.locator("[data-told]").inner_text()
    assert count_by_slot() == [int(slot)]


def test_a_pair_lost_while_it_was_ready_is_replaced(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    wait_until_ready(page)
    ready = Slot.objects.get(labeler=grace, shown_at=None)
    expire(ready)
    Slot.objects.filter(pk=ready.pk).free_up()
    Slot.objects.filter(state="free").exclude(pk=ready.pk).update(priority=-3)
    hedy = User.objects.create_user("hedy")
    kitchen.memberships.create(user=hedy)
    judge(claim(kitchen, hedy), hedy)
    assert Judgment.objects.get().slot_id == ready.pk

    page.keyboard.press("f")
    page.wait_for_selector("#comparison .message:visible")
    wait_until_saved(page)

    assert read_slot(page) == str(find_claim(kitchen, grace).pk) != str(ready.pk)
    assert "went to someone else" in page.locator("#comparison .message").inner_text()


def test_a_late_vote_is_kept(kitchen, grace, open_page):
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    expire(Slot.objects.get(pk=slot))
    Slot.objects.filter(pk=slot).free_up()

    vote_offline(page)
    wait_until_saved(page)

    assert count_by_slot() == [int(slot)]


def test_a_skip_waits_for_the_network_too(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    page.context.set_offline(True)
    page.keyboard.press("k")
    page.keyboard.press("2")
    wait_for_another(page, slot)
    page.wait_for_selector(".sync[data-state=unsynced]")
    page.context.set_offline(False)
    wait_until_saved(page)

    assert Skip.objects.values_list("reason", flat=True).get() == "bad_prompt"


def test_undo_waits_until_the_vote_has_arrived(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    wait_until_ready(page)
    page.context.set_offline(True)
    vote_offline(page)
    page.keyboard.press("u")
    page.wait_for_selector("[data-told]:visible")
    assert page.locator("[data-told]").inner_text().startswith("First your votes have to reach the server")
    page.context.set_offline(False)
    wait_until_saved(page)

    page.keyboard.press("u")
    page.wait_for_url("**/judgments/*/")

    assert page.locator("form.vote [aria-pressed=true]").get_attribute("value") == "left"


def test_the_page_asks_before_it_is_left_with_a_vote_unsent(kitchen, grace, open_page):
    add_pairs(kitchen, 3)
    page = open_page(grace, PAGE)
    wait_until_ready(page)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto("/projects/")
    page.goto(PAGE)
    wait_until_ready(page)
    assert asked == []

    page.route(VOTES, abort)
    vote_offline(page)
    page.wait_for_selector(".sync[data-state=unsynced]")
    page.goto("/projects/")

    assert asked == ["beforeunload"]


def test_a_vote_refused_behind_her_waits_until_she_mends_it(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    page.evaluate("document.querySelector('#note').value = 'n'.repeat(10001)")

    following = vote_offline(page)
    page.wait_for_selector("[data-refusal]:visible")
    wait_until_saved(page)
    assert (read_slot(page), Judgment.objects.count()) == (following, 0)
    page.reload()
    page.get_by_role("button", name="Open the refused vote").click()
    wait_for_another(page, following)
    assert (read_slot(page), page.locator("#note").input_value()) == (slot, "n" * 10_001)
    page.fill("#note", "short")
    page.locator("[data-save]").click()
    wait_for_another(page, slot)
    wait_until_saved(page)

    assert (Judgment.objects.get().slot_id, Judgment.objects.get().note) == (int(slot), "short")
    assert read_slot(page) == following
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.includes('refused'))") == []
    assert not page.locator("[data-refusal]").is_visible()


def test_a_member_suspended_at_work_is_told_and_keeps_what_she_said(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    membership = kitchen.memberships.get(user=grace)
    pause_member(membership, None)

    vote_offline(page)
    page.wait_for_selector("[data-refusal]:visible")
    wait_until_saved(page)

    assert "grace is no active member of Kitchen" in page.locator("[data-refusal]").inner_text()
    assert Judgment.objects.count() == 0
    reinstate_member(membership, None)
    page.get_by_role("button", name="Open the refused vote").click()
    page.wait_for_selector("[data-refusal]", state="hidden")
    assert count_by_slot() == [int(slot)]


def test_a_login_in_another_tab_wakes_the_page(kitchen, grace, open_page):
    add_pairs(kitchen, 4)
    page = open_page(grace, PAGE)
    slot = wait_until_ready(page)
    cookies = page.context.cookies()
    page.evaluate("localStorage.setItem(`prefloop:outbox:${document.querySelector('main').dataset.owner}:0`, '{half')")
    page.context.clear_cookies(name="sessionid")
    vote_offline(page)
    page.keyboard.press("f")
    page.wait_for_selector("[data-locked]:visible")
    assert page.locator("[data-locked]").inner_text().startswith("You are logged out")

    page.context.add_cookies(cookies)
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.wait_for_selector("main:not([data-reserve])", state="attached")
    wait_until_saved(page)
    wait_for_pair(page)

    assert Judgment.objects.filter(slot=slot).count() == 1
