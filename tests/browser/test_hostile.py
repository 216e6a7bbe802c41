"""Texts that attack whoever reads them: over a hundred of them, as prompt, as either completion, in every view."""

from __future__ import annotations

import pytest

from labeling.models import Judgment
from tests.browser.conftest import PAGE, press_and_wait, wait_until_ready
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PER_TEXT = 12
# What an attack would leave behind: what it ran, what the policy had to stop, controls and elements that are not ours.
LOOT = """() => ({
  ran: window.pwned ?? null,
  stopped: window.violations,
  acting: document.querySelectorAll(
    ".prose :is(script, iframe, object, embed, form, input, button:not(.code > [data-copies]), select, textarea, dialog, " +
    "style, link, meta, base, img, video, audio, svg, template, slot, [style], [id], [name], [popovertarget], [autofocus])"
  ).length,
  steered: [...document.querySelectorAll(".prose *")].filter((element) =>
    element.getAttributeNames().some((name) => /^(on|hx-|data-hx|data-act|data-key|ws-|sse-|ping|src)/.test(name))
  ).length,
})"""
NOTHING = {"ran": None, "stopped": [], "acting": 0, "steered": 0}


def arm(payload: str) -> str:
    return payload.replace("alert(1)", "(window.pwned=1)")


def test_over_a_hundred_attacks_act_on_nothing_in_any_view(kitchen, grace, open_page):
    texts = ["\n\n".join(map(arm, PAYLOADS[start : start + PER_TEXT])) for start in range(0, len(PAYLOADS), PER_TEXT)]
    for number, text in enumerate(texts):
        # Alone each payload is the first block of a text; beside its neighbour the word diff has something to mark.
        add_pair(kitchen, f"{number}\n\n{text[:15_000]}", text_a=text, text_b=f"{text}\n\nand {arm(PAYLOADS[number])}")
    page = open_page(grace, "/projects/")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.method} {request.url}"))

    page.goto(PAGE)
    slot = wait_until_ready(page)
    seen = []
    for number in range(len(texts)):
        for key in ("", "r", "r", "d", "d"):  # rendered, raw, rendered, word diff, rendered
            if key:
                page.keyboard.press(key)
                page.wait_for_timeout(120)
            seen.append(page.evaluate(LOOT))
        if number + 1 < len(texts):
            slot = press_and_wait(page, "x", slot)

    assert len(PAYLOADS) >= 100
    assert [loot for loot in seen if loot != NOTHING] == []
    served = page.url.split("/judge/")[0]
    assert [request for request in requests if f" {served}/" not in request] == []
    ours = ("/judge/kitchen/", "/static/")
    assert [request for request in requests if not request.split(served)[1].startswith(ours)] == []
    assert Judgment.objects.count() == len(texts) - 1
