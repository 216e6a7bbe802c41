"""The losses, once. Every function takes tensors and returns tensors; nothing here knows a model or a trainer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.contract.kinds.dpo import PER_TOKEN


def bradley_terry_loss(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    *,
    target: Tensor,
    weight: Tensor,
    margin: Tensor | float = 0.0,
    tie_threshold: float = 0.0,
) -> Tensor:
    """Return the mean of -w [p log s(d) + (1 - p) log s(-d)] with d = r_chosen - r_rejected - margin.

    With a tie_threshold e above 0, a win is likely by s(d - e) and s(-d - e), and a tie, p = 0.5, by what is left of 1:
    (exp(2e) - 1) s(d - e) s(-d - e).

    Args:
        chosen_rewards, rejected_rewards: (B,), nats.
        target: (B,), p(chosen is better); 1 for a plain label, 0.5 for a tie.
        weight: (B,), >= 0. margin: (B,) or a number, nats. tie_threshold: nats.
    Returns: scalar, nats.
    Source: InstructGPT, arXiv 2203.02155 eq. 1; margin: Llama 2, arXiv 2307.09288 eq. 2; soft target: cDPO's form; ties:
        Rao and Kupper 1967, "Ties in paired-comparison experiments"; arXiv 2409.17431.
    """
    difference = chosen_rewards - rejected_rewards - margin  # (B,)
    win, loss = -F.logsigmoid(difference - tie_threshold), -F.logsigmoid(-difference - tie_threshold)  # (B,)
    losses = target * win + (1 - target) * loss
    if tie_threshold:
        losses = torch.where(target == 0.5, win + loss - math.log(math.expm1(2 * tie_threshold)), losses)
    return (weight * losses).mean()


def centering_loss(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Return the mean of (r_chosen + r_rejected)^2, which pulls rewards to zero mean.

    Args: chosen_rewards, rejected_rewards: (B,), nats.
    Returns: scalar.
    Source: Eisenstein et al. 2023, arXiv 2312.09244, eq. 2.
    """
    return ((chosen_rewards + rejected_rewards) ** 2).mean()


def dpo_loss(
    chosen_logratios: Tensor,
    rejected_logratios: Tensor,
    *,
    loss_type: str,
    beta: float,
    target: Tensor,
    weight: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    label_smoothing: float = 0.0,
    simpo_margin: float = 0.0,
    length_coef: float = 0.0,
) -> Tensor:
    """Return the mean of w [p l(h) + (1 - p) l(-h)], where l is the named loss and h says how much likelier chosen is.

    Args:
        chosen_logratios, rejected_logratios: (B,), log pi(y|x) - log ref(y|x) summed over the completion, nats; without
            log ref for simpo and orpo.
        loss_type: sigmoid, hinge, ipo, robust, simpo or orpo. beta: strength of the pull to the reference; scale of the
            reward for simpo; weight of the odds for orpo.
        target, weight: (B,) as in `bradley_terry_loss`.
        chosen_lengths, rejected_lengths: (B,), completion tokens; ipo, simpo and orpo average over them.
        label_smoothing: the known share of flipped labels, for robust. simpo_margin: nats, for simpo.
        length_coef: nats a token that what is longer is taken to owe to its length; for losses of whole completions.
    Returns: scalar.
    Raises: ValueError for an unknown loss_type.
    Source: sigmoid: arXiv 2305.18290 eq. 7; hinge: SLiC, arXiv 2305.10425 eq. 10 against a reference;
        ipo: arXiv 2310.12036 eq. 17, per token; robust: rDPO, arXiv 2403.00409 eq. 12; simpo: arXiv 2405.14734 eq. 6;
        orpo: arXiv 2403.07691 eq. 7, without its SFT term; length_coef: R-DPO, arXiv 2403.19159 eq. 9.
    """
    chosen, rejected = chosen_logratios, rejected_logratios
    if loss_type in PER_TOKEN:
        chosen, rejected = chosen / chosen_lengths.clamp(min=1), rejected / rejected_lengths.clamp(min=1)
    difference = log_odds(chosen) - log_odds(rejected) if loss_type == "orpo" else chosen - rejected  # (B,)
    if length_coef:
        difference = difference + length_coef / beta * (chosen_lengths - rejected_lengths)
    better, worse = (
        one_sided_dpo_loss(h, loss_type, beta=beta, label_smoothing=label_smoothing, simpo_margin=simpo_margin)
        for h in (difference, -difference)
    )
    return (weight * (target * better + (1 - target) * worse)).mean()


def log_odds(logps: Tensor) -> Tensor:
    """Return log p / (1 - p) of log-probabilities below 0. logps: (B,), nats. Returns: (B,)."""
    return logps - torch.log(-torch.expm1(logps.clamp(max=-1e-7)))


