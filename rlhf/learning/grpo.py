"""Policy gradients without a critic: TRL's GRPOTrainer and RLOOTrainer with our reward model and reward functions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.grpo_config import GRPOConfig as GRPOArguments
from trl.trainer.rloo_config import RLOOConfig as RLOOArguments
from trl.trainer.utils import disable_dropout_in_model

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.ppo import parse_weights
from rlhf.contract.records import PromptRow, read_rows
from rlhf.contract.run_dir import CHECKPOINTS, DATA
from rlhf.learning.adapters import add_adapter
from rlhf.learning.backends import pick_backend
from rlhf.learning.checkpointing import ReportToRun, save_final, train_sealed
from rlhf.learning.generation import check_positions
from rlhf.learning.group_trainers import (
    AdapterOff,
    GroupRelativeTrainer,
    GroupRollouts,
    LeaveOneOutTrainer,
    Reference,
)
from rlhf.learning.halving import halve_frozen
from rlhf.learning.logps import build_batch, require_compact_head
from rlhf.learning.models import (
    choose_attention,
    choose_recomputing,
    find_stop_ids,
    load_policy,
    load_tokenizer,
    pick_device,
    pick_trunk_dtype,
)
from rlhf.learning.processes import process_count
from rlhf.learning.prompt_set import read_prompts
from rlhf.learning.rates import peak_rate
from rlhf.learning.rewards import Reward, build_rewards
from rlhf.learning.scorer import load_scorer
from rlhf.learning.scoring import Ensemble
from rlhf.learning.stops import FINISHED, grpo_rules

REPORTED = (
    "reward",
    "reward_std",
    "kl",
    "entropy",
    "frac_reward_zero_std",
    "completions/mean_length",
    "completions/clipped_ratio",
    FINISHED,
)


def train(config: GRPOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on the prompts of data/prompts.jsonl against a reward model and publish it.

    Returns: metrics of the last rollout, sampled before its own updates; counts of the prompts.
    Raises: ContractError on models or prompts that cannot be used, HandedBack, StopError.
    """
    tokenizer = load_tokenizer(config.base_model)
    rows: list[PromptRow] = list(read_rows(run_dir / DATA / "prompts.jsonl"))
    if not rows:
        raise ContractError("prompts.jsonl holds no prompt")
    trainer = build_trainer(config, run_dir, rows=rows, tokenizer=tokenizer)
    train_sealed(trainer, ReportGroups(run_dir, config))
    save_final(run_dir, trainer.model, tokenizer)
    last = next(logged for logged in reversed(trainer.state.log_history) if "reward" in logged)
    rewards = {name: value for name, value in last.items() if name.startswith("rewards/")}
    reported = {name: last[name] for name in REPORTED if name in last}
    return {**reported, **rewards, **read_prompts(tokenizer, rows, config.max_prompt_tokens).counts}


def build_trainer(
    config: GRPOConfig, run_dir: Path, *, rows: list[PromptRow], tokenizer: PreTrainedTokenizerBase
) -> GroupRollouts:
    """Return the trainer of a run with its models loaded. The policy is still the reference here, also in a resumed run."""
    policy = load_policy(config.base_model)
    known = read_prompts(tokenizer, rows, config.max_prompt_tokens)
    prompts = known.ids
    check_positions(policy, prompts, config.max_new_tokens)
    choose_attention(policy, longest_row=max(len(prompt) for prompt in prompts) + config.max_new_tokens)
    reference = find_reference(config, policy)
    add_adapter(policy, config)
    choose_recomputing(policy, config.gradient_checkpointing)
    dtype = pick_trunk_dtype(config.dtype, policy.device)
    for model in (policy, *([reference] if isinstance(reference, PreTrainedModel) else [])):
        halve_frozen(model, dtype)
    probe = build_batch(prompts[:1], [[tokenizer.eos_token_id]], pad_id=tokenizer.pad_token_id)
    require_compact_head(policy, probe.to(policy.device))
    stop_ids = find_stop_ids(policy, tokenizer)
    scores = load_scorer(
        config.reward_model,
        tokenizer,
        conversations=known.conversations,
        stop_ids=stop_ids,
        ensemble=Ensemble(config.ensemble, config.ensemble_coef),
        seed=config.seed,
    )
    rewards = build_rewards(parse_weights(config.rewards), run_dir, model=scores, tokenizer=tokenizer)
    if config.missing_eos_penalty:
        rewards["unfinished"] = charge_unfinished(config.missing_eos_penalty, stop_ids)
    trainer_class, arguments = choose_method(config, run_dir, learning_rate=peak_rate(config, policy))
    return trainer_class(
        model=policy,
        args=arguments,
        reward_funcs=[ask_by_number(name, reward, prompts) for name, reward in rewards.items()],
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(len(prompts))]}),
        processing_class=tokenizer,
        config=config,
        prompts=prompts,
        stop_ids=stop_ids,
        reference=reference,
        dtype=dtype,
        scores=scores,
        backend=pick_backend(
            config.generation_backend,
            device=policy.device,
            base_model=config.base_model,
            batch_size=config.n_completions,
        ),
    )


