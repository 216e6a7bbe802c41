"""What label_efficiency.py asks about: the demo world of a seed, and real pairs of HH-RLHF."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.first_circle import make_sft, run_once, sample
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.records import Message, PreferenceRow
from rlhf.contract.run_dir import CHECKPOINTS, FINAL
from rlhf.world import recipe
from rlhf.world.corpus import demonstrations
from rlhf.world.judge import gold_score
from rlhf.world.labelers import SimulatedLabeler
from rlhf.world.prompts import draw_prompts

N_TEST = 500
POOL = 900  # prompts to choose from
K = 4
N_SLICES = 8  # of HH, by the first word of the question: the commonest, and all others


@dataclass
class World:
    """What is asked about: prompts with completions, who answers, and what is tested on."""

    base: Path
    prompts: list[list[Message]]
    texts: list[list[str]]
    slices: list[int]
    answer: Callable[[int, str, str], int]  # strength, -3 the first is better .. 3
    test: list[PreferenceRow]
    earlier: list[list[str]] | None = None  # what an earlier policy answered, by prompt


def make_world(home: Path, seed: int, *, models: Path) -> World:
    """Return the demo world of a seed. models: where its policies are, made by this seed when they are not there."""
    sft = make_sft(models, seed)
    prompts, fresh = draw_prompts(seed, POOL, split="train"), draw_prompts(seed, N_TEST, split="test")
    texts = sample(home / "pool", sft, prompts, n=K, seed=7000 + seed)
    test = [
        row
        for prompt, (a, b) in zip(fresh, sample(home / "test", sft, fresh, n=2, seed=8000 + seed), strict=True)
        if (row := build_row(prompt, a, b, gold_score(prompt, b).total - gold_score(prompt, a).total))
    ]
    labeler = SimulatedLabeler(seed=9000 + seed)
    kinds = sorted({prompt[-1]["content"].split()[0] for prompt in prompts})
    slices = [kinds.index(prompt[-1]["content"].split()[0]) for prompt in prompts]
    earlier = sample(home / "earlier-pool", make_earlier(models, seed), prompts, n=1, seed=7500 + seed)
    return World(sft, prompts, texts, slices, lambda number, a, b: labeler.prefer(prompts[number], a, b), test, earlier)


def make_earlier(home: Path, seed: int) -> Path:
    """Return a policy on the way to the fine-tuned one of a seed, made when it is not there."""
    base = home / "pretrain" / CHECKPOINTS / FINAL
    shown = demonstrations(seed, recipe.N_DEMONSTRATIONS // 4)
    config = recipe.SFT.replace(seed=seed, base_model=str(base), epochs=1.0)
    return run_once(home / "earlier", config, {"train.jsonl": ({"messages": messages} for messages in shown)})


def read_hh(path: Path, home: Path, seed: int) -> World:
    """Return real pairs, and a small model pre-trained on their texts."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        pairs = [pair for line in file if (pair := read_pair(json.loads(line)))]
    random.Random(seed).shuffle(pairs)
    held_out, pool = pairs[:N_TEST], pairs[N_TEST:]
    texts = [f"{pair[0][-1]['content']}\n\n{text}" for pair in pool for text in pair[1:]]
    base = run_once(home / "pretrain", PretrainConfig(seed=seed, max_steps=150, max_length=128), {
        "train.jsonl": ({"text": text} for text in texts),
        "test.jsonl": ({"text": text} for text in texts[:50]),
    })  # fmt: skip
    prompts = [prompt for prompt, _, _ in pool]
    return World(
        base=base,
        prompts=prompts,
        texts=[[chosen, rejected] for _, chosen, rejected in pool],
        slices=slice_by_opening(prompts),
        answer=lambda number, a, b: -2 if a == pool[number][1] else 2,
        test=[row for prompt, chosen, rejected in held_out if (row := build_row(prompt, chosen, rejected, -1.0))],
    )


def slice_by_opening(prompts: list[list[Message]]) -> list[int]:
    """Return a slice for each prompt: its first word's, if that is a common one."""
    openings = [(prompt[-1]["content"].lower().split() or [""])[0] for prompt in prompts]
    common = [word for word, _ in Counter(openings).most_common(N_SLICES - 1)]
    return [common.index(word) if word in common else N_SLICES - 1 for word in openings]


def read_pair(row: dict[str, str]) -> tuple[list[Message], str, str] | None:
    """Return the last question of a transcript and its two answers; None where they do not share the question."""
    opening, _, chosen = row["chosen"].rpartition("\n\nAssistant:")
    same, _, rejected = row["rejected"].rpartition("\n\nAssistant:")
    if opening != same or not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
        return None
    question = opening.rpartition("\n\nHuman:")[2].strip()
    return [Message(role="user", content=question)], chosen.strip(), rejected.strip()


def build_row(prompt: list[Message], a: str, b: str, strength: float) -> PreferenceRow | None:
    """Return the pair with the better one chosen; None for equals."""
    if strength == 0 or a == b:
        return None
    chosen, rejected = (b, a) if strength > 0 else (a, b)
    answers = [[Message(role="assistant", content=text)] for text in (chosen, rejected)]
    return PreferenceRow(prompt=prompt, chosen=answers[0], rejected=answers[1])
