"""The card of a model: where it comes from, what it learned from and how, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from rlhf.contract.config import CONFIGS
from rlhf.contract.run_dir import USAGE
from rlhf.models import Checkpoint, Run

PIPELINES = {Checkpoint.Kind.POLICY.value: "text-generation", Checkpoint.Kind.REWARD.value: "text-classification"}
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


def trace_parents(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return the checkpoint, its parent, and so on to the first, read in one query."""
    by_id = Checkpoint.objects.filter(project=checkpoint.project_id).select_related("run__dataset").in_bulk()
    chain = [checkpoint]
    while chain[-1].parent_id in by_id:
        chain.append(by_id[chain[-1].parent_id])
    return chain


def list_changes(run: Run) -> dict[str, Any]:
    """Return the settings of a run that are not the defaults of its kind; folders are named by their checkpoints."""
    known = {item.name: item.default for item in fields(CONFIGS[run.kind])}
    return {
        name: value
        for name, value in run.config.items()
        if name in known and value != known[name] and not name.endswith("_model")
    }


def list_measures(run: Run) -> list[Measure]:
    """Return the numbers a run ended with, the ends of intervals beside what they are the ends of."""
    result = {
        name: value for name, value in run.result.items() if isinstance(value, (int, float)) and name not in APART
    }
    ends = {f"{name}_{end}" for name in result for end in ("low", "high") if f"{name}_low" in result}
    return [
        Measure(name, value, result.get(f"{name}_low"), result.get(f"{name}_high"))
        for name, value in result.items()
        if name not in ends
    ]


def make_card(checkpoint: Checkpoint, chain: Sequence[Checkpoint]) -> str:
    """Return the README.md of an exported model: the header the Hub reads, lineage, data, settings, figures, how to load."""
    run = checkpoint.run
    header = {
        "library_name": "transformers",
        "pipeline_tag": PIPELINES[checkpoint.kind],
        "tags": ["prefloop", *(TAGS.get(run.kind, []) if run else [])],
    }
    lines = [
        "---",
        # JSON is YAML, and its strings need no quoting rules of our own.
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()),
        "---",
        "",
        f"# {checkpoint.name}",
        "",
        f"A {checkpoint.get_kind_display()}, made {checkpoint.created_at:%Y-%m-%d} with Prefloop"
        + (f" by {run.get_kind_display()}." if run else " from a folder that was registered."),
        "",
        f"Content: sha256 `{checkpoint.manifest_sha256}` of manifest.json, which holds the hash of every file.",
        "",
        "## Where it comes from",
        "",
        *(f"{number}. {describe_link(each)}" for number, each in enumerate(reversed(chain), 1)),
    ]
    if run is not None:
        lines += [
            *("", "## Settings", "", "What differs from the defaults:", "", *fence(list_changes(run))),
            *("", "## Measured", "", *list_rows(list_measures(run))),
        ]
    return "\n".join([*lines, "", "## Use", "", *fence_python(checkpoint)]) + "\n"


def describe_link(checkpoint: Checkpoint) -> str:
    """Return one step of a model's way: its name, the method, and the data by name and hash."""
    run = checkpoint.run
    if run is None:
        return f"{checkpoint.name}: registered from a folder"
    merged = f" with {run.other}" if run.other_id else ""
    data = f" on {run.dataset} (sha256 `{run.dataset.sha256}`, {run.dataset.n_train:,} rows)" if run.dataset else ""
    return f"{checkpoint.name}: {run.get_kind_display()}{merged}{data}"


def list_rows(measures: Sequence[Measure]) -> list[str]:
    """Return measures as a table in Markdown; intervals are of 95%."""
    if not measures:
        return ["Nothing."]
    return ["| metric | value |", "|---|---|", *(f"| {measure.name} | {measure} |" for measure in measures)]


def fence(value: object) -> list[str]:
    return ["```json", json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True), "```"]


def fence_python(checkpoint: Checkpoint) -> list[str]:
    """Return how the model is loaded."""
    if checkpoint.run and checkpoint.run.config.get("head") == "tokens":
        return [
            "Transformers has no class for a reward model of words and likelihood; this is how it is read here:",
            "",
            "```python",
            "from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer, score_rows",
            "",
            f'tokenizer = load_scoring_tokenizer("{checkpoint.name}")',
            f'model = load_reward_model("{checkpoint.name}", tokenizer, seed=0)',
            "score_rows(model, rows)  # ids of prompt and completion as the chat template writes them",
            "```",
        ]
    auto = "AutoModelForCausalLM" if checkpoint.kind == Checkpoint.Kind.POLICY else "AutoModelForSequenceClassification"
    serve = [f"vllm serve {checkpoint.name}"] if checkpoint.kind == Checkpoint.Kind.POLICY else []
    return [
        "```python",
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f'model = {auto}.from_pretrained("{checkpoint.name}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{checkpoint.name}")',
        "```",
        *(["", "```sh", *serve, "```"] if serve else []),
    ]
