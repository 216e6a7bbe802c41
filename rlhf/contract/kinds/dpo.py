"""The settings of direct preference optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import TuningConfig, setting

PER_TOKEN = ("ipo", "simpo", "orpo")  # losses of a completion's mean over its tokens


@dataclass(frozen=True, kw_only=True)
class DPOConfig(TuningConfig):
    """Direct preference optimization on preference rows (arXiv 2305.18290)."""

    kind: ClassVar[str] = "dpo"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    beta: float = setting(0.1, "Strength of the pull to the reference.", above=0)
    loss_type: str = setting(
        "sigmoid",
        "Which loss; simpo and orpo do without a reference.",
        choices=("sigmoid", "ipo", "robust", "hinge", "simpo", "orpo"),
    )
    balance: str = setting(
        "pairs",
        "What weighs the same: each pair, or each prompt, so that the C(K,2) pairs of K ranked completions share its weight.",
        choices=("pairs", "prompts"),
    )
    label_smoothing: float = setting(
        0.0, "Known share of flipped labels; only the robust loss uses it.", low=0, high=0.49
    )
    sft_coef: float = setting(
        0.0,
        "Weight of an SFT term on the chosen completions, which keeps them likely; ties have no part in it. orpo needs it.",
        low=0,
    )
    simpo_margin: float = setting(0.5, "Reward difference that simpo asks for, nats.", low=0)
    length_coef: float = setting(
        0.0,
        "What each token of a completion costs, nats of reward, so that length alone wins nothing; for losses that do not "
        "average over tokens.",
        low=0,
        high=10,
    )
    chosen_drop: float = setting(
        3.0,
        "Mean fall of the chosen completions under the reference, nats a token, at which the run stops; 0 sets no limit.",
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_smoothing and self.loss_type != "robust":
            raise ConfigError(f"label_smoothing acts on loss_type=robust only, got loss_type={self.loss_type}")
        if self.length_coef and self.loss_type in PER_TOKEN:
            raise ConfigError(
                f"length_coef is for whole completions, but loss_type={self.loss_type} averages over tokens"
            )
        if self.loss_type == "orpo" and not self.sft_coef:
            raise ConfigError("orpo learns to write from its SFT term alone: set sft_coef, 1 in its paper")

    @property
    def is_reference_free(self) -> bool:
        """Whether the loss asks no reference."""
        return self.loss_type in ("simpo", "orpo")
