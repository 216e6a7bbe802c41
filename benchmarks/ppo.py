"""What a sample of PPO costs, ours against TRL 1.12, the last that had a PPOTrainer.

    PYTHONPATH=. python benchmarks/ppo.py [--rollouts 5] [--only adapters trl] [--trl FOLDER]
    PYTHONPATH=. python benchmarks/ppo.py --device cuda --dtype bfloat16 --shape 500m --batch 64 --results FILE

The same folders of a policy (of 33 million parameters without options, in fp32) and of a reward model that is an adapter
over it, the same prompts, as many completions and optimizer steps on every side:

    adapters           ours: policy, critic and reward model are adapters over one base
    adapters-shared    the same with a critic that is a head on the policy's own states
    adapters-frozen    the same with a critic that is a head on the reward model's states
    adapters-sampler   the same again with the sampler's log-probabilities for the rollout's
    adapters-again     adapters, whose activations are computed twice (gradient_checkpointing=on)
    whole              ours with four whole models
    whole-frozen       ours with three: the critic is a head on the reward model's states
    trl                TRL's with four whole models, its default
    trl-adapter        TRL's with its policy as an adapter; it has none for the critic

TRL 1.12 is installed beside the other packages into a folder of its own (or taken from one). Each side runs in a process of
its own, so that its peak memory tells; what its imports alone hold is told beside it. The sides take turns, a rollout each
while the others wait, so that an hour in which the machine is slow is slow for all of them. Medians are of all rollouts but
the first. CPU seconds do not mind a busy neighbour, seconds do. On a GPU its own peak memory, by torch, is told beside the
process's, and the sides share it. TRL 1.12 ignores bfloat16: its PPO computes in fp32 whatever it is told.

What is for GPUs here was written without one and has not been run on any.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1", OMP_WAIT_POLICY="PASSIVE"
)

import torch
from transformers import TrainerCallback

from benchmarks.machine import write_results
from benchmarks.scale import TOKENIZER, VOCAB, Scale, add_options, build_model, quieten, read_scale

LAST_PPO = "trl==1.12.0"
LORA_RANK = 16
EPOCHS = 4
PHASES = ("time/generate", "time/score", "time/train")
Measured = dict[str, float]


class Clock(TrainerCallback):
    """Measures every rollout, in seconds of the wall and of the processor, and waits for its turn before the next."""

    def __init__(self, turn: Connection, scale: Scale, steps_per_rollout: int) -> None:
        self.turn, self.scale, self.steps_per_rollout = turn, scale, steps_per_rollout
        self.rollouts: list[tuple[float, float]] = []
        self.trainer: Any = None  # ours, which tells what its phases take
        self.phases: list[list[float]] = []
        self.began = (0.0, 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps_per_rollout == 0:
            if self.scale.device == "cuda":
                torch.cuda.synchronize()
            if self.trainer is not None:
                self.phases.append([self.trainer.rollout_metrics[name] for name in PHASES])
            self.rollouts.append((time.perf_counter() - self.began[0], time.process_time() - self.began[1]))
            self.turn.send("a rollout is done")
            self.turn.recv()
            self.began = (time.perf_counter(), time.process_time())

    def measure(self) -> Measured:
        """Return medians over the rollouts but the first, and the process's peak memory."""
        walls, cpus = zip(*self.rollouts[1:], strict=True)
        phases = [statistics.median(each) for each in zip(*self.phases[1:], strict=True)]
        on_device = {"device_peak_mb": torch.cuda.max_memory_allocated() / 2**20} if self.scale.device == "cuda" else {}
        return {
            "samples_per_s": self.scale.batch / statistics.median(walls),
            "tokens_per_s": self.scale.batch * self.scale.completion / statistics.median(walls),
            "cpu_s": statistics.median(cpus),
            "peak_mb": read_mb("VmHWM"),
            **on_device,
            **dict(zip(PHASES, phases, strict=False)),
        }


