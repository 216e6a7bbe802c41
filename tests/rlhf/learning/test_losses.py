import math
from types import SimpleNamespace

import pytest
import torch
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from rlhf.learning.losses import (
    bradley_terry_loss,
    centering_loss,
    dpo_loss,
    k2_losses,
    kto_loss,
    ppo_policy_losses,
    ppo_value_losses,
)

LOSSES = ("sigmoid", "hinge", "ipo", "robust", "simpo", "orpo")


def bradley_terry(difference: float, *, target: float = 1.0, weight: float = 1.0, margin: float = 0.0) -> float:
    return bradley_terry_loss(
        torch.tensor([difference]),
        torch.tensor([0.0]),
        target=torch.tensor([target]),
        weight=torch.tensor([weight]),
        margin=margin,
    ).item()


def dpo(chosen: list[float], rejected: list[float], loss_type: str, *, target: float = 1.0, **settings) -> float:
    n = len(chosen)
    return dpo_loss(
        torch.tensor(chosen),
        torch.tensor(rejected),
        loss_type=loss_type,
        beta=settings.pop("beta", 0.5),
        target=torch.full((n,), target),
        weight=settings.pop("weight", torch.ones(n)),
        chosen_lengths=torch.tensor(settings.pop("chosen_lengths", [1] * n)),
        rejected_lengths=torch.tensor(settings.pop("rejected_lengths", [1] * n)),
        **settings,
    ).item()


def test_bradley_terry_is_the_log_of_the_odds():
    assert bradley_terry(math.log(3)) == pytest.approx(math.log(4 / 3))
    assert bradley_terry(0.0) == pytest.approx(math.log(2))


def test_a_soft_target_mixes_both_labels():
    mixed = 0.7 * bradley_terry(1.3) + 0.3 * bradley_terry(-1.3)

    assert bradley_terry(1.3, target=0.7) == pytest.approx(mixed)


def test_a_tie_pulls_the_difference_to_zero():
    difference = torch.tensor([0.0], requires_grad=True)
    one = torch.ones(1)

    bradley_terry_loss(difference, torch.zeros(1), target=0.5 * one, weight=one).backward()

    assert difference.grad.item() == 0.0
    assert bradley_terry(0.4, target=0.5) > bradley_terry(0.0, target=0.5)


def test_a_margin_is_a_smaller_difference():
    assert bradley_terry(1.5, margin=0.5) == pytest.approx(bradley_terry(1.0))


def test_a_weight_of_two_counts_twice():
    assert bradley_terry(0.3, weight=2.0) == pytest.approx(2 * bradley_terry(0.3))


def test_centering_is_the_mean_square_of_the_sum():
    assert centering_loss(torch.tensor([1.0, 0.0]), torch.tensor([2.0, -1.0])).item() == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("sigmoid", math.log(1 + math.exp(-0.5 * 3.0))),
        ("hinge", 0.0),
        ("ipo", (4.0 / 2 - 1.0 / 4 - 1.0) ** 2),
        ("robust", (0.9 * math.log(1 + math.exp(-1.5)) - 0.1 * math.log(1 + math.exp(1.5))) / 0.8),
    ],
)
def test_dpo_losses_are_their_formulas(loss_type: str, expected: float):
    smoothing = 0.1 if loss_type == "robust" else 0.0
    lengths = {"chosen_lengths": [2], "rejected_lengths": [4]}
    chosen = 4.0

    loss = dpo([chosen], [1.0], loss_type, label_smoothing=smoothing, **lengths)

    assert loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_turning_a_pair_round_turns_its_target_round(loss_type: str):
    forth = dpo([-0.3, -1.0], [-0.1, -2.0], loss_type, target=0.8)
    back = dpo([-0.1, -2.0], [-0.3, -1.0], loss_type, target=0.2)

    assert forth == pytest.approx(back)


def test_robust_without_noise_is_sigmoid():
    assert dpo([0.3], [0.1], "robust") == pytest.approx(dpo([0.3], [0.1], "sigmoid"))


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "robust"])
def test_what_a_longer_completion_wins_by_its_length_is_no_reward(loss_type: str):
    longer = {"chosen_lengths": [30], "rejected_lengths": [20]}

    asked = dpo([1.0], [0.5], loss_type, length_coef=0.02, beta=0.5, **longer)
    expected = dpo([1.0 + 10 * 0.02 / 0.5], [0.5], loss_type, beta=0.5)

    assert asked == pytest.approx(expected)
    assert asked < dpo([1.0], [0.5], loss_type, beta=0.5, **longer)


def test_of_completions_as_long_as_each_other_length_says_nothing():
    alike = {"chosen_lengths": [30], "rejected_lengths": [30]}

    assert dpo([0.4], [0.1], "sigmoid", length_coef=0.5, **alike) == dpo([0.4], [0.1], "sigmoid", **alike)


def test_an_unknown_dpo_loss_is_named():
    with pytest.raises(ValueError, match="got 'kto'"):
        dpo([0.0], [0.0], "kto")


def test_simpo_is_trls():
    chosen, rejected = torch.tensor([-4.0, -9.0]), torch.tensor([-8.0, -3.0])
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu"),
        loss_type="simpo",
        beta=2.0,
        simpo_gamma=0.5,
        label_smoothing=0.0,
        alpha=0.0,
    )
    lengths = torch.tensor([2, 3]), torch.tensor([4, 3])

    theirs, _, _ = CPOTrainer.cpo_loss(trainer, chosen / lengths[0], rejected / lengths[1])
    ours = dpo(
        chosen.tolist(),
        rejected.tolist(),
        "simpo",
        beta=2.0,
        simpo_margin=0.5,
        chosen_lengths=[2, 3],
        rejected_lengths=[4, 3],
    )

    assert ours == pytest.approx(theirs.mean().item(), rel=1e-6)


