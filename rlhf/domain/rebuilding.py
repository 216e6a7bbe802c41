"""Begins again without a labeler: from the last policy none of her judgments went into, on those of all others."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.db import transaction

from labeling.domain.audit import record_event
from labeling.domain.people import quarantine_member
from labeling.models import Judgment, Membership, Project, User
from rlhf.domain.counting import last_judgment_learned, last_judgment_used
from rlhf.domain.datasets.freezing import has_pairs
from rlhf.domain.datasets.rule import AI
from rlhf.domain.errors import NotReady
from rlhf.domain.freshness import list_of_policies, retire_pairs
from rlhf.domain.lineage import trace_labeler
from rlhf.domain.lineage_graph import Graph
from rlhf.domain.loop import current_policy, settle_last
from rlhf.domain.promoting import find_pending, withdraw_rounds
from rlhf.domain.rounds import insert_round, is_refill
from rlhf.domain.stages import plan_queueing, plan_stages, split_stage
from rlhf.domain.terms import Terms, choose_rule, freeze_terms, get_loop
from rlhf.models import Annotator, Checkpoint, Loop, Round, Run

IN_THE_WAY = "A rebuild was begun before it had its votes."


def rebuild_without(project: Project, labeler: User, *, user: User | None, reason: str = "") -> Round:
    """Set a labeler aside, go back to the last policy none of her judgments went into, and begin a round on all others'.

    Writes audit events. Raises: NotReady when a round is running, or when no policy is free of her.
    """
    loop = get_loop(project)
    membership = Membership.objects.filter(project=project, user=labeler).first()
    if membership is None:
        raise NotReady(f"{labeler} is no member of {project}, so there is nothing to rebuild")
    touched = trace_labeler(project, labeler)
    with transaction.atomic():
        pending = find_pending(project)
        if pending is not None and pending.candidate_id not in touched.checkpoints:
            settle_last(pending, because=IN_THE_WAY)
            loop.refresh_from_db()
        go_back(loop, find_clean_policy(loop, touched), touched, without=labeler, user=user)
        if not membership.is_quarantined:
            quarantine_member(membership, user, reason=reason or f"models are rebuilt without {labeler}")
        return open_without(loop, labeler)


def open_without(loop: Loop, labeler: User) -> Round:
    """Begin a round from the loop's policy on the judgments of all others. Raises: NotReady when one is running.

    Where nobody else has said what that policy could learn, the round only asks: it fills the queue with its completions.
    """
    terms = freeze_terms(loop)
    excluded = sorted({*terms.rule.get("exclude_labelers", ()), labeler.username})
    terms = dataclasses.replace(terms, rule={**terms.rule, "exclude_labelers": excluded})
    upto = Judgment.objects.of_project(loop.project).order_by("-pk").values_list("pk", flat=True).first() or 0
    stages = plan_stages(terms)
    if not can_learn(loop, terms, upto=upto):
        stages, upto = plan_queueing(terms), last_judgment_used(loop.project)
    return insert_round(loop, terms, stages, base=loop.policy, upto=upto)


def can_learn(loop: Loop, terms: Terms, *, upto: int) -> bool:
    """Say whether every stage of a round from the loop's policy that learns from judgments has some."""
    needs_new = any(split_stage(stage)[0] == Run.Kind.DPO for stage in plan_stages(terms))
    after = last_judgment_learned(loop.policy) if needs_new else 0
    return has_pairs(loop.project, choose_rule(terms, upto=upto, after=after))


def go_back(loop: Loop, policy: Checkpoint, touched: Graph, *, without: User, user: User | None) -> int:
    """Make a clean policy the loop's, as a roll back does; return how many waiting pairs were retired.

    Rounds with a touched candidate are marked, pairs that show one's completions retired, and no annotator that is a
    touched model stays in the loop's rule. Nothing is deleted. Writes audit events.
    """
    project, before = loop.project, str(loop.policy or "")
    because = f"rebuilt without {without}" + (f" by {user}" if user else "")
    n_retired = retire_pairs(project, list_of_policies(project, touched.checkpoints), because=because, user=user)
    withdraw_rounds(Round.objects.filter(project=project, candidate__in=touched.checkpoints), because)
    loop.policy, loop.rule = policy, leave_out_annotators(loop, touched)
    loop.save(update_fields=["policy", "rule"])
    facts = {"policy": str(policy), "without": str(without), "retired": n_retired}
    record_event("loop.rebuild", str(loop), actor=user, project=project, before={"policy": before}, after=facts)
    return n_retired


def leave_out_annotators(loop: Loop, touched: Graph) -> dict[str, Any]:
    """Return the loop's rule without the annotators that are models her judgments went into."""
    names = Annotator.objects.filter(project=loop.project, checkpoint__in=touched.checkpoints).values_list(
        "name", flat=True
    )
    tainted = {f"{AI}{name}" for name in names}
    rule = {name: value for name, value in loop.rule.items() if name != "include"}
    left = [name for name in loop.rule.get("include", ()) if name not in tainted]
    return rule | ({"include": left} if left else {})


def find_clean_policy(loop: Loop, touched: Graph) -> Checkpoint:
    """Return the nearest ancestor of the loop's policy that is not touched. Raises: NotReady."""
    policy = current_policy(loop)
    while policy is not None and policy.pk in touched.checkpoints:
        policy = policy.parent
    if policy is None or not is_worth_starting_from(policy):
        raise NotReady(
            f"every policy of {loop.project} was trained with her judgments: register or fine-tune one first, "
            "then rebuild"
        )
    return policy


def is_worth_starting_from(policy: Checkpoint) -> bool:
    """Say whether a policy can answer: one that was merely pre-trained cannot."""
    return policy.run is None or policy.run.kind != Run.Kind.PRETRAIN


def tell_rebuild(round: Round, labeler: User) -> str:
    """Say what the round of a rebuild does: "begins from sft on the judgments of all but ida"."""
    if is_refill(round):
        return f"asks about new completions of {round.base}: without {labeler} there is nothing it could learn yet"
    return f"begins from {round.base} on the judgments of all but {labeler}"
