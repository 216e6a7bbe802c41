"""The settings of sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class SampleConfig(RunConfig):
    """Draw completions for data/prompts.jsonl into samples.jsonl."""

    kind: ClassVar[str] = "sample"
    needs: ClassVar[tuple[str, ...]] = ("prompts.jsonl",)

    base_model: str = setting("", "Folder of the policy that samples.")
    n: int = setting(2, "Completions per prompt.", low=1, high=1024)
    temperature: float = setting(0.9, "0 is greedy.", low=0)
    top_p: float = setting(1.0, "Nucleus.", above=0, high=1)
    max_new_tokens: int = setting(64, "Longest completion in tokens.", low=1)
    max_prompt_tokens: int = setting(512, "Longest prompt; older turns are cut whole.", low=8)
    batch_size: int = setting(128, "Completions generated at once.", low=1)
