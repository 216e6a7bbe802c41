"""The PPO run: policy, reference, critic and reward model from folders; a better policy out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import TOKENS_AT_ONCE, PPOConfig, parse_weights
from rlhf.contract.records import Message, PromptRow, read_rows
from rlhf.contract.run_dir import CHECKPOINTS, DATA
from rlhf.learning.backends import pick_backend
from rlhf.learning.checkpointing import save_final, train_sealed
from rlhf.learning.frozen_critic import FrozenCritic
from rlhf.learning.logps import build_batch, require_compact_head
from rlhf.learning.models import find_stop_ids, load_tokenizer, pick_device, pick_trunk_dtype
from rlhf.learning.ppo_models import load_models
from rlhf.learning.ppo_trainer import PPOTrainer, ReportRollouts
from rlhf.learning.prompt_set import read_prompts
from rlhf.learning.ptx import load_ptx
from rlhf.learning.rewards import Reward, build_rewards
from rlhf.learning.rollouts import RolloutSource
from rlhf.learning.scorer import CUT, pick_scorer, read_limit, reads_same_tokens
from rlhf.learning.scoring import Ensemble, load_scoring_tokenizer
from rlhf.learning.token_scorer import is_token_scorer
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
    CUT,
    "early_stops",
    "episode",
)


def train(config: PPOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on the prompts of data/prompts.jsonl against a reward model and publish it.

    Returns: metrics of the last rollout, sampled before its own updates; counts of the prompts, and of ptx rows.
    Raises: ContractError on models or prompts that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_tokenizer(config.base_model)
    rows: list[PromptRow] = list(read_rows(run_dir / DATA / "prompts.jsonl"))
    if not rows:
        raise ContractError("prompts.jsonl holds no prompt")
    prompts = read_prompts(tokenizer, rows, config.max_prompt_tokens)
    trainer = build_trainer(
        config, run_dir, prompts=prompts.ids, tokenizer=tokenizer, conversations=prompts.conversations
    )
    train_sealed(trainer, ReportRollouts(run_dir, trainer))
    save_final(run_dir, trainer.model.policy, tokenizer)
    metrics = trainer.collect_metrics()
    counts = prompts.counts | (trainer.ptx.counts if trainer.ptx else {})
    return {name: metrics[name] for name in REPORTED if name in metrics} | counts


def build_trainer(
    config: PPOConfig,
    run_dir: Path,
    *,
    prompts: list[list[int]],
    tokenizer: PreTrainedTokenizerBase,
    conversations: Mapping[tuple[int, ...], list[Message]] = MappingProxyType({}),
) -> PPOTrainer:
    """Return the trainer of a run with its models loaded.

    Args: conversations: the messages of each prompt by its ids, for a reward model that reads other tokens.
    """
    longest = max(len(prompt) for prompt in prompts) + config.max_new_tokens
    own = load_scoring_tokenizer(config.reward_model)
    reads_ids = reads_same_tokens(tokenizer, own)
    lends_trunk = reads_ids and not is_token_scorer(config.reward_model)
    models, reference, reward_model = load_models(
        config, tokenizer, longest_row=longest, reward_tokenizer=None if lends_trunk else own
    )
    policy, pad_id = models.policy, tokenizer.pad_token_id
    config = config.replace(micro_batch_tokens=config.micro_batch_tokens or TOKENS_AT_ONCE[policy.device.type])
    require_compact_head(policy, build_batch(prompts[:1], [prompts[0][-1:]], pad_id=pad_id).to(policy.device))
    ensemble = Ensemble(config.ensemble, config.ensemble_coef)
    scores: Reward = (
        partial(models.critic.reader.score, ensemble=ensemble)
        if lends_trunk and isinstance(models.critic, FrozenCritic)
        else pick_scorer(
            reward_model,
            own,
            tokenizer,
            conversations=conversations,
            stop_ids=find_stop_ids(policy, tokenizer),
            ensemble=ensemble,
            max_length=read_limit(config.reward_model),
        )
    )
    source = build_source(
        config, run_dir, prompts=prompts, tokenizer=tokenizer, policy=policy, reference=reference, scores=scores
    )
    # The judges read a rollout's ids: of a reward model with tokens of its own, only what texts show is told.
    watch = (
        prepare_watch(
            config,
            run_dir,
            models=models,
            source=source,
            reward_model=reward_model,
            scores=scores,
            tokenizer=tokenizer,
        )
        if reads_ids
        else None
    )
    return PPOTrainer(
        config,
        models=models,
        source=source,
        watch=watch,
        arguments=trainer_arguments(config, run_dir),
        ptx=load_ptx(run_dir / DATA, tokenizer, config),
    )


def build_source(
    config: PPOConfig,
    run_dir: Path,
    *,
    prompts: list[list[int]],
    tokenizer: PreTrainedTokenizerBase,
    policy: PreTrainedModel,
    reference: nn.Module,
    scores: Reward,
) -> RolloutSource:
    """Return what draws a run's rollouts and scores them. scores: the reward model's."""
    return RolloutSource(
        config,
        prompts=prompts,
        reference=reference,
        rewards=build_rewards(parse_weights(config.rewards), run_dir, model=scores, tokenizer=tokenizer),
        scores=scores,
        backend=pick_backend(
            config.generation_backend,
            device=policy.device,
            base_model=config.base_model,
            batch_size=config.n_completions,
        ),
        stop_ids=find_stop_ids(policy, tokenizer),
        pad_id=tokenizer.pad_token_id,
        dtype=pick_trunk_dtype(config.dtype, policy.device),
    )


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
