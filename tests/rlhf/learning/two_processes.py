"""Runs for one process or several: what each kind is configured to be, what it reads, and how two are started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import EXIT_DONE
from rlhf.contract.settings import RunConfig
from tests.rlhf.learning.tiny_runs import BAD, GOOD, QUESTIONS, SHAPE

CRITICS = {"ppo": "trained", "head": "frozen", "line": "shared"}  # of PPO: whole, on a frozen trunk, on the policy's
ROOT = Path(__file__).parents[3]
SHORT = {"max_steps": 4, "batch_size": 4, "logging_steps": 1, "save_steps": 2, "dtype": "float32"}


def run_in_two(
    *run_dirs: Path,
    meeting: bool = True,
    way: Sequence[str] = ("--multi_gpu",),
    door: str = "go_through_door",
    code: int = EXIT_DONE,
) -> str:
    """Send runs through the door, one after the other, in two processes that accelerate starts once for all of them.

    meeting: whether the processes are to work together. way: how, in accelerate's words. code: what they are to end
    with. Returns what they said.
    """
    launcher = ["accelerate.commands.launch", *way, "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", f"tests.rlhf.learning.{door}", *map(str, run_dirs)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == code, done.stderr[-3000:]
    assert done.stdout.count("of 2 is here") == (2 if meeting else 0)
    return done.stdout


def write_demonstrations(run_dir: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in zip(QUESTIONS * 3, [*GOOD, *BAD, *reversed(GOOD)], strict=True)
    ]
    write_rows(run_dir / "data" / "train.jsonl", rows)
    write_rows(run_dir / "data" / "ptx.jsonl", rows)


def write_texts(run_dir: Path) -> None:
    rows = [
        {"text": f"{asked} {said}"} for asked, said in zip(QUESTIONS * 3, [*GOOD, *BAD, *reversed(GOOD)], strict=True)
    ]
    for split in ("train", "test"):
        write_rows(run_dir / "data" / f"{split}.jsonl", rows * 3)


def write_prompts(run_dir: Path) -> None:
    rows = [{"prompt_id": text, "prompt": [{"role": "user", "content": text}]} for text in QUESTIONS]
    write_rows(run_dir / "data" / "prompts.jsonl", rows)


def write_verdicts(run_dir: Path) -> None:
    """Two good completions among thirteen: a process sees none at most steps, and at some no process does."""
    rows = [
        {
            "prompt": [{"role": "user", "content": QUESTIONS[number % 4]}],
            "completion": [{"role": "assistant", "content": [*GOOD, *BAD][number % 8] + number * "!"}],
            "label": number in (2, 9),
        }
        for number in range(13)
    ]
    for split in ("train", "test"):
        write_rows(run_dir / "data" / f"{split}.jsonl", rows)


def configure(kind: str, policy: Path, reward_model: Path) -> RunConfig:
    base = {"base_model": str(policy)}
    if kind == "pretrain":
        return PretrainConfig(**SHORT, **SHAPE, matrix_learning_rate=1e-4, learning_rate=1e-4)
    if kind in CRITICS:
        return PPOConfig(
            **base,
            reward_model=str(reward_model),
            rollouts=2,
            rollout_batch_size=3,
            samples_per_prompt=2,
            num_minibatches=2,
            max_new_tokens=8,
            micro_batch_tokens=64,
            learning_rate=1e-4,
            value_learning_rate=3e-4,
            critic_warmup_rollouts=1,
            save_rollouts=1,
            ptx_coef=0.5,
            ptx_batch_size=3,
            target_kl=100.0,
            critic=CRITICS[kind],
            truncated_value="zero" if kind == "ppo" else "critic",
            gradient_checkpointing="off" if kind == "head" else "on",
        )
    if kind == "dpo":
        return DPOConfig(**base, **SHORT, sft_coef=0.5)
    if kind == "kto":
        return KTOConfig(**base, **SHORT)
    if kind == "packs":
        return RewardConfig(**base, **SHORT, balance="prompts", n_heads=2)
    if kind in ("grpo", "rloo"):
        return GRPOConfig(
            **base,
            method=kind,
            reward_model=str(reward_model),
            rollouts=2,
            rollout_batch_size=4,
            samples_per_prompt=2,
            micro_batches=2,
            max_new_tokens=6,
            kl_coef=0.0 if kind == "grpo" else 0.1,
            save_rollouts=1,
        )
    return RewardConfig(**base, **SHORT) if kind == "reward" else SFTConfig(**base, **SHORT)
