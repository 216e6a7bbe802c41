"""The settings of Kahneman-Tversky optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import TuningConfig, setting


@dataclass(frozen=True, kw_only=True)
class KTOConfig(TuningConfig):
    """KTO on completions that are good or bad by themselves (arXiv 2402.01306)."""

    kind: ClassVar[str] = "kto"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    base_model: str = setting("", "Folder of the policy to start from; it is also the reference.")
    beta: float = setting(0.1, "Strength of the pull to the reference.", above=0)
    loss_type: str = setting(
        "kto",
        "Which loss; apo_zero_unpaired does without the estimate of how far the policy has moved.",
        choices=("kto", "apo_zero_unpaired"),
    )
    desirable_weight: float = setting(
        0.0, "Weight of good completions; 0 balances them against the bad ones by their number.", low=0
    )
    undesirable_weight: float = setting(
        0.0, "Weight of bad completions; 0 balances them against the good ones by their number.", low=0
    )
    chosen_drop: float = setting(
        3.0,
        "Mean fall of the good completions under the reference, nats a token, at which the run stops; 0 sets no limit.",
        low=0,
    )
    kl_limit: float = setting(
        5.0,
        "Estimated KL to the reference, nats a token, beyond which the run stops; only the kto loss estimates it; "
        "0 sets no limit.",
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss_type == "kto" and self.batch_size < 2:
            raise ConfigError(
                "batch_size must be >= 2 for loss_type=kto, which pairs each prompt with the completion of another, "
                f"got {self.batch_size}"
            )
