"""The estimate of the KL divergence that is shown, against closed forms."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.experience import Experience
from rlhf.learning.rollout_metrics import describe_rollout, estimate_k3, self_bleu
from rlhf.learning.update_metrics import UpdateMetrics


def make_experience(log_ratios: torch.Tensor) -> Experience:
    """Return a rollout of whole rows whose policy and reference differ by log_ratios: (B, C)."""
    n_rows, n_columns = log_ratios.shape
    zeros, ones = torch.zeros(n_rows, n_columns), torch.ones(n_rows, n_columns, dtype=torch.bool)
    return Experience(
        prompts=[[1]] * n_rows,
        completions=[[2] * n_columns] * n_rows,
        finished=ones[:, 0],
        raw_scores=zeros[:, 0],
        scores=zeros[:, 0],
        mask=ones,
        logps=log_ratios - 1,
        reference_logps=zeros - 1,
        sampler_logps=zeros,
        entropies=zeros,
        values=zeros,
        rewards=zeros,
        advantages=zeros,
        returns=zeros,
    )


def test_k3_is_its_closed_form():
    found = estimate_k3(torch.tensor([0.0, math.log(2), -math.log(2), 3.0]))

    expected = [0.0, 0.5 - 1 + math.log(2), 2 - 1 - math.log(2), math.exp(-3) - 1 + 3]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_k3_is_half_the_square_near_zero_and_never_negative():
    small = torch.tensor([1e-3, -1e-3, 3e-4, -3e-4])

    assert estimate_k3(small).tolist() == pytest.approx((small.square() / 2).tolist(), rel=0.05)
    assert (estimate_k3(torch.linspace(-1e-2, 1e-2, 10_001)) >= 0).all()


@pytest.mark.parametrize("log_ratio", [-5.0, -100.0, 15.0, 100.0, -math.inf, math.inf])
def test_one_token_counts_ten_nats_at_most(log_ratio: float):
    assert estimate_k3(torch.tensor([log_ratio])).tolist() == [10.0]


def test_a_token_gone_astray_does_not_drown_the_rollout():
    metrics = describe_rollout(make_experience(torch.tensor([[-30.0, 0.0], [0.0, 0.0]])))

    assert metrics["objective/kl_token_k3"] == pytest.approx(10 / 4)
    assert metrics["objective/kl"] == pytest.approx(-30 / 2)


def test_a_token_gone_astray_does_not_alone_end_the_passes_over_a_rollout():
    updates = UpdateMetrics(PPOConfig(), torch.device("cpu"))
    ratios = torch.tensor([math.exp(20), 1.0, 2.0, 0.5])

    updates.add_policy(torch.zeros(4), ratios)

    # Drawn from the old policy, log p - log q is minus the logarithm of the ratio.
    expected = (10 + 0 + (2 - 1 - math.log(2)) + (0.5 - 1 + math.log(2))) / 4
    assert updates.close_minibatch(4) == pytest.approx(expected, rel=1e-5)


def test_self_bleu_is_one_for_one_phrase_and_nothing_for_strangers():
    phrase = [1, 2, 3, 4, 5]

    assert self_bleu([phrase] * 3) == pytest.approx(1.0)
    assert self_bleu([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]) == 0.0
    assert self_bleu([phrase]) == 0.0


def test_self_bleu_is_its_closed_form_for_two_rows():
    # Of four tokens three are shared, of three pairs two, of two triples one, of one quadruple none; one added from pairs on.
    expected = (3 / 4 * (2 + 1) / (3 + 1) * (1 + 1) / (2 + 1) * (0 + 1) / (1 + 1)) ** 0.25

    assert self_bleu([[1, 2, 3, 4], [1, 2, 3, 9]]) == pytest.approx(expected)


def test_a_run_of_tokens_counts_no_oftener_than_one_other_row_has_it():
    # The first row says 7 three times, the others once each: one of its three counts.
    expected_first = (1 / 3 * (0 + 1) / (2 + 1) * (0 + 1) / (1 + 1) * (0 + 1) / (0 + 1)) ** 0.25

    assert self_bleu([[7, 7, 7], [7], [7]]) == pytest.approx((expected_first + 2 * 1.0) / 3)


def test_the_gap_between_sampler_and_trainer_is_shown_where_the_sampler_tells():
    silent = make_experience(torch.zeros(2, 2))
    telling = dataclasses.replace(silent, sampler_logps=silent.logps + torch.tensor([[0.1, -0.3], [0.0, 0.0]]))

    assert "val/logprob_gap" not in describe_rollout(silent)
    assert describe_rollout(telling)["val/logprob_gap"] == pytest.approx(0.1)
