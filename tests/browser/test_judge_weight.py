"""What the judge page costs a labeler on a thin line: bytes, compressed as a production server sends them, and requests."""

from __future__ import annotations

import gzip

import pytest
from playwright.sync_api import Response

from labeling.models import Project
from tests.browser.conftest import PAGE, wait_until_ready, wait_until_saved
from tests.labeling.rows import add_pairs

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

EVERYTHING = {"reasons": ["Clearer", "Shorter"], "axes": ["Helpful", "Correct"], "asks_fixes": True}


def weigh(response: Response) -> int:
    return len(gzip.compress(response.body(), 6))


def test_the_page_and_all_it_needs_are_light(kitchen, grace, open_page):
    Project.objects.update(**EVERYTHING)
    add_pairs(kitchen, 3)
    page = open_page(grace, "/projects/")
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))

    page.goto(PAGE)
    wait_until_ready(page)
    first = [answer.url.split("/", 3)[3].split("?")[0] for answer in answers]
    weight = sum(weigh(answer) for answer in answers if answer.status == 200)
    answers.clear()
    page.goto(PAGE)
    wait_until_ready(page)

    assert len(first) < 10, first
    assert len(answers) < len(first), "the first visit also claims its pair"
    assert weight < 30_000
    answers.clear()
    page.keyboard.press("f")
    page.keyboard.press("Enter")
    wait_until_saved(page)
    page.wait_for_timeout(500)
    assert [answer.url.rsplit("/", 2)[1] for answer in answers] == ["judgments"]
    assert weigh(answers[0]) < 5_000