def find_reference(config: GRPOConfig, policy: PreTrainedModel) -> Reference:
    """Return what the distance of a policy that has not learned yet is measured from: itself without its adapter, a copy,
    or None where nobody asks."""
    if not config.asks_reference:
        return None
    if config.lora_rank:
        return AdapterOff(policy)
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    disable_dropout_in_model(reference)
    return reference


def choose_method(
    config: GRPOConfig, run_dir: Path, *, learning_rate: float
) -> tuple[type[GroupRollouts], TrainingArguments]:
    """Return TRL's trainer of the method and its arguments."""
    settings = describe_arguments(config, run_dir, learning_rate=learning_rate)
    if config.method == "rloo":
        return LeaveOneOutTrainer, RLOOArguments(**settings)
    return GroupRelativeTrainer, GRPOArguments(**settings, loss_type=config.loss_type, scale_rewards="group")


def describe_arguments(config: GRPOConfig, run_dir: Path, *, learning_rate: float) -> dict[str, Any]:
    """Return the keyword arguments that both methods share. One optimizer step learns from a whole rollout."""
    return {
        "output_dir": str(run_dir / CHECKPOINTS),
        "max_steps": config.n_steps,
        "per_device_train_batch_size": split_groups(config) * config.samples_per_prompt // config.micro_batches,
        "gradient_accumulation_steps": config.micro_batches,
        "num_generations": config.samples_per_prompt,
        "num_iterations": config.updates_per_rollout,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "beta": 0.0,  # else TRL would load a reference; the trainer has its own, and sets kl_coef itself
        "epsilon": config.clip_low,
        "epsilon_high": config.clip_high,
        "disable_dropout": True,  # TRL leaves it on, so that the ratio of one policy to itself would not be 1
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": config.warmup_ratio,
        "adam_beta2": 0.95,
        "max_grad_norm": config.max_grad_norm,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # ReportGroups saves where a rollout is used up
        "seed": config.seed,
        "bf16": False,  # the trunk's precision is ours to set, the same where a rollout is drawn and where it is learned from
        "use_cpu": pick_device().type == "cpu",
        "gradient_checkpointing": False,  # `choose_recomputing` has seen to it
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
    }


def split_groups(config: GRPOConfig) -> int:
    """Return how many prompts of a rollout one process takes, with all their completions.

    Raises: ContractError when prompts, or the completions of a micro-batch, cannot be split evenly.
    """
    n_groups, left = divmod(config.rollout_batch_size, process_count())
    if left or n_groups * config.samples_per_prompt % config.micro_batches:
        raise ContractError(
            f"rollout_batch_size must be a multiple of the {process_count()} processes of this run, and micro_batches divide "
            f"each one's completions, got {config.rollout_batch_size} and {config.micro_batches}"
        )
    return n_groups


class ReportGroups(ReportToRun):
    """Saves and stops where a rollout is used up, so that no checkpoint needs a half-used one."""

    def __init__(self, run_dir: Path, config: GRPOConfig) -> None:
        super().__init__(run_dir, stage=f"training the policy with {config.method.upper()}", rules=grpo_rules(config))
        self.config = config
        self.is_between = True

    def may_stop(self) -> bool:
        """Whether the rollout is used up."""
        return self.is_between

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint every so many rollouts."""
        n_rollouts, n_left = divmod(state.global_step, self.config.updates_per_rollout)
        self.is_between = n_left == 0
        is_done = state.global_step >= self.config.n_steps
        control.should_save = self.is_between and not is_done and n_rollouts % self.config.save_rollouts == 0
        super().on_step_end(args, state, control, **kwargs)


def ask_by_number(name: str, reward: Reward, prompts: list[list[int]]) -> Callable[..., list[float]]:
    """Return a reward as TRL calls it: its `prompts` are texts of numbers. TRL names its metrics after the function."""

    ids_of = prompts

    def score(*, prompts: list[str], completion_ids: list[list[int]], **unused: Any) -> list[float]:
        values: list[float] = reward([ids_of[int(number)] for number in prompts], completion_ids).tolist()
        return values

    score.__name__ = name
    return score


def charge_unfinished(penalty: float, stop_ids: list[int]) -> Reward:
    """Return a reward that takes `penalty` from completions without an end token at their end."""

    def charge(prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        return torch.tensor([0.0 if ids and ids[-1] in stop_ids else -penalty for ids in completions])

    return charge
