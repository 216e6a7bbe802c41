"""One minibatch of PPO: its loss, its gradient, and whether the policy has moved far enough from the one that sampled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.experience import Experience
from rlhf.learning.folded import folds_kept
from rlhf.learning.logps import CompletionBatch, token_logps
from rlhf.learning.losses import k2_losses, ppo_policy_losses, ppo_value_losses
from rlhf.learning.micro_batches import cut_batch
from rlhf.learning.models import autocast
from rlhf.learning.processes import process_count
from rlhf.learning.ptx import PtxRows
from rlhf.learning.update_metrics import UpdateMetrics


class PolicyUpdate:
    """Learns from the minibatches of one rollout.

    Args:
        accelerator: runs the backward passes. ptx: rows to learn to write besides, or None.
        pad_id: fills rows on the right. dtype: of the trunks' matrix products.
        with_policy: whether the policy learns, or the critic alone.
    """

    def __init__(
        self,
        config: PPOConfig,
        experience: Experience,
        *,
        accelerator: Accelerator,
        ptx: PtxRows | None,
        pad_id: int,
        dtype: torch.dtype,
        with_policy: bool,
    ) -> None:
        self.config = config
        self.experience = experience
        self.accelerator = accelerator
        self.ptx = ptx if with_policy else None
        self.pad_id = pad_id
        self.dtype = dtype
        self.with_policy = with_policy
        self.metrics = UpdateMetrics(config, accelerator.device)

    def learn(self, model: Any, rows: list[int], *, step: int) -> tuple[Tensor, float]:
        """Accumulate the gradient of one minibatch. The mean is over its valid tokens, those of all processes together.

        Padding, the order of the rows, how they are cut into micro-batches and on how many processes they are shared out
        change nothing but rounding.

        Args: model: an ActorCritic, wrapped as the accelerator likes. rows: of the experience. step: optimizer steps before.
        Returns: the loss, to be averaged over the processes; KL(old || new) a token, nats.
        """
        n_tokens = int(self.experience.mask[rows].sum())
        total = self.learn_ptx(model, step, n_tokens) if self.ptx else torch.zeros((), device=self.accelerator.device)
        micro_batches = self.cut(rows)
        with folds_kept(model):
            for who in self.list_passes(model):
                for number, (part, is_real) in enumerate(micro_batches, 1):
                    with self.syncing(model, now=number == len(micro_batches)):
                        batch = self.experience.batch(part, pad_id=self.pad_id).to(self.accelerator.device)
                        summed = self.ask(model, batch, part, is_real=is_real, **who)
                        loss = process_count() * summed / n_tokens
                        self.accelerator.backward(loss)
                        total += loss.detach()
        return total, self.metrics.close_minibatch(n_tokens)

    def syncing(self, model: Any, *, now: bool) -> AbstractContextManager[Any]:
        """Exchange gradients with the other processes in this backward pass, or leave it to a later one."""
        return nullcontext() if now else self.accelerator.no_sync(model)

    def cut(self, rows: list[int]) -> list[tuple[list[int], bool]]:
        """Return this process's part of a minibatch as micro-batches, as many as every process has.

        Sharded models and gradient exchanges wait for each other in every pass: who has fewer repeats rows, not real,
        that weigh nothing.
        """
        lengths = [self.experience.row_lengths[row] for row in rows]
        return [(part, share > 0) for part, share in cut_batch(rows, lengths, self.config.micro_batch_tokens)]

    def list_passes(self, model: Any) -> list[dict[str, bool]]:
        """Return who is asked in which pass over the micro-batches.

        First the critic, then the policy, where they share no trained weight: so activations of one model are held at a
        time. Gradients are exchanged once for both, so several processes hold both; and a critic that shares the policy's
        pass has its loss with it.
        """
        if process_count() > 1 or model.shares_pass:
            return [{"with_policy": self.with_policy}]
        return [{"with_policy": False}, *([{"with_critic": False}] if self.with_policy else [])]

    def ask(self, model: Any, batch: CompletionBatch, rows: list[int], *, is_real: bool, **who: bool) -> Tensor:
        """Return the summed loss of the completion tokens of some rows, of those who are asked; 0, with a graph, of rows
        that are not real."""
        known = self.experience.states
        states = None if known is None else self.experience.tokens(known[:, :-1], rows)  # (N, H)
        with autocast(self.accelerator.device, self.dtype):
            logits, values = model(batch, states, **who)  # (N, V), (N,)
        losses = []
        if values is not None:
            losses.append(self.config.vf_coef * self.value_losses(values, rows, is_real=is_real).sum())
        if logits is not None:
            policy_losses, ratios = self.policy_losses(logits, batch, rows)
            self.metrics.add_policy(policy_losses * is_real, ratios if is_real else ratios[:0])
            losses.append(policy_losses.sum())
        return torch.stack(losses).sum() * is_real

    def value_losses(self, values: Tensor, rows: list[int], *, is_real: bool) -> Tensor:
        """Return the clipped squared error of every completion token's value: (N,)."""
        experience = self.experience
        value_losses, value_clipped = ppo_value_losses(
            values,
            experience.tokens(experience.values, rows),
            experience.tokens(experience.returns, rows),
            value_clip=self.config.value_clip,
        )
        self.metrics.add_values(value_losses * is_real, value_clipped & is_real)
        return value_losses

    def policy_losses(self, logits: Tensor, batch: CompletionBatch, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Return the clipped surrogate, with the KL penalty where it is in the loss, and the ratio of every completion token:
        (N,) each. logits: (N, V)."""
        experience, config = self.experience, self.config
        logps = token_logps(logits, batch.targets, temperature=config.temperature)
        losses, ratios = ppo_policy_losses(
            logps,
            experience.tokens(experience.logps, rows),
            experience.tokens(experience.advantages, rows),
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
        )
        if experience.loss_kl_coef:
            reference_logps = experience.tokens(experience.reference_logps, rows)
            losses = losses + experience.loss_kl_coef * k2_losses(logps, reference_logps, ratios=ratios)
        return losses, ratios

    def learn_ptx(self, model: Any, step: int, n_tokens: int) -> Tensor:
        """Accumulate the gradient of a step's fine-tuning rows and return their weighted mean loss."""
        assert self.ptx is not None
        total = torch.zeros((), device=self.accelerator.device)
        weight = self.config.ptx_coef * process_count() / self.ptx.count_tokens(step)
        for batch in self.ptx.batches_of(step):
            batch = batch.to(self.accelerator.device)
            with self.syncing(model, now=False):
                with autocast(self.accelerator.device, self.dtype):
                    logits, _ = model(batch, with_critic=False)
                loss = -weight * token_logps(logits, batch.targets).sum()
                self.accelerator.backward(loss)
            total += loss.detach()
        self.metrics.add_ptx(total / self.config.ptx_coef / process_count() * n_tokens)
        return total
