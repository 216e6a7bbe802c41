"""Every method of training, killed with -9 at twenty moments and restarted unattended, against an undisturbed run.

    PYTHONPATH=. python benchmarks/kills.py [--kills 20] [--only dpo ppo] [--seed 0] [--cold]
    PYTHONPATH=. python benchmarks/kills.py --only sft-lora reward-lora reward-words dpo-lora grpo-lora ppo-lora ppo-one-base

Runs are real processes: children of the fork server as in production, or with --cold a `python -m rlhf.learning RUN_DIR`
each. Half the kills come at a random moment; the others wait for a save: between the files of a checkpoint, after its
manifest and before its rename, while old checkpoints are removed, in the save of the final model. The process is stopped
(SIGSTOP), where it stands is read from its folder, then it is killed. A run that ends before the kills are spent is
followed by another. Prints a row a method: where the kills fell and whether every run's final weights are the
undisturbed run's, byte by byte. A difference, or a run that does not finish, ends the script with 1.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("PREFLOOP_HOME", tempfile.mkdtemp(prefix="kills-"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the server starts: models this small gain nothing by a second

from rlhf.contract.run_dir import CHECKPOINTS, EXIT_DONE, FINAL, MANIFEST, METRICS, read_result
from rlhf.domain.launching import LearningServer
from rlhf.learning.training_loop import KEPT_CHECKPOINTS
from tests.rlhf.learning.tiny_runs import SETTINGS, VARIANTS, TinyModels, hash_final, prepare_tiny_run, write_models

ROOT = Path(__file__).parents[1]
POLL_S = 0.0002
# What every twenty kills wait for; "any time" is a random moment.
MOMENTS = ("any time", "part files", "any time", "before rename", "any time", "part files", "any time", "pruning")
MOMENTS += ("any time", "final save")
WITHOUT_CHECKPOINTS = ("any time", "final save")  # a run of a second saves nothing on its way


class Process(Protocol):
    """A learning process, whoever started it."""

    pid: int

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, or None while it runs."""


class ColdProcess:
    """`python -m rlhf.learning RUN_DIR`."""

    def __init__(self, run_dir: Path) -> None:
        command = [sys.executable, "-m", "rlhf.learning", str(run_dir)]
        with (run_dir / "learning.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        self.pid = self.process.pid

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, or None while it runs."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


@dataclass
class Ledger:
    """What happened to the runs of one method."""

    kind: str
    n_runs: int = 0
    n_same: int = 0
    fell: Counter[str] = field(default_factory=Counter)

    @property
    def is_sound(self) -> bool:
        """Whether every run ended with the undisturbed run's weights."""
        return self.n_runs == self.n_same > 0

    def __str__(self) -> str:
        fell = ", ".join(f"{n} {moment}" for moment, n in sorted(self.fell.items()))
        verdict = "identical" if self.is_sound else "DIFFERENT"
        return f"{self.kind:13}{self.fell.total():6}{self.n_runs:6}{self.n_same:6}  {verdict:10} {fell}"


def torment(
    kind: str, folder: Path, models: TinyModels, launch: Callable[[Path], Process], *, n_kills: int, draw: random.Random
) -> Ledger:
    """Kill runs of a method n_kills times in all, and compare what each run published in the end."""
    ledger = Ledger(kind)
    expected = finish(kind, folder / f"{kind}-undisturbed", models, launch)
    started_s = time.monotonic()
    if finish(kind, folder / f"{kind}-again", models, launch) != expected or not expected:
        raise SystemExit(f"two undisturbed {kind} runs differ, or failed: there is nothing to compare with")
    whole_s = time.monotonic() - started_s
    possible = WITHOUT_CHECKPOINTS if kind == "reward-words" else MOMENTS
    moments = [possible[number % len(possible)] for number in range(n_kills)]
    while moments:
        run_dir = folder / f"{kind}-{ledger.n_runs}"
        prepare_tiny_run(kind, run_dir, models)
        while moments:
            fell = kill(launch(run_dir), run_dir, moments[0], after_s=draw.uniform(0, 0.7 * whole_s))
            if not fell:
                moments.append(moments.pop(0))
                break  # it was faster than the killer, who tries another moment
            ledger.fell[fell] += 1
            moments.pop(0)
        ledger.n_runs += 1
        ledger.n_same += finish(kind, run_dir, models, launch, is_new=False) == expected
    return ledger


def finish(
    kind: str, run_dir: Path, models: TinyModels, launch: Callable[[Path], Process], *, is_new: bool = True
) -> dict[str, str]:
    """Let a run go to its end and return the hashes of its weights; empty when it failed or left something behind."""
    if is_new:
        prepare_tiny_run(kind, run_dir, models)
    result = read_result(run_dir)
    if not (result and result["succeeded"]):
        code = launch(run_dir).wait(600.0)
        result = read_result(run_dir)
        if code != EXIT_DONE or not result or not result["succeeded"]:
            print(f"{run_dir} ended with {code}: {result}", file=sys.stderr)
            return {}
    return hash_final(run_dir)


def kill(process: Process, run_dir: Path, moment: str, *, after_s: float) -> str:
    """Kill a process at a moment and return where it stood; empty when it ended before."""
    old = identify_parts(run_dir)
    deadline_s = time.monotonic() + after_s
    while process.wait(POLL_S) is None:
        if time.monotonic() >= deadline_s if moment == "any time" else locate(run_dir, old) == moment:
            os.killpg(process.pid, signal.SIGSTOP)
            wait_stopped(process.pid)
            where = locate(run_dir, old)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30.0)
            return where
    return ""


