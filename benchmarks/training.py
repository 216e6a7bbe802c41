"""What an optimizer step costs, ours against plain TRL on the same rows, in the same process, with the same losses.

    PYTHONPATH=. python benchmarks/training.py [--steps 8] [--rounds 3] [--only dpo reward sft]
    PYTHONPATH=. python benchmarks/training.py --device cuda --dtype bfloat16 --shape 1b --batch 16 --results FILE

Without options: a 20-million-parameter Llama with 32 thousand tokens in fp32, random weights and random ids, on a GPU if
torch sees one. DPO, reward and SFT run against the installed TRL: ours and theirs in turn, `rounds` times; printed are the
medians of the seconds a step, their ratio, that of the CPU seconds, which a busy neighbour hardly moves, and the first
losses, which must agree. One more round measures phases: the blocks' forward passes, then head, loss and backward pass, the
optimizer, and what lies between. Peak memory is a GPU's by torch, else the process's. MFU is of the operations that the
method needs (a pair's prompt once, logits of completions alone) to those the chip is promised to do, where that is known
(benchmarks/machine.py). PPO has a script of its own.

What is for GPUs here was written without one and has not been run on any.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1", OMP_WAIT_POLICY="PASSIVE"
)

import torch

from benchmarks.machine import forget_peak, peak_flops, read_peak, write_results
from benchmarks.scale import (
    DTYPES,
    Pair,
    Scale,
    add_options,
    count_tokens,
    draw_pairs,
    needed_flops,
    quieten,
    read_scale,
)
from benchmarks.sides import SIDES, Run
from benchmarks.stopwatch import Watch

SAME_LOSS = {"float32": 1e-4, "bfloat16": 2e-2}
Row = dict[str, Any]


def compare(method: str, scale: Scale, *, n_steps: int, n_rounds: int, varied: bool) -> Row:
    """Run ours and theirs in turn and return what both took."""
    pairs = draw_pairs(scale.batch * n_steps, scale, varied=varied)
    watches: dict[str, list[Watch]] = {"ours": [], "trl": []}
    peaks: dict[str, list[int]] = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        sides = SIDES[method](pairs, folder, n_steps, scale)
        for number in range(n_rounds + 1):
            for side, run in sides.items():
                watch, peak = run_once(run, scale, asks_phases=number == n_rounds)
                watches[side].append(watch)
                peaks[side].append(peak)
    losses = {side: each[0].losses[0] for side, each in watches.items()}
    if abs(losses["ours"] - losses["trl"]) > SAME_LOSS[scale.dtype]:
        raise SystemExit(
            f"{method}: the first losses are {losses['ours']:.5f} and {losses['trl']:.5f}: not the same run"
        )
    found = {
        side: measure(method, each, max(peaks[side]), pairs=pairs, n_steps=n_steps, scale=scale)
        for side, each in watches.items()
    }
    return {"method": method, "lengths": "varied" if varied else "equal", **found}


def run_once(run: Run, scale: Scale, *, asks_phases: bool) -> tuple[Watch, int]:
    """Train once and return what was watched, and the most bytes that were held."""
    gc.collect()  # the models of the side before
    forget_peak(torch.device(scale.device))
    watch = Watch(asks_phases=asks_phases)
    run(watch)
    return watch, read_peak(torch.device(scale.device))


def measure(method: str, watches: list[Watch], peak: int, *, pairs: list[Pair], n_steps: int, scale: Scale) -> Row:
    """Return the figures of one side. watches: of every round, the last of which measured phases."""
    walls, cpus = zip(*(step for watch in watches[:-1] for step in watch.steps_s), strict=True)
    step_s = statistics.median(walls)
    promised = peak_flops(torch.device(scale.device), DTYPES[scale.dtype])
    flops_per_s = needed_flops(method, pairs, scale) / n_steps / step_s
    return {
        "step_s": step_s,
        "cpu_s": statistics.median(cpus),
        "tokens_per_s": count_tokens(method, pairs) / n_steps / step_s,
        "rows_per_s": scale.batch / step_s,
        "to_first_step_s": statistics.median(watch.ended[0][0] - watch.began_s for watch in watches[:-1]),
        "flops_per_s": flops_per_s,
        "mfu": flops_per_s / promised if promised else None,
        "peak_bytes": peak,
        "phases_s": watches[-1].phases_s,
        "first_loss": watches[0].losses[0],
    }


def describe(row: Row) -> str:
    """Return what a row has found, in three lines."""
    ours, theirs = row["ours"], row["trl"]
    unit = "rows" if row["method"] == "sft" else "pairs"
    lines = [
        f"{row['method']:7} {row['lengths'] + ' lengths':15} ours {ours['step_s']:.3f} s a step "
        f"({ours['rows_per_s']:.1f} {unit}/s, {ours['tokens_per_s']:,.0f} tokens/s), TRL {theirs['step_s']:.3f} s: "
        f"{theirs['step_s'] / ours['step_s']:.2f} times faster, {theirs['cpu_s'] / ours['cpu_s']:.2f} times less CPU; "
        f"their first losses {ours['first_loss']:.5f} and {theirs['first_loss']:.5f}"
    ]
    for name, side in (("ours", ours), ("TRL", theirs)):
        phases = ", ".join(f"{phase.replace('_', ' ')} {seconds:.4f}" for phase, seconds in side["phases_s"].items())
        mfu = "" if side["mfu"] is None else f", MFU {side['mfu']:.1%}"
        lines.append(
            f"{'':8}{name:5} {side['flops_per_s'] / 1e9:,.0f} GFLOP/s{mfu}, peak {side['peak_bytes'] / 1e6:,.0f} MB, "
            f"to the first step {side['to_first_step_s']:.2f} s; seconds of {phases}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--results", type=Path, help="a file for all figures, as JSON")
    add_options(parser, shape="20m", batch=4)
    options = parser.parse_args()
    if options.steps < 4 or options.rounds < 1:
        parser.error("medians leave two steps out to warm up: give at least 4 --steps and 1 of --rounds")
    quieten()
    scale, rows = read_scale(options), []
    for method in options.only:
        for varied in (False, True):
            rows.append(compare(method, scale, n_steps=options.steps, n_rounds=options.rounds, varied=varied))
            print(describe(rows[-1]), flush=True)
    settings = {**scale.describe(), "steps": options.steps, "rounds": options.rounds}
    write_results(options.results, torch.device(scale.device), settings, rows)


if __name__ == "__main__":
    main()
