from __future__ import annotations

import random
from collections import Counter

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


def test_the_propensities_of_the_arms_add_up_to_how_often_a_pair_is_picked():
    terms = Terms(n_pairs=6, strategy="random", random_share=0.5, previous_share=0)
    n_draws = 3000
    picked, propensities = Counter(), set()
    for seed in range(n_draws):
        for choice in select_pairs(make_offers(10), terms, random.Random(seed)):
            picked[choice.prompt, choice.text_a, choice.text_b] += 1
            propensities.add(round(choice.propensity, 9))

    assert propensities == {0.1}  # half of 6 of 10 prompts, one of three pairs, for each arm
    assert max(abs(n / n_draws - 0.2) for n in picked.values()) < 0.03
