"""A project that can go round without learning anything: its runs succeed as their workers would end them."""

from __future__ import annotations

import json
import uuid

from django.db import transaction

from labeling.domain.assignment import claim_slot, make_lease_token
from labeling.domain.judging import Vote, record_judgment
from labeling.domain.pairing import Pair, add_prompt, propose_comparisons
from labeling.domain.people import add_member
from labeling.models import Project, User
from rlhf.domain import loop as life
from rlhf.domain import rounds, runs
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.counting import count_new_judgments
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.quota import read_quota
from rlhf.domain.sampling import record_samples, record_scores
from rlhf.domain.supply import find_supplied
from rlhf.models import Checkpoint, Loop, Round, Run

MANIFEST = "f" * 64


def make_circle(slug: str = "circle", *, n_prompts: int = 30, **settings) -> Loop:
    """A project with prompts, a labeler and a loop that needs four votes a round."""
    project = Project.objects.create(slug=slug, name=slug.capitalize())
    labeler, _ = User.objects.get_or_create(username="lea")
    add_member(project, labeler, role="labeler")
    for number in range(n_prompts):
        add_prompt(project, [{"role": "user", "content": f"What is {number}?"}])
    values = {"threshold": 4, "n_pairs": 6, "strategy": "random", "previous_share": 0.5, "gate": "open"}
    return Loop.objects.create(project=project, **(values | settings))


def start_circle() -> Loop:
    """A loop with a policy that waits for its first round's votes."""
    loop = make_circle()
    make_policy(loop.project)
    life.start_loop(loop)
    return loop


def go_rounds(loop: Loop, n: int = 1) -> Round:
    """Let the loop go through rounds and return the last one."""
    for _ in range(n):
        fill_quota(loop)
        life.advance_loop(loop.pk)
        go_round(Round.objects.get(state="running"))
    loop.refresh_from_db()
    return Round.objects.latest("number")


def make_policy(project, name="sft") -> Checkpoint:
    return Checkpoint.objects.create(project=project, name=name, kind="policy", path=name, manifest_sha256=MANIFEST)


def judge(project, n, *, preference=-2) -> int:
    """Let the labeler judge up to n waiting pairs; new ones are queued when none waits. She finds the left one better."""
    labeler = User.objects.get(username="lea")
    n_judged = 0
    while n_judged < n:
        slot = claim_slot(project, labeler)
        if slot is None:
            queue_pairs(project, n - n_judged)
            continue
        record_judgment(
            slot.pk,
            labeler,
            idempotency_key=uuid.uuid4(),
            lease_token=make_lease_token(slot.pk, labeler),
            vote=Vote(preference=preference if slot.a_shown_left else -preference),
        )
        n_judged += 1
    return n_judged


def fill_quota(loop) -> None:
    """Let the labeler judge what waits until a running loop's next round has what it needs, and the loop draw more."""
    while count_new_judgments(loop.project) < loop.threshold:
        quota = read_quota(Loop.objects.get(pk=loop.pk))
        if quota.policies and not find_supplied([quota]):
            life.advance_loop(loop.pk)
            go_round(Round.objects.get(project=loop.project, state="running"))
        judge(loop.project, 1)


def queue_pairs(project, n) -> None:
    start = project.comparisons.count()
    propose_comparisons(
        project,
        [
            Pair(
                messages=[{"role": "user", "content": f"Pair {number}"}], text_a="Yes, please.", text_b=f"No {number}."
            )
            for number in range(start, start + n)
        ],
    )


def succeed(run: Run) -> None:
    """End a run as its worker would, with the checkpoint, the samples or the scores it made."""
    claimed = runs.claim_run(run.pk)
    run_folder(claimed).mkdir(parents=True, exist_ok=True)
    with transaction.atomic():
        publish(claimed)


def publish(run: Run) -> None:
    runs.end_run(run, Run.State.SUCCEEDED)
    if run.kind == "sample":
        write_samples(run)
    elif run.kind == "score":
        write_scores(run)
    elif run.kind != "evaluate":
        Checkpoint.objects.create(
            project=run.project,
            run=run,
            attempt=run.attempt,
            name=f"{run.kind}-{run.pk}",
            kind="reward" if run.kind == "reward" else "policy",
            path="p",
            parent=run.base,
            manifest_sha256=MANIFEST,
        )


def write_samples(run: Run) -> None:
    """Every policy says something else to each prompt, and to every fifth it is asked twice the same."""
    rows = [
        {
            "prompt_id": row["prompt_id"],
            "index": index,
            "text": f"Policy {run.base_id} says {0 if place % 5 == 0 else index}.",
            "n_tokens": 3,
            "finished": True,
            "seed": 1,
        }
        for place, row in enumerate(open_split(run.dataset, "train"))
        for index in range(run.config["n"])
    ]
    path = run_folder(run) / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record_samples(run, path)


def write_scores(run: Run) -> None:
    samples = Run.objects.get(pk=run.config["samples_of"]).samples.all()
    rows = [{"prompt_id": str(row.prompt_id), "index": row.index, "scores": [float(row.index)]} for row in samples]
    path = run_folder(run) / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record_scores(run, path)


def go_round(round: Round, *, found: dict[str, float] | None = None) -> Round:
    """Let every stage succeed and return the round at its end. found: the figures of its evaluation."""
    while round.state == Round.State.RUNNING:
        round = rounds.advance_round(round.pk)
        for run in round.runs.filter(state="queued"):
            succeed(run)
            if found and run.kind == "evaluate":
                Run.objects.filter(pk=run.pk).update(result=found)
    return round
