"""What runs were thought to cost before they started, against what they took.

    PYTHONPATH=. python benchmarks/estimates.py [--only pretrain dpo] [--shapes demo small]

Real runs on the small world's texts, children of the fork server as in production, on models of random weights. Prints a
row a run: estimated and measured memory and seconds, and measured over estimated. Time is estimated twice: by the
constants alone, and corrected by the run of the same kind before it, as an installation that has a history does.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("PREFLOOP_HOME", tempfile.mkdtemp(prefix="estimates-"))

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from rlhf.contract.config import CONFIGS
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import DATA, EXIT_DONE, USAGE, prepare_run_dir, read_result
from rlhf.domain.estimating import describe_bytes, estimate_run
from rlhf.domain.launching import LearningServer
from rlhf.domain.loads import pretrained_shape
from rlhf.domain.sizing import read_shape, shape_rows
from rlhf.learning.models import load_tokenizer
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.shapes import describe_shape
from rlhf.learning.tokenization import train_tokenizer
from rlhf.world.corpus import demonstrations, pretraining_texts

N_TRAIN, N_TEST = 200, 20
SHAPES: dict[str, dict[str, int]] = {
    "demo": {"hidden_size": 192, "intermediate_size": 512, "n_layers": 4, "n_heads": 6},
    "small": {"hidden_size": 384, "intermediate_size": 1024, "n_layers": 8, "n_heads": 6},
    "medium": {"hidden_size": 640, "intermediate_size": 1792, "n_layers": 12, "n_heads": 10},
}
STEPS = {"logging_steps": 5, "save_steps": 1000}
RUNS: list[tuple[str, str, dict[str, Any]]] = [
    ("pretrain", "demo", {"max_steps": 10, "batch_size": 32, **STEPS}),
    ("pretrain", "small", {"max_steps": 4, "batch_size": 32, **STEPS}),
    ("sft", "demo", {"max_steps": 20, "batch_size": 32, **STEPS}),
    ("sft", "medium", {"max_steps": 4, "batch_size": 16, **STEPS}),
    ("reward", "demo", {"max_steps": 15, "batch_size": 16, **STEPS}),
    ("reward", "small", {"max_steps": 6, "batch_size": 32, **STEPS}),
    ("dpo", "demo", {"max_steps": 15, "batch_size": 16, **STEPS}),
    ("dpo", "small", {"max_steps": 5, "batch_size": 32, **STEPS}),
    ("dpo", "medium", {"max_steps": 3, "batch_size": 8, **STEPS}),
    ("ppo", "demo", {"rollouts": 2, "rollout_batch_size": 64, "save_rollouts": 100, "max_new_tokens": 32}),
    ("ppo", "small", {"rollouts": 1, "rollout_batch_size": 32, "save_rollouts": 100, "max_new_tokens": 32}),
    ("sample", "demo", {"n": 1, "max_new_tokens": 32}),
]
HEADER = f"{'run':18}{'memory':>9}{'was':>9}{'ratio':>7}{'time s':>9}{'was':>8}{'ratio':>7}{'corrected':>11}"


@dataclass(frozen=True)
class Models:
    """Folders of a random policy and of a random reward model of one shape."""

    policy: Path
    reward_model: Path


def write_models(folder: Path, shape: dict[str, int], tokenizer: PreTrainedTokenizerBase) -> Models:
    """Write both models of a shape."""
    models = Models(folder / "policy", folder / "reward_model")
    torch.manual_seed(0)
    config = describe_shape(PretrainConfig(**shape), tokenizer)
    AutoModelForCausalLM.from_config(config).save_pretrained(models.policy)
    tokenizer.save_pretrained(models.policy)
    load_reward_model(models.policy, load_tokenizer(models.policy), seed=0).save_pretrained(models.reward_model)
    tokenizer.save_pretrained(models.reward_model)
    return models


def world_rows(kind: str) -> Iterator[dict[str, Any]]:
    """Yield rows of the small world that a kind of run reads."""
    if kind == "pretrain":
        yield from ({"text": text} for text in cycle(islice(pretraining_texts(0), 2000)))
    talks = [talk for talk in demonstrations(0, 700) if talk[-1]["role"] == "assistant"]
    answers = random.Random(0).sample([talk[-1:] for talk in talks], len(talks))
    for number, (talk, other) in enumerate(cycle(zip(talks, answers, strict=True))):
        if kind == "sft":
            yield {"messages": talk}
        elif kind in ("ppo", "grpo", "sample"):
            yield {"prompt_id": str(number), "prompt": talk[:-1]}
        else:
            yield {"prompt": talk[:-1], "chosen": talk[-1:], "rejected": other}


def measure(
    kind: str, name: str, settings: dict[str, Any], folder: Path, models: Models, server: LearningServer
) -> tuple[Any, dict[str, Any]]:
    """Do one run and return what was estimated, in the arithmetic's own seconds, and the usage that it reported."""
    run_dir = folder / f"{kind}-{name}"
    config_class = CONFIGS[kind]
    folders = {"base_model": str(models.policy), "reward_model": str(models.reward_model)}
    shape_settings = SHAPES[name] if kind == "pretrain" else {}
    known = {key: value for key, value in folders.items() if key in config_class.__dataclass_fields__}
    config = config_class(**(known | shape_settings | settings))
    prepare_run_dir(run_dir, config)
    rows = list(islice(world_rows(kind), N_TRAIN + N_TEST))
    train, test = rows[:N_TRAIN], rows[N_TRAIN:]
    if kind in ("ppo", "grpo", "sample"):
        write_rows(run_dir / DATA / "prompts.jsonl", train)
    write_rows(run_dir / DATA / "train.jsonl", train)
    write_rows(run_dir / DATA / "test.jsonl", test)
    shape = pretrained_shape(config) if isinstance(config, PretrainConfig) else read_shape(models.policy)
    estimate = estimate_run(config, shape, shape_rows(train, n_rows=len(train), n_test=len(test)), total_bytes=1)
    process = server.launch(run_dir, is_unwanted=lambda: False)
    code = process.wait(1800.0)
    result = read_result(run_dir)
    if code != EXIT_DONE or result is None:
        raise SystemExit(f"{kind} on {name} ended with {code}: {result}")
    shutil.rmtree(run_dir)
    assert estimate is not None
    return estimate, result[USAGE]


