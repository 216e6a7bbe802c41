"""The settings of training a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import TuningConfig, setting

N_PAIRS = 5000  # that a list of words learns from: enough for it, and a tenth of a second


@dataclass(frozen=True, kw_only=True)
class RewardConfig(TuningConfig):
    """Reward model on preference rows: -w [p log s(d) + (1 - p) log s(-d)], d = r_chosen - r_rejected - margin."""

    kind: ClassVar[str] = "reward"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    base_model: str = setting("", "Folder of the model whose trunk scores.")
    head: str = setting(
        "last",
        "What scores: a head on the last token of a trunk that is trained; or, within seconds and better while judgments "
        "are a few hundred, a weight for each different word of a completion and for how likely base_model finds it.",
        choices=("last", "tokens"),
    )
    n_heads: int = setting(
        1, "Heads that learn from draws of the rows; several tell how sure they are.", low=1, high=16
    )
    center_rewards_coefficient: float = setting(
        0.01, "Pulls the mean reward of a pair to zero; 0 switches it off.", low=0
    )
    balance: str = setting(
        "pairs",
        "What weighs the same: each pair, or each prompt, so that the C(K,2) pairs of K ranked completions share its weight "
        "and are learned from in one step, however many they are.",
        choices=("pairs", "prompts"),
    )
    tie_threshold: float = setting(
        0.0,
        "Reward difference, nats, within which a tie is what is to be expected (Rao and Kupper); 0 takes a tie for a "
        "label that is right half of the time.",
        low=0,
    )
    margin_scale: float = setting(
        0.0, "Reward difference asked of the strongest preference, nats; 0 ignores strength.", low=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == "tokens":
            for name in ("lora_rank", "margin_scale", "tie_threshold"):
                if getattr(self, name):
                    raise ConfigError(f"{name} acts on head=last only: leave it at 0 with head=tokens")
