from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.pairing import add_prompt, propose_comparison
from labeling.domain.votes import VoteRow, read_gold, read_repeats, read_votes
from labeling.models import Adjudication, Gold, Guideline, Judgment, Membership, Slice
from tests.labeling.crowds import build_judgment
from tests.labeling.rows import add_pair

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def say(comparison, user, strength=-2, **columns):
    judgment = build_judgment(comparison, user, strength, 0, 0, columns)
    judgment.save()
    return judgment


def test_a_row_says_what_figures_ask(kitchen, grace):
    prompt = add_prompt(kitchen, [{"role": "user", "content": "q"}])
    prompt.slice = Slice.objects.create(project=kitchen, name="code", language="en")
    prompt.save()
    pair = propose_comparison(prompt, "one two three", "Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrik")
    version = Guideline.objects.create(project=kitchen, version=3, text="Be kind.")
    marks = {"both_bad": True, "is_hasty": True, "is_conditional": True, "a_shown_left": False}
    judgment = say(pair, grace, 1, guideline=version, trace={"paste_count": 2}, **marks)

    (row,) = read_votes(kitchen)

    assert row == VoteRow(
        judgment=judgment.pk,
        item=pair.pk,
        labeler=grace.pk,
        strength=1,
        both_bad=True,
        a_shown_left=False,
        is_hasty=True,
        active_ms=4000,
        n_pastes=2,
        submitted_at=judgment.submitted_at,
        guideline=3,
        slice="code (en)",
        words_a=3,
        words_b=6,
        is_conditional=True,
        scale="quick",
    )
    assert (row.is_left, row.is_longer) == (True, True)
    assert [vote.words_a for vote in read_votes(kitchen, with_words=False)] == [0]


def test_only_last_words_of_work_in_this_project_count(kitchen, garden, grace, hedy, eve):
    first, second = add_pair(kitchen, "one"), add_pair(kitchen, "two")
    old = say(first, grace, -2)
    new = say(first, grace, 2, revises=say(first, grace, 1, revises=old))
    say(second, grace, reason="gold")
    say(second, hedy, reason="exam")
    say(add_pair(kitchen, "three"), hedy, reason="repeat")
    say(add_pair(garden, "one"), eve)

    assert [row.judgment for row in read_votes(kitchen)] == [new.pk]


def test_votes_are_told_apart_by_labeler_time_and_slice(kitchen, grace, hedy):
    pair, other = add_pair(kitchen, "one"), add_pair(kitchen, "two")
    other.prompt.slice = Slice.objects.create(project=kitchen, name="chat")
    other.prompt.save()
    hers, his = say(pair, grace), say(other, hedy, submitted_at=timezone.now() - timedelta(days=9))

    def read(**changes):
        return [row.judgment for row in read_votes(kitchen, **changes)]

    assert read() == [his.pk, hers.pk]
    assert read(n_most=1) == [his.pk]
    assert read(labeler=grace.pk) == [hers.pk]
    assert read(since=timezone.now() - timedelta(days=1)) == [hers.pk]
    assert read(slice="chat") == [his.pk]


def test_votes_of_the_quarantined_and_before_a_send_back_do_not_count(kitchen, garden, ada, grace, hedy):
    pair, other = add_pair(kitchen, "one"), add_pair(kitchen, "two")
    early, his, hers = say(pair, hedy), say(other, hedy), say(other, grace)
    Adjudication.objects.create(comparison=pair, reviewer=ada, act="send_back", upto=early.pk)
    late = say(pair, ada)
    Membership.objects.filter(user=grace).update(is_quarantined=True)
    Membership.objects.create(project=garden, user=hedy, role="labeler", is_quarantined=True)

    rows = read_votes(kitchen)

    assert {row.judgment: (row.is_quarantined, row.is_sent_back, row.is_counted) for row in rows} == {
        early.pk: (False, True, False),
        his.pk: (False, False, True),
        hers.pk: (True, False, False),
        late.pk: (False, False, True),
    }


def test_both_bad_is_no_tie(kitchen, grace, hedy):
    pairs = [add_pair(kitchen, name) for name in ("one", "two", "three", "four")]
    for pair, strength, both_bad in zip(pairs, (0, 0, 2, 1), (False, True, True, False), strict=True):
        say(pair, grace, strength, both_bad=both_bad)

    assert [row.is_tie for row in read_votes(kitchen)] == [False, False, None, True]


@pytest.mark.parametrize(
    ("strength", "a_left", "left", "longer"),
    [(-2, True, True, False), (-2, False, False, False), (3, True, False, True), (0, True, None, None)],
)
def test_sides_and_lengths_follow_the_winner(kitchen, grace, strength, a_left, left, longer):
    say(add_pair(kitchen, text_a="short", text_b="a longer text"), grace, strength, a_shown_left=a_left)

    (row,) = read_votes(kitchen)

    assert (row.is_left, row.is_longer) == (left, longer)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [(0, 1, True), (-1, 0, True), (0, 2, False), (-2, 0, False), (-1, 1, False), (1, 3, True), (0, 0, True)],
)
def test_a_repeat_that_wavers_between_the_same_and_slightly_is_no_change(kitchen, grace, first, second, is_same):
    pair = add_pair(kitchen)
    say(pair, grace, first)
    say(pair, grace, second, reason="repeat")

    assert list(read_repeats(kitchen)) == [(grace.pk, is_same)]


def test_gold_and_repeats_are_read_in_their_order(kitchen, grace, hedy):
    pairs = [add_pair(kitchen, f"gold {number}") for number in range(3)]
    for pair in pairs:
        Gold.objects.create(comparison=pair, strength_min=-3, strength_max=-1, is_active=pair != pairs[2])
        say(pair, grace, -2 if pair == pairs[0] else 2, reason="gold")
    say(pairs[0], hedy, 3, reason="exam")
    asked = add_pair(kitchen, "again")
    say(asked, hedy, 1)
    say(asked, hedy, 3, reason="repeat")
    say(pairs[1], hedy, 3, reason="repeat")  # judged for the first time: nothing to compare with

    assert list(read_gold(kitchen)) == [(grace.pk, True), (grace.pk, False)]
    assert list(read_repeats(kitchen)) == [(hedy.pk, True)]
    assert Judgment.objects.count() == 7
