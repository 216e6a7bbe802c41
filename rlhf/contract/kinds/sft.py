"""The settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import TuningConfig, setting


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TuningConfig):
    """Supervised fine-tuning on data/train.jsonl ({"messages": [...]}), loss on assistant turns only."""

    kind: ClassVar[str] = "sft"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl",)

    base_model: str = setting("", "Folder of the model to tune.")
    learning_rate: float = setting(1e-3, "Peak AdamW learning rate.", above=0, high=1)
