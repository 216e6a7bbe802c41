"""How many judged a comparison and how far apart they are, kept beside it for the pages that order by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from labeling.models import Adjudication, Comparison, Judgment
from labeling.querysets import JudgmentQuerySet
from labeling.statements import Change, compiled, compiled_change


def list_counted(comparison: Any) -> JudgmentQuerySet:
    """Return the labelers' last words that count: of work, and of after it was last sent back."""
    sent_back = Adjudication.objects.filter(comparison=OuterRef("comparison"), act=Adjudication.Act.SEND_BACK)
    upto = Coalesce(Subquery(sent_back.order_by("-id").values("upto")[:1]), 0)
    counted: JudgmentQuerySet = Judgment.objects.filter(comparison=comparison).current().of_work().filter(pk__gt=upto)
    return counted


@compiled
def list_strengths(comparison: Any) -> JudgmentQuerySet:
    return list_counted(comparison).only("strength")


def update_tally(comparison: Comparison, strengths: Sequence[int] | None = None) -> Comparison:
    """Store what the counted judgments come to; strengths are theirs, where the caller knows them.

    Whoever calls holds the lock on the comparison, or two votes at once would each miss the other.
    """
    if strengths is None:
        strengths = [judgment.strength for judgment in list_strengths(comparison.pk)]
    low, high = min(strengths, default=0), max(strengths, default=0)
    comparison.n_judgments = len(strengths)
    comparison.spread = high - low
    comparison.is_split = low < 0 < high
    store_tally.later(comparison.pk, comparison.n_judgments, comparison.spread, comparison.is_split)
    return comparison


@compiled_change
def store_tally(comparison: Any, n_judgments: Any, spread: Any, is_split: Any) -> Change:
    tally = {"n_judgments": n_judgments, "spread": spread, "is_split": is_split}
    return Change(Comparison.objects.filter(pk=comparison), tally)
