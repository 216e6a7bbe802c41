"""What an estimate needs to know of this installation: a model's shape, the rows' lengths, how long earlier runs took."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage

from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.run_dir import USAGE
from rlhf.contract.settings import RunConfig
from rlhf.domain.checkpoints import checkpoint_folder
from rlhf.domain.errors import ModelRefused
from rlhf.domain.estimating import Estimate, ModelShape, RowShape, estimate_run, pretrained_shape
from rlhf.models import Checkpoint, Dataset, Run

# English in a BPE vocabulary of its own; a small vocabulary makes more tokens of it.
BYTES_PER_TOKEN = 4.0
# What a chat template puts around a message.
TOKENS_PER_MESSAGE = 4
N_ROWS_READ = 1000
N_RUNS_READ = 5
# The same number in the words of different architectures.
NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim"),
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "n_heads": ("num_attention_heads", "n_head", "num_heads"),
}


def estimate_new_run(config: RunConfig, *, dataset: Dataset | None, base: Checkpoint | None) -> Estimate | None:
    """Return what a run would cost where runs are done; None when that cannot be known: no such kind, a model that is
    not on this machine, or a host that learns on a GPU."""
    if dataset is None:
        return None
    past = list(Run.objects.filter(state=Run.State.SUCCEEDED, result__has_key=USAGE).order_by("-pk")[:1])
    usage: dict[str, Any] = past[0].result[USAGE] if past else {}
    if "device" in usage:
        return None
    try:
        shape = find_shape(config, base)
    except (ModelRefused, OSError, ValueError, KeyError):
        return None
    total_bytes = usage.get("total_memory_bytes") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rows = measure_rows(dataset)
    return estimate_run(config, shape, rows, total_bytes=total_bytes, took=list(past_ratios(config.kind, usage)))


def find_shape(config: RunConfig, base: Checkpoint | None) -> ModelShape:
    """Return the shape of the model a run makes or starts from. Raises: ModelRefused, OSError, ValueError, KeyError."""
    if isinstance(config, PretrainConfig):
        return pretrained_shape(config)
    if base is None:
        raise KeyError("no model")
    return read_shape(checkpoint_folder(base))


def read_shape(folder: Path) -> ModelShape:
    """Return a model's shape from its config.json and the headers of its weights. Raises: OSError, ValueError, KeyError."""
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
    total = 0
    for name, facts in header.items():
        if name != "__metadata__":
            n_numbers = 1
            for size in facts["shape"]:
                n_numbers *= size
            total += n_numbers
    return total


def measure_rows(dataset: Dataset) -> RowShape:
    """Return the lengths of a dataset's rows, by its first thousand."""
    with default_storage.open(dataset.file_name("train")) as file:
        rows = [json.loads(line) for line in islice(file, N_ROWS_READ)]
    return shape_rows(rows, n_rows=dataset.n_train, n_test=dataset.n_test)


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


def past_ratios(kind: str, usage: dict[str, Any]) -> Iterator[float]:
    """Yield how the last runs of a kind on that host compare with what the arithmetic alone had said of them."""
    done = Run.objects.filter(kind=kind, state=Run.State.SUCCEEDED, attempt=1, estimate__has_key="uncorrected_s")
    for run in done.order_by("-pk")[:N_RUNS_READ]:
        took = run.result.get(USAGE, {})
        if took.get("host") == usage.get("host") and run.estimate["uncorrected_s"]:
            yield took["seconds"] / run.estimate["uncorrected_s"]