def one_sided_dpo_loss(
    difference: Tensor, loss_type: str, *, beta: float, label_smoothing: float, simpo_margin: float
) -> Tensor:
    """Return l(h) for the label "the first is better". difference: (B,), nats. Returns: (B,). See `dpo_loss`."""
    if loss_type == "sigmoid":
        return -F.logsigmoid(beta * difference)
    if loss_type == "hinge":
        return torch.relu(1 - beta * difference)
    if loss_type == "ipo":
        return (difference - 1 / (2 * beta)) ** 2
    if loss_type == "robust":
        clean, flipped = -F.logsigmoid(beta * difference), -F.logsigmoid(-beta * difference)
        return ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)
    if loss_type == "simpo":
        return -F.logsigmoid(beta * difference - simpo_margin)
    if loss_type == "orpo":
        return -beta * F.logsigmoid(difference)
    raise ValueError(f"loss_type must be sigmoid, hinge, ipo, robust, simpo or orpo, got {loss_type!r}")


def kto_loss(
    logratios: Tensor,
    kl: Tensor,
    *,
    label: Tensor,
    weight: Tensor,
    beta: float,
    loss_type: str = "kto",
) -> Tensor:
    """Return the mean of w (1 - v), where v is what a completion is worth to people who feel losses and gains alike.

    Args:
        logratios: (B,), log pi(y|x) - log ref(y|x) summed over the completion, nats.
        kl: scalar >= 0, nats, without gradient: how far the policy is from the reference; apo_zero_unpaired ignores it.
        label: (B,) bool, whether the completion is good. weight: (B,), >= 0.
        beta: strength of the pull to the reference. loss_type: kto or apo_zero_unpaired.
    Returns: scalar.
    Raises: ValueError for an unknown loss_type.
    Source: kto: arXiv 2402.01306 eq. 8; apo_zero_unpaired: arXiv 2408.06266 eq. 7, for one completion.
    """
    if loss_type not in ("kto", "apo_zero_unpaired"):
        raise ValueError(f"loss_type must be kto or apo_zero_unpaired, got {loss_type!r}")
    gain = logratios - kl if loss_type == "kto" else logratios  # (B,)
    worth = torch.sigmoid(beta * torch.where(label, gain, -gain))  # (B,)
    return (weight * (1 - worth)).mean()


def ppo_policy_losses(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float, dual_clip: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the clipped surrogate of every token, and the probability ratios.

    Args:
        logps, old_logps: (...), log-probability of the sampled token now and at the rollout, nats.
        advantages: (...). clip_low, clip_high: the ratio is kept in [1 - clip_low, 1 + clip_high].
        dual_clip: where the advantage is negative the loss is at most -dual_clip times it; 0 sets no limit.
    Returns: losses (...) and ratios (...), to be masked and averaged by the caller.
    Source: PPO, arXiv 1707.06347 eq. 7; dual clip: arXiv 1912.09729 eq. 5.
    """
    ratios = torch.exp((logps - old_logps).clamp(-20, 20))
    clipped = ratios.clamp(1 - clip_low, 1 + clip_high)
    losses = torch.maximum(-advantages * ratios, -advantages * clipped)
    if dual_clip:
        losses = torch.where(advantages < 0, torch.minimum(losses, -advantages * dual_clip), losses)
    return losses, ratios


def k2_losses(logps: Tensor, reference_logps: Tensor, *, ratios: Tensor) -> Tensor:
    """Return half the squared log-ratio to the reference of every token, whose gradient's mean is that of the KL divergence.

    Args:
        logps, reference_logps: (...), log-probability of the sampled token, nats, kept within 20 of each other.
        ratios: (...), of the policy to the one that sampled: what a token counts for.
    Returns: (...), to be masked and averaged by the caller.
    Source: k2 as a loss is k1 in the reward: arXiv 2512.21852; http://joschu.net/blog/kl-approx.html.
    """
    return ratios.detach() * (logps - reference_logps).clamp(-20, 20) ** 2 / 2


def ppo_value_losses(
    values: Tensor, old_values: Tensor, returns: Tensor, *, value_clip: float
) -> tuple[Tensor, Tensor]:
    """Return half the clipped squared error of every token's value, and which tokens were clipped.

    Args:
        values, old_values, returns: (...), in units of normalised reward.
        value_clip: how far a value may move; 0 sets no limit.
    Returns: losses (...) and clipped (...) bool.
    Source: PPO's reference implementation; arXiv 2005.12729 section 3.
    """
    plain = (values - returns) ** 2
    if not value_clip:
        return 0.5 * plain, torch.zeros_like(plain, dtype=torch.bool)
    near = old_values + (values - old_values).clamp(-value_clip, value_clip)
    clipped = (near - returns) ** 2
    return 0.5 * torch.maximum(plain, clipped), clipped > plain
