"""What every run's settings have in common: limits, texts for forms, JSON both ways.

A kind of run is one frozen dataclass of them in rlhf/contract/kinds, validated when it is made.
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


def recomputing_setting() -> Any:
    """Return the field that says whether activations are computed twice."""
    return setting(
        "auto",
        "Computes activations twice rather than keep them; auto does so for over a billion weights on a GPU.",
        choices=("auto", "on", "off"),
    )


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
class AdapterConfig(RunConfig):
    """What every method has that can train low-rank adapters in place of the weights (LoRA, arXiv 2106.09685)."""

    lora_rank: int = setting(
        0,
        "Rank of the adapters that are trained in place of the weights, at about ten times the learning rate; "
        "0 trains the weights.",
        low=0,
        high=1024,
    )
    lora_alpha: float = setting(32.0, "What an adapter adds is multiplied by lora_alpha / lora_rank.", above=0)
    lora_targets: str = setting(
        "all", "Which matrices of the blocks have adapters.", choices=("all", "attention", "mlp")
    )


@dataclass(frozen=True, kw_only=True)
class RatedConfig(AdapterConfig):
    """What every method has whose learning rate follows from the model's size where none is named."""

    learning_rate: float = setting(
        0.0,
        "Peak AdamW learning rate; 0 takes one that suits the model's size, and ten times that for adapters.",
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(RunConfig):
    """What every training run of a transformer has."""

    max_length: int = setting(
        256, "Longest row in tokens; prompts are cut from the left by whole turns.", low=8, high=131072
    )
    batch_size: int = setting(16, "Rows (pairs for reward and dpo) per optimizer step.", low=1, high=65536)
    micro_batch_tokens: int = setting(
        0,
        "Padded tokens that are learned from at once: a smaller part of a batch takes less memory and more time, and the "
        "step is the same; 0 takes the batch in one piece.",
        low=0,
    )
    max_steps: int = setting(0, "Optimizer steps; 0 lets the epochs decide.", low=0)
    epochs: float = setting(1.0, "Passes over the training rows when max_steps is 0.", above=0)
    logging_steps: int = setting(5, "Steps between two logged metrics.", low=1)
    save_steps: int = setting(100, "Steps between two resumable checkpoints.", low=1)
    warmup_ratio: float = setting(0.05, "Share of the steps in which the learning rate rises.", low=0, high=0.5)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm.", above=0)
    dtype: str = setting(
        "auto",
        "Precision of matrix products, and of a frozen base under adapters; auto takes bfloat16 where it is faster.",
        choices=("auto", "float32", "bfloat16"),
    )
    gradient_checkpointing: str = recomputing_setting()


@dataclass(frozen=True, kw_only=True)
class SampledConfig(AdapterConfig):
    """What every method has that learns from completions which it has just drawn and a reward model scores."""

    ensemble: str = setting(
        "mean",
        "What counts of a reward model's several heads: their mean, the least of them, or (cautious) their mean less "
        "ensemble_coef times how far they lie apart.",
        choices=("mean", "min", "cautious"),
    )
    ensemble_coef: float = setting(
        1.0, "Standard deviations of the heads that ensemble=cautious takes from their mean.", low=0
    )
    generation_backend: str = setting(
        "auto",
        "What draws completions; auto takes transformers' continuous batching on a GPU, else our own loop.",
        choices=("auto", "loop", "continuous", "vllm"),
    )
    dtype: str = setting(
        "auto",
        "Precision of matrix products, and of a frozen base under adapters; auto takes bfloat16 on a GPU that has it, and "
        "float32 on a CPU.",
        choices=("auto", "float32", "bfloat16"),
    )
    gradient_checkpointing: str = recomputing_setting()


@dataclass(frozen=True, kw_only=True)
class TuningConfig(TrainingConfig, RatedConfig):
    """What every training run has that starts from a model."""


def build_config(config_class: type[Any], values: dict[str, Any]) -> Any:
    """Return a validated `config_class` from plain values. Raises: ConfigError on unknown or ill-typed fields."""
    known = {item.name for item in fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(unknown)}; {config_class.kind} knows {', '.join(sorted(known))}")
    return config_class(**values)


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


def check_setting(item: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value that its field's type or limits forbid. Raises: ConfigError."""
    name, limits, wanted = item.name, item.metadata, type(item.default)
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_finite(value):
            raise ConfigError(f"{name} must be a finite number, got {value!r:.40}")
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


def is_finite(value: float) -> bool:
    """Say whether a number can be computed with: an integer of a thousand digits is no float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