def read_mb(name: str) -> float:
    """Return a line of this process's memory; getrusage would count what its parent had before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def write_folders(folder: Path, scale: Scale) -> None:
    """Write a policy, and a reward model that is an adapter over it."""
    from rlhf.contract.kinds.reward import RewardConfig  # noqa: PLC0415 -- not for the processes of the older TRL
    from rlhf.learning.adapters import add_adapter  # noqa: PLC0415
    from rlhf.learning.checkpointing import save_final  # noqa: PLC0415
    from rlhf.learning.scoring import load_reward_model  # noqa: PLC0415

    build_model(scale).save_pretrained(folder / "base")
    TOKENIZER.save_pretrained(folder / "base")
    reward_model = load_reward_model(folder / "base", TOKENIZER, seed=0)
    add_adapter(reward_model, RewardConfig(lora_rank=LORA_RANK))
    save_final(folder, reward_model, TOKENIZER)


def run_ours(
    folder: Path, n_rollouts: int, turn: Connection, scale: Scale, *, lora_rank: int, **settings: Any
) -> Measured:
    """Run our PPO as a run does, with adapters of a rank over one base, or with whole models for 0."""
    from rlhf.contract.kinds.ppo import PPOConfig  # noqa: PLC0415 -- as above
    from rlhf.contract.run_dir import prepare_run_dir  # noqa: PLC0415
    from rlhf.learning.ppo import build_trainer  # noqa: PLC0415
    from rlhf.learning.ppo_trainer import ReportRollouts  # noqa: PLC0415

    imports_mb = read_mb("VmRSS")
    config = PPOConfig(
        base_model=f"{folder}/base",
        reward_model=f"{folder}/checkpoints/final",
        lora_rank=lora_rank,
        share_base="auto",
        rollouts=n_rollouts,
        rollout_batch_size=scale.batch,
        ppo_epochs=EPOCHS,
        num_minibatches=1,
        max_new_tokens=scale.completion,
        dtype=scale.dtype,
        target_kl=100.0,
        critic_warmup_rollouts=0,
        save_rollouts=1000,
        seed=0,
        **settings,
    )
    run_dir = Path(tempfile.mkdtemp(dir=folder))
    prepare_run_dir(run_dir, config)
    trainer = build_trainer(config, run_dir, prompts=draw_prompts(n_rollouts, scale), tokenizer=TOKENIZER)
    clock = Clock(turn, scale, steps_per_rollout=EPOCHS)
    clock.trainer = trainer
    trainer.add_callback(clock)
    trainer.add_callback(ReportRollouts(run_dir, trainer))
    trainer.train()
    return {**clock.measure(), "imports_mb": imports_mb}


def run_theirs(folder: Path, n_rollouts: int, turn: Connection, scale: Scale, *, lora_rank: int) -> Measured:
    """Run TRL 1.12's PPOTrainer from the same folders, with its policy whole or as an adapter of a rank."""
    from datasets import Dataset  # noqa: PLC0415 -- ours does not need it here
    from peft import LoraConfig  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: PLC0415
    from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: PLC0415 -- only TRL 1.12 has it

    imports_mb = read_mb("VmRSS")
    arguments = PPOConfig(
        output_dir=f"{folder}/trl-{lora_rank}",
        per_device_train_batch_size=scale.batch,
        total_episodes=scale.batch * n_rollouts,
        num_ppo_epochs=EPOCHS,
        num_mini_batches=1,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=scale.batch,
        response_length=scale.completion,
        num_sample_generations=0,
        temperature=1.0,
        missing_eos_penalty=1.0,
        stop_token="eos",
        logging_steps=EPOCHS,
        seed=0,
        bf16=scale.is_half,
        use_cpu=scale.device == "cpu",
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    load_policy = partial(AutoModelForCausalLM.from_pretrained, f"{folder}/base")
    load_judge = partial(AutoModelForSequenceClassification.from_pretrained, f"{folder}/checkpoints/final")
    prompts = [{"input_ids": ids} for ids in draw_prompts(n_rollouts, scale)]
    clock = Clock(turn, scale, steps_per_rollout=1)  # it calls back once a rollout
    trainer = PPOTrainer(
        args=arguments,
        processing_class=TOKENIZER,
        model=load_policy(),
        ref_model=None if lora_rank else load_policy(),
        reward_model=load_judge(),
        value_model=load_judge(),
        train_dataset=Dataset.from_list(prompts),
        eval_dataset=Dataset.from_list(prompts[: scale.batch]),
        callbacks=[clock],
        peft_config=LoraConfig(r=lora_rank, target_modules="all-linear", task_type="CAUSAL_LM") if lora_rank else None,
    )
    trainer.train()
    return {**clock.measure(), "imports_mb": imports_mb}


def draw_prompts(n_rollouts: int, scale: Scale) -> list[list[int]]:
    """Return a prompt of random ids for every completion of the run."""
    draw = random.Random(2)
    return [draw.choices(range(400, VOCAB), k=scale.prompt) for _ in range(scale.batch * n_rollouts)]


SIDES: dict[str, Callable[[Path, int, Connection, Scale], Measured]] = {
    "adapters": partial(run_ours, lora_rank=LORA_RANK, critic="trained"),
    "adapters-shared": partial(run_ours, lora_rank=LORA_RANK, critic="shared"),
    "adapters-frozen": partial(run_ours, lora_rank=LORA_RANK, critic="frozen"),
    "adapters-sampler": partial(run_ours, lora_rank=LORA_RANK, critic="frozen", old_logps="sampler"),
    "adapters-again": partial(run_ours, lora_rank=LORA_RANK, critic="trained", gradient_checkpointing="on"),
    "whole": partial(run_ours, lora_rank=0, critic="trained"),
    "whole-frozen": partial(run_ours, lora_rank=0, critic="frozen"),
    "trl": partial(run_theirs, lora_rank=0),
    "trl-adapter": partial(run_theirs, lora_rank=LORA_RANK),
}


def compare(sides: list[str], n_rollouts: int, trl: Path, scale: Scale) -> dict[str, Measured]:
    """Let the sides run in turns, each in a process of its own, print a row each and return the figures."""
    head = f"{'':18}{'samples/s':>10}{'CPU-s a rollout':>17}{'peak MB':>9}{'above imports':>15}"
    print(f"{head}   against TRL's four whole models")
    with tempfile.TemporaryDirectory(prefix="ppo-") as folder:
        write_folders(Path(folder), scale)
        running = [Side(name, Path(folder), n_rollouts, [trl] * name.startswith("trl"), scale) for name in sides]
        for _ in range(n_rollouts):
            for side in running:
                side.run_rollout()
        found = {side.name: side.finish() for side in running}
    for name in sides:
        print(f"{name:18}{describe(found[name], found.get('trl'))}")
    return found


def describe(side: Measured, peer: Measured | None) -> str:
    """Return the figures of a side, and how they stand to the peer's."""
    above = side["peak_mb"] - side["imports_mb"]
    row = f"{side['samples_per_s']:10.2f}{side['cpu_s']:17.2f}{side['peak_mb']:9,.0f}{above:15,.0f}"
    if all(name in side for name in PHASES):
        row += "".join(f", {name.removeprefix('time/')} {side[name]:.2f} s" for name in PHASES)
    if "device_peak_mb" in side:
        row += f", {side['device_peak_mb']:,.0f} MB of the GPU"
    if not peer or peer is side:
        return row
    return (
        f"{row}   {side['samples_per_s'] / peer['samples_per_s']:.2f} times the samples/s, "
        f"{peer['cpu_s'] / side['cpu_s']:.2f} times less CPU, {side['peak_mb'] / peer['peak_mb']:.2f} of the memory, "
        f"{above / (peer['peak_mb'] - peer['imports_mb']):.2f} of that above the imports"
    )


class Side:
    """A side in a process of its own, which begins with its first rollout and then waits for each further turn."""

    def __init__(self, name: str, folder: Path, n_rollouts: int, path: list[Path], scale: Scale) -> None:
        self.name, self.command = name, [sys.executable, __file__, "--side", name, "--folder", str(folder)]
        self.command += ["--rollouts", str(n_rollouts)]
        for option, value in asdict(scale).items():
            self.command += [f"--{option}", str(value)]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, Path(__file__).parents[1]]))}
        self.process: subprocess.Popen[str] | None = None
        self.errors = (folder / f"{name}.stderr").open("w+")

    def run_rollout(self) -> None:
        """Let the process make its next rollout, and return when that is done."""
        if self.process:
            self.turn.send("go on")
        else:
            self.turn, theirs = Pipe()
            command = [*self.command, "--turn", str(theirs.fileno())]
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
        try:
            self.turn.recv()
        except EOFError:
            self.errors.seek(0)
            raise SystemExit(f"{self.name} failed:\n{self.errors.read()[-3000:]}") from None

    def finish(self) -> Measured:
        """Return what the process measured."""
        self.turn.send("go on")
        answer, _ = self.process.communicate()
        self.errors.close()
        found: Measured = json.loads(answer.splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--trl", type=Path, help=f"a folder into which {LAST_PPO} was installed before")
    parser.add_argument("--results", type=Path, help="a file for all figures, as JSON")
    add_options(parser, shape="33m", batch=16)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--turn", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    quieten()
    scale = read_scale(options)
    if options.side:
        if not options.side.startswith("trl"):
            from rlhf.learning.lifetime import keep_memory  # noqa: PLC0415 -- as above

            keep_memory()  # as every run does
        print(json.dumps(SIDES[options.side](options.folder, options.rollouts, Connection(options.turn), scale)))
        return
    with tempfile.TemporaryDirectory(prefix="trl-") as folder:
        if not options.trl and any(name.startswith("trl") for name in options.only):
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, LAST_PPO]
            subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        found = compare(options.only, options.rollouts, options.trl or Path(folder), scale)
    settings = {**scale.describe(), "rollouts": options.rollouts, "ppo_epochs": EPOCHS}
    rows = [{"side": name, **figures} for name, figures in found.items()]
    write_results(options.results, torch.device(scale.device), settings, rows)


if __name__ == "__main__":
    main()
