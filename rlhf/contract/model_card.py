"""What the cards of models have in common: the header the Hub reads, settings, figures, and how to load one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rlhf.contract.config import CONFIGS
from rlhf.contract.run_dir import USAGE

CARD = "README.md"
TAGS = {
    "sft": ["sft"],
    "reward": ["reward-model"],
    "dpo": ["dpo"],
    "kto": ["kto"],
    "ppo": ["ppo"],
    "grpo": ["grpo"],
    "merge": ["merge"],
}
APART = ("slices", USAGE)


@dataclass(frozen=True)
class Measure:
    """One final metric of the run that made a model. low, high: its 95% interval, where it has one."""

    name: str
    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def write_header(*, gives_scores: bool, kind: str) -> list[str]:
    """Return the lines that the Hub reads. kind: of the run that made the model, empty for none."""
    header = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if gives_scores else "text-generation",
        "tags": ["prefloop", *TAGS.get(kind, [])],
    }
    # JSON is YAML, and its strings need no quoting rules of our own.
    return ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()), "---", ""]


def list_settings(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that are not the defaults of its kind; which models they name is told elsewhere."""
    known = {item.name: item.default for item in fields(CONFIGS[kind])}
    return {
        name: value
        for name, value in config.items()
        if name in known and value != known[name] and not name.endswith("_model")
    }


def list_figures(metrics: Mapping[str, Any]) -> list[Measure]:
    """Return the numbers a run ended with, the ends of intervals beside what they are the ends of."""
    result = {name: value for name, value in metrics.items() if isinstance(value, (int, float)) and name not in APART}
    ends = {f"{name}_{end}" for name in result for end in ("low", "high") if f"{name}_low" in result}
    return [
        Measure(name, value, result.get(f"{name}_low"), result.get(f"{name}_high"))
        for name, value in result.items()
        if name not in ends
    ]


def describe_settings(kind: str, config: Mapping[str, Any]) -> list[str]:
    """Return what differs from the defaults, as a part of a card."""
    changes = json.dumps(list_settings(kind, config), ensure_ascii=False, indent=1, sort_keys=True)
    return ["## Settings", "", "What differs from the defaults:", "", "```json", changes, "```", ""]


def describe_figures(measures: Sequence[Measure]) -> list[str]:
    """Return measures as a table in Markdown, as a part of a card; intervals are of 95%."""
    rows = ["| metric | value |", "|---|---|", *(f"| {measure.name} | {measure} |" for measure in measures)]
    return ["## Measured", "", *(rows if measures else ["Nothing."]), ""]


def describe_use(name: str, *, gives_scores: bool, weighs_words: bool) -> list[str]:
    """Return how a model is loaded from a folder of that name, as a part of a card."""
    if weighs_words:
        return [
            *("## Use", ""),
            "Transformers has no class for a reward model of words and likelihood; this is how it is read here:",
            *("", "```python"),
            "from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer, score_rows",
            "",
            f'tokenizer = load_scoring_tokenizer("{name}")',
            f'model = load_reward_model("{name}", tokenizer, seed=0)',
            "score_rows(model, rows)  # ids of prompt and completion as the chat template writes them",
            "```",
        ]
    auto = "AutoModelForSequenceClassification" if gives_scores else "AutoModelForCausalLM"
    return [
        *("## Use", "", "```python"),
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f'model = {auto}.from_pretrained("{name}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        "```",
        *([] if gives_scores else ["", "```sh", f"vllm serve {name}", "```"]),
    ]
