"""Run configurations: one frozen dataclass a kind, validated when made, JSON both ways.

The web form, the REST API, the management command and the learning process all follow these fields.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from rlhf.contract.errors import ConfigError


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one configuration field with its limits and the sentence the form shows.

    Args:
        default: the value used when the user names none; its type is the field's type.
        help: one sentence for people, unit included.
        low, high: inclusive limits. above: exclusive lower limit.
        choices: the only strings allowed, when given.
    Returns: a dataclass field.
    """
    limits = {"help": help, "low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata=limits)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every run has. Subclasses name their `kind` and their `needs` (data files that must be there)."""

    kind: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()

    seed: int = setting(42, "Every random draw of the run derives from it.", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        for item in fields(self):
            check_setting(item, getattr(self, item.name))

    def to_json(self) -> str:
        """Return the canonical JSON text of this configuration, `kind` first."""
        return json.dumps({"kind": self.kind, **dataclasses.asdict(self)}, ensure_ascii=False, indent=1)

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed. Raises: ConfigError."""
        changed: Self = build_config(type(self), {**dataclasses.asdict(self), **changes})
        return changed

    def with_settings(self, assignments: list[str]) -> Self:
        """Return a copy changed by `key=value` texts, as `--set` gives them. Raises: ConfigError."""
        changes: dict[str, Any] = {}
        for assignment in assignments:
            name, separator, text = assignment.partition("=")
            if not separator:
                raise ConfigError(f"write settings as key=value, got {assignment!r}")
            changes[name.strip()] = parse_setting(type(self), name.strip(), text.strip())
        return self.replace(**changes)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(RunConfig):
    """What every training run of a transformer has."""

    max_length: int = setting(
        256, "Longest row in tokens; prompts are cut from the left by whole turns.", low=8, high=131072
    )
    batch_size: int = setting(16, "Rows (pairs for reward and dpo) per optimizer step.", low=1, high=65536)
    max_steps: int = setting(0, "Optimizer steps; 0 lets the epochs decide.", low=0)
    epochs: float = setting(1.0, "Passes over the training rows when max_steps is 0.", above=0)
    logging_steps: int = setting(5, "Steps between two logged metrics.", low=1)
    save_steps: int = setting(100, "Steps between two resumable checkpoints.", low=1)
    warmup_ratio: float = setting(0.05, "Share of the steps in which the learning rate rises.", low=0, high=0.5)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    dtype: str = setting(
        "auto",
        "Precision of matrix products; auto takes bfloat16 where it is faster.",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Next-token pre-training of a new model and its BPE tokenizer on data/train.jsonl ({"text": ...})."""

    kind: ClassVar[str] = "pretrain"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    architecture: str = setting("llama", "Shape of the blocks.", choices=("llama", "qwen3", "gpt2"))
    vocab_size: int = setting(2048, "BPE tokens, special tokens included.", low=300, high=262144)
    hidden_size: int = setting(192, "Width of the model; a multiple of n_heads.", low=16, high=16384)
    intermediate_size: int = setting(512, "Width of the MLP.", low=16, high=65536)
    n_layers: int = setting(4, "Transformer blocks.", low=1, high=256)
    n_heads: int = setting(6, "Attention heads.", low=1, high=256)
    max_length: int = setting(128, "Tokens per packed training row.", low=8, high=131072)
    max_steps: int = setting(400, "Optimizer steps.", low=1)
    learning_rate: float = setting(3e-3, "AdamW rate of embeddings, norms and head.", above=0, high=1)
    matrix_learning_rate: float = setting(2e-2, "Muon rate of the hidden matrices.", above=0, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.n_heads or (self.hidden_size // self.n_heads) % 2:
            raise ConfigError(
                f"hidden_size must be n_heads times an even number, got {self.hidden_size} and {self.n_heads} heads"
            )


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainingConfig):
    """Supervised fine-tuning on data/train.jsonl ({"messages": [...]}), loss on assistant turns only."""

    kind: ClassVar[str] = "sft"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl",)

    base_model: str = setting("", "Folder of the model to tune.")
    learning_rate: float = setting(1e-3, "Peak AdamW learning rate.", above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class RewardConfig(TrainingConfig):
    """Reward model on preference rows: -w [p log s(d) + (1 - p) log s(-d)], d = r_chosen - r_rejected - margin."""

    kind: ClassVar[str] = "reward"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    base_model: str = setting("", "Folder of the model whose trunk scores.")
    n_heads: int = setting(
        1, "Heads that learn from draws of the rows; several tell how sure they are.", low=1, high=16
    )
    learning_rate: float = setting(3e-4, "Peak AdamW learning rate.", above=0, high=1)
    center_rewards_coefficient: float = setting(
        0.01, "Pulls the mean reward of a pair to zero; 0 switches it off.", low=0
    )
    margin_scale: float = setting(
        0.0, "Reward difference asked of the strongest preference, nats; 0 ignores strength.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class DPOConfig(TrainingConfig):
    """Direct preference optimization on preference rows (arXiv 2305.18290)."""

    kind: ClassVar[str] = "dpo"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    beta: float = setting(0.1, "Strength of the pull to the reference.", above=0)
    learning_rate: float = setting(2e-4, "Peak AdamW learning rate.", above=0, high=1)
    loss_type: str = setting(
        "sigmoid",
        "Which loss; simpo and orpo do without a reference.",
        choices=("sigmoid", "ipo", "robust", "hinge", "simpo", "orpo"),
    )
    label_smoothing: float = setting(
        0.0, "Known share of flipped labels; only the robust loss uses it.", low=0, high=0.49
    )
    sft_coef: float = setting(
        0.0, "Weight of an SFT term on the chosen completions, which keeps them likely; orpo needs it.", low=0
    )
    simpo_margin: float = setting(0.5, "Reward difference that simpo asks for, nats.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_smoothing and self.loss_type != "robust":
            raise ConfigError(f"label_smoothing acts on loss_type=robust only, got loss_type={self.loss_type}")
        if self.loss_type == "orpo" and not self.sft_coef:
            raise ConfigError("orpo learns to write from its SFT term alone: set sft_coef, 1 in its paper")

    @property
    def is_reference_free(self) -> bool:
        """Whether the loss asks no reference."""
        return self.loss_type in ("simpo", "orpo")


@dataclass(frozen=True, kw_only=True)
class PPOConfig(RunConfig):
    """PPO with a KL penalty (arXiv 1707.06347, 1909.08593) on data/prompts.jsonl, scored by a reward model."""

    kind: ClassVar[str] = "ppo"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    reward_model: str = setting("", "Folder of the reward model.")
    rewards: str = setting(
        "model=1",
        "What is rewarded, name=weight joined by commas: model, length (tokens), distinct, or a name in rewards.json.",
    )
    ensemble: str = setting(
        "mean",
        "What counts of a reward model's several heads: their mean, or the least of them.",
        choices=("mean", "min"),
    )
    rollouts: int = setting(8, "How often fresh completions are sampled and learned from.", low=1)
    rollout_batch_size: int = setting(128, "Prompts per rollout.", low=1)
    ppo_epochs: int = setting(2, "Passes over one rollout.", low=1)
    num_minibatches: int = setting(4, "Optimizer steps per pass.", low=1)
    micro_batch_tokens: int = setting(4096, "Padded tokens per forward pass.", low=64)
    max_prompt_tokens: int = setting(256, "Longest prompt; older turns are cut whole.", low=8)
    max_new_tokens: int = setting(48, "Longest completion.", low=1)
    temperature: float = setting(1.0, "Sampling temperature; every log-probability is divided by it.", above=0)
    gamma: float = setting(1.0, "Discount.", low=0, high=1)
    lam: float = setting(0.95, "GAE lambda.", low=0, high=1)
    clip_low: float = setting(0.2, "The ratio is clipped to 1 - clip_low.", above=0, high=1)
    clip_high: float = setting(0.2, "The ratio is clipped to 1 + clip_high.", above=0)
    dual_clip: float = setting(
        0.0, "Where the advantage is negative the loss stops at this many times it; 0 sets no stop.", low=0
    )
    value_clip: float = setting(0.2, "How far a value may move from the rollout's.", above=0)
    vf_coef: float = setting(0.1, "Weight of the value loss.", low=0)
    learning_rate: float = setting(1e-4, "Rate of the policy.", above=0, high=1)
    value_learning_rate: float = setting(3e-4, "Rate of the critic.", above=0, high=1)
    kl_coef: float = setting(
        0.05, "Weight of the KL penalty in the reward (k1); where it starts, with a kl_goal.", low=0
    )
    kl_goal: float = setting(
        0.0, "KL to the reference, nats a completion, that kl_coef is steered to; 0 keeps kl_coef.", low=0
    )
    kl_horizon: int = setting(10_000, "Completions over which kl_coef is steered.", low=1)
    target_kl: float = setting(0.05, "Per-token KL to the rollout's policy at which its passes stop early.", above=0)
    reward_clip: float = setting(5.0, "Normalised scores are clipped to this.", above=0)
    missing_eos_penalty: float = setting(1.0, "Taken from the normalised score of an unfinished completion.", low=0)
    critic_warmup_rollouts: int = setting(1, "First rollouts in which only the critic learns.", low=0)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    save_rollouts: int = setting(4, "Rollouts between two resumable checkpoints.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rollout_batch_size < self.num_minibatches:
            raise ConfigError(
                f"rollout_batch_size must be >= num_minibatches, got {self.rollout_batch_size} and {self.num_minibatches}"
            )
        parse_weights(self.rewards)
        if 0 < self.dual_clip <= 1 + self.clip_high:
            raise ConfigError(f"dual_clip must be 0 or over 1 + clip_high, got {self.dual_clip:g}")
        if self.kl_goal and not self.kl_coef:
            raise ConfigError("kl_goal steers kl_coef by a factor: give it a kl_coef above 0 to start from")


@dataclass(frozen=True, kw_only=True)
class SampleConfig(RunConfig):
    """Draw completions for data/prompts.jsonl into samples.jsonl."""

    kind: ClassVar[str] = "sample"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    base_model: str = setting("", "Folder of the policy that samples.")
    n: int = setting(2, "Completions per prompt.", low=1, high=1024)
    temperature: float = setting(0.9, "0 is greedy.", low=0)
    top_p: float = setting(1.0, "Nucleus.", above=0, high=1)
    max_new_tokens: int = setting(64, "Longest completion in tokens.", low=1)
    max_prompt_tokens: int = setting(512, "Longest prompt; older turns are cut whole.", low=8)
    batch_size: int = setting(128, "Completions generated at once.", low=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Held-out accuracy of a reward model, or of a DPO policy against its reference, on data/test.jsonl."""

    kind: ClassVar[str] = "evaluate"
    needs: ClassVar[tuple[str, ...]] = ("test.jsonl",)

    base_model: str = setting("", "Folder of the reward model, or of the policy.")
    reference_model: str = setting("", "Folder of the reference; empty when base_model is a reward model.")
    max_length: int = setting(512, "Longest row in tokens.", low=8)
    batch_size: int = setting(32, "Pairs scored at once.", low=1)


CONFIGS: dict[str, type[RunConfig]] = {
    config.kind: config
    for config in (PretrainConfig, SFTConfig, RewardConfig, DPOConfig, PPOConfig, SampleConfig, EvaluateConfig)
}
TRAINING_KINDS = ("pretrain", "sft", "reward", "dpo", "ppo")


def build_config(config_class: type[Any], values: dict[str, Any]) -> Any:
    """Return a validated `config_class` from plain values. Raises: ConfigError on unknown or ill-typed fields."""
    known = {item.name for item in fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(unknown)}; {config_class.kind} knows {', '.join(sorted(known))}")
    return config_class(**values)


def load_config(text: str) -> RunConfig:
    """Return the configuration that `RunConfig.to_json` wrote. Raises: ConfigError."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the configuration is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("kind") not in CONFIGS:
        raise ConfigError(f"the configuration's kind must be one of {', '.join(CONFIGS)}")
    kind = values.pop("kind")
    config: RunConfig = build_config(CONFIGS[kind], values)
    return config


def parse_setting(config_class: type[RunConfig], name: str, text: str) -> Any:
    """Return `text` as the type of the field `name`. Raises: ConfigError when it cannot be read so."""
    for item in fields(config_class):
        if item.name == name:
            break
    else:
        raise ConfigError(
            f"unknown setting {name}; {config_class.kind} knows {', '.join(f.name for f in fields(config_class))}"
        )
    wanted = type(item.default)
    try:
        return int(text) if wanted is int else float(text) if wanted is float else text
    except ValueError as error:
        raise ConfigError(f"{name} must be {'an integer' if wanted is int else 'a number'}, got {text!r}") from error


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


def check_setting(item: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value that its field's type or limits forbid. Raises: ConfigError."""
    name, limits, wanted = item.name, item.metadata, type(item.default)
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {value!r}")
    elif type(value) is not wanted:
        raise ConfigError(f"{name} must be {'an integer' if wanted is int else 'a text'}, got {value!r}")
    if limits.get("choices") and value not in limits["choices"]:
        raise ConfigError(f"{name} must be one of {', '.join(limits['choices'])}, got {value!r}")
    if limits.get("low") is not None and value < limits["low"]:
        raise ConfigError(f"{name} must be >= {limits['low']:g}, got {value}")
    if limits.get("high") is not None and value > limits["high"]:
        raise ConfigError(f"{name} must be <= {limits['high']:g}, got {value}")
    if limits.get("above") is not None and value <= limits["above"]:
        raise ConfigError(f"{name} must be > {limits['above']:g}, got {value}")
