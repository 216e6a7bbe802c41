"""What several votes come to, by hand-counted examples."""

from __future__ import annotations

import random

import pytest

from labeling.models.scales import Scale
from rlhf.domain.datasets.consensus import (
    Decision,
    Outcome,
    Vote,
    compute_margin,
    decide_all,
    decide_by_mean,
    decide_by_share,
    decide_by_strength,
    decide_majority,
    decide_posterior,
)
from rlhf.domain.datasets.rule import CONSENSUS

BAD = Vote(0, both_bad=True)


def votes(*strengths: int) -> list[Vote]:
    return [Vote(strength) for strength in strengths]


@pytest.mark.parametrize(
    ("cast", "outcome"),
    [
        (votes(-1), Outcome.A),
        (votes(3), Outcome.B),
        (votes(0), Outcome.TIE),
        ([BAD], Outcome.BOTH_BAD),
        # The flag outweighs the preference given with it.
        ([Vote(-3, both_bad=True)], Outcome.BOTH_BAD),
        (votes(-1, -2, 3), Outcome.A),
        (votes(-1, 3), Outcome.DISAGREEMENT),
        (votes(-1, 0), Outcome.DISAGREEMENT),
        # Two of four are the most, but not more than half.
        (votes(-1, -1, 0, 2), Outcome.DISAGREEMENT),
        (votes(-1, -1, -1, 0, 2), Outcome.A),
        ([BAD, BAD, Vote(2)], Outcome.BOTH_BAD),
        (votes(0, 0, 2), Outcome.TIE),
        ([], Outcome.TOO_FEW),
    ],
)
def test_more_than_half_of_the_votes_decide(cast: list[Vote], outcome: Outcome) -> None:
    assert decide_majority(cast) == outcome
    assert decide_majority(cast[::-1]) == outcome


def test_fewer_votes_than_wanted_decide_nothing() -> None:
    assert [decide_majority(votes(-1, -1), min_judgments=n) for n in (1, 2, 3)] == [
        Outcome.A,
        Outcome.A,
        Outcome.TOO_FEW,
    ]


@pytest.mark.parametrize(
    ("strengths", "margin"),
    [((-1,), 1 / 3), ((-2,), 2 / 3), ((-3,), 1.0), ((-1, -2, -2), 2 / 3), ((-1, -1, -2), 1 / 3), ((-3, -3, 3), 1.0)],
)
def test_the_margin_is_the_mean_strength_of_the_winning_side(strengths: tuple[int, ...], margin: float) -> None:
    assert compute_margin(votes(*strengths), Outcome.A) == margin


@pytest.mark.parametrize(
    ("strengths", "decision"),
    [
        ((-2,), Decision(Outcome.A, 2 / 3)),
        ((1, 2), Decision(Outcome.B, 2 / 3)),  # 1.5 rounds away from a tie
        ((-3, -2, -2), Decision(Outcome.A, 2 / 3)),
        # The three most similar of five are 2, 3 and 3: who says the opposite is not heard.
        ((-3, -1, 2, 3, 3), Decision(Outcome.B, 1.0)),
        ((0, 0, 1), Decision(Outcome.TIE)),
        ((-1, 0, 1), Decision(Outcome.TIE)),
        # Two windows as narrow as each other, one for either side.
        ((-1, -1, 0, 1, 1), Decision(Outcome.TIE)),
        ((-2, 0, 2), Decision(Outcome.DISAGREEMENT)),
        ((-3, -3, 3, 3), Decision(Outcome.DISAGREEMENT)),
    ],
)
def test_the_three_most_similar_votes_decide(strengths: tuple[int, ...], decision: Decision) -> None:
    assert decide_by_mean(votes(*strengths)) == decision
    other = {Outcome.A: Outcome.B, Outcome.B: Outcome.A}.get(decision.outcome, decision.outcome)
    turned = decide_by_mean(votes(*(-strength for strength in strengths)))
    assert (turned.outcome, turned.margin) == (other, decision.margin)


