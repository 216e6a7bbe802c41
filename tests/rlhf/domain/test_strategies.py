from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from rlhf.domain.offers import Candidate, Offer
from rlhf.domain.selecting import select_pairs
from rlhf.domain.strategies import (
    draw_systematic,
    find_chances,
    measure_doubt,
    measure_spread,
    pick_coverage,
    pick_disagreement,
    pick_uncertain,
)
from rlhf.domain.terms import Terms

TERMS = Terms(n_pairs=10)


def offer(prompt: int, *scores: tuple[float, ...], of: int | None = None) -> Offer:
    candidates = tuple(Candidate(f"{prompt}-{number}", scores=each) for number, each in enumerate(scores))
    return Offer(prompt=prompt, slice=of, candidates=candidates)


def test_what_spreads_over_the_heads_is_the_difference_and_not_the_score():
    assert measure_spread(Candidate("a", (1.0, 5.0)), Candidate("b", (0.0, 4.0))) == 0.0
    assert measure_spread(Candidate("a", (1.0, 0.0)), Candidate("b", (0.0, 1.0))) == pytest.approx(math.sqrt(2))
    assert measure_spread(Candidate("a", (1.0,)), Candidate("b", (0.0,))) == 0.0


def test_doubt_is_greatest_where_the_chances_are_even():
    assert measure_doubt(Candidate("a", (2.0,)), Candidate("b", (2.0,))) == 1.0
    assert measure_doubt(Candidate("a", (math.log(3),)), Candidate("b", (0.0,))) == pytest.approx(0.75)
    assert measure_doubt(Candidate("a"), Candidate("b")) == 0.0
    assert measure_doubt(Candidate("a", (1e9,)), Candidate("b", (0.0,))) == pytest.approx(0.0)


def test_of_a_prompt_the_pair_is_asked_about_that_the_heads_dispute_most():
    offers = [offer(1, (0.0, 0.0), (1.0, 1.0), (0.0, 3.0))]

    (choice,) = pick_disagreement(offers, 1, TERMS, random.Random(1), {})

    assert {choice.text_a, choice.text_b} == {"1-0", "1-2"} or {choice.text_a, choice.text_b} == {"1-1", "1-2"}
    assert (choice.reason, choice.propensity) == ("active", 1.0)
    assert choice.score == pytest.approx(3 / math.sqrt(2))


def test_disputed_prompts_are_asked_about_in_proportion_and_say_with_what_chance():
    offers = [offer(number, (0.0, 0.0), (1.0, 1.0 + number)) for number in range(1, 5)]
    drawn, said = Counter(), {}
    for seed in range(4000):
        for choice in pick_disagreement(offers, 2, TERMS, random.Random(seed), {}):
            drawn[choice.prompt] += 1
            said[choice.prompt] = choice.propensity

    assert said == pytest.approx({1: 0.2, 2: 0.4, 3: 0.6, 4: 0.8})
    assert {prompt: n / 4000 for prompt, n in drawn.items()} == pytest.approx(said, abs=0.03)


def test_estimates_reweighted_by_propensity_are_right_over_the_whole_pool():
    offers = [offer(number, (0.0, 0.0), (1.0, 1.0 + number % 7 + 0.1)) for number in range(60)]
    truth = sum(each.prompt for each in offers)

    estimates = [
        sum(
            choice.prompt / choice.propensity
            for choice in pick_disagreement(offers, 20, TERMS, random.Random(seed), {})
        )
        for seed in range(1500)
    ]

    assert sum(estimates) / len(estimates) == pytest.approx(truth, rel=0.03)


def test_the_uncertain_strategy_prefers_even_chances():
    offers = [offer(1, (0.0,), (0.0,)), offer(2, (9.0,), (0.0,)), offer(3, (9.0,), (0.0,))]

    assert [choice.prompt for choice in pick_uncertain(offers, 1, TERMS, random.Random(2), {})] == [1]


@pytest.mark.parametrize("pick", [pick_disagreement, pick_uncertain])
def test_without_scores_chance_picks(pick):
    offers = [offer(number, (), ()) for number in range(10)]

    choices = pick(offers, 4, TERMS, random.Random(1), {})

    assert [(choice.reason, choice.propensity) for choice in choices] == [("random", 0.4)] * 4


def test_coverage_fills_the_slices_that_have_least():
    offers = [offer(number, (), (), of=number % 3) for number in range(60)]

    choices = pick_coverage(offers, 12, TERMS, random.Random(1), {0: 10, 1: 4, 2: 0})

    slices = Counter(choice.prompt % 3 for choice in choices)
    assert slices == {1: 4, 2: 8}
    assert {(choice.prompt % 3, choice.propensity) for choice in choices} == {(1, 4 / 20), (2, 8 / 20)}


def test_a_small_slice_gives_all_it_has():
    offers = [offer(number, (), (), of=1 if number == 0 else 2) for number in range(10)]

    choices = pick_coverage(offers, 6, TERMS, random.Random(1), {2: 100})

    assert (len(choices), sum(choice.prompt == 0 for choice in choices)) == (6, 1)


def test_chances_add_up_and_none_is_over_certain():
    chances = find_chances([100, 1, 1, 1, 1], 3)

    assert chances == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert find_chances([0, 0], 5) == [1.0, 1.0]


def test_a_systematic_draw_has_as_many_as_the_chances_add_up_to():
    draws = [draw_systematic([0.5, 1.0, 0.25, 0.25], random.Random(seed)) for seed in range(500)]

    assert {len(drawn) for drawn in draws} == {2}
    assert all(1 in drawn for drawn in draws)


def test_every_strategy_leaves_chance_its_tenth():
    offers = [offer(number, (0.0, 0.0), (1.0, 1.0 + number)) for number in range(100)]

    for strategy in ("disagreement", "uncertain", "coverage"):
        terms = Terms(n_pairs=40, strategy=strategy, previous_share=0.0)
        choices = select_pairs(offers, terms, random.Random(1))
        n_random = sum(choice.reason == "random" for choice in choices)
        assert (len(choices), n_random) == (40, 4)
