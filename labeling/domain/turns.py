"""Someone asks for a comparison: who she is, and which kinds of prompts she judges."""

from __future__ import annotations

import random
from dataclasses import dataclass

from django.db.models import Q

from labeling.models import Membership, Project, Slice, User

TEXTS = ("comparison__prompt", "comparison__completion_a", "comparison__completion_b")
RNG = random.Random()  # every draw of a claim; tests seed it


@dataclass(frozen=True)
class Turn:
    """Someone asks for a comparison."""

    project: Project
    labeler: User
    membership: Membership
    has_slices: bool = True
    is_holding: bool = True  # as far as was seen before her other tabs had their turn


def list_slices(turn: Turn) -> list[int] | None:
    """Return the slices whose prompts she may be given, besides prompts of none; None when the project has no slices."""
    if not turn.has_slices:
        return None
    slices = list(Slice.objects.filter(project=turn.project).order_by())
    return [row.pk for row in slices if may_judge(turn.membership, row)]


def may_judge(membership: Membership, row: Slice) -> bool:
    """Say whether the member reads the language, has the skill, and has not opted out."""
    reads = not row.language or not membership.languages or row.language in membership.languages
    skilled = not row.name or not membership.slices or row.name in membership.slices
    return reads and skilled and row.name not in membership.declined


def is_of_her_slices(turn: Turn) -> Q:
    """Return the condition under which the comparison of a row is one she judges the kind of."""
    slices = list_slices(turn)
    return Q() if slices is None else Q(comparison__prompt__slice=None) | Q(comparison__prompt__slice__in=slices)