def main(kinds: list[str], shapes: list[str]) -> None:
    """Print a row a run, and how far off the estimates are."""
    server = LearningServer()
    tokenizer = train_tokenizer(islice(pretraining_texts(0), 3000), vocab_size=2048)
    before: dict[str, float] = {}
    off: dict[str, list[float]] = {"memory": [], "time": [], "corrected time": []}
    with tempfile.TemporaryDirectory(prefix="estimates-") as folder_name:
        folder = Path(folder_name)
        models = {name: write_models(folder / name, SHAPES[name], tokenizer) for name in shapes}
        print(HEADER, flush=True)
        try:
            for kind, name, settings in RUNS:
                if kind not in kinds or name not in shapes:
                    continue
                estimate, usage = measure(kind, name, settings, folder, models[name], server)
                memory = usage["peak_memory_bytes"] / estimate.memory_bytes
                took = usage["seconds"] / estimate.seconds
                corrected = took / before[kind] if kind in before else None
                before[kind] = took
                off["memory"].append(memory)
                off["time"].append(took)
                off["corrected time"] += [corrected] if corrected else []
                print(
                    f"{kind + ' ' + name:18}{describe_bytes(estimate.memory_bytes):>9}"
                    f"{describe_bytes(usage['peak_memory_bytes']):>9}{memory:7.2f}{estimate.seconds:9.1f}"
                    f"{usage['seconds']:8.1f}{took:7.2f}{f'{corrected:11.2f}' if corrected else ''}",
                    flush=True,
                )
        finally:
            server.stop()
    for what, ratios in off.items():
        if ratios:
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}"
            print(f"{what}: measured over estimated {spread}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=sorted({kind for kind, _, _ in RUNS}))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments = parser.parse_args()
    main(arguments.only, arguments.shapes)
