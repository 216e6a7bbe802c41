from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from labeling.domain.gold import make_gold
from labeling.domain.weeks import SHOWN, Week, count_labeler, count_project, list_mondays
from labeling.models import Membership
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.mark.database
def test_judgments_are_counted_by_their_week_and_gold_apart(kitchen, ada, grace, hedy):
    pairs = add_pairs(kitchen, 4)
    make_gold(pairs[3], ada, strength_min=-3, strength_max=-1)
    say(pairs[0], grace, 0, submitted_at=MONDAY)
    say(pairs[1], grace, -1, submitted_at=MONDAY + timedelta(days=6, hours=23))
    say(pairs[2], grace, 3, a_shown_left=False, submitted_at=MONDAY + timedelta(days=15))
    say(pairs[3], grace, -2, reason="gold", submitted_at=MONDAY + timedelta(days=15))
    say(pairs[3], hedy, 2, reason="gold", submitted_at=MONDAY + timedelta(days=15))

    weeks = count_project(kitchen)

    assert weeks == [
        Week(start=MONDAY, n=2, n_ties=1, n_slight=2, n_left=1),
        Week(start=MONDAY + timedelta(weeks=1)),
        Week(start=MONDAY + timedelta(weeks=2), n=1, n_left=1, n_gold=2, n_right=1),
    ]


@pytest.mark.database
def test_both_bad_is_no_tie_and_votes_in_quarantine_are_not_the_projects(kitchen, grace, hedy):
    pairs = add_pairs(kitchen, 3)
    for pair, strength, both_bad in zip(pairs, (0, 0, 1), (False, True, True), strict=True):
        say(pair, grace, strength, both_bad=both_bad, submitted_at=MONDAY)
    say(pairs[0], hedy, 0, submitted_at=MONDAY)
    Membership.objects.filter(user=hedy).update(is_quarantined=True)

    (week,) = count_project(kitchen)

    assert week == Week(start=MONDAY, n=3, n_ties=1, n_slight=2, n_bad=1)
    assert (week.n_compared, week.n_decided) == (2, 1)
    assert count_labeler(kitchen, hedy) == [Week(start=MONDAY, n=1, n_ties=1, n_slight=1, n_left=0)]


@pytest.mark.database
def test_a_changed_vote_counts_once_and_others_do_not_count(kitchen, garden, grace, hedy, eve):
    pair = add_pair(kitchen)
    first = say(pair, grace, 0, submitted_at=MONDAY)
    say(pair, grace, 2, revises=first, submitted_at=MONDAY + timedelta(hours=1))
    say(pair, hedy, 0, submitted_at=MONDAY)
    say(add_pair(garden), eve, 0, submitted_at=MONDAY)

    assert count_labeler(kitchen, grace) == [Week(start=MONDAY, n=1)]
    assert count_labeler(kitchen, eve) == []


def test_half_a_year_of_mondays_is_the_most():
    mondays = list_mondays(MONDAY - timedelta(weeks=80), MONDAY + timedelta(days=3))

    assert mondays == [MONDAY - timedelta(weeks=back) for back in reversed(range(SHOWN))]
