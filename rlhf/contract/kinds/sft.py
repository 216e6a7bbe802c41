"""The settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import TuningConfig, setting


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TuningConfig):
    """Supervised fine-tuning on demonstrations in data/train.jsonl, loss on assistant turns only."""

    kind: ClassVar[str] = "sft"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl",)

    base_model: str = setting("", "Folder of the model to tune.")
    packing: str = setting(
        "off",
        "Put the conversations of a step into as few rows as they fit in; each sees itself alone, and the loss is the same.",
        choices=("off", "on"),
    )

    @property
    def packs(self) -> bool:
        """Whether several conversations share a row."""
        return self.packing == "on"
