"""The PPO run: policy, reference, critic and reward model from folders; a better policy out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import PPOConfig, parse_weights
from rlhf.contract.records import read_rows
from rlhf.contract.run_dir import CHECKPOINTS, DATA
from rlhf.learning.backends import pick_backend
from rlhf.learning.checkpointing import save_final, train_sealed
from rlhf.learning.logps import build_batch, require_compact_head
from rlhf.learning.models import find_stop_ids, load_tokenizer, pick_device, pick_dtype
from rlhf.learning.ppo_models import load_models
from rlhf.learning.ppo_trainer import PPOTrainer, ReportRollouts
from rlhf.learning.ptx import load_ptx
from rlhf.learning.rewards import build_rewards
from rlhf.learning.rollouts import RolloutSource
from rlhf.learning.scoring import score_heads
from rlhf.learning.tokenization import encode_prompt
from rlhf.learning.watch import prepare_watch

REPORTED = (
    "objective/kl",
    "objective/scores",
    "objective/scores_norm",
    "objective/rlhf_reward",
    "policy/entropy_avg",
    "rollout/finished_frac",
    "rollout/len_mean",
    "rollout/reward_len_corr",
    "rollout/distinct_2",
    "early_stops",
    "episode",
)


def train(config: PPOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on the prompts of data/prompts.jsonl against a reward model and publish it.

    Returns: metrics of the last rollout, sampled before its own updates.
    Raises: ContractError on models or prompts that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_tokenizer(config.base_model)
    require_same_tokens(tokenizer, load_tokenizer(config.reward_model))
    prompts = [
        encode_prompt(tokenizer, row["prompt"], config.max_prompt_tokens)
        for row in read_rows(run_dir / DATA / "prompts.jsonl")
    ]
    if not prompts:
        raise ContractError("prompts.jsonl holds no prompt")
    trainer = build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)
    train_sealed(trainer, ReportRollouts(run_dir, trainer))
    save_final(run_dir, trainer.model.policy, tokenizer)
    metrics = trainer.collect_metrics()
    return {name: metrics[name] for name in REPORTED if name in metrics}


def build_trainer(
    config: PPOConfig, run_dir: Path, *, prompts: list[list[int]], tokenizer: PreTrainedTokenizerBase
) -> PPOTrainer:
    """Return the trainer of a run with its models loaded."""
    longest = max(len(prompt) for prompt in prompts) + config.max_new_tokens
    models, reference, reward_model = load_models(config, tokenizer, longest_row=longest)
    policy, pad_id = models.policy, tokenizer.pad_token_id
    require_compact_head(policy, build_batch(prompts[:1], [prompts[0][-1:]], pad_id=pad_id).to(policy.device))
    scores = partial(score_completions, reward_model, ensemble=config.ensemble)
    source = RolloutSource(
        config,
        prompts=prompts,
        reference=reference,
        rewards=build_rewards(parse_weights(config.rewards), run_dir, model=scores, tokenizer=tokenizer),
        backend=pick_backend(
            config.generation_backend,
            device=policy.device,
            base_model=config.base_model,
            batch_size=config.n_completions,
        ),
        stop_ids=find_stop_ids(policy, tokenizer),
        pad_id=pad_id,
        dtype=pick_trunk_dtype(config.dtype, policy.device),
    )
    return PPOTrainer(
        config,
        models=models,
        source=source,
        watch=prepare_watch(
            config, run_dir, models=models, source=source, reward_model=reward_model, tokenizer=tokenizer
        ),
        arguments=trainer_arguments(config, run_dir),
        ptx=load_ptx(run_dir / DATA, tokenizer, config),
    )


def pick_trunk_dtype(setting: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the trunks' matrix products; heads, log-probabilities and advantages are fp32 in any case.

    Ratios of probabilities are what the method steers by: on a CPU `auto` does not trade their digits for speed.
    """
    return torch.float32 if setting == "auto" and device.type == "cpu" else pick_dtype(setting, device)


def trainer_arguments(config: PPOConfig, run_dir: Path) -> TrainingArguments:
    """Return Trainer's arguments: max_steps is the number of steps without early stops."""
    return TrainingArguments(
        output_dir=str(run_dir / CHECKPOINTS),
        max_steps=config.rollouts * config.ppo_epochs * config.num_minibatches,
        per_device_train_batch_size=1,
        max_grad_norm=config.max_grad_norm,
        logging_strategy="no",  # the trainer logs where a rollout ends
        logging_nan_inf_filter=False,
        save_strategy="no",
        seed=config.seed,
        bf16=False,  # the trunks' precision is ours to set, the same where a rollout is drawn and where it is learned from
        use_cpu=pick_device().type == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )


def score_completions(
    reward_model: PreTrainedModel, prompts: list[list[int]], completions: list[list[int]], *, ensemble: str = "mean"
) -> Tensor:
    """Return the raw scores of completions: (B,) fp32.

    Args: ensemble: mean of the heads, or min, which no single head that was fooled can raise.
    Source: worst-case optimization, arXiv 2310.02743 section 3.
    """
    rows = [prompt + ids for prompt, ids in zip(prompts, completions, strict=True)]
    by_head = score_heads(reward_model, rows)  # (B, K)
    return by_head.amin(1) if ensemble == "min" else by_head.mean(1)


def require_same_tokens(policy: PreTrainedTokenizerBase, reward_model: PreTrainedTokenizerBase) -> None:
    """Raise ContractError unless both read the same ids: completions are scored as ids, never written out and read."""
    if policy.get_vocab() != reward_model.get_vocab() or policy.chat_template != reward_model.chat_template:
        raise ContractError(
            "base_model and reward_model have different tokenizers or chat templates; train the reward model on this base"
        )
