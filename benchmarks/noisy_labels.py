"""What do spammers cost a reward model, and how much of it do our consensus rules save?

    PYTHONPATH=. python benchmarks/noisy_labels.py --seeds 1 2 3 --home bases

The demo world: a fine-tuned model answers each prompt twice, twenty simulated labelers give three votes on each pair, and
a reward model is trained on what the votes come to. A fifth of the labelers are spammers: half of them answer at random,
half always click the left side. What counts is how often the reward model prefers the truly better of two answers to fresh
prompts, by the hidden rule. Beside it: how many of the labels themselves are right. "clean" are the hidden rule's own labels.
The last column is the accuracy lost against the honest labelers' majority. --home keeps the models of a seed.

Seeds 1 to 3, 300 pairs, 500 tested (labels right, then accuracy with the standard error over seeds):

    clean                              1.000   0.807 +- 0.012
    honest, majority                   0.918   0.793 +- 0.005
    spam, first vote alone             0.774   0.774 +- 0.005   lost 0.019
    spam, majority                     0.858   0.780 +- 0.012        0.013
    spam, share of votes, soft         0.863   0.783 +- 0.009        0.010
    spam, Dawid-Skene                  0.893   0.783 +- 0.012        0.010
    spam, Dawid-Skene, soft            0.893   0.791 +- 0.012        0.001
"""

# ruff: noqa: E402 -- Django is set up before what has models is imported
from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("PREFLOOP_HOME", tempfile.mkdtemp(prefix="noisy-labels-"))
django.setup()  # the consensus rules are those of the web's side

from benchmarks.first_circle import make_sft, sample
from rlhf.contract.records import Message, PreferenceRow, write_rows
from rlhf.contract.run_dir import DATA, prepare_run_dir
from rlhf.domain.datasets.consensus import Decision, Outcome, Vote, decide_all
from rlhf.learning.door import train
from rlhf.learning.lifetime import prepare_environment
from rlhf.world import recipe
from rlhf.world.judge import gold_score
from rlhf.world.labelers import Habit, SimulatedLabeler
from rlhf.world.prompts import draw_prompts

N_LABELERS, OVERLAP, N_TEST = 20, 3, 500
SPAMMERS = (Habit.RANDOM, Habit.LEFT, Habit.RANDOM, Habit.LEFT)
# Name: are there spammers, the consensus, and whether rows say how sure it is. No consensus: the hidden rule decides.
CONDITIONS = {
    "clean": (False, "", False),
    "honest, majority": (False, "majority", False),
    "spam, first vote alone": (True, "first", False),
    "spam, majority": (True, "majority", False),
    "spam, share of votes as soft label": (True, "soft", True),
    "spam, Dawid-Skene": (True, "dawid_skene", False),
    "spam, Dawid-Skene as soft label": (True, "dawid_skene", True),
}
Pair = tuple[list[Message], str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--home", type=Path, help="where models are kept; a temporary folder by default")
    options = parser.parse_args()
    prepare_environment()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CONDITIONS}
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        for seed in options.seeds:
            sft = make_sft(home / f"seed-{seed}", seed)
            pairs = draw_pairs(Path(temporary) / f"pool-{seed}", sft, options.pairs, split="train", seed=7000 + seed)
            test = draw_pairs(Path(temporary) / f"test-{seed}", sft, N_TEST, split="test", seed=8000 + seed)
            rows = [row for pair in test if (row := build_row(pair, decide_by_rule(pair), soft=False))]
            for number, (name, (has_spam, consensus, soft)) in enumerate(CONDITIONS.items()):
                decisions = decide(pairs, has_spam=has_spam, consensus=consensus, seed=seed)
                run_dir = Path(temporary) / f"reward-{seed}-{number}"
                accuracy = learn(run_dir, sft, pairs, decisions, rows, soft, seed)
                found[name].append((measure_labels(pairs, decisions), accuracy))
                print(f"seed {seed} {name}: {found[name][-1][0]:.3f} {accuracy:.3f}", flush=True)
    report(found)