def test_orpo_is_trls():
    chosen, rejected = torch.tensor([-4.0, -9.0]), torch.tensor([-8.0, -3.0])
    trainer = SimpleNamespace(accelerator=SimpleNamespace(device="cpu"), beta=0.1)

    theirs = ORPOTrainer.odds_ratio_loss(trainer, chosen / 2, rejected / 4)[0]
    ours = dpo(chosen.tolist(), rejected.tolist(), "orpo", beta=0.1, chosen_lengths=[2, 2], rejected_lengths=[4, 4])

    assert ours == pytest.approx(-theirs.mean().item(), rel=1e-6)


def test_the_surrogate_at_the_rollout_is_minus_the_advantage():
    logps, advantages = torch.tensor([-1.0, -2.0]), torch.tensor([0.5, -3.0])

    losses, ratios = ppo_policy_losses(logps, logps, advantages, clip_low=0.2, clip_high=0.2)

    assert losses.tolist() == [-0.5, 3.0]
    assert ratios.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"),
    [(0.5, 1.0, False), (0.5, -1.0, True), (-0.5, -1.0, False), (-0.5, 1.0, True), (0.1, 1.0, True)],
)
def test_clipping_stops_only_moves_that_went_far_enough(log_ratio: float, advantage: float, moves: bool):
    logps = torch.tensor([log_ratio], requires_grad=True)

    losses, _ = ppo_policy_losses(logps, torch.zeros(1), torch.tensor([advantage]), clip_low=0.2, clip_high=0.2)
    losses.sum().backward()

    assert (logps.grad.item() != 0.0) == moves


@pytest.mark.parametrize(("log_ratio", "advantage", "expected"), [(2.0, -1.0, 3.0), (0.0, -1.0, 1.0), (2.0, 1.0, -1.2)])
def test_dual_clipping_bounds_the_loss_of_a_bad_token_grown_likely(log_ratio, advantage, expected):
    losses, _ = ppo_policy_losses(
        torch.tensor([log_ratio]), torch.zeros(1), torch.tensor([advantage]), clip_low=0.2, clip_high=0.2, dual_clip=3.0
    )

    assert losses.item() == pytest.approx(expected)


def test_without_a_clip_a_value_may_move_as_far_as_it_likes():
    values, old, returns = torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 1.0])

    losses, clipped = ppo_value_losses(values, old, returns, value_clip=0.0)

    assert losses.tolist() == pytest.approx([0.0, 0.5 * 0.9**2])
    assert clipped.tolist() == [False, False]


def test_a_value_may_not_move_further_than_its_clip():
    values, old, returns = torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 1.0])

    losses, clipped = ppo_value_losses(values, old, returns, value_clip=0.2)

    assert losses.tolist() == pytest.approx([0.5 * 0.8**2, 0.5 * 0.9**2])
    assert clipped.tolist() == [True, False]


def test_the_mean_gradient_of_k2_is_that_of_the_exact_kl():
    torch.manual_seed(0)
    logits, reference = torch.randn(30, dtype=torch.double, requires_grad=True), torch.randn(30).double().log_softmax(0)
    logps = logits.log_softmax(0)
    sampler = torch.randn(30).double().softmax(0)  # which token is drawn how often

    exact = torch.autograd.grad((logps.exp() * (logps - reference)).sum(), logits, retain_graph=True)[0]
    mean = (sampler * k2_losses(logps, reference, ratios=logps.exp() / sampler)).sum()

    assert torch.autograd.grad(mean, logits)[0].tolist() == pytest.approx(exact.tolist(), abs=1e-12)


@pytest.mark.parametrize("difference", [-3.0, 0.0, 0.7, 8.0])
def test_win_loss_and_tie_share_all_the_probability(difference: float):
    def likely(target: float, sign: float) -> float:
        rewards = torch.tensor([sign * difference])
        one = torch.ones(1)
        nats = bradley_terry_loss(rewards, torch.zeros(1), target=target * one, weight=one, tie_threshold=0.4)
        return math.exp(-nats.item())

    theta, a, b = math.exp(0.4), math.exp(difference), 1.0
    assert likely(1.0, 1) == pytest.approx(a / (a + theta * b), rel=1e-5)
    assert likely(0.5, 1) == pytest.approx((theta**2 - 1) * a * b / ((a + theta * b) * (b + theta * a)), rel=1e-4)
    assert likely(1.0, 1) + likely(1.0, -1) + likely(0.5, 1) == pytest.approx(1.0, abs=1e-5)


def test_unlabelled_ties_of_zero_threshold_are_half_right():
    rewards, one = torch.tensor([1.5]), torch.ones(1)

    loss = bradley_terry_loss(rewards, torch.zeros(1), target=0.5 * one, weight=one)

    assert loss.item() == pytest.approx(-0.5 * (math.log(1 / (1 + math.exp(-1.5))) + math.log(1 / (1 + math.exp(1.5)))))


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto_in_closed_form(loss_type: str):
    ratios, label = torch.tensor([0.8, -0.4]), torch.tensor([True, False])

    loss = kto_loss(
        ratios, torch.tensor(0.3), label=label, weight=torch.tensor([2.0, 0.5]), beta=0.7, loss_type=loss_type
    )

    moved = 0.3 if loss_type == "kto" else 0.0
    good = 1 - 1 / (1 + math.exp(-0.7 * (0.8 - moved)))
    bad = 1 - 1 / (1 + math.exp(-0.7 * (moved + 0.4)))
    assert loss.item() == pytest.approx((2.0 * good + 0.5 * bad) / 2, abs=1e-6)
