"""Bradley-Terry with ties against closed forms, against evalica, and against a simulated truth."""

from __future__ import annotations

import math

import evalica
import numpy as np
import pytest

from rlhf.domain import bradley_terry
from rlhf.domain.bradley_terry import Matches, fit_matches, rate_against, wilson


def make_matches(rows, *, n_models=2, prompts=None, covariates=None):
    """rows: (left, right, wins, ties, losses)."""
    columns = np.array(rows, dtype=float)
    n = len(rows)
    return Matches(
        left=columns[:, 0].astype(int),
        right=columns[:, 1].astype(int),
        wins=columns[:, 2],
        ties=columns[:, 3],
        losses=columns[:, 4],
        prompts=np.arange(n) if prompts is None else np.array(prompts),
        covariates=np.zeros((n, 0)) if covariates is None else np.array(covariates, dtype=float),
        n_models=n_models,
    )


def simulate(strengths, *, tie, effect=0.0, n=4000, seed=0, style=lambda rng, left, right: rng.normal(size=len(left))):
    rng = np.random.default_rng(seed)
    left = rng.integers(len(strengths), size=n)
    right = (left + rng.integers(1, len(strengths), size=n)) % len(strengths)
    x = style(rng, left, right)
    differences = np.array(strengths)[left] - np.array(strengths)[right] + effect * x
    win, tied, _ = bradley_terry.probabilities(differences, np.array(tie))
    u = rng.random(n)
    wins, ties = (u < win).astype(float), ((u >= win) & (u < win + tied)).astype(float)
    rows = np.stack([left, right, wins, ties, 1 - wins - ties], axis=1)
    return make_matches(rows, n_models=len(strengths), covariates=x[:, None], prompts=rng.integers(n // 2, size=n))


def test_two_models_have_davidsons_closed_form(monkeypatch):
    monkeypatch.setattr(bradley_terry, "PRIOR", 1e-9)

    fit = fit_matches(make_matches([(0, 1, 30, 10, 20)]))

    assert fit.strengths[0] - fit.strengths[1] == pytest.approx(math.log(30 / 20))
    assert fit.tie == pytest.approx(math.log(10 / math.sqrt(30 * 20)))


def test_the_win_rate_of_two_models_is_the_share_won_ties_half(monkeypatch):
    monkeypatch.setattr(bradley_terry, "PRIOR", 1e-9)

    rate = rate_against(make_matches([(0, 1, 30, 10, 20)]), 1)[0].rate

    assert rate == pytest.approx((30 + 10 / 2) / 60)


def test_a_vote_says_the_same_from_either_side():
    one = fit_matches(make_matches([(0, 1, 7, 2, 3), (1, 2, 4, 1, 6)], n_models=3))
    other = fit_matches(make_matches([(1, 0, 3, 2, 7), (2, 1, 6, 1, 4)], n_models=3))

    assert one.strengths == pytest.approx(other.strengths)
    assert one.tie == pytest.approx(other.tie)


def test_a_vote_of_weight_two_is_two_votes():
    twice = make_matches([(0, 1, 2, 0, 0), (0, 1, 0, 0, 1)])
    listed = make_matches([(0, 1, 1, 0, 0), (0, 1, 1, 0, 0), (0, 1, 0, 0, 1)])

    assert fit_matches(twice).strengths == pytest.approx(fit_matches(listed).strengths)


def test_without_ties_strengths_are_those_of_evalica(monkeypatch):
    monkeypatch.setattr(bradley_terry, "PRIOR", 1e-7)
    matches = simulate([0.8, 0.1, -0.3, -0.6], tie=-50.0, n=2000)
    left, right = [str(model) for model in matches.left], [str(model) for model in matches.right]
    winners = [evalica.Winner.X if win else evalica.Winner.Y for win in matches.wins]

    theirs = evalica.bradley_terry(left, right, winners, tolerance=1e-10, limit=10_000).scores
    logs = np.log(np.array([theirs[str(model)] for model in range(4)]))

    assert fit_matches(matches.without_covariates()).strengths == pytest.approx(logs - logs.mean(), abs=1e-3)


def test_strengths_ties_and_style_of_a_simulated_truth_are_found_again():
    truth = np.array([0.9, 0.2, -0.4, -0.7])

    fit = fit_matches(simulate(truth, tie=math.log(0.6), effect=1.2, n=20_000))

    assert fit.strengths == pytest.approx(truth, abs=0.08)
    assert fit.effects == pytest.approx([1.2], abs=0.08)
    assert fit.tie == pytest.approx(math.log(0.6), abs=0.08)


def test_control_for_length_takes_from_a_model_what_only_its_length_won():
    """Model 1 is no better than model 0, and its texts are longer; people like long texts."""
    matches = simulate([0.0, 0.0], tie=-1.0, effect=2.0, style=lambda rng, left, right: 0.5 * (left - right))
    noisy = simulate(
        [0.0, 0.0],
        tie=-1.0,
        effect=2.0,
        style=lambda rng, left, right: 0.3 * (left - right) + rng.normal(size=len(left)),
    )

    assert rate_against(matches.without_covariates(), 0, n_resamples=50)[1].rate > 0.65
    controlled = rate_against(noisy, 0, n_resamples=50)[1]
    assert controlled.low < 0.5 < controlled.high
    assert rate_against(noisy.without_covariates(), 0, n_resamples=50)[1].low > 0.5


def test_intervals_cover_the_truth_as_often_as_they_say():
    win, tied, _ = bradley_terry.probabilities(np.array([0.6]), np.array([-0.5]))
    truth = float(win[0] + tied[0] / 2)

    estimates = [
        rate_against(simulate([0.6, 0.0], tie=-0.5, n=120, seed=seed), 1, n_resamples=100)[0] for seed in range(60)
    ]
    covered = sum(estimate.low <= truth <= estimate.high for estimate in estimates)

    assert 53 <= covered <= 60  # of 60; 57 are expected


def test_votes_on_one_prompt_tell_less_than_on_many():
    rows = [(0, 1, 1, 0, 0), (0, 1, 0, 0, 1)] * 30
    apart = rate_against(make_matches(rows), 1)[0]
    together = rate_against(make_matches(rows, prompts=[number // 2 for number in range(20)] * 3), 1)[0]

    assert together.n_effective == pytest.approx(10)
    assert together.high - together.low > apart.high - apart.low


def test_a_side_that_won_always_is_not_sure_to_win_again():
    estimate = rate_against(make_matches([(0, 1, 1, 0, 0)] * 8), 1)[0]

    assert estimate.rate > 0.9
    assert estimate.low == pytest.approx(wilson(estimate.rate, 8)[0])
    assert estimate.low < 0.72


def test_models_that_no_vote_joins_are_not_compared():
    matches = make_matches([(0, 1, 3, 0, 1), (2, 3, 5, 0, 1)], n_models=5)

    assert bradley_terry.find_connected(matches, 0) == {0, 1}
    assert bradley_terry.find_connected(matches, 3) == {2, 3}
    assert bradley_terry.find_connected(matches, 4) == {4}
