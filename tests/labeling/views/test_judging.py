"""What the page sends, and what it gets: a pair kept ready, reasons, axes, fixes, a kind of pair declined."""

import json
import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from labeling.domain.assignment import find_claim, find_reserved
from labeling.domain.desk import DEFAULT_KEYS, Desk, save_desk
from labeling.domain.people import add_member
from labeling.models import Demonstration, Fix, Judgment, Membership, Project, Skip, Slice, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, expire, shown_before
from tests.labeling.views.test_judge import HTMX, PAGE, read_hidden, vote

pytestmark = pytest.mark.django_db


def reserve(client):
    return client.post(f"{PAGE}claims/reserve/", headers=HTMX).content.decode()


def read_section(html):
    """Return the data of the piece that was answered."""
    opening = re.search(r"<section id=\"comparison\"[^>]*>", html).group()
    return dict(re.findall(r'data-(\w+)="([^"]*)"', opening))


def ready_fields(html):
    pair = read_section(html)
    return {"show_slot": pair["slot"], "show_token": pair["token"]}


def test_a_pair_kept_ready_is_held_and_not_shown(kitchen, grace, as_grace):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)

    piece = read_section(reserve(as_grace))

    assert (piece["standing"], piece["slot"]) == ("next", str(find_reserved(kitchen, grace).pk))
    assert Slot.objects.get(pk=piece["slot"]).shown_at is None


def test_with_nothing_left_no_pair_is_kept_ready(kitchen, grace, as_grace):
    add_pair(kitchen)
    claim(kitchen, grace)

    piece = reserve(as_grace)

    assert read_section(piece)["standing"] == "none"
    assert 'class="vote"' not in piece


def test_a_vote_shows_the_ready_pair_and_brings_the_one_after(kitchen, grace, as_grace):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)
    ready = reserve(as_grace)

    answer = vote(as_grace, **ready_fields(ready)).content.decode()

    assert Judgment.objects.count() == 1
    assert str(find_claim(kitchen, grace).pk) == read_section(ready)["slot"]
    assert read_section(answer)["standing"] == "next"
    assert read_section(answer)["slot"] == str(find_reserved(kitchen, grace).pk)
    assert read_section(answer)["today"] == "1"


def test_the_same_vote_again_leaves_the_ready_pair_shown(kitchen, grace, as_grace):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)
    page = as_grace.get(PAGE).content.decode()
    ready = reserve(as_grace)

    answers = [vote(as_grace, page, **ready_fields(ready)).content.decode() for _ in range(2)]

    assert [read_section(answer)["standing"] for answer in answers] == ["next", "next"]
    assert Judgment.objects.count() == 1
    assert str(find_claim(kitchen, grace).pk) == read_section(ready)["slot"]


def test_a_ready_pair_that_went_to_someone_else_is_replaced_and_she_is_told(kitchen, grace, hedy, as_grace):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)
    ready = reserve(as_grace)
    lost = Slot.objects.get(pk=read_section(ready)["slot"])
    expire(lost)
    Slot.objects.filter(pk=lost.pk).free_up()
    Slot.objects.exclude(pk=lost.pk).filter(state="free").update(priority=-5)
    assert claim(kitchen, hedy) == lost

    piece = read_section(vote(as_grace, **ready_fields(ready)).content.decode())

    assert (piece["standing"], piece["slot"]) == ("current", str(find_claim(kitchen, grace).pk))
    assert piece["notice"].startswith("The pair you had before you went to someone else")


def test_a_vote_that_is_followed_by_others_claims_nothing(kitchen, grace, as_grace):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)

    piece = read_section(vote(as_grace, more="true").content.decode())

    assert piece["standing"] == "none"
    assert (Judgment.objects.count(), find_claim(kitchen, grace)) == (1, None)


def test_a_skip_shows_the_ready_pair_too(kitchen, grace, as_grace):
    add_pairs(kitchen, 3)
    slot = claim(kitchen, grace)
    ready = reserve(as_grace)
    fields = {"slot": slot.pk, "lease_token": slot.lease_token, "reason": "language"}

    piece = read_section(as_grace.post(f"{PAGE}skips/", fields | ready_fields(ready), headers=HTMX).content.decode())

    assert piece["standing"] == "next"
    assert str(find_claim(kitchen, grace).pk) == read_section(ready)["slot"]
    assert Skip.objects.count() == 1


def test_what_was_lost_is_said_beside_the_ready_pair(kitchen, grace, as_grace):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)
    first, second = (as_grace.get(PAGE).content.decode() for _ in range(2))
    vote(as_grace, first)
    ready = reserve(as_grace)

    answer = vote(as_grace, second, **ready_fields(ready))

    assert answer.status_code == 409
    assert "You have judged this comparison already" in read_section(answer.content.decode())["notice"]


