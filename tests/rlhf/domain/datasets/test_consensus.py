"""What several votes come to, by hand-counted examples."""

from __future__ import annotations

import pytest

from rlhf.domain.datasets.consensus import Outcome, Vote, compute_margin, decide_majority

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
