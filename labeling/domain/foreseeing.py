"""What follows a vote is known before the vote is stored: on PostgreSQL the claim begins on the trip that commits it."""

from __future__ import annotations

from labeling.domain.assignment import SWEEP_SHARE, lock_memberships
from labeling.domain.idling import knows_of_walk
from labeling.domain.selection import foresee_order, list_unsliced
from labeling.domain.turns import Lots
from labeling.models import Slot, User


def foresee_claim(slot: Slot, labeler: User, lots: Lots) -> None:
    """Have the claim behind a vote on this slot begun with the vote's commit, as far as it is plain what it will ask.

    To foresee wrongly costs a walk for nothing and changes nothing: claim_slot takes what it asks, and nothing else.
    """
    project = slot.project
    if lots.sweep < SWEEP_SHARE:  # it begins with what has expired
        return
    lock_memberships.foresee(project.pk, labeler.pk, is_flushed=False)
    order = foresee_order(project, lots)
    is_capped = project.daily_cap or project.labeler_cap
    is_plain = not (is_capped or project.exam_size or slot.slice_id or knows_of_walk((project.pk, labeler.pk, None)))
    if order and is_plain:
        list_unsliced.foresee(project.pk, labeler.pk, order=order)
