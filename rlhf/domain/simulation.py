"""Simulated labelers judge through the same door as people, so the circle can run unattended and be measured.

Their hidden rule is rlhf/world/judge.py, their noise rlhf/world/labelers.py. They see the text of a pair and nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from labeling.domain.assignment import claim_slot, make_lease_token
from labeling.domain.judging import Vote, record_judgment
from labeling.domain.people import ensure_simulated_labeler
from labeling.models import Project, Prompt, User
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.domain.counting import count_new_judgments
from rlhf.domain.errors import LearningError, NotReady
from rlhf.domain.loop import count_rounds
from rlhf.domain.promoting import find_pending
from rlhf.domain.runs import create_run
from rlhf.domain.sampling import freeze_prompts
from rlhf.models import Checkpoint, Loop, Run
from rlhf.world.labelers import SimulatedLabeler
from rlhf.world.win_rate import WinRate, win_rate

N_LABELERS = 3


@dataclass(frozen=True)
class Labeler:
    """An account and the noise it judges with."""

    user: User
    taste: SimulatedLabeler


def simulate_judgments(project: Project, n: int, *, seed: int, on_judgment: Callable[[int], None] | None = None) -> int:
    """Let the simulated labelers judge up to n waiting pairs, turn by turn; return how many they judged."""
    labelers = [
        Labeler(ensure_simulated_labeler(project, number), SimulatedLabeler(seed=1000 * seed + number))
        for number in range(1, N_LABELERS + 1)
    ]
    n_judged = 0
    while n_judged < n:
        n_before = n_judged
        for labeler in labelers:
            if n_judged < n and judge_next(project, labeler):
                n_judged += 1
                if on_judgment:
                    on_judgment(n_judged)
        if n_judged == n_before:
            break
    return n_judged


def count_wanted(loop: Loop) -> int:
    """Return how many judgments a loop waits for now: what its quota lacks, or, once it is full, the gate's votes.

    Chance hands out a pair now and then that does not count; after the last round the gate alone waits.
    """
    is_over = 0 < loop.max_rounds <= count_rounds(loop.project)
    n_missing = 0 if is_over else max(loop.threshold - count_new_judgments(loop.project), 0)
    return n_missing or (loop.gate_votes if find_pending(loop.project) else 0)


def judge_next(project: Project, labeler: Labeler) -> bool:
    """Claim a pair and judge it; False when nothing waits for this labeler."""
    slot = claim_slot(project, labeler.user)
    if slot is None:
        return False
    strength = labeler.taste.prefer(
        slot.comparison.prompt.messages, slot.comparison.completion_a.text, slot.comparison.completion_b.text
    )
    record_judgment(
        slot.pk,
        labeler.user,
        idempotency_key=uuid.uuid4(),
        lease_token=make_lease_token(slot.pk, labeler.user),
        vote=Vote(preference=strength if slot.a_shown_left else -strength, scale=Project.Scale.SEVEN),
    )
    return True


def queue_contest(project: Project, checkpoint: Checkpoint, *, n: int, seed: int) -> Run:
    """Queue a sampling run of a policy on the project's held-out prompts. Raises: NotReady when it has none."""
    prompts = list(Prompt.objects.filter(project=project, is_held_out=True).order_by("id")[:n])
    if not prompts:
        raise NotReady(f"{project} has no held-out prompts: seed it with manage.py demo")
    dataset = freeze_prompts(prompts, name=f"{project.slug} held-out prompts")
    return create_run(project, SampleConfig(n=1, seed=seed), dataset=dataset, base=checkpoint)


def compare_policies(run: Run, baseline_run: Run) -> WinRate:
    """Return how often the samples of one contest beat those of the other under the hidden rule."""
    texts = dict(run.samples.values_list("prompt_id", "text"))
    baseline_texts = dict(baseline_run.samples.values_list("prompt_id", "text"))
    if not texts or texts.keys() != baseline_texts.keys():
        raise LearningError("the two policies were not asked the same prompts")
    prompts = dict(Prompt.objects.filter(pk__in=texts).values_list("pk", "messages"))
    order = sorted(texts)
    return win_rate([prompts[pk] for pk in order], [texts[pk] for pk in order], [baseline_texts[pk] for pk in order])
