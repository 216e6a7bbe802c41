"""How many labels does each strategy need to reach what chance reaches with all of them?

    PYTHONPATH=. python benchmarks/label_efficiency.py --seeds 1 2 3 --home bases [--hh HH.jsonl.gz]

The demo world: a fine-tuned model answers each prompt four times; pairs of its answers are asked about in batches, chosen
by the loop's own strategies (rlhf/domain/strategies.py) from the scores of a reward model that is trained anew after every
batch, its answers given by the simulated labelers. "previous" asks about an answer beside one of an earlier policy, which
was fine-tuned on a quarter of the demonstrations, once. What counts is how often that reward model prefers the truly better
of two answers of the model to fresh prompts, by the hidden rule. HH: real pairs, two completions a prompt, whose recorded
choice is the label, sliced by the first word of the question; what counts is its accuracy on pairs held out. No policy
wrote these pairs, so "previous" is not asked there.

Labels needed: where the strategy's mean curve, made monotone, first reaches the last value of chance's; the interval is a
bootstrap over seeds: of all that is drawn, the models too unless --models names a seed whose models serve all. The last
column is the share of chance's labels. --home keeps models and samples of a seed.

The aim is 60% for the default strategy. Nothing comes near it, not even exact designs on the linear model (head=tokens): at
180 labels the best of them has 0.713, chance with 300 has 0.735 (one world, 10 and 40 draws). docs/label_efficiency.md has
the curves and what bounds them: labelers' noise, and a rule of which words are half.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import django

from benchmarks.asking.worlds import World, build_row, make_world, read_hh
from benchmarks.first_circle import score
from rlhf.contract.records import PreferenceRow, write_rows
from rlhf.contract.run_dir import CHECKPOINTS, DATA, FINAL, prepare_run_dir
from rlhf.contract.settings import RunConfig
from rlhf.learning.door import train
from rlhf.learning.lifetime import prepare_environment
from rlhf.world import recipe

N_HEADS = 4
STEPS = (50, 100, 150, 200, 250, 300)
STRATEGIES = ("random", "disagreement", "uncertain", "previous", "coverage")
N_RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS), help="labels at which it is measured")
    parser.add_argument("--reward", nargs="*", default=[], help="reward model settings as key=value")
    parser.add_argument("--models", type=int, help="the seed whose models serve all; else each seed trains its own")
    parser.add_argument("--home", type=Path, help="where models are kept; a temporary folder by default")
    parser.add_argument("--hh", type=Path, help="a file of HH-RLHF preferences, in place of the demo world")
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.setdefault("PREFLOOP_HOME", temporary)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        django.setup()  # the strategies are the loop's own
        home = options.home or Path(temporary)
        names = [name for name in options.strategies if name != "previous" or not options.hh]
        curves: dict[str, list[list[float]]] = {name: [] for name in names}
        for seed in options.seeds:
            world = (
                read_hh(options.hh, home / f"hh-{seed}", seed)
                if options.hh
                else make_world(home / f"seed-{seed}", seed, models=home / f"seed-{options.models or seed}")
            )
            for name in curves:
                curves[name].append(learn(options, world, home, name, seed))
                print(f"seed {seed} {name}: " + " ".join(f"{value:.3f}" for value in curves[name][-1]), flush=True)
    report(options, curves)


def learn(options: argparse.Namespace, world: World, home: Path, strategy: str, seed: int) -> list[float]:
    """Ask in batches and return the accuracy after each."""
    from rlhf.domain.offers import Candidate, Offer  # noqa: PLC0415 -- Django is set up by main()
    from rlhf.domain.selecting import select_pairs  # noqa: PLC0415 -- Django, as above
    from rlhf.domain.terms import Terms  # noqa: PLC0415 -- Django, as above

    draw = random.Random(1000 * seed + 1)
    scores: dict[tuple[int, str], tuple[float, ...]] = {}
    asked: set[int] = set()
    rows: list[PreferenceRow] = []
    earlier = world.earlier if world.earlier and strategy == "previous" else [[] for _ in world.texts]
    accuracies = []
    for before, step in zip((0, *options.steps), options.steps, strict=False):
        offers = [
            Offer(number, world.slices[number], tuple(
                [Candidate(text, scores.get((number, text), ())) for text in dict.fromkeys(texts)]
                + [Candidate(text, is_previous=True) for text in earlier[number] if text not in texts]
            ))
            for number, texts in enumerate(world.texts)
            if number not in asked and len(set(texts)) > 1
        ]  # fmt: skip
        n_judged = {key: sum(world.slices[number] == key for number in asked) for key in set(world.slices)}
        terms = Terms(n_pairs=step - before, strategy=strategy if rows else "random", previous_share=0.0)
        for choice in select_pairs(offers, terms, draw, n_judged=n_judged):
            asked.add(choice.prompt)
            strength = world.answer(choice.prompt, choice.text_a, choice.text_b)
            row = build_row(world.prompts[choice.prompt], choice.text_a, choice.text_b, strength)
            rows += [row] if row else []  # a tie is a label that makes no pair
        folder = home / f"{strategy}-{seed}-{step}"
        config = recipe.REWARD.replace(seed=seed, base_model=str(world.base), n_heads=N_HEADS).with_settings(
            options.reward
        )
        accuracies.append(execute(folder, config, {"train.jsonl": rows, "test.jsonl": world.test})["eval_accuracy"])
        model = folder / CHECKPOINTS / FINAL
        if strategy in ("disagreement", "uncertain") and step != options.steps[-1]:
            said = score(home / f"score-{strategy}-{seed}-{step}", model, world.prompts, world.texts)
            scores = {
                (number, text): heads
                for number, texts in enumerate(world.texts)
                for text, heads in zip(texts, said[number], strict=True)
            }
    return accuracies


def execute(run_dir: Path, config: RunConfig, files: dict[str, list[Any]]) -> dict[str, Any]:
    """Do a run in this process, anew, and return its metrics."""
    shutil.rmtree(run_dir, ignore_errors=True)
    prepare_run_dir(run_dir, config)
    for name, rows in files.items():
        write_rows(run_dir / DATA / name, rows)
    return train(config, run_dir)


def report(options: argparse.Namespace, curves: dict[str, list[list[float]]]) -> None:
    """Print the mean curves and how many labels each strategy needs."""
    print("\nlabels        " + "  ".join(f"{step:5}" for step in options.steps))
    for name, found in curves.items():
        print(f"{name:13} " + "  ".join(f"{value:.3f}" for value in average(found)))
    if "random" not in curves:
        return
    print("\nlabels needed for what chance reaches with all, and their share of chance's")
    for name in curves:
        needed = find_needed(curves, name, options.steps)
        draw = random.Random(1)
        n = len(curves[name])
        drawn = []
        for _ in range(N_RESAMPLES):
            picked = [draw.randrange(n) for _ in range(n)]
            drawn.append(
                find_needed({key: [found[at] for at in picked] for key, found in curves.items()}, name, options.steps)
            )
        low, high = statistics.quantiles(drawn, n=40)[0], statistics.quantiles(drawn, n=40)[-1]
        print(f"{name:13} {needed:5.0f} [{low:.0f}, {high:.0f}]  {needed / options.steps[-1]:.2f}")


def average(curves: list[list[float]]) -> list[float]:
    return [statistics.fmean(values) for values in zip(*curves, strict=True)]


def find_needed(curves: dict[str, list[list[float]]], name: str, steps: list[int]) -> float:
    """Return at how many labels a strategy's mean curve first reaches chance's last value; the last step and one batch
    more where it never does."""
    goal, curve = max(average(curves["random"])), average(curves[name])
    best = curve[0]
    if best >= goal:
        return float(steps[0])
    for before, step, value in zip(steps, steps[1:], curve[1:], strict=False):
        if value >= goal:
            return before + (step - before) * (goal - best) / (value - best)
        best = max(best, value)
    return float(2 * steps[-1] - steps[-2])


if __name__ == "__main__":
    main()
