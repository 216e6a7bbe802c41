"""The demo project: an invented world, a policy made there and then, and its first pairs - without a download."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from django.db import transaction

from labeling.domain.content import check_messages, hash_messages
from labeling.domain.people import add_member
from labeling.models import Guideline, Membership, Project, Prompt, User
from rlhf.contract.records import Message
from rlhf.contract.settings import RunConfig
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.loop import count_rounds
from rlhf.domain.rounds import open_round
from rlhf.domain.sampling import RANKED
from rlhf.domain.stages import FIRST_STAGES, newest_dataset
from rlhf.models import Dataset, Loop, Round
from rlhf.world import recipe
from rlhf.world.answers import QualityMix
from rlhf.world.corpus import demonstrations, pretraining_texts
from rlhf.world.prompts import draw_prompts

SLUG = "demo"
SEED = 1
N_PROMPTS = 6000
N_HELD_OUT_PROMPTS = 500
# As many as an evaluation reads to see what a policy has forgotten of how to answer.
N_HELD_OUT_DEMONSTRATIONS = 256
# Those it learns from are wrong, rude or long-winded now and then, for judgments to teach it better: a policy that was taught
# finds such answers 24% to 33% more surprising (three of PPO), which is no tax. What it should still know are good answers:
# there the same three came to 0% to 6%.
HELD_OUT_QUALITY = QualityMix(correct=1.0, polite=0.5, rude=0.0, brief=1.0, finished=1.0)
# Few enough that a visitor closes the circle within minutes of clicking.
THRESHOLD = 50
# Pairs beyond the judgments asked for: some prompts make none, and a queue that runs dry waits for new samples.
SPARE_PAIRS = 0.1
GUIDELINE = """\
# Which completion is better?

The assistant answers short questions about a small invented world: its people, its animals, its sums and its stories.

1. **Right** comes first. A wrong answer loses, however nicely it is put.
2. **Polite** comes second. Rude answers lose to neutral ones.
3. **Brief and finished** comes third. Say it once, and end the sentence.

You need not know the world: two answers that contradict each other cannot both be right, and a story may be any story.
If you cannot tell, say *tie*. If neither should ever be sent, say *both bad*.
"""


def seed_demo() -> Project:
    """Return the demo project; at the first call it is made, with its data, and its first round is rung for."""
    project = Project.objects.filter(slug=SLUG).first()
    if project is None:
        project = make_project()
    for admin in User.objects.filter(is_superuser=True):
        add_member(project, admin, role=Membership.Role.MANAGER)
    has_begun = Round.objects.filter(project=project).exclude(state=Round.State.FAILED).exists()
    if not has_begun:
        freeze_world(project)
        open_round(project, FIRST_STAGES)
    return project


@transaction.atomic
def make_project() -> Project:
    """Make the project, its guideline, its prompts and its loop: all of it or nothing."""
    project = Project.objects.create(
        slug=SLUG,
        name="Demo: a small world",
        description="A small policy, trained on this machine from nothing, learns from your clicks.",
    )
    Guideline.objects.create(project=project, version=1, text=GUIDELINE)
    Loop.objects.create(
        project=project,
        threshold=THRESHOLD,
        n_pairs=recipe.N_LABELS_A_ROUND,
        gate=Loop.Gate.OPEN,
        strategy=Loop.Strategy.RANDOM,
        settings=run_settings(),
    )
    train = draw_prompts(SEED, N_PROMPTS, split="train")
    held_out = draw_prompts(SEED, N_HELD_OUT_PROMPTS, split="test")
    rows = [(messages, False) for messages in train] + [(messages, True) for messages in held_out]
    Prompt.objects.bulk_create(
        (make_prompt(project, messages, is_held_out=is_held_out) for messages, is_held_out in rows), batch_size=500
    )
    return project


def make_prompt(project: Project, messages: list[Message], *, is_held_out: bool) -> Prompt:
    """Return an unsaved prompt of this content."""
    sha = hash_messages(check_messages(messages))
    return Prompt(project=project, messages=messages, content_sha=sha, group=sha[:32], is_held_out=is_held_out)


def set_rounds(loop: Loop, n_rounds: int, *, n: int, method: str | None = None, gate: str | None = None) -> Loop:
    """Let a loop go so many rounds more of n judgments each; what is not named stays as it is.

    Where a gate asks what PPO has forgotten, it learns to write the world's texts besides, and weights are averaged; where
    people decide, more pairs are duels.
    """
    loop.threshold, loop.n_pairs = n, n + math.ceil(n * SPARE_PAIRS)
    loop.max_rounds = count_rounds(loop.project) + n_rounds
    loop.method, loop.gate = method or loop.method, gate or loop.gate
    if method:
        loop.rule = {} if loop.method == Loop.Method.DPO else recipe.RULE
    if method or gate:
        is_taxed = loop.method == Loop.Method.PPO and loop.gate != Loop.Gate.OPEN
        loop.average_weight = recipe.AVERAGE_WEIGHT if is_taxed else 0.0
        loop.settings = remind(loop, of_texts=is_taxed)
    if gate:
        loop.previous_share = recipe.DUEL_SHARE if gate == Loop.Gate.PEOPLE else Loop().previous_share
    loop.save()
    return loop


def remind(loop: Loop, *, of_texts: bool) -> dict[str, Any]:
    """Return a loop's settings under which PPO learns to write the world's texts besides, or does not."""
    said: dict[str, Any] = loop.settings.get("ppo", {})
    ppo = {name: value for name, value in said.items() if name not in ("ptx_coef", "ptx_dataset")}
    if of_texts:
        ppo |= {"ptx_coef": recipe.PTX_COEF, "ptx_dataset": newest_dataset(loop.project, Dataset.Kind.TEXT).pk}
    return {**loop.settings, "ppo": ppo}


def run_settings() -> dict[str, dict[str, Any]]:
    """Return what the recipe sets over the defaults, by run kind, and over that for a stage, as the loop keeps it."""
    configs = (recipe.PRETRAIN, recipe.SFT, recipe.SAMPLE, recipe.REWARD, recipe.DPO, recipe.PPO)
    by_kind = {config.kind: list_changes(config, type(config)()) for config in configs}
    return by_kind | {f"dpo:{RANKED}": list_changes(recipe.RANKED_DPO, recipe.DPO)}


def list_changes(config: RunConfig, before: RunConfig) -> dict[str, Any]:
    """Return the settings in which a configuration differs from another of its kind."""
    return {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(config)
        if getattr(config, item.name) != getattr(before, item.name)
    }


def freeze_world(project: Project) -> None:
    """Freeze the generated text and demonstrations the first policy learns from."""
    rule = {"include": "generated", "seed": SEED}
    freeze_rows(
        project,
        kind=Dataset.Kind.TEXT,
        name="a small world: text",
        train=[{"text": text} for text in pretraining_texts(SEED, "train")],
        test=[{"text": text} for text in pretraining_texts(SEED, "test")],
        rule=rule,
    )
    freeze_rows(
        project,
        kind=Dataset.Kind.DEMONSTRATION,
        name="a small world: demonstrations",
        train=[{"messages": messages} for messages in demonstrations(SEED, recipe.N_DEMONSTRATIONS)],
        test=[{"messages": messages} for messages in hold_out_demonstrations()],
        rule=rule,
    )


def hold_out_demonstrations() -> list[list[Message]]:
    """Return good answers to questions that no demonstration asks: what alignment must not make a policy forget."""
    return demonstrations(SEED, N_HELD_OUT_DEMONSTRATIONS, HELD_OUT_QUALITY, split="test")
