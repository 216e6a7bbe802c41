from __future__ import annotations

import numpy as np
import pytest

from labeling.domain.copying import Copying, find_copying
from labeling.domain.flags import (
    Flag,
    flag_agreement,
    flag_gold,
    flag_haste,
    flag_length,
    flag_repeats,
    flag_side,
    is_careful,
)
from labeling.domain.peers import compare_peers
from tests.labeling.crowds import ALWAYS_A, HONEST, INVERTED, RANDOM, answer, draw_crowd, draw_kinds

BAD = {RANDOM: 0.2, INVERTED: 0.1, ALWAYS_A: 0.1}


def yes(k: int, n: int) -> list[bool]:
    return [True] * k + [False] * (n - k)


def share_gold(gold, labeler):
    """How often the careful others are right."""
    careful = [said for other, said in enumerate(gold) if other != labeler and is_careful(said)]
    return np.mean(careful)


def list_flagged(kinds, items, labelers, strengths, gold):
    """Which labelers any rule flags, given their votes and whether their gold answers are right."""
    votes = list(zip(items.tolist(), labelers.tolist(), strengths.tolist(), strict=True))
    standings = compare_peers(votes)
    agreed = {labeler: standings[labeler].agreed for labeler in standings}
    k, n = sum(sum(said) for said in agreed.values()), sum(len(said) for said in agreed.values())
    copies = {labeler for copying in find_copying(votes) for labeler in copying.labelers}
    return [
        labeler
        for labeler in range(len(kinds))
        if flag_gold(gold[labeler], share_gold(gold, labeler))
        or flag_agreement(agreed[labeler], (k - sum(agreed[labeler])) / (n - len(agreed[labeler])))
        or labeler in copies
    ]


def test_bad_labelers_are_flagged_by_twenty_gold_answers_and_honest_ones_are_not():
    n_bad = n_bad_flagged = n_honest = n_honest_flagged = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        kinds = draw_kinds(40, shares=BAD)
        truth = rng.permutation(np.repeat([-1, 1], 10))
        gold = [(np.sign(answer(kind, truth, rng)) == truth).tolist() for kind in kinds]
        items, labelers, strengths, _ = draw_crowd(kinds, rng, n_items=1000, overlap=3)

        flagged = list_flagged(kinds, items, labelers, strengths, gold)

        n_bad += 16
        n_honest += 24
        n_bad_flagged += sum(kinds[labeler] != HONEST for labeler in flagged)
        n_honest_flagged += sum(kinds[labeler] == HONEST for labeler in flagged)

    assert n_bad_flagged / n_bad >= 0.95
    assert n_honest_flagged / n_honest <= 0.02


def test_gold_alone_tells_them_apart():
    rng = np.random.default_rng(7)
    truth = np.repeat([-1, 1], 10)
    flagged = {
        kind: np.mean([flag_gold(np.sign(answer(kind, truth, rng)) == truth) is not None for _ in range(4000)])
        for kind in (HONEST, RANDOM, INVERTED, ALWAYS_A)
    }

    assert flagged[HONEST] <= 0.02
    assert min(flagged[kind] for kind in (RANDOM, INVERTED, ALWAYS_A)) >= 0.95


@pytest.mark.parametrize(("accuracy", "most"), [(0.93, 0.02), (0.90, 0.03), (0.85, 0.03)])
def test_honest_labelers_of_hard_gold_are_measured_by_each_other(accuracy, most):
    rng = np.random.default_rng(8)
    gold = [(rng.random(20) < accuracy).tolist() for _ in range(2000)]
    pool = share_gold(gold, 0)

    assert np.mean([flag_gold(said, pool) is not None for said in gold]) <= most
    assert flag_gold(yes(10, 20), pool) is not None


@pytest.mark.parametrize("consistency", [0.65, 0.75, 0.87])
def test_honest_labelers_who_waver_as_the_others_do_are_left_alone(consistency):
    rng = np.random.default_rng(9)
    same = [(rng.random(20) < consistency).tolist() for _ in range(2000)]

    assert np.mean([flag_repeats(said, consistency) is not None for said in same]) <= 0.001
    assert flag_repeats(yes(5, 20), 0.75) == Flag(
        rule="repeats", reason="5 of repeats 1 to 20 judged as the first time, 7 wanted."
    )


def test_gold_that_is_easy_for_the_others_asks_no_more_than_ever():
    assert (flag_gold(yes(16, 20), 0.999), flag_gold(yes(20, 20) + yes(14, 20), 0.999)) == (None, None)
    assert flag_gold(yes(15, 20), 0.999) is not None


def test_looking_after_every_answer_flags_no_more_than_looking_once_a_block():
    rng = np.random.default_rng(3)
    answers = [(rng.random(200) < 0.93).tolist() for _ in range(300)]

    every = [any(flag_gold(said[:n]) for n in range(len(said) + 1)) for said in answers]
    once = [any(flag_gold(said[:n]) for n in range(20, 201, 20)) for said in answers]

    assert every == once
    assert np.mean(every) <= 0.03  # of ten blocks together; the first one is the strictest


