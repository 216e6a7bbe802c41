"""How fast one person may act: a program that votes in her name is slowed down, and nobody who reads ever meets it."""

from __future__ import annotations

import math
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.errors import TooManyActs
from labeling.models import Judgment, Skip, User

WINDOW_S = 60


def refuse_flood_of_votes(labeler: User) -> None:
    """Raise TooManyActs if she has voted, or changed votes, as often in the last minute as anyone may."""
    own = Judgment.objects.filter(labeler=labeler).order_by("-id").values_list("submitted_at", flat=True)
    refuse_flood(own)


def refuse_flood_of_skips(labeler: User) -> None:
    """Raise TooManyActs if she has skipped as often in the last minute as anyone may."""
    refuse_flood(Skip.objects.filter(labeler=labeler).order_by("-id").values_list("created_at", flat=True))


def refuse_flood(moments: QuerySet[Judgment, datetime] | QuerySet[Skip, datetime]) -> None:
    """Raise TooManyActs if the last so many acts all are of the last minute. moments: when they were, the last first.

    One row is read, so many entries down an index; nothing is written. Acts on their way at once do not see each other:
    a handful more may pass than the limit says. A clock that was set back makes nobody wait.
    """
    limit = settings.JUDGMENTS_PER_MINUTE
    first = next(iter(moments[limit - 1 : limit]), None) if limit else None
    passed_s = (timezone.now() - first).total_seconds() if first else WINDOW_S
    if 0 <= passed_s < WINDOW_S:
        wait_s = math.ceil(WINDOW_S - passed_s)
        message = _("That was %(n)s in a minute, faster than anyone can read. Try again in %(wait)s seconds.")
        raise TooManyActs(message % {"n": limit, "wait": wait_s}, wait_s=wait_s)
