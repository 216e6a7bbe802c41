from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.errors import TooManyActs
from labeling.domain.flood import refuse_flood_of_skips, refuse_flood_of_votes
from labeling.models import Judgment, Skip
from tests.labeling.rows import add_pairs, claim, judge, revise
from tests.labeling.votes import say

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture(autouse=True)
def three_a_minute(settings):
    settings.JUDGMENTS_PER_MINUTE = 3


def vote_before(kitchen, labeler, *ages_s):
    """Let her have voted so many seconds ago, in this order."""
    pairs = add_pairs(kitchen, len(ages_s))
    for pair, age_s in zip(pairs, ages_s, strict=True):
        say(pair, labeler, 1, submitted_at=timezone.now() - timedelta(seconds=age_s))


def test_the_last_so_many_votes_in_a_minute_are_enough_and_she_is_told_how_long_to_wait(kitchen, grace, hedy):
    vote_before(kitchen, grace, 50, 20, 1)

    with pytest.raises(TooManyActs) as error:
        refuse_flood_of_votes(grace)

    assert error.value.wait_s == 10
    assert str(error.value) == "That was 3 in a minute, faster than anyone can read. Try again in 10 seconds."
    refuse_flood_of_votes(hedy)


@pytest.mark.parametrize("ages_s", [(), (2, 1), (61, 2, 1), (600, 500, 400, 300), (-3600, -3600, -3600)])
def test_who_reads_is_never_refused_nor_who_voted_before_the_clock_was_set_back(kitchen, grace, ages_s):
    vote_before(kitchen, grace, *ages_s)

    refuse_flood_of_votes(grace)

    assert Judgment.objects.count() == len(ages_s)


def test_changes_of_mind_count_too(kitchen, grace):
    add_pairs(kitchen, 1)
    judgment = judge(claim(kitchen, grace), grace)
    revise(revise(judgment, grace), grace)

    with pytest.raises(TooManyActs):
        refuse_flood_of_votes(grace)


def test_skips_have_a_limit_of_their_own(kitchen, grace):
    for pair in add_pairs(kitchen, 3):
        Skip.objects.create(comparison=pair, labeler=grace, reason="unsafe")

    refuse_flood_of_votes(grace)
    with pytest.raises(TooManyActs):
        refuse_flood_of_skips(grace)


def test_none_sets_no_limit(kitchen, grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 0
    vote_before(kitchen, grace, 3, 2, 1)

    refuse_flood_of_votes(grace)

    assert Judgment.objects.count() == 3
