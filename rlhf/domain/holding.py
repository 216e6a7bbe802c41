"""A round is held while something is written for it, so that nothing starts or is queued once it was ended or paused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction

from rlhf.domain.errors import LostRound
from rlhf.models import Loop, Round


@contextmanager
def hold_round(round: Round, *, by_hand: bool = False) -> Iterator[None]:
    """Keep others from ending the round or pausing its loop until what is written here is stored.

    What was read of the round may be minutes old: a dataset was frozen since, or samples were read. by_hand: a paused
    loop takes this step all the same. The round comes before its loop, as wherever both are locked.
    Raises: LostRound when it is over, or was paused.
    """
    with transaction.atomic():
        running = Round.objects.select_for_update().filter(pk=round.pk, state=Round.State.RUNNING)
        if running.values_list("pk").first() is None:
            raise LostRound(f"{round} is over")
        state = Loop.objects.select_for_update().filter(project=round.project_id).values_list("state", flat=True)
        if state.first() == Loop.State.PAUSED and not by_hand:
            raise LostRound(f"{round} is paused")
        yield
