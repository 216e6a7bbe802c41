from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from rlhf.domain.offers import Candidate, Offer
from rlhf.domain.selecting import select_pairs
from rlhf.domain.terms import Terms


def make_offers(n, *, texts=("Yes.", "No.", "Perhaps."), previous=("Before.",)):
    candidates = [Candidate(text) for text in texts] + [Candidate(text, is_previous=True) for text in previous]
    return [Offer(prompt=number, slice=None, candidates=tuple(candidates)) for number in range(n)]


def test_the_same_offers_and_the_same_seed_make_the_same_choice():
    terms = Terms(n_pairs=20, strategy="random")

    first, second = (select_pairs(make_offers(50), terms, random.Random(3)) for _ in range(2))

    assert first == second
    assert first != select_pairs(make_offers(50), terms, random.Random(4))


def test_a_prompt_is_asked_about_once_and_the_shares_are_kept():
    terms = Terms(n_pairs=40, strategy="random", previous_share=0.25)

    choices = select_pairs(make_offers(60), terms, random.Random(1))

    assert (len(choices), len({choice.prompt for choice in choices})) == (40, 40)
    assert sum(choice.is_duel for choice in choices) == 10
    assert all(("Before." in (choice.text_a, choice.text_b)) == choice.is_duel for choice in choices)


def test_the_strategy_previous_makes_duels_of_all_but_the_control():
    terms = Terms(n_pairs=40, strategy="previous", random_share=0.1)

    choices = select_pairs(make_offers(60), terms, random.Random(1))

    assert Counter(choice.is_duel for choice in choices) == {True: 36, False: 4}


def test_a_prompt_to_which_the_policy_says_one_thing_is_good_for_a_duel_alone():
    offers = make_offers(10, texts=("Yes.",))

    choices = select_pairs(offers, Terms(n_pairs=10, strategy="random"), random.Random(1))

    assert {(choice.text_a, choice.text_b, choice.is_duel) for choice in choices} == {("Yes.", "Before.", True)}
    assert len(choices) == 10


def test_without_a_previous_policy_every_pair_is_of_the_current_one():
    choices = select_pairs(make_offers(10, previous=()), Terms(n_pairs=8, strategy="previous"), random.Random(1))

    assert not any(choice.is_duel for choice in choices)


def test_where_chance_alone_chooses_a_propensity_is_how_often_a_pair_is_picked():
    terms = Terms(n_pairs=6, strategy="random", random_share=0.5, previous_share=0)
    n_draws = 3000
    picked, propensities = Counter(), set()
    for seed in range(n_draws):
        for choice in select_pairs(make_offers(10), terms, random.Random(seed)):
            picked[choice.prompt, choice.text_a, choice.text_b] += 1
            propensities.add(round(choice.propensity, 9))

    assert propensities == {0.2}  # 6 of 10 prompts, one of three pairs
    assert max(abs(n / n_draws - 0.2) for n in picked.values()) < 0.03


def make_mixed(n_pair_only, n_both, n_duel_only):
    """Prompts good for a pair alone, for both, and for a duel alone; of the last one more with two duels."""
    one, two, before, earlier = "Yes.", "No.", "Before.", "Earlier."
    kinds = [((one, two), ())] * n_pair_only + [((one, two), (before,))] * n_both + [((one,), (before,))] * n_duel_only
    kinds += [((one,), (before, earlier)), ((one,), ())]
    return [
        Offer(
            number,
            None,
            (
                *(Candidate(text, scores=(float(number % 3) * (text == one),)) for text in texts),
                *(Candidate(text, is_previous=True) for text in previous),
            ),
        )
        for number, (texts, previous) in enumerate(kinds)
    ]


def weigh_draws(offers, terms, *, n_draws):
    """Return, of every pair by arm, how often it was picked, what it said of that, and the mean of 1 / propensity."""
    said = defaultdict(list)
    for seed in range(n_draws):
        for each in select_pairs(offers, terms, random.Random(seed)):
            said[each.prompt, each.text_a, each.text_b, each.reason, each.is_duel].append(each.propensity)
    return {
        key: (len(found) / n_draws, sum(found) / len(found), sum(1 / each for each in found) / n_draws)
        for key, found in said.items()
    }


@pytest.mark.parametrize(
    ("kinds", "terms"),
    [
        pytest.param((4, 5, 6), Terms(n_pairs=9, random_share=0.3, previous_share=0.3, strategy="uncertain"), id="all"),
        pytest.param(
            (1, 4, 8), Terms(n_pairs=10, random_share=0.2, previous_share=0.3, strategy="uncertain"), id="fill"
        ),
        pytest.param((0, 4, 4), Terms(n_pairs=8, random_share=0.6, previous_share=0.2, strategy="coverage"), id="few"),
        pytest.param((4, 4, 4), Terms(n_pairs=9, random_share=0.3, strategy="previous"), id="previous"),
        pytest.param((3, 3, 5), Terms(n_pairs=9, random_share=0.3, previous_share=0, strategy="uncertain"), id="none"),
    ],
)
def test_among_prompts_of_every_kind_each_pair_is_picked_as_often_as_it_says(kinds, terms):
    weighed = weigh_draws(make_mixed(*kinds), terms, n_draws=3000)

    assert {key[-2:] for key in weighed} >= {("random", True), ("random", False)}
    assert max(abs(picked - said) / said**0.5 for picked, said, _ in weighed.values()) < 0.06
    assert max(abs(total - 1) * picked**0.5 for picked, _, total in weighed.values()) < 0.06


def test_where_half_of_the_prompts_have_a_pair_the_other_half_says_how_often_it_duels():
    """Control takes only the first half: offers alike in nothing but the number of places said .098 here."""
    terms = Terms(n_pairs=30, random_share=0.1, previous_share=0.2, strategy="random")

    weighed = weigh_draws(make_mixed(0, 10, 20), terms, n_draws=1000)

    duels = [found[:2] for key, found in weighed.items() if key[-1] and 10 <= key[0] < 30]
    picked, said = (sum(each) / len(each) for each in zip(*duels, strict=True))
    assert abs(picked - said) < 0.005
