"""Who was given nothing does not have the whole queue walked again at every poll: only what was opened since is looked at.

Whoever has met all that waits has every slot of the queue looked at before she is told so: 20,000 of them, every
minute, for everyone who is done and leaves the page open. A slot says when it was opened - made, given back, or put
into the queue again - so what was not for her once is not for her until then. A process remembers when it last walked
the queue in vain, for whom and for which of the slices she judges, and believes it for a while.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from labeling.models import Slot

# A slot is stamped before others can see it: whoever opens many does it in one transaction, and clocks differ.
MARGIN = timedelta(minutes=10)
BELIEVED = timedelta(minutes=30)
MOST_OPENED = 500  # where more was opened, the walk along the index is as cheap
MOST_KNOWN = 10_000

Key = tuple[int, int, tuple[int, ...] | None]  # project, labeler, the slices she judges

_walked: dict[Key, datetime] = {}  # a cache: what it says is only ever late, and without it the queue is walked


def list_opened(key: Key) -> list[int] | None:
    """Return the ids of the free slots opened since the queue was walked in vain; None where it has to be walked."""
    walked_at = _walked.get(key)
    if walked_at is None or not timedelta() <= timezone.now() - walked_at < BELIEVED:
        return None
    opened = Slot.objects.filter(project=key[0], opened_at__gte=walked_at - MARGIN).free()
    found = list(opened.values_list("pk", flat=True)[: MOST_OPENED + 1])
    if len(found) > MOST_OPENED:
        _walked.pop(key, None)
        return None
    return found


def forget_walks() -> None:
    """Forget them all: what comes is another database, as for each test."""
    _walked.clear()


def remember_walk(key: Key, *, at: datetime) -> None:
    """Keep that there was nothing for her, of all that was opened until then."""
    if len(_walked) >= MOST_KNOWN:
        _walked.clear()
    _walked[key] = at
