"""The settings of proximal policy optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import SampledConfig, setting

# What micro_batch_tokens=0 means. On two CPU cores PPO over 33 million parameters draws 15% more samples a second with 1536
# than with 1024, and 3% more with twice that, which holds the activations and logits of all its rows: 500 MB more.
TOKENS_AT_ONCE = {"cpu": 1536, "cuda": 8192}


@dataclass(frozen=True)
class Start:
    """Rates and warm-up of the critic that suit models of a billion weights and more."""

    policy_rate: float
    critic_rate: float
    n_warmup_rollouts: int


# Source: OpenRLHF and NeMo-RL (1e-6 and 2e-6 to 9e-6), ten times as much for LoRA; critic first: VC-PPO, arXiv 2503.01491.
WEIGHTS = Start(1e-6, 5e-6, 4)
ADAPTERS = Start(1e-5, 5e-5, 1)


@dataclass(frozen=True, kw_only=True)
class PPOConfig(SampledConfig):
    """PPO with a KL penalty (arXiv 1707.06347, 1909.08593) on data/prompts.jsonl, scored by a reward model."""

    kind: ClassVar[str] = "ppo"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    reward_model: str = setting("", "Folder of the reward model.")
    share_base: str = setting(
        "auto",
        "One frozen base under adapters of policy, critic and reward model, the reference being the base itself; auto does "
        "so where lora_rank is set and the reward model came with adapters of its own over the same base.",
        choices=("auto", "on", "off"),
    )
    critic: str = setting(
        "trained",
        "What learns of the critic: all of it, or its adapter; or, a third cheaper, a head: on the policy's own states "
        "(shared), or on what the reward model made of each token (frozen), which expects the reward less well.",
        choices=("trained", "shared", "frozen"),
    )
    rewards: str = setting(
        "model=1",
        "What is rewarded, name=weight joined by commas: model, length (tokens), distinct, format, or one in rewards.json.",
    )
    rollouts: int = setting(8, "How often fresh completions are sampled and learned from.", low=1)
    rollout_batch_size: int = setting(128, "Prompts of a rollout.", low=1)
    samples_per_prompt: int = setting(1, "Completions of each prompt of a rollout.", low=1)
    ppo_epochs: int = setting(2, "Passes over one rollout.", low=1)
    num_minibatches: int = setting(4, "Optimizer steps per pass.", low=1)
    micro_batch_tokens: int = setting(
        0,
        "Padded tokens per forward pass; 0 takes 1536 on a CPU and 8192 on a GPU, for speed and little memory.",
        low=0,
    )
    max_prompt_tokens: int = setting(512, "Longest prompt; older turns are cut whole.", low=8)
    max_new_tokens: int = setting(256, "Longest completion.", low=1)
    temperature: float = setting(1.0, "Sampling temperature; every log-probability is divided by it.", above=0)
    gamma: float = setting(1.0, "Discount.", low=0, high=1)
    lam: float = setting(0.95, "GAE lambda.", low=0, high=1)
    clip_low: float = setting(0.2, "The ratio is clipped to 1 - clip_low.", above=0, high=1)
    clip_high: float = setting(0.2, "The ratio is clipped to 1 + clip_high.", above=0)
    dual_clip: float = setting(
        0.0, "Where the advantage is negative the loss stops at this many times it; 0 sets no stop.", low=0
    )
    value_clip: float = setting(0.2, "How far a value may move from the rollout's; 0 sets no limit.", low=0)
    vf_coef: float = setting(0.1, "Weight of the value loss.", low=0)
    learning_rate: float = setting(
        0.0, "Rate of the policy; 0 takes 1e-6 for whole weights and 1e-5 for adapters.", low=0, high=1
    )
    value_learning_rate: float = setting(
        0.0, "Rate of the critic; 0 takes 5e-6 for whole weights and 5e-5 for adapters.", low=0, high=1
    )
    kl_coef: float = setting(0.05, "Weight of the KL penalty; where it starts, with a kl_goal.", low=0)
    kl_in: str = setting(
        "reward",
        "Where the KL penalty is: in the reward of each token, so that the critic expects it (k1), or in the loss (k2), "
        "where objective/rlhf_reward does not tell it.",
        choices=("reward", "loss"),
    )
    kl_goal: float = setting(
        0.0, "KL to the reference, nats a completion, that kl_coef is steered to; 0 keeps kl_coef.", low=0
    )
    kl_horizon: int = setting(10_000, "Completions over which kl_coef is steered.", low=1)
    target_kl: float = setting(0.02, "Per-token KL to the rollout's policy at which its passes stop early.", above=0)
    reward_norm: str = setting(
        "reference",
        "What scores are measured in: mean and spread of the first rollout's, which is the reference's, or as they are.",
        choices=("reference", "none"),
    )
    reward_clip: float = setting(5.0, "Normalised scores are clipped to this.", above=0)
    missing_eos_penalty: float = setting(1.0, "Taken from the normalised score of an unfinished completion.", low=0)
    whiten_rewards: str = setting(
        "off",
        "Divides the rewards of a rollout's tokens by their spread, as TRL offered: the critic learns them so.",
        choices=("off", "on"),
    )
    whiten_advantages: str = setting(
        "on",
        "Gives the advantages of all tokens of a rollout mean 0 and spread 1; off leaves their size to the rewards.",
        choices=("on", "off"),
    )
    truncated_value: str = setting(
        "zero",
        "What is to come after a completion cut at its limit: nothing, or what the critic expects there.",
        choices=("zero", "critic"),
    )
    kl_limit: float = setting(
        100.0, "KL to the reference, nats a completion, beyond which the run stops; 0 sets no limit.", low=0
    )
    score_drop: float = setting(
        3.0,
        "Fall of the mean normalised score under its best, twice in a row, at which the run stops; 0 sets no limit.",
        low=0,
    )
    finished_drop: float = setting(
        0.5,
        "Fall of the share of finished completions under its best, twice in a row, at which the run stops; 0 sets none.",
        low=0,
        high=1,
    )
    alarm: str = setting(
        "warn",
        "What two signs of over-optimization do: they are told, or end the run with the policy it has; off looks for none.",
        choices=("warn", "stop", "off"),
    )
    heldout_model: str = setting(
        "", "Name of a reward model that learned from other judgments: it judges without rewarding, for the alarm."
    )
    alarm_prompts: int = setting(
        16, "Prompts on which the alarm takes the measure of the reference's completions.", low=2
    )
    alarm_samples: int = setting(16, "Completions of each of them.", low=2)
    critic_warmup_rollouts: int = setting(
        -1, "First rollouts in which only the critic learns; -1 takes 4 for whole weights and 1 for adapters.", low=-1
    )
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    ptx_coef: float = setting(
        0.0, "Weight of a fine-tuning loss on data/ptx.jsonl in every step, against forgetting; 0 leaves it out.", low=0
    )
    ptx_dataset: int = setting(
        0, "Number of the frozen demonstrations or texts it is on; 0 takes the project's newest demonstrations.", low=0
    )
    ptx_batch_size: int = setting(16, "Rows of data/ptx.jsonl in a step.", low=1)
    ptx_max_length: int = setting(256, "Longest of these rows in tokens.", low=8)
    old_logps: str = setting(
        "trainer",
        "Who gives the rollout's log-probabilities: the code that trains, or, one pass cheaper, the one that samples.",
        choices=("trainer", "sampler"),
    )
    save_rollouts: int = setting(4, "Rollouts between two resumable checkpoints.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_completions < self.num_minibatches:
            raise ConfigError(
                "rollout_batch_size times samples_per_prompt must be >= num_minibatches, got "
                f"{self.rollout_batch_size} times {self.samples_per_prompt} and {self.num_minibatches}"
            )
        parse_weights(self.rewards)
        if self.share_base == "on" and not self.lora_rank:
            raise ConfigError("share_base=on shares by adapters: give them a lora_rank, say 16")
        if 0 < self.dual_clip <= 1 + self.clip_high:
            raise ConfigError(f"dual_clip must be 0 or over 1 + clip_high, got {self.dual_clip:g}")
        if 0 < self.micro_batch_tokens < 64:
            raise ConfigError(f"micro_batch_tokens must be 0 or >= 64, got {self.micro_batch_tokens}")
        if self.kl_goal and not self.kl_coef:
            raise ConfigError("kl_goal steers kl_coef by a factor: give it a kl_coef above 0 to start from")

    @property
    def n_completions(self) -> int:
        """Completions of a rollout."""
        return self.rollout_batch_size * self.samples_per_prompt

    @property
    def policy_rate(self) -> float:
        """Peak rate of the policy."""
        return self.learning_rate or self.start.policy_rate

    @property
    def critic_rate(self) -> float:
        """Peak rate of the critic."""
        return self.value_learning_rate or self.start.critic_rate

    @property
    def n_warmup_rollouts(self) -> int:
        """First rollouts in which only the critic learns."""
        return self.start.n_warmup_rollouts if self.critic_warmup_rollouts < 0 else self.critic_warmup_rollouts

    @property
    def start(self) -> Start:
        """What suits what is trained, where the settings leave it open."""
        return ADAPTERS if self.lora_rank else WEIGHTS


def parse_weights(text: str) -> dict[str, float]:
    """Return the weights of "name=weight, name=weight". Raises: ConfigError."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not name or name in weights or not math.isfinite(weight):
            raise ConfigError(f"write rewards as name=weight joined by commas, each name once, got {text!r}")
        weights[name] = weight
    return weights