def draw_pairs(run_dir: Path, sft: Path, n: int, *, split: str, seed: int) -> list[Pair]:
    """Return prompts with two different answers whose worth differs."""
    prompts = draw_prompts(seed, 2 * n, split=split)  # type: ignore[arg-type]
    drawn = zip(prompts, sample(run_dir, sft, prompts, n=2, seed=seed), strict=True)
    pairs = [(prompt, a, b) for prompt, (a, b) in drawn if worth(prompt, a, b) != 0]
    return pairs[:n]


def worth(prompt: list[Message], a: str, b: str) -> float:
    """Return by how much b is the better one, by the hidden rule."""
    return gold_score(prompt, b).total - gold_score(prompt, a).total


def decide_by_rule(pair: Pair) -> Decision:
    return Decision(Outcome.B if worth(*pair) > 0 else Outcome.A)


def decide(pairs: Sequence[Pair], *, has_spam: bool, consensus: str, seed: int) -> list[Decision]:
    """Return what the votes on each pair come to, in the order of the pairs."""
    if not consensus:
        return [decide_by_rule(pair) for pair in pairs]
    rng = random.Random(seed)
    habits = [*SPAMMERS, *[Habit.HONEST] * (N_LABELERS - len(SPAMMERS))]
    labelers = [
        SimulatedLabeler(seed=100 * seed + number, habit=habit if has_spam else Habit.HONEST)
        for number, habit in enumerate(habits)
    ]
    votes = {
        number: [
            Vote(labelers[who].prefer(*pair, a_is_left=rng.random() < 0.5), labeler=who)
            for who in rng.sample(range(N_LABELERS), OVERLAP)
        ]
        for number, pair in enumerate(pairs)
    }
    if consensus == "first":
        votes, consensus = {number: said[:1] for number, said in votes.items()}, "majority"
    decided = decide_all(votes, consensus=consensus)
    return [decided[number] for number in range(len(pairs))]


def build_row(pair: Pair, decision: Decision, *, soft: bool) -> PreferenceRow | None:
    """Return the row of a pair; none where no side won."""
    if decision.outcome not in (Outcome.A, Outcome.B):
        return None
    prompt, a, b = pair
    chosen, rejected = (a, b) if decision.outcome == Outcome.A else (b, a)
    return PreferenceRow(
        prompt=prompt,
        chosen=[Message(role="assistant", content=chosen)],
        rejected=[Message(role="assistant", content=rejected)],
        target=decision.target if soft else 1.0,
    )


def measure_labels(pairs: Sequence[Pair], decisions: Sequence[Decision]) -> float:
    """Return the share of labels that are right; undecided pairs count half."""
    credits = [
        0.5
        if decision.outcome not in (Outcome.A, Outcome.B)
        else float(decision.outcome == decide_by_rule(pair).outcome)
        for pair, decision in zip(pairs, decisions, strict=True)
    ]
    return statistics.mean(credits)


def learn(
    run_dir: Path,
    sft: Path,
    pairs: Sequence[Pair],
    decisions: Sequence[Decision],
    test: list[PreferenceRow],
    soft: bool,
    seed: int,
) -> float:
    """Return the held-out accuracy, against clean labels, of a reward model trained on the decisions."""
    rows = [
        row for pair, decision in zip(pairs, decisions, strict=True) if (row := build_row(pair, decision, soft=soft))
    ]
    config = recipe.REWARD.replace(seed=seed, base_model=str(sft))
    prepare_run_dir(run_dir, config)
    for name, kind in (("train", rows), ("test", test)):
        write_rows(run_dir / DATA / f"{name}.jsonl", kind)
    return float(train(config, run_dir)["eval_accuracy"])


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print the means over seeds, with the standard error of the accuracy."""
    honest = statistics.mean(accuracy for _, accuracy in found["honest, majority"])
    print(f"\n{'labels':36} {'right labels':>12} {'reward accuracy':>17} {'lost':>8}")
    for name, seeds in found.items():
        labels, accuracies = ([row[column] for row in seeds] for column in (0, 1))
        spread = statistics.stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else None
        error = f"± {spread:.3f}" if spread is not None else "one seed"
        mean = statistics.mean(accuracies)
        print(f"{name:36} {statistics.mean(labels):12.3f} {mean:8.3f} {error:>8} {honest - mean:+8.3f}")


if __name__ == "__main__":
    main()
