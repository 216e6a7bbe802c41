from datetime import date, timedelta

import pytest
from django.utils import timezone

from labeling.domain import history
from labeling.domain.gold import make_gold
from labeling.domain.history import Excerpt, Search, find_plain_piece, forget_skip, list_judgments, list_skips
from labeling.domain.skipping import skip_comparison
from labeling.models import Comparison, Judgment, Project, Skip
from tests.labeling.rows import add_pair, claim, judge, revise

pytestmark = pytest.mark.django_db


def judge_all(project, labeler, *questions, **changes):
    """Queue a pair of each question, judge it at once, and return the judgments in order."""
    judged = []
    for question in questions:
        add_pair(project, question)
        judged.append(judge(claim(project, labeler), labeler, **changes))
    return judged


def find_pks(project, labeler, **search):
    return [entry.pk for entry in list_judgments(project, labeler, Search(**search)).entries]


def test_her_judgments_come_newest_first_in_their_last_word(kitchen, grace):
    first, second = judge_all(kitchen, grace, "one", "two", preference=-2, active_ms=4200)
    changed = revise(first, grace, 2)

    entries = list_judgments(kitchen, grace, Search()).entries

    assert [(row.pk, row.opening, row.preference, row.seconds) for row in entries] == [
        (changed.pk, "one", 2, 0.0),
        (second.pk, "two", -2, 4.2),
    ]


def test_nothing_of_other_labelers_or_projects_is_there(kitchen, garden, grace, hedy, eve):
    Project.objects.update(overlap=2)
    kitchen.refresh_from_db()
    mine, *_ = judge_all(kitchen, grace, "one")
    judge(claim(kitchen, hedy), hedy, note="hers")
    judge_all(garden, eve, "one", note="hers")

    assert find_pks(kitchen, grace) == [mine.pk]
    assert find_pks(kitchen, grace, text="hers") == []


@pytest.mark.database
@pytest.mark.parametrize("a_shown_left", [True, False])
@pytest.mark.parametrize(
    ("vote", "verdict"),
    [
        ({"preference": -3, "scale": "seven"}, "left"),
        ({"preference": 1, "scale": "seven"}, "right"),
        ({"preference": 0}, "tie"),
        ({"preference": 0, "both_bad": True}, "both_bad"),
    ],
)
def test_a_verdict_is_found_in_the_words_of_the_page_she_saw(kitchen, grace, a_shown_left, vote, verdict):
    add_pair(kitchen)
    kitchen.slots.update(a_shown_left=a_shown_left)
    judgment = judge(claim(kitchen, grace), grace, **vote)

    found = {name: find_pks(kitchen, grace, verdict=name) for name in history.VERDICTS}

    assert found == {name: [judgment.pk] if name == verdict else [] for name in history.VERDICTS}


@pytest.mark.database
@pytest.mark.parametrize(
    ("words", "excerpt"),
    [
        ("BOIL", Excerpt(part="prompt", before='Größe "L": ', hit="boil", after=" or fry?")),
        ("größe", Excerpt(part="prompt", before="", hit="Größe", after=' "L": boil or fry?')),
        ('"L"', Excerpt(part="prompt", before="Größe ", hit='"L"', after=": boil or fry?")),
        ("水", Excerpt(part="left", before="", hit="水", after=" first")),
        ("oil", Excerpt(part="prompt", before='Größe "L": b', hit="oil", after=" or fry?")),
        ("50% off", Excerpt(part="note", before="", hit="50% off", after="")),
        ("user", None),
        ("content", None),
    ],
)
def test_words_are_found_in_prompts_completions_and_notes(kitchen, grace, words, excerpt):
    add_pair(kitchen, 'Größe "L": boil or fry?', text_a="水 first", text_b="Oil first")
    kitchen.slots.update(a_shown_left=True)
    judge(claim(kitchen, grace), grace, note="50% off")
    judge_all(kitchen, grace, "something else")

    entries = list_judgments(kitchen, grace, Search(text=words)).entries

    assert [entry.excerpt for entry in entries] == ([excerpt] if excerpt else [])


@pytest.mark.parametrize(
    ("words", "piece"), [("größe xl", "e xl"), ('say "hi there"', "hi there"), ("水", ""), ("a_b%c", "a"), ("", "")]
)
def test_the_database_looks_for_the_longest_plain_piece(words, piece):
    assert find_plain_piece(words) == piece


