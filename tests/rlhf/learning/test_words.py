"""A list of words is what a reward model has to be better than."""

from __future__ import annotations

import random

import pytest

from rlhf.learning.preferences import EncodedPair
from rlhf.learning.words import N_BUCKETS, word_differences

GOOD, BAD = 7, 8


def pair(chosen: list[int], rejected: list[int], *, target: float = 1.0, weight: float = 1.0) -> EncodedPair:
    return EncodedPair([1], chosen, rejected, target, weight, 0.0, len(chosen), len(rejected))


def talk(rng: random.Random, *words: int) -> list[int]:
    return [*words, *(rng.randrange(20, 200) for _ in range(8))]


def test_a_good_word_and_a_bad_one_are_found_among_many():
    rng = random.Random(1)
    train = [pair(talk(rng, GOOD), talk(rng, BAD)) for _ in range(60)]
    fresh = [pair(talk(rng, GOOD), talk(rng)), pair(talk(rng), talk(rng, BAD)), pair(talk(rng, BAD), talk(rng, GOOD))]

    better, also_better, worse = word_differences(train, fresh)

    assert better > 0
    assert also_better > 0
    assert worse < 0


def test_a_tie_and_a_row_without_weight_teach_nothing():
    silent = [pair([GOOD], [BAD], target=0.5), pair([GOOD], [BAD], weight=0.0)]

    assert word_differences(silent, [pair([GOOD], [BAD])]) == [0.0]


def test_a_soft_target_is_believed_as_far_as_it_goes():
    def learn(target: float) -> float:
        return word_differences([pair([GOOD], [BAD], target=target)] * 40, [pair([GOOD], [BAD])])[0]

    assert learn(0.25) == pytest.approx(-learn(0.75), rel=0.01)
    assert 0 < learn(0.75) < learn(1.0)


def test_the_order_of_words_and_what_both_say_count_for_nothing():
    train = [pair([GOOD, 30], [BAD, 30])] * 40

    one, other, same = word_differences(
        train, [pair([GOOD, 40, 41], [BAD]), pair([41, GOOD, 40], [BAD]), pair([GOOD, 50], [50, GOOD])]
    )

    assert one == pytest.approx(other)
    assert same == 0.0


def test_a_good_word_said_often_is_worth_no_more_than_said_once():
    train = [pair([GOOD, GOOD], [BAD])] * 40

    once, often = word_differences(train, [pair([GOOD], [BAD]), pair([GOOD] * 5, [BAD])])

    assert 0 < once == pytest.approx(often)


def test_a_large_vocabulary_shares_its_places():
    train = [pair([GOOD + N_BUCKETS], [BAD])] * 40

    assert word_differences(train, [pair([GOOD], [GOOD + N_BUCKETS])]) == [0.0]
    assert word_differences(train, [pair([GOOD], [BAD])])[0] > 0
