"""Begins again without a labeler: from the last policy none of her judgments went into, on those of all others."""

from __future__ import annotations

import dataclasses

from django.db import transaction

from labeling.domain.people import quarantine_member
from labeling.models import Judgment, Membership, Project, User
from rlhf.domain.errors import NotReady
from rlhf.domain.lineage import Graph, trace_labeler
from rlhf.domain.loop import current_policy
from rlhf.domain.rounds import insert_round
from rlhf.domain.stages import plan_stages
from rlhf.domain.terms import freeze_terms, get_loop
from rlhf.models import Checkpoint, Loop, Round, Run


def rebuild_without(project: Project, labeler: User, *, user: User | None, reason: str = "") -> Round:
    """Set a labeler aside and begin a round from the last policy none of her judgments went into, on all others'.

    Writes an audit event, by the quarantine. Raises: NotReady when a round is running, or when no policy is free of her.
    """
    loop = get_loop(project)
    membership = Membership.objects.filter(project=project, user=labeler).first()
    if membership is None:
        raise NotReady(f"{labeler} is no member of {project}, so there is nothing to rebuild")
    base = find_clean_policy(loop, trace_labeler(project, labeler))
    terms = freeze_terms(loop)
    excluded = sorted({*terms.rule.get("exclude_labelers", ()), labeler.username})
    terms = dataclasses.replace(terms, rule={**terms.rule, "exclude_labelers": excluded})
    upto = Judgment.objects.of_project(project).order_by("-pk").values_list("pk", flat=True).first() or 0
    with transaction.atomic():
        if not membership.is_quarantined:
            quarantine_member(membership, user, reason=reason or f"models are rebuilt without {labeler}")
        return insert_round(loop, terms, plan_stages(terms), base=base, upto=upto)


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
