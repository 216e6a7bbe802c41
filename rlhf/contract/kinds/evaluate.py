"""The settings of evaluating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Held-out accuracy of a reward model, or of a DPO policy against its reference, on data/test.jsonl."""

    kind: ClassVar[str] = "evaluate"
    needs: ClassVar[tuple[str, ...]] = ("test.jsonl",)

    base_model: str = setting("", "Folder of the reward model, or of the policy.")
    reference_model: str = setting("", "Folder of the reference; empty when base_model is a reward model.")
    max_length: int = setting(512, "Longest row in tokens.", low=8)
    batch_size: int = setting(32, "Pairs scored at once.", low=1)