def locate(run_dir: Path, old: set[tuple[str, int]]) -> str:
    """Say what a run is doing by what lies in its folder. old: unfinished saves of earlier attempts."""
    parts = [name for name, _ in identify_parts(run_dir) - old]
    if any(FINAL in name for name in parts):
        return "final save"
    if parts:
        is_sealed = (run_dir / CHECKPOINTS / parts[0] / MANIFEST).exists()
        return "before rename" if is_sealed else "part files"
    if (run_dir / CHECKPOINTS / FINAL).exists():
        return "after final save"
    if len(list((run_dir / CHECKPOINTS).glob("checkpoint-*"))) > KEPT_CHECKPOINTS:
        return "pruning"
    return "training" if (run_dir / METRICS).exists() else "start-up"


def identify_parts(run_dir: Path) -> set[tuple[str, int]]:
    """Return name and inode of every unfinished save."""
    found = set()
    for path in (run_dir / CHECKPOINTS).glob(".*.part"):
        try:
            found.add((path.name, path.stat().st_ino))
        except FileNotFoundError:
            continue  # renamed meanwhile
    return found


def wait_stopped(pid: int) -> None:
    """Return when the process has stopped, or has ended."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state in "TZ":
            return
        time.sleep(POLL_S)


def main(kinds: Iterable[str], *, n_kills: int, seed: int, cold: bool) -> int:
    """Print the table; return 1 when a row is not as it should be."""
    server = LearningServer()
    is_sound = True
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        models = write_models(Path(name) / "models")
        launch = ColdProcess if cold else lambda run_dir: server.launch(run_dir, is_unwanted=lambda: False)
        print(f"{'method':13}{'kills':>6}{'runs':>6}{'same':>6}  {'weights':10} where the kills fell")
        try:
            for kind in kinds:
                ledger = torment(kind, Path(name), models, launch, n_kills=n_kills, draw=random.Random(seed))
                print(ledger, flush=True)
                is_sound = is_sound and ledger.is_sound
        finally:
            server.stop()
    return 0 if is_sound else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=[*SETTINGS, *VARIANTS], default=list(SETTINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true", help="a process of its own for every attempt")
    arguments = parser.parse_args()
    sys.exit(main(arguments.only, n_kills=arguments.kills, seed=arguments.seed, cold=arguments.cold))
