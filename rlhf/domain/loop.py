"""A round: freeze the judgments, train, sample, queue - each stage a run, each step safe to take twice.

The round's row says only running, succeeded or failed; where it stands is read from its runs, so a crash anywhere
resumes by looking again.
"""

from __future__ import annotations

import math
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.utils import timezone

from labeling.domain.doorbell import SWEEP_S, ring, send_message
from labeling.domain.errors import LabelingError
from labeling.models import Judgment, Membership, Project, User
from rlhf.contract.config import CONFIGS
from rlhf.contract.errors import ContractError
from rlhf.domain.checkpoints import newest_policy
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.errors import LearningError, NotReady
from rlhf.domain.runs import create_run
from rlhf.domain.sampling import draw_prompts, freeze_prompts, queue_samples
from rlhf.models import Checkpoint, Dataset, Loop, Round, Run

# A first round makes a policy out of nothing; every later one learns from judgments.
FIRST_STAGES = [Run.Kind.PRETRAIN.value, Run.Kind.SFT.value, Run.Kind.SAMPLE.value]
STAGES = [Run.Kind.REWARD.value, Run.Kind.DPO.value, Run.Kind.SAMPLE.value]

# The reward model's accuracy is what people look at: of 300 judgments, a tenth would leave it an interval of 40 points.
# Policies are frozen alike, for the next reward model is trained from them: what one is tested on none may have learned.
TEST_SHARE = 0.2
# A prompt to which a policy says the same twice makes no pair, and a good policy does so more and more often.
SPARE_PROMPTS = 1.4


def get_loop(project: Project) -> Loop:
    """Return the project's loop, made with its defaults when it is asked for first."""
    return Loop.objects.get_or_create(project=project)[0]


def last_judgment_used(project: Project, *, before: Round | None = None) -> int:
    """Return the id of the last judgment the last round that did not fail learned from, or of that before a round."""
    rounds = Round.objects.filter(project=project).exclude(state=Round.State.FAILED)
    if before is not None:
        rounds = rounds.filter(number__lt=before.number)
    upto: int | None = rounds.aggregate(upto=Max("upto"))["upto"]
    return upto or 0


def list_votes() -> QuerySet[Judgment]:
    """Return the judgments that count toward a round, each vote once however often it was revised.

    Probes and what labelers in quarantine say do not count: a freeze leaves them out.
    """
    suspects = Membership.objects.filter(
        project=OuterRef("comparison__project"), user=OuterRef("labeler"), is_quarantined=True
    )
    votes: QuerySet[Judgment] = Judgment.objects.of_work().filter(~Exists(suspects), revises=None)
    return votes


def count_new_judgments(project: Project) -> int:
    """Return how many votes came in since the last round began."""
    return list_votes().filter(comparison__project=project, pk__gt=last_judgment_used(project)).count()


def start_round(project: Project, *, user: User | None = None) -> Round:
    """Begin the next round and ring for it. Raises: NotReady when one is running or judgments are too few."""
    loop = get_loop(project)
    n_new = count_new_judgments(project)
    if n_new < loop.threshold:
        raise NotReady(
            f"{n_new} of the {loop.threshold} new judgments a round needs: judge more at {project.get_absolute_url()}"
        )
    base = newest_policy(project)
    if base is None:
        raise NotReady(f"{project} has no policy yet: train one with sft, or register a model folder")
    return open_round(project, STAGES, base=base)


def open_round(project: Project, stages: list[str], *, base: Checkpoint | None = None) -> Round:
    """Make the next round's row and ring for its first step. Raises: NotReady when one is running.

    What it learns from and starts from is settled here: judgments and models that come later are the next round's.
    """
    upto = Judgment.objects.of_project(project).aggregate(pk=Max("pk"))["pk"] or 0
    last = Round.objects.filter(project=project).aggregate(number=Max("number"))["number"]
    first = 0 if stages == FIRST_STAGES else 1
    try:
        with transaction.atomic():
            round = Round.objects.create(
                project=project, stages=stages, number=first if last is None else last + 1, base=base, upto=upto
            )
            transaction.on_commit(lambda: ring("rlhf.advance_round", round.pk))
    except IntegrityError as error:
        raise NotReady(f"a round of {project} is running: wait for it, see /loop/") from error
    return round


