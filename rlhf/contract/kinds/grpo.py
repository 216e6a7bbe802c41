"""The settings of policy gradients without a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.kinds.ppo import parse_weights
from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(RunConfig):
    """GRPO (arXiv 2402.03300) or RLOO (arXiv 2402.14740) on data/prompts.jsonl: a completion is worth what it is better
    than the others of its prompt."""

    kind: ClassVar[str] = "grpo"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    reward_model: str = setting("", "Folder of the reward model.")
    method: str = setting(
        "grpo",
        "What a completion is compared with: the mean and spread of its group, or the mean of the others alone.",
        choices=("grpo", "rloo"),
    )
    rewards: str = setting(
        "model=1",
        "What is rewarded, name=weight joined by commas: model, length (tokens), distinct, or a name in rewards.json.",
    )
    ensemble: str = setting(
        "mean",
        "What counts of a reward model's several heads: their mean, or the least of them.",
        choices=("mean", "min"),
    )
    max_steps: int = setting(50, "Groups of prompts sampled and learned from.", low=1)
    batch_size: int = setting(16, "Prompts per step.", low=1, high=65536)
    samples_per_prompt: int = setting(4, "Completions of each prompt that are compared.", low=2, high=1024)
    updates_per_sample: int = setting(1, "Optimizer steps on the same completions.", low=1)
    max_prompt_tokens: int = setting(256, "Longest prompt; older turns are cut whole.", low=8)
    max_new_tokens: int = setting(48, "Longest completion.", low=1)
    temperature: float = setting(1.0, "Sampling temperature; every log-probability is divided by it.", above=0)
    learning_rate: float = setting(1e-4, "Peak AdamW learning rate.", above=0, high=1)
    kl_coef: float = setting(0.05, "Weight of the KL penalty to the reference; 0 does without.", low=0)
    clip_low: float = setting(0.2, "The ratio is clipped to 1 - clip_low.", above=0, high=1)
    clip_high: float = setting(0.2, "The ratio is clipped to 1 + clip_high.", above=0)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    warmup_ratio: float = setting(0.05, "Share of the steps in which the learning rate rises.", low=0, high=0.5)
    logging_steps: int = setting(1, "Steps between two logged metrics.", low=1)
    save_steps: int = setting(20, "Steps between two resumable checkpoints.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_weights(self.rewards)
