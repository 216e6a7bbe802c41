"""Which policies a round has to do with: who samples, who stands on a duel's other side, who had learned from no judgment."""

from __future__ import annotations

from rlhf.models import Checkpoint, Round


def find_sampler(round: Round) -> Checkpoint | None:
    """Return the policy whose completions people are asked about: the candidate, unless it was turned down."""
    return round.base if round.decision == Round.Decision.KEPT or round.candidate is None else round.candidate


def find_previous(round: Round) -> Checkpoint | None:
    """Return the policy on the other side of a duel: the one before the one that samples, if there is one."""
    if round.candidate is not None:
        return None if round.decision == Round.Decision.KEPT else round.base
    made = Round.objects.filter(candidate=round.base).select_related("base").first() if round.base else None
    return made.base if made else None


def find_origin(policy: Checkpoint | None) -> Checkpoint | None:
    """Return what a policy was before it learned from judgments: by its likelihood a scorer of words judges what is so.

    A policy that has learned finds likely what it was rewarded for.
    """
    while policy is not None and policy.run is not None and policy.run.round is not None and policy.run.round.base:
        policy = policy.run.round.base
    return policy