def test_axes_reasons_and_trace_are_stored_with_the_vote(kitchen, grace, as_grace):
    Project.objects.update(axes=["Helpful", "Correct"], reasons=["Clearer", "Shorter"], axes_first=True)
    kitchen.refresh_from_db()
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    trace = {"input_method": "key", "viewport": "1440x900", "used_diff": True, "nonsense": 1}

    vote(as_grace, axis_0="-3", reasons=["Shorter"], trace=json.dumps(trace))

    judgment = Judgment.objects.get()
    assert judgment.axes == {"Helpful": -3 if slot.a_shown_left else 3}
    assert judgment.reasons == ["Shorter"]
    assert judgment.trace == {
        "input_method": "key",
        "viewport": "1440x900",
        "used_diff": True,
        "axes_first": True,
    }


@pytest.mark.parametrize("trace", ["", "{", "[1]", "null", '"x"', "[" * 1990, '{"a": "' + "x" * 3000 + '"}'])
def test_a_garbled_trace_costs_no_vote(kitchen, grace, as_grace, trace):
    add_pair(kitchen)
    claim(kitchen, grace)

    assert vote(as_grace, trace=trace).status_code == 200
    assert Judgment.objects.get().trace == {"axes_first": False}


@pytest.mark.parametrize("changes", [{"axis_0": "4"}, {"reasons": ["Prettier"]}])
def test_an_answer_to_no_question_is_refused(kitchen, grace, as_grace, changes):
    Project.objects.update(axes=["Helpful"], reasons=["Clearer"])
    add_pair(kitchen)
    claim(kitchen, grace)

    assert vote(as_grace, **changes).status_code == 422
    assert Judgment.objects.count() == 0


def test_a_fixed_completion_is_stored_as_it_was_written(kitchen, grace, as_grace):
    Project.objects.update(asks_fixes=True)
    add_pair(kitchen)
    claim(kitchen, grace)

    vote(as_grace, fix="  Boil it\nfor six minutes. ")

    assert Fix.objects.get().judgment == Judgment.objects.get()
    assert Demonstration.objects.get().completion.text == "  Boil it\nfor six minutes. "


def test_what_a_project_does_not_ask_is_not_on_its_page(kitchen, grace, as_grace):
    Project.objects.update(asks_flags=False)
    add_pair(kitchen)
    claim(kitchen, grace)

    html = as_grace.get(PAGE).content.decode()

    fields = ("unsafe_left", 'name="fix"', 'name="reasons"', "axis_0")
    assert [name for name in fields if name in html] == []


def test_a_labelers_own_keys_are_on_the_buttons(kitchen, grace, as_grace):
    save_desk(grace, Desk(keys=DEFAULT_KEYS | {"left": "a", "save": "space", "tie": "t"}, font_size=20, width="full"))
    add_pair(kitchen)
    claim(kitchen, grace)

    html = as_grace.get(PAGE).content.decode()

    assert re.search(r'value="left" data-key="a" aria-pressed="false"[^>]*><span>A is better</span> <kbd>A</kbd>', html)
    assert "<dt><kbd>A</kbd></dt><dd>A is better</dd>" in html
    assert 'data-room="full" data-font="20"' in html


def test_texts_stay_behind_the_warning_until_she_asks(kitchen, grace, as_grace):
    Project.objects.update(content_warning="Knives and fire.")
    add_pair(kitchen)
    claim(kitchen, grace)
    veiled = as_grace.get(PAGE).content.decode()

    answer = as_grace.post(f"{PAGE}unveil/", headers=HTMX)

    assert answer.status_code == 204
    html = as_grace.get(PAGE).content.decode()
    assert ("Knives and fire." in veiled, veiled.count(" inert>")) == (True, 2)
    assert ("Knives and fire." in html, html.count(" inert>")) == (False, 0)


def test_a_kind_of_pair_is_declined_without_a_skip(kitchen, grace, as_grace):
    fire = Slice.objects.create(project=kitchen, name="fire")
    comparison = add_pair(kitchen, "About fire")
    comparison.prompt.slice = fire
    comparison.prompt.save()
    Slot.objects.update(slice=fire)
    add_pair(kitchen, "About water")
    Slot.objects.filter(slice=fire).update(priority=5)
    slot = claim(kitchen, grace)
    assert slot.slice == fire
    assert "I would rather not see “fire” at all" in as_grace.get(PAGE).content.decode()

    answer = as_grace.post(
        f"{PAGE}declines/", {"slot": slot.pk, "lease_token": slot.lease_token}, headers=HTMX
    ).content.decode()

    assert "You will not be given “fire” again." in read_section(answer)["notice"]
    assert Membership.objects.get(user=grace).declined == ["fire"]
    assert (Skip.objects.count(), find_claim(kitchen, grace).slice) == (0, None)