@pytest.mark.database
def test_days_changes_and_reasons_are_found(kitchen, grace):
    Project.objects.update(reasons=["clear", "größer"])
    kitchen.refresh_from_db()
    one, two = judge_all(kitchen, grace, "one", "two")
    add_pair(kitchen, "three")
    three = judge(claim(kitchen, grace), grace, reasons=["größer"])
    changed = revise(one, grace, 3)
    today = timezone.localdate()

    assert find_pks(kitchen, grace, is_revised=True) == [changed.pk]
    assert find_pks(kitchen, grace, reason="größer") == [three.pk]
    assert find_pks(kitchen, grace, reason="clear") == []
    assert find_pks(kitchen, grace, day=today) == [changed.pk, three.pk, two.pk]
    assert find_pks(kitchen, grace, day=today - timedelta(days=1)) == []
    assert find_pks(kitchen, grace, day=date(2020, 1, 1)) == []


def test_pages_follow_one_another_without_gap_or_repeat(kitchen, grace, monkeypatch):
    monkeypatch.setattr(history, "PAGE_ROWS", 2)
    judged = judge_all(kitchen, grace, *(f"q{number}" for number in range(5)))
    pages, before = [], None

    while True:
        page = list_judgments(kitchen, grace, Search(), before=before)
        pages.append([entry.pk for entry in page.entries])
        if (before := page.before) is None:
            break

    pks = [judgment.pk for judgment in reversed(judged)]
    assert pages == [pks[:2], pks[2:4], pks[4:]]


@pytest.mark.parametrize("words", ["needle", "針"])
def test_a_search_reads_a_window_and_offers_to_go_on(kitchen, grace, monkeypatch, words):
    monkeypatch.setattr(history, "WINDOW_ROWS", 3)
    monkeypatch.setattr(history, "BATCH_ROWS", 2)
    monkeypatch.setattr(history, "PAGE_ROWS", 1)
    needle, *hay = judge_all(kitchen, grace, words, "q1", "q2", "q3", "q4")

    first = list_judgments(kitchen, grace, Search(text=words))
    second = list_judgments(kitchen, grace, Search(text=words), before=first.before)

    assert (first.entries, first.before, first.is_window) == ([], hay[1].pk, True)
    assert ([entry.pk for entry in second.entries], second.before, second.is_window) == ([needle.pk], None, False)


def test_what_went_into_a_dataset_is_marked_by_its_id_alone(kitchen, grace):
    first, second = judge_all(kitchen, grace, "one", "two")
    kitchen.frozen_upto = first.pk

    entries = list_judgments(kitchen, grace, Search()).entries

    assert [(entry.pk, entry.is_frozen) for entry in entries] == [(second.pk, False), (first.pk, True)]


def test_long_prompts_begin_on_one_line(kitchen, grace):
    judge_all(kitchen, grace, "a\n\nb  c", "x" * 5000)

    openings = [entry.opening for entry in list_judgments(kitchen, grace, Search()).entries]

    assert openings == ["x" * history.OPENING_CHARS + "…", "a b c"]


def skip(project, labeler, reason="unsafe"):
    slot = claim(project, labeler)
    return skip_comparison(slot.pk, labeler, lease_token=slot.lease_token, reason=reason)


def test_skips_are_listed_and_found(kitchen, grace, hedy):
    add_pair(kitchen, "one")
    first = skip(kitchen, grace)
    add_pair(kitchen, "two")
    second = skip(kitchen, grace)
    add_pair(kitchen, "three")
    skip(kitchen, hedy)

    listed = list_skips(kitchen, grace, Search())
    found = list_skips(kitchen, grace, Search(text="ONE", day=timezone.localdate()))

    assert [(entry.pk, entry.opening) for entry in listed.entries] == [(second.pk, "two"), (first.pk, "one")]
    assert [entry.pk for entry in found.entries] == [first.pk]
    assert list_skips(kitchen, grace, Search(day=date(2020, 1, 1))).entries == []


def test_a_skip_taken_back_may_come_again_and_only_once(kitchen, grace, hedy):
    add_pair(kitchen)
    passed = skip(kitchen, grace)

    assert forget_skip(passed.pk, kitchen, hedy) is False
    assert forget_skip(passed.pk, kitchen, grace) is True
    assert forget_skip(passed.pk, kitchen, grace) is False
    assert claim(kitchen, grace).comparison_id == passed.comparison_id


def test_gold_whose_skip_is_taken_back_may_be_slipped_in_again(kitchen, ada, grace):
    make_gold(add_pair(kitchen), ada, strength_min=1, strength_max=3)
    kitchen.gold_share = 1.0
    passed = skip(kitchen, grace)

    forget_skip(passed.pk, kitchen, grace)

    assert claim(kitchen, grace).reason == "gold"


def test_a_skip_taken_back_brings_a_pair_back_from_the_reviewers(kitchen, grace):
    Project.objects.update(triage_after=1)
    kitchen.refresh_from_db()
    add_pair(kitchen)
    passed = skip(kitchen, grace)
    assert Comparison.objects.get().state == "triage"

    forget_skip(passed.pk, kitchen, grace)

    assert (Comparison.objects.get().state, Skip.objects.count(), Judgment.objects.count()) == ("open", 0, 0)
