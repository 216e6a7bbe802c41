"""The settings of scoring samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(RunConfig):
    """What each head of a reward model says of every completion in data/samples.jsonl, into scores.jsonl."""

    kind: ClassVar[str] = "score"
    needs: ClassVar[tuple[str, ...]] = ("samples.jsonl",)

    base_model: str = setting("", "Folder of the reward model.")
    samples_of: int = setting(0, "Number of the sampling run whose completions are scored.", low=0)
    max_length: int = setting(
        0,
        "Longest row in tokens; prompts are cut from the left by whole turns. 0 takes what the reward model was trained on.",
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.max_length < 8:
            raise ConfigError(f"max_length must be 0 or >= 8, got {self.max_length}")
