"""Kahneman-Tversky optimization: TRL's KTOTrainer on completions that are good or bad by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.kto_config import KTOConfig as KTOArguments
from trl.trainer.kto_trainer import KTOTrainer

from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.run_dir import DATA
from rlhf.learning.accuracy import describe_share
from rlhf.learning.adapters import add_adapter
from rlhf.learning.arguments import training_settings
from rlhf.learning.checkpointing import ReportToRun, SealedCheckpoints, save_final, train_sealed
from rlhf.learning.logps import (
    CompletionBatch,
    build_batch,
    completion_logits,
    completion_logps,
    require_compact_head,
    sum_rows,
    token_logps,
)
from rlhf.learning.losses import kto_loss
from rlhf.learning.metrics import DeferredMetrics
from rlhf.learning.micro_batches import MicroBatches
from rlhf.learning.models import choose_attention, load_policy, load_tokenizer, pick_dtype, spare_memory
from rlhf.learning.pair_logps import sequence_logps
from rlhf.learning.preview import preview_unpaired, write_preview
from rlhf.learning.rates import peak_rate
from rlhf.learning.reference_cache import reference_logps
from rlhf.learning.shared_batches import SharedBatches
from rlhf.learning.stops import kto_rules
from rlhf.learning.unpaired import EncodedCompletion, load_unpaired
from rlhf.learning.unpaired_batches import FixedBatches, UnpairedBatch, build_table


class CompactKTOTrainer(MicroBatches, SharedBatches, DeferredMetrics, SealedCheckpoints, KTOTrainer):
    """KTOTrainer for tokenised rows that know their partners. With row weights of 1 its losses are TRL's.

    TRL pairs each prompt with the completion of the row before it in the file, and so must read the file in order. Here
    the pairs are made within batches that stay together, and the batches are shuffled.
    """

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return FixedBatches(len(train_dataset or self.train_dataset), self.rows_per_step, seed=self.args.seed)

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        batch = CompletionBatch(inputs["input_ids"], inputs["completion_mask"])
        logits = completion_logits(model, batch)  # (N, V)
        logps = sum_rows(token_logps(logits, batch.targets), batch.lengths)  # (B,)
        ratios = logps - inputs["ref_logps"]
        kl, kl_per_token = inputs["kl"] if "kl" in inputs else self.estimate_kl(model, [inputs])
        label = inputs["label"]
        sides = torch.where(label, self.desirable_weight, self.undesirable_weight)  # (B,)
        loss = kto_loss(
            ratios, kl, label=label, weight=sides * inputs["weight"], beta=self.beta, loss_type=self.loss_type
        )
        loss = loss * inputs["share"]
        self.note_total(inputs["n_tokens"])
        self.note_rewards(logps.detach(), ratios.detach(), label, inputs["share"])
        self.note_distance(-ratios.detach() / batch.lengths, kl, kl_per_token, label, inputs["share"])
        if self.logs_after_this_step():
            self.note_tokens(logits.detach(), batch.lengths, label, inputs["share"])
        return (loss, logits) if return_outputs else loss

    def prepare_parts(self, model: Any, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the parts of a batch, each with the KL of all of them as kl, (2,)."""
        with self.compute_loss_context_manager():
            kl = torch.stack(self.estimate_kl(model, [self._prepare_inputs(part) for part in parts]))
        return [{**part, "kl": kl} for part in parts]

    @torch.no_grad()
    def estimate_kl(self, model: Any, parts: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Return how far the policy is from the reference on completions of other prompts, those of a batch's parts.

        Returns: nats a completion and nats a token, scalars >= 0.
        """
        means = torch.zeros(2, device=parts[0]["label"].device)
        for inputs in parts if self.calculate_KL else ():
            batch = CompletionBatch(inputs["KL_input_ids"], inputs["KL_completion_mask"])
            logps = sum_rows(completion_logps(model, batch), batch.lengths)  # (B,)
            part = torch.stack([(logps - inputs["ref_KL_logps"]).mean(), batch.lengths.float().mean()])
            means += part * inputs["share"]
        mean, length = self.accelerator.reduce(means, reduction="mean")
        return mean.clamp(min=0), mean.clamp(min=0) / length.clamp(min=1)

    def logs_after_this_step(self) -> bool:
        """Whether the step under way is one whose metrics are written; the costly ones are computed on no other."""
        return not self.model.training or (self.state.global_step + 1) % self.args.logging_steps == 0

    def note_distance(self, fall: Tensor, kl: Tensor, kl_per_token: Tensor, label: Tensor, share: Tensor) -> None:
        """Gather what ends a run, and TRL's kl.

        Args: fall: (B,), nats a token under the reference. kl, kl_per_token: scalars, nats. label: (B,) bool.
        """
        self.note("kl", kl[None], share=share)
        self.note("logps/chosen_fall", fall, share=share, of=label)
        if self.calculate_KL:
            self.note("kl/per_token", kl_per_token[None], share=share)

    @torch.no_grad()
    def note_rewards(self, logps: Tensor, ratios: Tensor, label: Tensor, share: Tensor) -> None:
        """Gather TRL's metrics of completions. logps, ratios: (B,), nats. label: (B,) bool. share: as of `note`."""
        for name, side in (("chosen", label), ("rejected", ~label)):
            self.note(f"rewards/{name}", self.beta * ratios, share=share, of=side)
            self.note(f"logps/{name}", logps, share=share, of=side)

    @torch.no_grad()
    def note_tokens(self, logits: Tensor, lengths: Tensor, label: Tensor, share: Tensor) -> None:
        """Gather TRL's metrics of tokens. logits: (N, V), lengths: (B,), label: (B,) bool, share: as of `note`."""
        logps = logits.log_softmax(-1)
        self.note("entropy", -(logps.exp() * logps).sum(-1), share=share)
        is_good = label.repeat_interleave(lengths)  # (N,)
        for name, side in (("chosen", is_good), ("rejected", ~is_good)):
            self.note(f"logits/{name}", logits.mean(-1), share=share, of=side)

    def average(self, steps: dict[str, Tensor]) -> dict[str, float]:
        """Return the means over steps, and among them the margin in steps with completions of both kinds."""
        if "rewards/chosen" in steps:
            steps["rewards/margins"] = steps["rewards/chosen"] - steps["rewards/rejected"]
        return super().average(steps)


def train(config: KTOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on data/train.jsonl against its start, publish it, and return its agreement with data/test.jsonl.

    Raises: ContractError on a base model or rows that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_tokenizer(config.base_model)
    policy = load_policy(config.base_model)
    add_adapter(policy, config)
    spare_memory(policy, config)
    train_set = load_unpaired(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    write_preview(run_dir, preview_unpaired(train_set, tokenizer))
    test_set = load_unpaired(run_dir / DATA / "test.jsonl", tokenizer, max_length=config.max_length)
    trainer = build_trainer(config, run_dir, policy=policy, tokenizer=tokenizer, rows=train_set.completions)
    train_sealed(trainer, ReportToRun(run_dir, stage="training the policy with KTO", rules=kto_rules(config)))
    final = save_final(run_dir, policy, tokenizer)
    labels = [row.label for row in train_set.completions]
    return {
        **describe_policy(config, final, test_set.completions, pad_id=tokenizer.pad_token_id),
        "n_train": len(labels),
        "n_desirable": sum(labels),
        "n_undesirable": len(labels) - sum(labels),
        "desirable_weight": trainer.desirable_weight,
        "undesirable_weight": trainer.undesirable_weight,
        "n_dropped": train_set.n_dropped + test_set.n_dropped,
        "n_cut": train_set.n_cut + test_set.n_cut,
    }


def build_trainer(
    config: KTOConfig,
    run_dir: Path,
    *,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[EncodedCompletion],
) -> CompactKTOTrainer:
    """Return the trainer of a run, after the reference has given its log-probabilities to every completion.

    The policy is still the reference here, also in a resumed run: its weights are restored when training begins.
    """
    pad_id = tokenizer.pad_token_id
    longest = max(len(row.prompt_ids) for row in rows) + max(len(row.completion_ids) for row in rows)
    choose_attention(policy, longest_row=longest)
    require_compact_head(
        policy, build_batch([rows[0].prompt_ids], [rows[0].completion_ids], pad_id=pad_id).to(policy.device)
    )
    with_partners = config.loss_type == "kto"
    table = build_table(rows, batch_size=config.batch_size, seed=config.seed)
    desirable, undesirable = balance_weights(config, [row.label for row in rows])
    return CompactKTOTrainer(
        model=policy,
        args=KTOArguments(
            **training_settings(config, run_dir, learning_rate=peak_rate(config, policy)),
            beta=config.beta,
            loss_type=config.loss_type,
            desirable_weight=desirable,
            undesirable_weight=undesirable,
            precompute_ref_log_probs=True,
            max_length=None,
        ),
        data_collator=UnpairedBatch(pad_id, with_partners=with_partners, budget=config.micro_batch_tokens),
        train_dataset=add_reference_logps(config, run_dir, policy, table, pad_id=pad_id, with_partners=with_partners),
        processing_class=tokenizer,
    )


def balance_weights(config: KTOConfig, labels: Sequence[bool]) -> tuple[float, float]:
    """Return the weights of good and of bad completions; what is left at 0 makes both sides weigh the same.

    Source: arXiv 2402.01306 eq. 8 and section 4.2: the weights times the counts of the sides in a ratio of 1 to 4/3.
    """
    n_good = sum(labels)
    n_bad = len(labels) - n_good
    desirable, undesirable = config.desirable_weight, config.undesirable_weight
    if not n_good or not n_bad:
        return desirable or 1.0, undesirable or 1.0
    if not desirable and not undesirable:  # the larger side keeps its weight
        return max(1.0, n_bad / n_good), max(1.0, n_good / n_bad)
    return desirable or undesirable * n_bad / n_good, undesirable or desirable * n_good / n_bad


def add_reference_logps(
    config: KTOConfig, run_dir: Path, policy: PreTrainedModel, table: Dataset, *, pad_id: int, with_partners: bool
) -> Dataset:
    """Return the table with TRL's columns ref_logps and, for losses that ask for it, ref_KL_logps."""
    columns = ["completion_ids", "KL_completion_ids"] if with_partners else ["completion_ids"]
    prompts = list(table["prompt_ids"]) * len(columns)
    completions = [ids for column in columns for ids in table[column]]
    dtype = pick_dtype(config.dtype, policy.device)
    logps = reference_logps(run_dir, config.base_model, policy, prompts, completions, pad_id=pad_id, dtype=dtype)
    for name, part in zip(("ref_logps", "ref_KL_logps"), logps.view(len(columns), -1), strict=False):
        table = table.add_column(name, part.tolist())
    return table


def describe_policy(
    config: KTOConfig, final: Path, rows: Sequence[EncodedCompletion], *, pad_id: int
) -> dict[str, Any]:
    """Return how the trained policy's implicit rewards agree with held-out labels: a good one is above 0, a bad one below."""
    prompts, completions = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    logps, reference = (
        sequence_logps(load_policy(folder), prompts, completions, pad_id=pad_id)
        for folder in (final, config.base_model)
    )
    rewards = config.beta * (logps - reference)  # (n,)
    label = torch.tensor([row.label for row in rows])
    n_right = ((rewards > 0) == label).float().sum().item()
    means = {
        f"eval_rewards/{name}": rewards[side].mean().item()
        for name, side in (("chosen", label), ("rejected", ~label))
        if side.any()
    }
    return {**describe_share("eval_accuracy", n_right, len(rows)), **means, "n_test": len(rows)}
