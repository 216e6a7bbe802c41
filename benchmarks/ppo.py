"""What a sample of PPO costs, ours against TRL 1.12, the last that had a PPOTrainer.

    PYTHONPATH=. python benchmarks/ppo.py
    PYTHONPATH=. python benchmarks/ppo.py --share-base   # four whole models against adapters over one base

The model of benchmarks/training.py on the CPU, fp32, with as many optimizer steps on both sides. TRL 1.12 is installed
beside the other packages into a folder of its own; each side runs in a process of its own, so that its peak memory tells.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback

from benchmarks.training import TOKENIZER, VOCAB, Watch, build_model, quieten, trainer_settings

LAST_PPO = "trl==1.12.0"
LORA_RANK = 16
PPO = {"rollouts": 4, "batch": 16, "epochs": 4, "n_prompt": 32, "n_new": 48}


def ppo_ours(folder: str) -> dict[str, float]:
    """Run our PPO and return samples a second and peak memory."""
    from rlhf.contract.kinds.ppo import PPOConfig  # noqa: PLC0415
    from rlhf.contract.run_dir import prepare_run_dir  # noqa: PLC0415
    from rlhf.learning.actor_critic import ActorCritic, Critic  # noqa: PLC0415
    from rlhf.learning.backends import LoopBackend  # noqa: PLC0415
    from rlhf.learning.ppo import trainer_arguments  # noqa: PLC0415
    from rlhf.learning.ppo_trainer import PPOTrainer, ReportRollouts  # noqa: PLC0415
    from rlhf.learning.rollouts import RolloutSource  # noqa: PLC0415
    from rlhf.learning.scorer import score_ids  # noqa: PLC0415

    config = PPOConfig(
        rollouts=PPO["rollouts"],
        rollout_batch_size=PPO["batch"],
        ppo_epochs=PPO["epochs"],
        num_minibatches=1,
        max_new_tokens=PPO["n_new"],
        target_kl=100.0,
        critic_warmup_rollouts=0,
        save_rollouts=1000,
        seed=0,
    )
    prepare_run_dir(Path(folder), config)
    reward_model = build_model(score=True).eval()
    source = RolloutSource(
        config,
        prompts=ppo_prompts(),
        reference=build_model(),
        rewards={"model": lambda prompts, completions: score_ids(reward_model, prompts, completions)},
        backend=LoopBackend(config.n_completions),
        stop_ids=[TOKENIZER.eos_token_id],
        pad_id=TOKENIZER.pad_token_id,
    )
    models = ActorCritic(build_model(), Critic(build_model(score=True)))
    trainer = PPOTrainer(config, models=models, source=source, arguments=trainer_arguments(config, Path(folder)))
    watch = Watch()
    trainer.add_callback(watch)
    trainer.add_callback(ReportRollouts(Path(folder), trainer))
    started_s = time.perf_counter()
    trainer.train()
    return measure_ppo([started_s, *watch.ended_s[PPO["epochs"] - 1 :: PPO["epochs"]]])


def prepare_folders(folder: str) -> dict[str, float]:
    """Write a policy, and a reward model that is an adapter over it."""
    from rlhf.contract.kinds.reward import RewardConfig  # noqa: PLC0415
    from rlhf.learning.adapters import add_adapter  # noqa: PLC0415
    from rlhf.learning.checkpointing import save_final  # noqa: PLC0415
    from rlhf.learning.scoring import load_reward_model  # noqa: PLC0415

    base = Path(folder) / "base"
    build_model().save_pretrained(base)
    TOKENIZER.save_pretrained(base)
    reward_model = load_reward_model(base, TOKENIZER, seed=0)
    add_adapter(reward_model, RewardConfig(lora_rank=LORA_RANK))
    save_final(Path(folder), reward_model, TOKENIZER)
    return {}


def ppo_from_folders(folder: str, *, lora_rank: int) -> dict[str, float]:
    """Run our PPO as a run does, from the folders, with adapters of a rank or with whole models for 0."""
    from rlhf.contract.kinds.ppo import PPOConfig  # noqa: PLC0415
    from rlhf.contract.run_dir import prepare_run_dir  # noqa: PLC0415
    from rlhf.learning.ppo import build_trainer  # noqa: PLC0415
    from rlhf.learning.ppo_trainer import ReportRollouts  # noqa: PLC0415

    config = PPOConfig(
        base_model=f"{folder}/base",
        reward_model=f"{folder}/checkpoints/final",
        lora_rank=lora_rank,
        share_base="on" if lora_rank else "off",
        rollouts=PPO["rollouts"],
        rollout_batch_size=PPO["batch"],
        ppo_epochs=PPO["epochs"],
        num_minibatches=1,
        max_new_tokens=PPO["n_new"],
        target_kl=100.0,
        critic_warmup_rollouts=0,
        save_rollouts=1000,
        seed=0,
    )
    run_dir = Path(folder) / f"run-{lora_rank}"
    prepare_run_dir(run_dir, config)
    trainer = build_trainer(config, run_dir, prompts=ppo_prompts(), tokenizer=TOKENIZER)
    ended_cpu_s = [time.process_time()]

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ended_cpu_s.append(time.process_time())

    trainer.add_callback(Clock())
    trainer.add_callback(ReportRollouts(run_dir, trainer))
    trainer.train()
    of_policy, of_critic = trainer.model.trained_parameters()
    rollouts_s = [later - sooner for sooner, later in itertools.pairwise(ended_cpu_s[:: PPO["epochs"]])]
    return {
        "cpu_s": statistics.median(rollouts_s[1:]),
        "peak_mb": peak_mb(),
        "trained": float(sum(value.numel() for value in (*of_policy, *of_critic))),
    }


def compare_bases() -> None:
    """Run both ways from the same folders, each in a process of its own, and print one row."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("folders", "whole", "adapters"):
            found[side] = run_side(side, [], folder)
    whole, adapters = found["whole"], found["adapters"]
    print(
        f"ppo     whole models {whole['cpu_s']:.2f} CPU-s a rollout in {whole['peak_mb']:,.0f} MB, {whole['trained']:,.0f} "
        f"trained; one base {adapters['cpu_s']:.2f} in {adapters['peak_mb']:,.0f} MB, {adapters['trained']:,.0f} trained: "
        f"{whole['cpu_s'] / adapters['cpu_s']:.2f} times faster, {adapters['peak_mb'] / whole['peak_mb']:.2f} of the memory",
        flush=True,
    )