def test_honest_labelers_looked_at_daily_are_left_alone():
    rng = np.random.default_rng(4)
    n_fired = 0
    for _ in range(200):
        sides, longer, repeats, hasty = (rng.random(1000) < p for p in (0.53, 0.6, 0.87, 0.02))
        n_fired += any(
            flag_side(sides[:n].tolist(), 0.5)
            or flag_length(longer[:n].tolist(), [0.55] * n)
            or flag_repeats(repeats[: n // 20].tolist())
            or flag_haste(hasty[:n].tolist())
            for n in range(0, 1001, 30)
        )

    assert n_fired <= 2


def test_a_block_that_is_not_full_decides_nothing():
    none = [flag_gold(yes(0, 19)), flag_repeats(yes(0, 19)), flag_side(yes(49, 49), 0.5), flag_haste(yes(49, 49))]

    assert [*none, flag_length(yes(49, 49), [0.5] * 49), flag_agreement(yes(0, 49), 0.8)] == [None] * 6


def test_the_reasons_say_what_was_found_and_what_was_wanted():
    assert [
        flag_gold(yes(15, 20)),
        flag_gold(yes(20, 20) + yes(13, 20) + [True] * 3),
        flag_repeats(yes(11, 20)),
        flag_side(yes(50, 50), 0.52),
        flag_length(yes(0, 50), [0.9] * 25 + [0.3] * 25),
        flag_haste(yes(10, 50)),
        flag_agreement(yes(12, 50), 0.8),
    ] == [
        Flag(rule="gold", reason="15 of gold 1 to 20 right, 16 wanted."),
        Flag(rule="gold", reason="13 of gold 21 to 40 right, 14 wanted."),
        Flag(rule="repeats", reason="11 of repeats 1 to 20 judged as the first time, 12 wanted."),
        Flag(rule="side", reason="The left side won 50 of votes 1 to 50; with the others it would be 26."),
        Flag(rule="length", reason="The longer text won 0 of votes 1 to 50; with the others it would be 30."),
        Flag(rule="haste", reason="10 of votes 1 to 50 came too soon to have read the texts; 9 may."),
        Flag(
            rule="agreement",
            reason="12 of votes 1 to 50 name the winner most others name; theirs would be 40.",
        ),
    ]


@pytest.mark.parametrize("flag", [flag_gold(yes(16, 20)), flag_repeats(yes(12, 20)), flag_haste(yes(9, 50))])
def test_the_bound_itself_is_enough(flag):
    assert flag is None


def test_six_who_say_the_same_are_found_by_what_is_no_gold():
    rng = np.random.default_rng(1)
    kinds = draw_kinds(24, shares={RANDOM: 0.25})
    items, labelers, strengths, _ = draw_crowd(kinds, rng, n_items=600, overlap=6)
    script = rng.choice([-2, 2], 600)
    strengths = np.where(labelers < 6, script[items], strengths)

    found = find_copying(zip(items.tolist(), labelers.tolist(), strengths.tolist(), strict=True))

    assert {labeler for copying in found for labeler in copying.labelers} == set(range(6))
    assert all(copying.same == copying.n and copying.n % 25 == 0 for copying in found)


def test_honest_crowds_hold_no_copies():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        votes = draw_crowd(draw_kinds(30, shares={RANDOM: 0.2}), rng, n_items=1500, overlap=5, accuracy=0.95)[:3]

        assert find_copying(zip(*(column.tolist() for column in votes), strict=True)) == []


def test_someone_who_copies_an_honest_labeler_is_found_with_her():
    rng = np.random.default_rng(2)
    items, labelers, strengths, _ = draw_crowd(draw_kinds(10, shares={}), rng, n_items=900, overlap=5, accuracy=0.85)
    said = {(item, labeler): strength for item, labeler, strength in zip(items, labelers, strengths, strict=True)}
    strengths = [
        said.get((item, 1), s) if who == 0 else s for item, who, s in zip(items, labelers, strengths, strict=True)
    ]

    (copying,) = find_copying(zip(items.tolist(), labelers.tolist(), map(int, strengths), strict=True))

    assert copying == Copying(labelers=(0, 1), n=copying.n, same=copying.n, expected=copying.expected)
    assert copying.expected < 0.85 * copying.n


def test_no_votes_and_only_ties_are_no_copies():
    assert find_copying([]) == []
    tied = [(item, labeler, 0) for item in range(100) for labeler in (1, 2)]
    assert find_copying(tied) == []
    assert (
        find_copying(tied + [(item, labeler, 1 - 2 * (labeler == 3)) for item in range(100) for labeler in (3, 4)])
        == []
    )


def test_a_standing_leaves_her_own_vote_out():
    votes = [(1, 7, 2), (1, 8, 2), (1, 9, -2), (2, 7, 2), (3, 7, -2), (3, 8, -1), (4, 7, 0), (4, 8, 1)]

    standings = compare_peers(votes)

    # On item 1 the others of 7 are split; on 3 she agrees with 8; on 4 she names no winner.
    assert (standings[7].agreed, standings[8].agreed, standings[9].agreed) == ([True], [True], [False])
    assert [standings[labeler].n_shared for labeler in (7, 8, 9)] == [3, 3, 1]