def test_a_kind_is_declined_only_with_the_token_of_a_pair(kitchen, grace, as_grace):
    slot = Slot.objects.get(comparison=add_pair(kitchen))

    answer = as_grace.post(
        f"{PAGE}declines/",
        {"slot": slot.pk, "lease_token": "0" * 8 + "-0000-0000-0000-" + "0" * 12},
        headers=HTMX,
    )

    assert (answer.status_code, Membership.objects.get(user=grace).declined) == (410, [])


def test_the_words_that_differ_come_when_they_are_asked_for(kitchen, grace, as_grace, as_hedy):
    add_pair(kitchen, text_a="Boil the egg slowly <b>", text_b="Fry the egg slowly <b>")
    slot = claim(kitchen, grace)
    left, right = ("del", "ins") if slot.a_shown_left else ("ins", "del")

    apart = as_grace.get(f"{PAGE}claims/{slot.pk}/diff/").content.decode()
    within = reserve(as_grace), as_grace.post(f"{PAGE}claims/", {"diff": "true"}, headers=HTMX).content.decode()

    for html in (apart, within[1]):
        assert f"<{left}>Boil </{left}>the egg slowly &lt;b&gt;" in html
        assert f"<{right}>Fry </{right}>the egg slowly &lt;b&gt;" in html
    assert "<del>" not in within[0]
    assert as_hedy.get(f"{PAGE}claims/{slot.pk}/diff/").status_code == 404


def test_nothing_tells_a_probe_from_work(kitchen, grace, as_grace):
    """Two pairs whose slots differ in everything a labeler must not know make the same page."""
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    plain = as_grace.get(PAGE).content.decode()
    Slot.objects.filter(pk=slot.pk).update(reason="gold", propensity=0.123456, score=0.987654, priority=77)

    probe = as_grace.get(PAGE).content.decode()

    def drop_what_is_drawn(html):
        drawn = r'(csrfmiddlewaretoken|idempotency_key)" value="[^"]*"|"X-CSRFToken": "[^"]*"'
        return re.sub(drawn, "", html)

    assert drop_what_is_drawn(probe) == drop_what_is_drawn(plain)


def test_a_page_with_floods_stays_small(kitchen, grace, as_grace):
    add_pair(kitchen, "q" * 1_000_000, text_a="y\u202e" * 300_000, text_b="line\n" * 50_000)
    slot = claim(kitchen, grace)

    html = as_grace.get(PAGE).content.decode()

    assert len(html.encode()) < 1_500_000
    assert [f"{PAGE}claims/{slot.pk}/{part}/" in html for part in ("left", "right", "prompt")].count(True) == 3
    assert html.count("data-boxed") >= 2


def test_judging_again_after_the_day_is_full_says_so_kindly(kitchen, grace, as_grace):
    Project.objects.update(daily_cap=1)
    kitchen.refresh_from_db()
    add_pairs(kitchen, 2)
    claim(kitchen, grace)

    html = vote(as_grace).content.decode()

    assert "Enough for today" in html
    assert "More tomorrow." in html


