"""What a sample of PPO costs, ours against TRL 1.12, the last that had a PPOTrainer.

    PYTHONPATH=. python benchmarks/ppo.py

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
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback

from benchmarks.training import TOKENIZER, VOCAB, Watch, build_model, quieten, trainer_settings

LAST_PPO = "trl==1.12.0"
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
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(Path(__file__).parents[1])])}
            answer = subprocess.run(
                [sys.executable, __file__, "--side", side],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            found[side] = json.loads(answer.stdout.splitlines()[-1])
    ours, theirs = found["ours"], found["trl"]
    print(
        f"ppo     ours {ours['samples_per_s']:.2f} samples/s in {ours['peak_mb']:,.0f} MB, {LAST_PPO} "
        f"{theirs['samples_per_s']:.2f} in {theirs['peak_mb']:,.0f} MB: "
        f"{ours['samples_per_s'] / theirs['samples_per_s']:.2f} times faster in "
        f"{ours['peak_mb'] / theirs['peak_mb']:.2f} of the memory",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=["ours", "trl"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    quieten()
    if options.side:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps((ppo_ours if options.side == "ours" else ppo_theirs)(folder)))
        return
    compare_ppo()


if __name__ == "__main__":
    main()
