"""A reviewer decides and a manager looks: keys, one trip, undo, no JavaScript, hostile notes, every eye and width."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page

from labeling.domain.gold import make_gold
from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.models import Adjudication, Project, User
from tests.browser.test_judge import list_faults
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

QUEUE = "/projects/kitchen/review/"


def add_person(project: Project, name: str, role: str = "labeler") -> User:
    user = User.objects.create_user(name)
    add_member(project, user, role=role)
    return user


@pytest.fixture
def kitchen(transactional_db: None) -> Project:
    project = Project.objects.create(slug="kitchen", name="Kitchen", overlap=3)
    publish_guideline(project, "Choose the **better** one.")
    return project


@pytest.fixture
def ada(kitchen: Project) -> User:
    return add_person(kitchen, "ada", role="manager")


@pytest.fixture
def crowd(kitchen: Project) -> list[User]:
    return [add_person(kitchen, f"labeler-{number}") for number in range(3)]


@pytest.fixture
def disputes(kitchen: Project, crowd: list[User]) -> list[int]:
    pairs = add_pairs(kitchen, 3)
    for pair in pairs:
        for labeler, strength in zip(crowd, (-2, 2, 3), strict=True):
            say(pair, labeler, strength, note="because")
    return [pair.pk for pair in pairs]


def press_and_wait(page: Page, key: str) -> None:
    """Press a key and wait for another comparison that is calm enough to be decided."""
    address = page.url
    page.keyboard.press(key)
    page.wait_for_function("address => location.href !== address", arg=address)
    page.wait_for_timeout(350)


def test_one_key_decides_and_the_next_dispute_follows_in_one_request(ada, disputes, open_page):
    page = open_page(ada, f"{QUEUE}{disputes[0]}/")
    page.wait_for_timeout(300)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.method} {request.url.split('/', 3)[3]}"))

    press_and_wait(page, "j")

    assert requests == [f"POST projects/kitchen/review/{disputes[0]}/"]
    assert page.url.endswith(f"{QUEUE}{disputes[1]}/")
    assert page.locator("[data-live]").text_content() == "Decided. Here is the next one."
    press_and_wait(page, "a")
    press_and_wait(page, "r")
    assert page.url.endswith(QUEUE)
    assert list(Adjudication.objects.order_by("id").values_list("comparison", "act", "strength")) == [
        (disputes[0], "override", 2),
        (disputes[1], "accept", None),
        (disputes[2], "retire", None),
    ]
    assert page.evaluate("window.violations") == []


@pytest.mark.parametrize(("scale", "key", "strength"), [("seven", "7", 3), ("forced", "8", 4), ("eight", "4", -1)])
def test_the_number_of_a_step_decides_on_the_projects_scale(ada, disputes, open_page, scale, key, strength):
    Project.objects.update(scale=scale)
    page = open_page(ada, f"{QUEUE}{disputes[0]}/")
    page.wait_for_timeout(300)

    press_and_wait(page, key)

    assert Adjudication.objects.values_list("act", "strength", "scale").get() == ("override", strength, scale)


def test_undo_leads_back_and_another_decision_replaces_the_first(ada, disputes, open_page):
    page = open_page(ada, f"{QUEUE}{disputes[0]}/")
    page.wait_for_timeout(300)
    press_and_wait(page, "r")

    press_and_wait(page, "u")
    assert page.url.endswith(f"{QUEUE}{disputes[0]}/")
    press_and_wait(page, "f")

    assert list(Adjudication.objects.order_by("id").values_list("comparison", "act")) == [
        (disputes[0], "retire"),
        (disputes[0], "override"),
    ]


def test_keys_belong_to_the_note_while_one_is_written(ada, disputes, open_page):
    page = open_page(ada, f"{QUEUE}{disputes[0]}/")
    page.wait_for_timeout(300)

    page.keyboard.press("n")
    page.keyboard.type("far x j")
    assert Adjudication.objects.count() == 0
    page.keyboard.press("Escape")
    press_and_wait(page, "s")

    assert Adjudication.objects.values_list("act", "note").get() == ("send_back", "far x j")


def test_enter_in_the_note_decides_nothing(ada, disputes, open_page):
    page = open_page(ada, f"{QUEUE}{disputes[0]}/")

    page.locator("#why").fill("hm")
    page.locator("#why").press("Enter")
    page.wait_for_timeout(300)

    assert Adjudication.objects.count() == 0


def test_disputes_are_decided_without_javascript(ada, disputes, open_page):
    page = open_page(ada, QUEUE, java_script_enabled=False)

    page.get_by_role("link", name="Start with the first").click()
    page.get_by_label("Note").fill("clear enough")
    page.get_by_role("button", name="A is better").click()
    page.get_by_role("link", name="Leave it for now").click()
    page.get_by_role("button", name="Send back").click()

    assert list(Adjudication.objects.order_by("id").values_list("comparison", "act", "note")) == [
        (disputes[0], "override", "clear enough"),
        (disputes[2], "send_back", ""),
    ]


def test_hostile_notes_and_texts_act_on_nothing(kitchen, ada, crowd, open_page):
    attack = "\n\n".join(PAYLOADS[:-1]).replace("alert(1)", "(window.pwned=1)")[:9_000]
    pair = add_pair(kitchen, attack, text_a=attack, text_b=f"b {attack}")
    say(pair, crowd[0], -2, note=attack, reasons=[attack[:200]])
    say(pair, crowd[1], 2)
    page = open_page(ada, "/projects/")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.method} {request.url}"))

    for address in (QUEUE, f"{QUEUE}{pair.pk}/", "/projects/kitchen/gold/"):
        page.goto(address)
        page.wait_for_timeout(300)

    served = page.url.split("/projects/")[0]
    assert [request for request in requests if not request.startswith(f"GET {served}/")] == []
    assert page.evaluate("[window.pwned, window.violations]") == [None, []]
    assert Adjudication.objects.count() == 0


@pytest.fixture
def addresses(kitchen: Project, ada: User, crowd: list[User], disputes: list[int]) -> list[str]:
    """Every page of trust with something on it: weeks, gold, repeats, slices, flags."""
    now = timezone.now()
    for number in range(24):
        pair = add_pair(kitchen, f"another question {number}")
        if number % 6 == 0:
            make_gold(pair, ada, strength_min=1, strength_max=3, explanation="Only B answers.")
        reason = "gold" if number % 6 == 0 else "random"
        for labeler in crowd:
            at = now - timedelta(days=number)
            say(pair, labeler, 3 if labeler == crowd[0] else number % 7 - 3, reason=reason, submitted_at=at)
    labeler = f"/projects/kitchen/labelers/{crowd[0].pk}/"
    return ["/projects/kitchen/quality/", labeler, QUEUE, f"{QUEUE}{disputes[0]}/", "/projects/kitchen/gold/"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scale", ["quick", "seven"])
def test_everyone_can_read_and_reach_everything(ada, addresses, open_page, scheme, scale):
    Project.objects.update(scale=scale)
    page = open_page(ada, "/projects/", color_scheme=scheme)

    faults = []
    for address in addresses:
        page.goto(address)
        for summary in page.locator("main details > summary").all():
            summary.click()
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 844})
            faults += [f"{address} at {width}: {fault}" for fault in list_faults(page)]

    assert faults == []


def test_no_page_scrolls_sideways(ada, addresses, open_page):
    page = open_page(ada, "/projects/")

    for address in addresses:
        page.goto(address)
        for width in (390, 768, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{address} at {width}"
