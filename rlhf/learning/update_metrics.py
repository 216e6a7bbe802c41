"""What PPO's optimizer steps on one rollout did, summed on the device and read once a rollout."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.processes import max_over_processes, sum_over_processes
from rlhf.learning.rollout_metrics import estimate_k3


class UpdateMetrics:
    """Sums over the tokens of a minibatch, then means over the minibatches of a rollout."""

    def __init__(self, config: PPOConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.sums = self.fresh_sums()
        self.gathered: defaultdict[str, list[Tensor]] = defaultdict(list)
        self.highest_ratio: Tensor | None = None

    def fresh_sums(self) -> defaultdict[str, Tensor]:
        """Return sums that begin at 0."""
        return defaultdict(lambda: torch.zeros((), device=self.device))

    @torch.no_grad()
    def add_values(self, losses: Tensor, clipped: Tensor) -> None:
        """Add the critic's losses and clipped tokens of one micro-batch: (N,) each."""
        self.sums["loss/value_avg"] += losses.sum()
        self.sums["val/clipfrac_avg"] += clipped.sum()

    @torch.no_grad()
    def add_policy(self, losses: Tensor, ratios: Tensor) -> None:
        """Add the policy's losses and probability ratios of one micro-batch: (N,) each."""
        low, high = ratios < 1 - self.config.clip_low, ratios > 1 + self.config.clip_high
        self.sums["loss/policy_avg"] += losses.sum()
        self.sums["policy/approxkl_avg"] += estimate_k3(-ratios.log()).sum()  # KL(old || new), drawn from old
        self.sums["policy/clipfrac_low"] += low.sum()
        self.sums["policy/clipfrac_high"] += high.sum()
        self.sums["policy/clipfrac_avg"] += (low | high).sum()
        self.sums["val/ratio"] += ratios.sum()
        # A process whose share of a minibatch is empty has no ratio, and must not be missing in the exchange.
        some = ratios if len(ratios) else ratios.new_ones(1)
        self.gathered["val/ratio_max"].append(some.max())
        self.gathered["val/ratio_error"].append((some - 1).abs().max())

    @torch.no_grad()
    def add_ptx(self, loss: Tensor) -> None:
        """Add this process's part of the fine-tuning loss, a mean times the minibatch's valid tokens: scalar."""
        self.sums["loss/ptx_avg"] += loss

    def close_minibatch(self, n_tokens: int) -> float:
        """Turn the sums into means over the minibatch's valid tokens; return its KL(old || new) a token, nats.

        Args: n_tokens: of the minibatch, all processes together. They come here together and hear the same.
        """
        if "val/ratio_error" in self.gathered:
            found = torch.stack(
                [torch.stack(self.gathered.pop(name)).max() for name in ("val/ratio_max", "val/ratio_error")]
            )
            highest, error = max_over_processes(found)
            self.highest_ratio = highest if self.highest_ratio is None else torch.maximum(highest, self.highest_ratio)
            # The first minibatch is learned from before any step: its ratio is 1 but for rounding, or the two ways of
            # computing log-probabilities differ.
            self.gathered.setdefault("val/ratio_first_error", [error])
        means = sum_over_processes(torch.stack(list(self.sums.values()))) / n_tokens
        for name, mean in zip(self.sums, means, strict=True):
            self.gathered[name].append(mean)
        kl = self.gathered["policy/approxkl_avg"][-1].item() if "policy/approxkl_avg" in self.sums else 0.0
        self.sums = self.fresh_sums()
        return kl

    def read(self) -> dict[str, float]:
        """Return the metrics of the minibatches since this object was made."""
        means = {name: torch.stack(values).mean().item() for name, values in self.gathered.items()}
        if self.highest_ratio is not None:
            means["val/ratio_max"] = self.highest_ratio.item()
        return means
