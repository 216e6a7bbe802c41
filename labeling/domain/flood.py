"""How fast one person may act: a program that votes in her name is slowed down, and nobody who reads ever meets it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.errors import TooManyActs
from labeling.models import Judgment, Skip, User
from labeling.statements import compiled

WINDOW_S = 60


def refuse_flood_of_votes(labeler: User) -> None:
    """Raise TooManyActs if she has voted, or changed votes, as often in the last minute as anyone may."""
    limit = settings.JUDGMENTS_PER_MINUTE
    refuse_flood([vote.submitted_at for vote in list_votes(labeler.pk, position=limit)] if limit else [])


@compiled
def list_votes(labeler: Any, *, position: int) -> QuerySet[Judgment]:
    return Judgment.objects.filter(labeler=labeler).order_by("-id").only("submitted_at")[position - 1 : position]


def refuse_flood_of_skips(labeler: User) -> None:
    """Raise TooManyActs if she has skipped as often in the last minute as anyone may."""
    limit = settings.JUDGMENTS_PER_MINUTE
    skipped = Skip.objects.filter(labeler=labeler).order_by("-id").values_list("created_at", flat=True)
    refuse_flood(skipped[limit - 1 : limit] if limit else [])


def refuse_flood(moments: Iterable[datetime]) -> None:
    """Raise TooManyActs if the last so many acts all are of the last minute. moments: of the first of them, if there is.

    One row is read, so many entries down an index; nothing is written. Acts on their way at once do not see each other:
    a handful more may pass than the limit says. A clock that was set back makes nobody wait.
    """
    first = next(iter(moments), None)
    passed_s = (timezone.now() - first).total_seconds() if first else WINDOW_S
    if 0 <= passed_s < WINDOW_S:
        wait_s = math.ceil(WINDOW_S - passed_s)
        message = _("That was %(n)s in a minute, faster than anyone can read. Try again in %(wait)s seconds.")
        raise TooManyActs(message % {"n": settings.JUDGMENTS_PER_MINUTE, "wait": wait_s}, wait_s=wait_s)
