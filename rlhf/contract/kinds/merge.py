"""The settings of averaging two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class MergeConfig(RunConfig):
    """A model between two others, (1 - weight) base + weight other: what alignment cost comes back (arXiv 2309.06256)."""

    kind: ClassVar[str] = "merge"

    base_model: str = setting("", "Folder of the model to go from, say what a policy was before its last training.")
    other_model: str = setting("", "Folder of the model to go to: the same shape, the same tokenizer.")
    weight: float = setting(0.5, "How far to go: 0 is the one, 1 the other.", low=0, high=1)