def test_the_scripts_are_found_by_their_names_in_production(settings, tmp_path, kitchen, as_grace):
    """Production keeps hashed names only: a script that named another by itself would not find it."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    call_command("collectstatic", interactive=False, verbosity=0)

    named = set(re.findall(r'"/static/([\w.]+)"', as_grace.get(PAGE).content.decode()))

    assert {name.split(".")[0] for name in named} >= {"judge", "tokens"}
    assert [name for name in named if not (tmp_path / name).exists()] == []
    assert [
        path.name for path in tmp_path.glob("*.js") if "import" in path.read_text() and '"./' in path.read_text()
    ] == []


def read_written(html):
    """Return what the form of the answered pair holds."""
    return {
        "slot": re.search(r'name="slot" value="(\d+)"', html).group(1),
        "chosen": re.findall(r'name="choice" value="(\w+)"[^>]*aria-pressed="true"', html),
        "checked": re.findall(r'name="(\w+)" value="([^"]*)"[^>]* checked', html),
        "texts": re.findall(r'<textarea id="\w+" name="(\w+)"[^>]*>([^<]*)</textarea>', html),
    }


def test_a_refused_vote_comes_back_with_all_she_wrote(kitchen, grace, as_grace):
    Project.objects.update(axes=["Helpful"], reasons=["Clearer", "Shorter"], asks_fixes=True)
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    said = {"choice": "tie", "note": "mine", "axis_0": "-3", "reasons": ["Shorter"], "unsafe_left": "true"}

    answer = vote(as_grace, fix="Boil it softly.", **said)

    html = answer.content.decode()
    assert (answer.status_code, Judgment.objects.count()) == (422, 0)
    assert read_section(html)["notice"].startswith("Say which one is better before you rewrite it")
    assert read_written(html) == {
        "slot": str(slot.pk),
        "chosen": ["tie"],
        "checked": [("axis_0", "-3"), ("reasons", "Shorter"), ("unsafe_left", "true")],
        "texts": [("fix", "Boil it softly."), ("note", "mine")],
    }


def test_a_note_that_is_too_long_comes_back_whole(kitchen, grace, as_grace):
    add_pair(kitchen)
    claim(kitchen, grace)

    answer = vote(as_grace, note="x" * 10_001)

    written = read_written(answer.content.decode())
    assert read_section(answer.content.decode())["notice"].startswith("Note: ")
    assert (answer.status_code, written["chosen"], written["texts"]) == (422, ["left"], [("note", "x" * 10_001)])


def test_a_vote_refused_behind_her_leaves_the_pair_she_is_at(kitchen, grace, as_grace):
    add_pairs(kitchen, 4)
    slot = claim(kitchen, grace)
    page = as_grace.get(PAGE).content.decode()
    ready = reserve(as_grace)

    behind = vote(as_grace, page, note="x" * 10_001, **ready_fields(ready))
    again = vote(as_grace, page, note="x" * 10_001)

    piece = read_section(behind.content.decode())
    assert (behind.status_code, piece["standing"]) == (422, "next")
    assert str(find_claim(kitchen, grace).pk) == read_section(ready)["slot"]
    assert read_written(again.content.decode())["slot"] == str(slot.pk)
    assert vote(as_grace, page, note="x").status_code == 200
    assert Judgment.objects.get().note == "x"


@pytest.mark.parametrize("act", ["judgments", "skips"])
def test_a_slot_of_another_project_is_refused(kitchen, grace, as_grace, act):
    add_pair(kitchen)
    claim(kitchen, grace)
    fields = read_hidden(as_grace.get(PAGE).content.decode()) | {"choice": "left", "reason": "language"}
    other = Project.objects.create(slug="garden", name="Garden")
    add_member(other, grace, role="labeler")

    answer = as_grace.post(f"/judge/garden/{act}/", fields, headers=HTMX)

    assert answer.status_code == 410
    assert (Judgment.objects.count(), Skip.objects.count()) == (0, 0)


def test_the_vote_of_a_suspended_member_is_refused_in_plain_words(kitchen, grace, as_grace):
    add_pair(kitchen)
    claim(kitchen, grace)
    page = as_grace.get(PAGE).content.decode()
    Membership.objects.update(is_active=False)

    answer = vote(as_grace, page)

    said = (answer.status_code, answer["Content-Type"], answer.content.decode())
    words = "grace is no active member of Kitchen: ask its manager to be added"
    assert said == (403, "text/plain; charset=utf-8", words)


@pytest.mark.parametrize(("said_s", "stored_s"), [(90, 90), (9000, 3600), (-90, 0)])
def test_a_pair_shown_offline_was_shown_when_the_page_says_within_bounds(kitchen, grace, as_grace, said_s, stored_s):
    add_pairs(kitchen, 3)
    claim(kitchen, grace)
    ready = reserve(as_grace)
    show_at = timezone.now() - timedelta(seconds=said_s)

    vote(as_grace, **ready_fields(ready), show_at=show_at.isoformat())

    shown_s = (timezone.now() - find_claim(kitchen, grace).shown_at).total_seconds()
    assert shown_s == pytest.approx(stored_s, abs=20)


def test_the_page_says_nothing_of_a_pair_that_was_claimed(kitchen, grace, as_grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    vote(as_grace, shown_at=(timezone.now() - timedelta(minutes=9)).isoformat())

    assert (Judgment.objects.get().shown_at, Judgment.objects.get().is_hasty) == (slot.shown_at, True)


def test_who_hurries_is_told_so_kindly_and_nothing_is_refused(kitchen, grace, as_grace):
    add_pairs(kitchen, 6)
    told = []
    for _ in range(4):
        claim(kitchen, grace)
        told.append("sooner than the texts can be read" in vote(as_grace).content.decode())

    # One quick vote, or two, may have been on easy pairs.
    assert told == [False, False, True, True]
    assert list(Judgment.objects.values_list("is_hasty", flat=True)) == [True] * 4


def test_who_took_her_time_again_hears_no_more_of_it(kitchen, grace, as_grace):
    add_pairs(kitchen, 6)
    for _ in range(3):
        claim(kitchen, grace)
        vote(as_grace)
    shown_before(claim(kitchen, grace), 60)

    assert "sooner than the texts" not in vote(as_grace).content.decode()