@pytest.mark.parametrize(
    ("cast", "decision"),
    [
        (votes(-2, -2, 2), Decision(Outcome.A, 2 / 3, pytest.approx(2 / 3))),
        (votes(0, 1), Decision(Outcome.B, 1 / 3, 0.75)),
        (votes(3), Decision(Outcome.B, 1.0, 1.0)),
        (votes(0, 0), Decision(Outcome.TIE)),
        (votes(-1, 1), Decision(Outcome.DISAGREEMENT)),
        ([BAD, BAD, Vote(2)], Decision(Outcome.BOTH_BAD)),
        ([BAD, Vote(2), Vote(-1), Vote(1)], Decision(Outcome.B, 2 / 3, 0.625)),
        ([BAD, Vote(-1)], Decision(Outcome.A, 1 / 3, 0.75)),
        ([BAD, Vote(0)], Decision(Outcome.TIE)),
        ([BAD, Vote(-1), Vote(1)], Decision(Outcome.DISAGREEMENT)),
    ],
)
def test_a_soft_label_is_the_share_of_the_votes(cast: list[Vote], decision: Decision) -> None:
    assert decide_by_share(cast) == decision
    assert decide_by_share(cast[::-1]) == decision


@pytest.mark.parametrize(
    ("cast", "outcome", "target"),
    [
        # 1 / (1 + exp(-2.8 / 3)), and so on by thirds.
        (votes(-1), Outcome.A, 0.7177),
        (votes(2), Outcome.B, 0.8660),
        (votes(3), Outcome.B, 0.9427),
        # One who is sure outweighs one who hardly is, and two of them are not as sure as one.
        (votes(-3, 1), Outcome.A, (0.9427 + 0.2823) / 2),
        (votes(-3, 1, 1), Outcome.A, (0.9427 + 2 * 0.2823) / 3),
        (votes(0, 3), Outcome.B, (0.5 + 0.9427) / 2),
        ([BAD, Vote(3)], Outcome.B, (0.5 + 0.9427) / 2),
        ([Vote(4, scale=Scale.FORCED)], Outcome.B, 0.9427),
        ([Vote(-1, scale=Scale.EIGHT)], Outcome.A, 0.5987),
    ],
)
def test_a_vote_is_as_sure_as_it_is_strong(cast: list[Vote], outcome: Outcome, target: float) -> None:
    decision = decide_by_strength(cast)
    assert (decision.outcome, decision.target) == (outcome, pytest.approx(target, abs=1e-4))


@pytest.mark.parametrize(
    ("cast", "outcome"),
    [
        (votes(0, 0), Outcome.TIE),
        ([Vote(1, scale=Scale.FORCED)], Outcome.TIE),  # "negligibly better, or unsure"
        (votes(-2, 2), Outcome.DISAGREEMENT),
        ([BAD, BAD, Vote(3)], Outcome.BOTH_BAD),
        ([BAD, Vote(0)], Outcome.TIE),
    ],
)
def test_votes_whose_strengths_come_to_nothing_make_no_pair(cast: list[Vote], outcome: Outcome) -> None:
    assert decide_by_strength(cast) == decide_by_strength(cast[::-1]) == Decision(outcome)


def test_a_target_of_weighed_votes_counts_both_bad_half() -> None:
    assert decide_posterior(votes(-1), [0.6, 0.1, 0.0, 0.3]) == Decision(Outcome.A, 1 / 3, pytest.approx(0.8))


def test_too_few_votes_decide_nothing_by_any_rule() -> None:
    for consensus in CONSENSUS:
        assert decide_all({1: votes(2), 2: votes(2, 2)}, consensus=consensus, min_judgments=2)[1] == Decision(
            Outcome.TOO_FEW
        )
        assert decide_all({}, consensus=consensus) == {}


