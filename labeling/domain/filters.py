"""What rows of data can be filtered by: an allow-list of names, each with one fixed condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import Combinable

from labeling.domain.history import span_day
from labeling.models import Comparison, Demonstration, Judgment, SavedView

Condition = Q | Combinable
Conditions = Mapping[str, Callable[[Any], Condition]]
Page = SavedView.Page


def said(**facts: Any) -> Exists:
    """Somebody's last word on the comparison is this."""
    return Exists(Judgment.objects.current().filter(comparison=OuterRef("pk"), **facts))


def flagged_unsafe(wanted: bool) -> Condition:
    unsafe = Exists(Judgment.objects.current().filter(Q(unsafe_a=True) | Q(unsafe_b=True), comparison=OuterRef("pk")))
    return unsafe if wanted else ~unsafe


def compared(wanted: bool) -> Condition:
    found = Exists(Comparison.objects.filter(prompt=OuterRef("pk")))
    return found if wanted else ~found


def demonstrated(wanted: bool) -> Condition:
    found = Exists(Demonstration.objects.filter(completion=OuterRef("pk")))
    return found if wanted else ~found


PROMPT: Conditions = {
    "number": lambda pk: Q(pk=pk),
    "slice": lambda name: Q(slice__name=name),
    "language": lambda name: Q(slice__language=name),
    "held_out": lambda wanted: Q(is_held_out=wanted),
    "compared": compared,
    "since": lambda day: Q(created_at__gte=span_day(day)[0]),
    "until": lambda day: Q(created_at__lte=span_day(day)[1]),
}
COMPLETION: Conditions = {
    "number": lambda pk: Q(pk=pk),
    "prompt": lambda pk: Q(prompt=pk),
    "slice": lambda name: Q(prompt__slice__name=name),
    "language": lambda name: Q(prompt__slice__language=name),
    "written": lambda wanted: Q(author__isnull=not wanted),
    "demonstration": demonstrated,
}
COMPARISON: Conditions = {
    "number": lambda pk: Q(pk=pk),
    "prompt": lambda pk: Q(prompt=pk),
    "state": lambda state: Q(state=state) if state in Comparison.State.values else Q(standing=state),
    "slice": lambda name: Q(prompt__slice__name=name),
    "language": lambda name: Q(prompt__slice__language=name),
    "reason": lambda reason: Q(reason=reason),
    "fewest": lambda n: Q(n_judgments__gte=n),
    "most": lambda n: Q(n_judgments__lte=n),
    "overlap": lambda n: Q(overlap=n),
    "queued": lambda wanted: Q(overlap__gt=0) if wanted else Q(overlap=0),
    "split": lambda wanted: Q(is_split=wanted),
    "gold": lambda wanted: Q(gold__is_active=True) if wanted else ~Q(gold__is_active=True),
    "unsafe": flagged_unsafe,
    "both_bad": lambda wanted: said(both_bad=True) if wanted else ~said(both_bad=True),
    "verdict": lambda verdict: said(verdict=verdict),
    "labeler": lambda user: said(labeler=user),
    "since": lambda day: Q(created_at__gte=span_day(day)[0]),
    "until": lambda day: Q(created_at__lte=span_day(day)[1]),
}
JUDGMENT: Conditions = {
    "number": lambda pk: Q(pk=pk),
    "comparison": lambda pk: Q(comparison=pk),
    "labeler": lambda user: Q(labeler=user),
    "verdict": lambda verdict: Q(verdict=verdict),
    "reason": lambda reason: Q(reason=reason),
    "slice": lambda name: Q(comparison__prompt__slice__name=name),
    "language": lambda name: Q(comparison__prompt__slice__language=name),
    "guideline": lambda version: Q(guideline__version=version),
    "unsafe": lambda wanted: Q(unsafe_a=True) | Q(unsafe_b=True) if wanted else Q(unsafe_a=False, unsafe_b=False),
    "both_bad": lambda wanted: Q(both_bad=wanted),
    "hasty": lambda wanted: Q(is_hasty=wanted),
    "extra": lambda wanted: Q(is_extra=wanted),
    "note": lambda wanted: ~Q(note="") if wanted else Q(note=""),
    "revised": lambda wanted: Q(revises__isnull=not wanted),
    "since": lambda day: Q(submitted_at__gte=span_day(day)[0]),
    "until": lambda day: Q(submitted_at__lte=span_day(day)[1]),
}
FILTERS: Mapping[str, Conditions] = {
    Page.PROMPTS: PROMPT,
    Page.COMPLETIONS: COMPLETION,
    Page.COMPARISONS: COMPARISON,
    Page.JUDGMENTS: JUDGMENT,
}
# What only managers may ask: it tells who judged, or which comparisons measure labelers.
FOR_MANAGERS = {"gold", "labeler"}
