"""What an estimate needs to know of files: a model's shape and the lengths of rows. Nothing is loaded for it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlhf.domain.loads import ModelShape, RowShape

# English in a BPE vocabulary of its own; a small vocabulary makes more tokens of it.
BYTES_PER_TOKEN = 4.0
# What a chat template puts around a message.
TOKENS_PER_MESSAGE = 4
# The same number in the words of different architectures.
NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim"),
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "n_heads": ("num_attention_heads", "n_head", "num_heads"),
}


def read_shape(folder: Path) -> ModelShape:
    """Return a model's shape from its config.json and the headers of its weights.

    Raises: OSError, ValueError; KeyError, TypeError for a model that is no such transformer, or whose layers differ.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config = config.get("text_config") or config
    sizes = {
        name: next(int(config[key]) for key in keys if config.get(key))
        for name, keys in NAMES.items()
        if any(config.get(key) for key in keys)
    }
    sizes.setdefault("intermediate_size", 4 * sizes["hidden_size"])  # GPT-2's n_inner is null
    n_parameters = sum(count_parameters(path) for path in folder.glob("*.safetensors"))
    return ModelShape(n_parameters=n_parameters, vocab_size=int(config["vocab_size"]), **sizes)


def count_parameters(path: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header alone. Raises: OSError, ValueError."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(facts["shape"]) for name, facts in header.items() if name != "__metadata__")


def shape_rows(rows: Iterable[dict[str, Any]], *, n_rows: int, n_test: int) -> RowShape:
    """Return the lengths of rows of any kind, in tokens as they will be about."""
    lengths = [measure_row(row) for row in rows]
    if not lengths:
        return RowShape(n_rows, 0.0, 0.0, 0.0, n_test)
    prompts, answers = zip(*lengths, strict=True)
    longest = max(prompt + answer for prompt, answer in lengths)
    return RowShape(n_rows, statistics.fmean(prompts), statistics.fmean(answers), longest, n_test)


def measure_row(row: dict[str, Any]) -> tuple[float, float]:
    """Return the tokens of a row before what is learned, and of what is learned."""
    if "text" in row:
        return 0.0, len(row["text"].encode()) / BYTES_PER_TOKEN
    if "messages" in row:
        spoken = [message for message in row["messages"] if message["role"] == "assistant"]
        total, answer = count_tokens(row["messages"]), count_tokens(spoken)
        return total - answer, answer
    sides = ("chosen", "rejected", "completion")
    return count_tokens(row["prompt"]), sum(count_tokens(row[side]) for side in sides if side in row)


def count_tokens(messages: Iterable[dict[str, str]]) -> float:
    """Return about how many tokens messages are."""
    return sum(len(message["content"].encode()) / BYTES_PER_TOKEN + TOKENS_PER_MESSAGE for message in messages)