def run_side(side: str, path: list[str], folder: str) -> dict[str, float]:
    """Return what one side measured in a process of its own. path: where it looks for packages first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(Path(__file__).parents[1])])}
    command = [sys.executable, __file__, "--side", side, "--folder", folder]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def ppo_theirs(folder: str) -> dict[str, float]:
    """Run TRL 1.12's PPOTrainer and return samples a second and peak memory."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: PLC0415 -- only TRL 1.12 has it

    batch = PPO["batch"]
    arguments = PPOConfig(
        **{**trainer_settings(folder, -1), "per_device_train_batch_size": batch},
        total_episodes=batch * PPO["rollouts"],
        num_ppo_epochs=PPO["epochs"],
        num_mini_batches=1,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=batch,
        response_length=PPO["n_new"],
        num_sample_generations=0,
        temperature=1.0,
        missing_eos_penalty=1.0,
        stop_token="eos",
    )
    ended_s: list[float] = []

    class Updates(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ended_s.append(time.perf_counter())

    trainer = PPOTrainer(
        args=arguments,
        processing_class=TOKENIZER,
        model=build_model(),
        ref_model=build_model(),
        reward_model=build_model(score=True),
        value_model=build_model(score=True),
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in ppo_prompts()]),
        eval_dataset=Dataset.from_list([{"input_ids": ids} for ids in ppo_prompts()[:batch]]),
        callbacks=[Updates()],
    )
    started_s = time.perf_counter()
    trainer.train()
    return measure_ppo([started_s, *ended_s])


def ppo_prompts() -> list[list[int]]:
    draw = random.Random(2)
    return [draw.choices(range(400, VOCAB), k=PPO["n_prompt"]) for _ in range(PPO["batch"] * PPO["rollouts"])]


def measure_ppo(marks_s: list[float]) -> dict[str, float]:
    """Return samples a second over the rollouts but the first, and the process's peak memory in MB."""
    rollouts_s = [later - sooner for sooner, later in itertools.pairwise(marks_s[1:])]
    return {
        "samples_per_s": PPO["batch"] / statistics.median(rollouts_s),
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Return this process's peak memory; getrusage would count what its parent had before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def compare_ppo() -> None:
    """Run both trainers in processes of their own and print one row."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, LAST_PPO],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        found = {}
        for side, path in (("ours", []), ("trl", [folder])):
            with tempfile.TemporaryDirectory() as run_dir:
                found[side] = run_side(side, path, run_dir)
    ours, theirs = found["ours"], found["trl"]
    print(
        f"ppo     ours {ours['samples_per_s']:.2f} samples/s in {ours['peak_mb']:,.0f} MB, {LAST_PPO} "
        f"{theirs['samples_per_s']:.2f} in {theirs['peak_mb']:,.0f} MB: "
        f"{ours['samples_per_s'] / theirs['samples_per_s']:.2f} times faster in "
        f"{ours['peak_mb'] / theirs['peak_mb']:.2f} of the memory",
        flush=True,
    )


SIDES: dict[str, Callable[[str], dict[str, float]]] = {
    "ours": ppo_ours,
    "trl": ppo_theirs,
    "folders": prepare_folders,
    "whole": partial(ppo_from_folders, lora_rank=0),
    "adapters": partial(ppo_from_folders, lora_rank=LORA_RANK),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share-base", action="store_true", help="whole models against adapters over one base")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quieten()
    if options.side:
        print(json.dumps(SIDES[options.side](options.folder)))
    elif options.share_base:
        compare_bases()
    else:
        compare_ppo()


if __name__ == "__main__":
    main()
