from __future__ import annotations

import pytest

from labeling.domain.gold import drop_gold, make_gold
from labeling.domain.gold_items import GoldItem, Suggestion, list_gold, suggest_gold
from labeling.models import Adjudication, Membership
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db


@pytest.fixture
def crowd(kitchen):
    return [make_member(kitchen, f"labeler-{number}") for number in range(4)]


def make_it(pair, actor):
    return make_gold(pair, actor, strength_min=1, strength_max=3)


@pytest.mark.database
def test_an_item_says_how_many_met_it_and_how_many_were_right(kitchen, ada, crowd):
    older, newer = add_pairs(kitchen, 2)
    gold = make_it(older, ada)
    unmet = make_it(newer, ada)
    say(older, crowd[0], 2, reason="gold")
    say(older, crowd[1], -2, reason="exam")
    first = say(older, crowd[2], -1, reason="gold")
    say(older, crowd[2], 1, reason="gold", revises=first)

    assert list_gold(kitchen) == [
        GoldItem(gold=unmet, n=0, n_right=0, n_honest=0, n_honest_right=0),
        GoldItem(gold=gold, n=3, n_right=2, n_honest=3, n_honest_right=2),
    ]
    assert list_gold(kitchen, before=unmet.pk) == list_gold(kitchen)[1:]


def test_what_most_honest_labelers_miss_is_doubtful_and_suspects_are_not_asked(kitchen, ada, crowd):
    pair = add_pair(kitchen)
    make_it(pair, ada)
    for labeler, strength in zip(crowd, (-2, -2, -2, 3), strict=True):
        say(pair, labeler, strength, reason="gold")
    assert list_gold(kitchen)[0].is_doubtful

    Membership.objects.filter(user__in=crowd[:2]).update(is_quarantined=True)

    (item,) = list_gold(kitchen)
    assert (item.n, item.n_honest, item.n_honest_right, item.is_doubtful) == (4, 2, 1, False)


def test_withdrawn_gold_and_other_projects_gold_is_not_listed(kitchen, garden, ada, eve):
    drop_gold(make_it(add_pair(kitchen), ada), ada)
    make_it(add_pair(garden), eve)

    assert list_gold(kitchen) == []


@pytest.mark.database
def test_three_who_clearly_name_one_winner_suggest_gold(kitchen, ada, crowd):
    clear, slight, split, two, gold, tie = add_pairs(kitchen, 6)
    for labeler in crowd[:3]:
        say(clear, labeler, -3 if labeler == crowd[0] else -2)
        say(slight, labeler, 1)
        say(split, labeler, 2 if labeler == crowd[0] else -2)
        say(gold, labeler, 2)
        say(tie, labeler, 0)
    for labeler in crowd[:2]:
        say(two, labeler, 3)
    make_it(gold, ada)

    assert suggest_gold(kitchen) == [Suggestion(comparison=clear, n=3, strength=-2)]


@pytest.mark.database
def test_quarantined_votes_and_those_before_a_send_back_suggest_no_gold(kitchen, ada, crowd):
    by_suspect, sent_back, clear = add_pairs(kitchen, 3)
    for labeler in crowd[:3]:
        say(by_suspect, labeler, 2)
    for labeler in crowd[1:]:
        say(clear, labeler, 2)
    early = say(sent_back, crowd[1], 2)
    Adjudication.objects.create(comparison=sent_back, reviewer=ada, act="send_back", upto=early.pk)
    for labeler in (*crowd[2:], ada):
        say(sent_back, labeler, 2)
    Membership.objects.filter(user=crowd[0]).update(is_quarantined=True)

    suggested = suggest_gold(kitchen)
    say(sent_back, crowd[0], 2)

    assert suggested == [
        Suggestion(comparison=sent_back, n=3, strength=2),
        Suggestion(comparison=clear, n=3, strength=2),
    ]
    assert suggest_gold(kitchen) == suggested


def test_items_and_suggestions_take_as_many_queries_for_three_as_for_one(
    kitchen, ada, crowd, django_assert_num_queries
):
    pairs = add_pairs(kitchen, 6)
    for pair in pairs:
        for labeler in crowd:
            say(pair, labeler, 2)
    for n in (1, 3):
        for pair in pairs[:n]:
            make_it(pair, ada)

        with django_assert_num_queries(5):
            assert (len(list_gold(kitchen)), len(suggest_gold(kitchen))) == (n, 6 - n)