def test_reliability_turns_inverted_labelers_round() -> None:
    rng = random.Random(1)
    truth = {pk: rng.choice([-1, 1]) for pk in range(200)}
    # 1 and 2 say the opposite of what is right, 3 to 6 what is right; three of them judge each.
    cast = {
        pk: [Vote(2 * (-sign if labeler < 3 else sign), labeler=labeler) for labeler in rng.sample(range(1, 7), 3)]
        for pk, sign in truth.items()
    }

    decisions = decide_all(cast, consensus="dawid_skene")
    majority = decide_all(cast, consensus="majority")

    def count_right(decided: dict[int, Decision]) -> int:
        return sum(decision.outcome == ("A" if truth[pk] < 0 else "B") for pk, decision in decided.items())

    assert count_right(decisions) == 200
    assert count_right(majority) < 180
    assert all(decision.target > 0.9 for decision in decisions.values())
    # Even a side with no vote for it has a strength.
    assert {decision.margin for decision in decisions.values()} == {2 / 3}


def test_reliability_knows_ties_both_bad_and_sources() -> None:
    cast = {
        1: [Vote(0, labeler=1), Vote(0, labeler=2)],
        2: [Vote(0, both_bad=True, labeler=1), Vote(2, both_bad=True, labeler=2)],
        3: [Vote(-1, source="imported:s"), Vote(-3, labeler=1)],
        4: [Vote(1, labeler=1), Vote(-1, labeler=2)],
    }

    decided = decide_all(cast, consensus="dawid_skene")

    assert [decided[pk].outcome for pk in (1, 2, 3)] == [Outcome.TIE, Outcome.BOTH_BAD, Outcome.A]
    assert decided[3].margin == 2 / 3
    assert decided[4].outcome in (Outcome.DISAGREEMENT, Outcome.A, Outcome.B)


def cast(scale: str, *strengths: int) -> list[Vote]:
    return [Vote(strength, scale=scale) for strength in strengths]


@pytest.mark.parametrize(
    ("found", "margin"),
    [
        # Llama 2's words, and TRL's column: 1, 2/3, 1/3, 0.
        (cast("forced", -4), 1.0),
        (cast("forced", -3), 2 / 3),
        (cast("forced", 2), 1 / 3),
        (cast("forced", 1), 0.0),
        (cast("forced", -4, -3, -3, 1), 2 / 3),
        # Eight points an equal way apart from -1 to 1.
        (cast("eight", 1), 1 / 7),
        (cast("eight", 2), 3 / 7),
        (cast("eight", 3), 5 / 7),
        (cast("eight", -4), 1.0),
        (cast("seven", -3), 1.0),
        (cast("quick", -2), 2 / 3),
        # On several scales they are read as the nearest of seven steps.
        (cast("forced", -4) + cast("seven", -1), 2 / 3),
        (cast("forced", 1) + cast("eight", 1), 1 / 3),
    ],
)
def test_a_margin_is_that_of_the_step_on_its_scale(found: list[Vote], margin: float) -> None:
    assert decide_all({1: found})[1].margin == pytest.approx(margin)


@pytest.mark.parametrize(
    ("found", "decision"),
    [
        # The middle steps of a forced scale are neighbours: no vote of three can make a tie of them.
        (cast("forced", -1, 1, 1), Decision(Outcome.B, 0.0)),
        (cast("eight", -1, -1, 1), Decision(Outcome.A, 1 / 7)),
        (cast("eight", -1, 1), Decision(Outcome.TIE)),
        (cast("eight", 3, 4, 4), Decision(Outcome.B, 1.0)),
        (cast("eight", 3, 3, 4), Decision(Outcome.B, 5 / 7)),
        (cast("forced", 1, 2, 3), Decision(Outcome.B, 1 / 3)),
        (cast("forced", -4, -1, 4), Decision(Outcome.DISAGREEMENT)),
    ],
)
def test_the_mean_of_a_forced_scale_keeps_to_its_steps(found: list[Vote], decision: Decision) -> None:
    assert decide_by_mean(found) == decision
    turned = [Vote(-vote.strength, scale=vote.scale) for vote in found]
    opposite = {Outcome.A: Outcome.B, Outcome.B: Outcome.A}.get(decision.outcome, decision.outcome)
    assert decide_by_mean(turned) == Decision(opposite, decision.margin)
