"""The settings of policy gradients without a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.kinds.ppo import parse_weights
from rlhf.contract.settings import RatedConfig, SampledConfig, setting


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(SampledConfig, RatedConfig):
    """GRPO (arXiv 2402.03300) or RLOO (arXiv 2402.14740) on data/prompts.jsonl: no critic, but several completions of a
    prompt, each worth what it is better than the others."""

    kind: ClassVar[str] = "grpo"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    reward_model: str = setting("", "Folder of the reward model.")
    method: str = setting(
        "grpo",
        "What a completion is compared with: grpo, mean and spread of its prompt's; rloo, the mean of the others.",
        choices=("grpo", "rloo"),
    )
    rewards: str = setting(
        "model=1",
        "What is rewarded, name=weight joined by commas: model, length (tokens), distinct, format, or one in rewards.json.",
    )
    missing_eos_penalty: float = setting(1.0, "Taken from the reward of an unfinished completion.", low=0)
    rollouts: int = setting(50, "How often fresh completions are sampled and learned from.", low=1)
    rollout_batch_size: int = setting(16, "Prompts of a rollout.", low=1, high=65536)
    samples_per_prompt: int = setting(4, "Completions of each prompt that are compared.", low=2, high=1024)
    updates_per_rollout: int = setting(1, "Optimizer steps on the completions of a rollout.", low=1)
    micro_batches: int = setting(1, "Parts in which a step's completions are learned from, to spare memory.", low=1)
    max_prompt_tokens: int = setting(256, "Longest prompt; older turns are cut whole.", low=8)
    max_new_tokens: int = setting(48, "Longest completion.", low=1)
    temperature: float = setting(1.0, "Sampling temperature; every log-probability is divided by it.", above=0)
    kl_coef: float = setting(
        0.05,
        "Weight of the KL penalty: in the loss by k3 for grpo, in the reward by k1 for rloo; 0 does without, and the "
        "reference is asked for kl_limit alone.",
        low=0,
    )
    loss_type: str = setting(
        "dapo",
        "What a step averages over, for grpo: the tokens of all completions, each completion's own, or its longest.",
        choices=("dapo", "grpo", "dr_grpo"),
    )
    clip_low: float = setting(0.2, "The ratio is clipped to 1 - clip_low.", above=0, high=1)
    clip_high: float = setting(0.2, "The ratio is clipped to 1 + clip_high.", above=0)
    kl_limit: float = setting(
        5.0, "KL to the reference, nats a token, beyond which the run stops; 0 sets no limit.", low=0
    )
    finished_drop: float = setting(
        0.5,
        "Fall of the share of finished completions under its best, twice in a row, at which the run stops; 0 sets none.",
        low=0,
        high=1,
    )
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    warmup_ratio: float = setting(0.05, "Share of the steps in which the learning rate rises.", low=0, high=0.5)
    save_rollouts: int = setting(10, "Rollouts between two resumable checkpoints.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_weights(self.rewards)
        if self.n_completions % self.micro_batches:
            raise ConfigError(
                "micro_batches must divide rollout_batch_size times samples_per_prompt, got "
                f"{self.micro_batches} and {self.rollout_batch_size} times {self.samples_per_prompt}"
            )
        if self.method == "rloo" and self.loss_type != "dapo":
            raise ConfigError(f"loss_type acts on method=grpo only, got method=rloo and loss_type={self.loss_type}")

    @property
    def asks_reference(self) -> bool:
        """Whether the distance to the reference is measured, to be kept small or to be watched."""
        return bool(self.kl_coef or self.kl_limit)

    @property
    def n_completions(self) -> int:
        """Completions of a rollout."""
        return self.rollout_batch_size * self.samples_per_prompt

    @property
    def n_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.rollouts * self.updates_per_rollout