def advance_round(pk: int) -> Round:
    """Take the round as far as it goes without waiting: start the next stage, or finish it."""
    round = Round.objects.select_related("project").get(pk=pk)
    if round.state != Round.State.RUNNING:
        return round
    runs = {run.kind: run for run in round.runs.order_by("id")}
    try:
        for kind in round.stages:
            run = runs.get(kind)
            if run is None:
                start_stage(round, kind, runs)
                return round
            if not run.is_over:
                return round
            if run.state != Run.State.SUCCEEDED:
                return end_round(
                    round, Round.State.FAILED, cause=f"{run.get_kind_display()} {run.state}. {run.cause}".strip()
                )
        n_pairs = get_loop(round.project).n_pairs
        n_queued = queue_samples(runs[Run.Kind.SAMPLE], priority=round.number, limit=n_pairs)
        return end_round(round, Round.State.SUCCEEDED, n_queued=n_queued)
    except (LearningError, LabelingError, ContractError, OSError) as error:
        return end_round(round, Round.State.FAILED, cause=str(error))


def end_round(round: Round, state: str, *, cause: str = "", n_queued: int = 0) -> Round:
    """Give a running round its last state; a round that is over stays as it is."""
    Round.objects.filter(pk=round.pk, state=Round.State.RUNNING).update(
        state=state, cause=cause, n_queued=n_queued, finished_at=timezone.now()
    )
    round.refresh_from_db()
    return round


def start_stage(round: Round, kind: str, runs: dict[str, Run]) -> None:
    """Queue the run of one stage; a second caller at the same moment finds it there."""
    inputs = stage_inputs(round, kind, runs)
    config = CONFIGS[kind](seed=42 + round.number).replace(**get_loop(round.project).settings.get(kind, {}))
    try:
        create_run(round.project, config, round=round, **inputs)
    except IntegrityError:
        pass  # one_run_per_stage_of_a_round: the other caller was first


def stage_inputs(round: Round, kind: str, runs: dict[str, Run]) -> dict[str, Any]:
    """Return the dataset and the base of a stage. Raises: LearningError when they cannot be made."""
    project = round.project
    if kind == Run.Kind.PRETRAIN:
        return {"dataset": newest_dataset(project, Dataset.Kind.TEXT)}
    if kind == Run.Kind.SFT:
        return {
            "dataset": newest_dataset(project, Dataset.Kind.DEMONSTRATION),
            "base": runs[Run.Kind.PRETRAIN].checkpoint,
        }
    if kind == Run.Kind.SAMPLE:
        trainer = runs[round.stages[round.stages.index(kind) - 1]]
        n_prompts = math.ceil(SPARE_PROMPTS * get_loop(project).n_pairs)
        prompts = draw_prompts(project, n_prompts, seed=round.number)
        return {
            "dataset": freeze_prompts(prompts, name=f"{project.slug} prompts {round.number}"),
            "base": trainer.checkpoint,
        }
    if kind == Run.Kind.REWARD:
        rule = FreezeRule(upto=round.upto, test_share=TEST_SHARE)
        dataset = freeze_preferences(project, rule=rule, name=f"{project.slug} round {round.number}")
        return {"dataset": dataset, "base": round.base}
    # The policy learns from what was said of its own samples; pairs of earlier policies are far from what it would say.
    rule = FreezeRule(upto=round.upto, after=last_judgment_used(project, before=round), test_share=TEST_SHARE)
    dataset = freeze_preferences(project, rule=rule, name=f"{project.slug} round {round.number}, new judgments")
    return {"dataset": dataset, "base": round.base}


def newest_dataset(project: Project, kind: str) -> Dataset:
    """Return the project's last frozen dataset of a kind. Raises: NotReady."""
    dataset = Dataset.objects.filter(project=project, kind=kind, sealed_at__isnull=False).order_by("-id").first()
    if dataset is None:
        raise NotReady(f"{project} has no {kind} dataset: freeze one at /datasets/")
    return dataset


def sweep_rounds() -> None:
    """Ring for every running round; a ring too many changes nothing."""
    for pk in Round.objects.filter(state=Round.State.RUNNING).values_list("pk", flat=True):
        send_message("rlhf.advance_round", pk, expires_s=SWEEP_S)
