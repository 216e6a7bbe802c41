"""The settings of evaluating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.settings import RunConfig, setting


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """How good a model is: a reward model on data/test.jsonl; a policy, against its reference, there and on its own words.

    Of a policy completions are drawn for the prompts of data/test.jsonl, and data/texts.jsonl, data/demonstrations.jsonl
    and data/tasks.jsonl, where they are, tell what it has forgotten.
    """

    kind: ClassVar[str] = "evaluate"
    needs: ClassVar[tuple[str, ...]] = ("test.jsonl",)

    base_model: str = setting("", "Folder of the reward model, or of the policy.")
    reference_model: str = setting("", "Folder of the reference; empty when base_model is a reward model.")
    reward_model: str = setting("", "Folder of the reward model that scores a policy's completions; empty scores none.")
    heldout_model: str = setting(
        "", "Name of a reward model that learned from other judgments, and doubts what the first one says."
    )
    max_length: int = setting(
        512, "Longest row in tokens; a reward model is asked about none that it was not trained on.", low=8
    )
    batch_size: int = setting(32, "Pairs scored at once.", low=1)
    n_prompts: int = setting(64, "Held-out prompts for which policy and reference complete; 0 draws nothing.", low=0)
    n_samples: int = setting(8, "Completions of each by either.", low=2, high=256)
    temperature: float = setting(1.0, "Sampling temperature; at 1 the KL is that of the model itself.", above=0)
    max_prompt_tokens: int = setting(256, "Longest prompt; older turns are cut whole.", low=8)
    max_new_tokens: int = setting(48, "Longest completion in tokens.", low=1)
    texts: int = setting(
        0, "Number of the dataset whose held-out texts tell what was forgotten; 0 takes the newest.", low=0
    )
    demonstrations: int = setting(0, "Number of the dataset of demonstrations for the same; 0 takes the newest.", low=0)
    n_texts: int = setting(256, "Rows that are read of each.", low=1)
