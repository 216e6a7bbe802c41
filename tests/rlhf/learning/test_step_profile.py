"""What a step must not do: wait for the device in its middle, give its memory back, or compute logits of prompts."""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import trainer

from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import DATA, read_config
from rlhf.learning.door import train
from tests.rlhf.learning.tiny_runs import SETTINGS, TinyModels, prepare_tiny_run, tiny_rows

STEPS = {"save_steps": 1000, "logging_steps": 1000, "batch_size": 4}


# transformers looks for packed rows in every forward pass without a mask; rows are told apart by the longest of a batch;
# a batch of packed rows is taken from the host's memory.
KNOWN = {"masking_utils.py:find_packed_sequence_indices", "logps.py:length_mask", "pretrain.py:compute_losses"}
# The optimizers' own counters, which lie on the host, and what is done once a run.
IN_NO_STEP = {"optimizer", "torch.py:load_file"}


class Watch(TorchDispatchMode):
    """Counts who reads a number from a tensor, which on a GPU waits for all work before it, and the largest logits."""

    def __init__(self, models: TinyModels) -> None:
        super().__init__()
        self.vocab_size = json.loads((models.policy / "config.json").read_text())["vocab_size"]
        self.readers: Counter[str] = Counter()
        self.n_logits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._local_scalar_dense.default:
            self.readers[find_reader()] += 1
        if isinstance(result, torch.Tensor) and result.ndim > 1 and result.shape[-1] == self.vocab_size:
            self.n_logits = max(self.n_logits, result.numel() // self.vocab_size)
        return result


def find_reader() -> str:
    """Return the first caller that is neither torch nor this file, and `optimizer` for torch's own counters of steps."""
    frame = sys._getframe(2)
    while frame.f_back and ("/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
        if "/torch/optim/" in frame.f_code.co_filename:
            return "optimizer"
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"


def watch_run(kind: str, run_dir: Path, models: TinyModels, **settings: Any) -> Watch:
    config = prepare_tiny_run(kind, run_dir, models, **settings)
    with Watch(models) as watch:
        train(config, run_dir)
    return watch


@pytest.mark.parametrize("kind", ["pretrain", "sft", "reward", "dpo", "kto"])
def test_a_step_reads_nothing_from_the_device_but_what_is_known(kind: str, models: TinyModels, tmp_path: Path):
    few, many = (
        watch_run(kind, tmp_path / str(n), models, **STEPS, micro_batch_tokens=0, max_steps=n).readers for n in (3, 6)
    )

    more = {reader: n for reader, n in (many - few).items() if reader not in IN_NO_STEP}
    assert more.keys() <= KNOWN
    n_passes = 2 if kind == "kto" else 1  # over the completions, and over those of other prompts
    assert all(n <= 3 * n_passes for n in more.values())  # once a pass


def test_smaller_micro_batches_of_ppo_read_nothing_more_but_what_is_known(models: TinyModels, tmp_path: Path):
    large, small = (
        watch_run("ppo", tmp_path / str(n), models, micro_batch_tokens=n, rollouts=3).readers for n in (4096, 64)
    )

    assert (small - large).keys() <= KNOWN


@pytest.mark.parametrize("kind", SETTINGS)
def test_no_step_gives_memory_back_or_looks_for_garbage(
    kind: str, models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: Counter[str] = Counter()
    for module, name in ((torch.cuda, "empty_cache"), (gc, "collect"), (trainer, "clear_device_cache")):
        monkeypatch.setattr(module, name, lambda *args, name=name, **kwargs: calls.update([name]))
    found = []
    for n in (1, 3):
        calls.clear()
        in_rollouts = kind in ("ppo", "grpo", "rloo")
        length = {"rollouts": n} if in_rollouts else {"max_steps": n} | STEPS
        train(prepare_tiny_run(kind, tmp_path / str(n), models, **length), tmp_path / str(n))
        found.append(calls.copy())

    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo"])
def test_logits_are_computed_of_what_was_drawn_alone(kind: str, models: TinyModels, tmp_path: Path):
    prepare_tiny_run(kind, tmp_path, models, rollouts=2, max_new_tokens=2)
    asked = {"prompt": [{"role": "user", "content": 30 * "Is the shop open? "}]}
    write_rows(tmp_path / DATA / "prompts.jsonl", [{"prompt_id": str(number)} | asked for number in range(6)])

    watch = Watch(models)
    with watch:
        train(read_config(tmp_path), tmp_path)

    # Three rows and more are read at once, of two tokens behind a prompt of over 150; before the first step one row is asked
    # whole.
    assert 12 <= watch.n_logits < 2 * 150


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_logits_are_computed_of_completions_alone(kind: str, models: TinyModels, tmp_path: Path):
    prepare_tiny_run(kind, tmp_path, models, **STEPS, max_steps=2, max_length=512)
    rows = list(islice(tiny_rows(kind), 12))
    for row in rows:
        asked = row["messages"] if kind == "sft" else row["prompt"]
        asked[0] = {"role": "user", "content": 30 * "Is the shop open? "}
    for split in ("train", "test"):
        write_rows(tmp_path / DATA / f"{split}.jsonl", rows)

    watch = Watch(models)
    with watch:
        train(read_config(tmp_path), tmp_path)

    # A completion is under 50 tokens, a prompt over 150. A step has 4 rows or 4 pairs; the reference is asked all 12 at once.
    n_completions = {"sft": 4, "dpo": 2 * 12, "kto": 2 * 12}[kind]
    assert 0 < watch.n_logits <= 50 * n_completions
