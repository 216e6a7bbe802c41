"""The settings of scoring samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(RunConfig):
    """What each head of a reward model says of every completion in data/samples.jsonl, into scores.jsonl."""

    kind: ClassVar[str] = "score"
    needs: ClassVar[tuple[str, ...]] = ("samples.jsonl",)

    base_model: str = setting("", "Folder of the reward model.")
    samples_of: int = setting(0, "Number of the sampling run whose completions are scored.", low=0)
    max_length: int = setting(512, "Longest row in tokens; prompts are cut from the left by whole turns.", low=8)
