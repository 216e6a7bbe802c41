"""What a run costs before its first optimizer step: a cold process against a child of the warm fork server.

    PYTHONPATH=. python benchmarks/start.py [--repeats 3]

Prints one row a kind: seconds from the request to the first step, cold and warm (the median of the repeats), and how
many times faster the warm one is. What the queue adds is measured by benchmarks/queued_start.py, whose target is 1.5 s.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import PreferenceRow, write_rows
from rlhf.contract.run_dir import EXIT_DONE, METRICS, prepare_run_dir
from rlhf.contract.settings import RunConfig
from rlhf.learning.tokenization import train_tokenizer

ROOT = Path(__file__).parents[1]
WORDS = ("harbour", "island", "boat", "sails", "slowly", "home", "with", "seven", "red", "apples", "friend", "today")
N_PAIRS = 300
TARGET_S = 1.5


def write_model(folder: Path) -> None:
    """Write a random Llama of the demo's size, two million parameters, with its tokenizer."""
    draw = random.Random(0)
    tokenizer = train_tokenizer((sentence(draw) for _ in range(500)), vocab_size=2048)
    tokenizer.save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=2048,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(folder)


def sentence(draw: random.Random) -> str:
    """Return a sentence of 8 to 24 words."""
    return " ".join(draw.choices(WORDS, k=draw.randrange(8, 25)))


def list_pairs(n: int) -> list[PreferenceRow]:
    """Return pairs of about 60 tokens."""
    draw = random.Random(1)
    return [
        PreferenceRow(
            prompt=[{"role": "user", "content": sentence(draw)}],
            chosen=[{"role": "assistant", "content": sentence(draw)}],
            rejected=[{"role": "assistant", "content": sentence(draw)}],
        )
        for _ in range(n)
    ]


def write_run(run_dir: Path, config: RunConfig) -> None:
    """Prepare a run directory with its pairs."""
    rows = list_pairs(N_PAIRS)
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "train.jsonl", rows)
    write_rows(run_dir / "data" / "test.jsonl", rows[:20])


def wait_for_first_step(run_dir: Path, is_alive: Callable[[], bool]) -> None:
    """Return when the run has logged its first optimizer step."""
    while not (run_dir / METRICS).exists():
        if not is_alive():
            raise SystemExit(f"the run in {run_dir} ended before its first step")
        time.sleep(0.002)


def time_cold(run_dir: Path) -> float:
    """Return the seconds from starting a process to its first step."""
    asked_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "rlhf.learning", str(run_dir)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_first_step(run_dir, lambda: process.poll() is None)
    seconds = time.monotonic() - asked_s
    process.wait()
    return seconds


def time_warm(run_dir: Path, socket_path: Path) -> float:
    """Return the seconds from asking the server to the run's first step."""
    asked_s = time.monotonic()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(socket_path))
    replies = connection.makefile("rw")
    replies.write(json.dumps({"run_dir": str(run_dir)}) + "\n")
    replies.flush()
    replies.readline()
    wait_for_first_step(run_dir, lambda: True)
    seconds = time.monotonic() - asked_s
    if json.loads(replies.readline()) != {"exit": EXIT_DONE}:
        raise SystemExit(f"the run in {run_dir} failed; see its learning.log")
    connection.close()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="start-") as name:
        folder = Path(name)
        write_model(folder / "base")
        started_s = time.monotonic()
        server = subprocess.Popen(
            [sys.executable, "-m", "rlhf.learning", "--serve", str(folder / "socket")],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (folder / "socket").exists():
            time.sleep(0.01)
        print(f"the server loads its libraries in {time.monotonic() - started_s:.1f} s, once")
        print(f"{'kind':8}{'cold s':>8}{'warm s':>8}{'times':>7}")
        try:
            for config_class in (RewardConfig, DPOConfig):
                measure(config_class, folder, repeats)
        finally:
            server.terminate()
            server.wait()


def measure(config_class: type[RunConfig], folder: Path, repeats: int) -> None:
    """Print the medians of one kind."""
    config = config_class(base_model=str(folder / "base"), max_steps=2, logging_steps=1)  # type: ignore[call-arg]
    cold, warm = [], []
    for number in range(repeats):
        for seconds, way in ((cold, "cold"), (warm, "warm")):
            run_dir = folder / f"{config.kind}-{way}-{number}"
            write_run(run_dir, config)
            seconds.append(time_cold(run_dir) if way == "cold" else time_warm(run_dir, folder / "socket"))
    cold_s, warm_s = statistics.median(cold), statistics.median(warm)
    print(f"{config.kind:8}{cold_s:8.2f}{warm_s:8.2f}{cold_s / warm_s:7.1f}")


if __name__ == "__main__":
    main()
