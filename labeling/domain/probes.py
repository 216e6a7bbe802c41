"""What measures a labeler instead of the texts: an exam's questions, gold, and her own judgments once more.

Each is a strategy of selection: a function from a turn to the slot it would give, not stored yet, or None.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from labeling.domain.turns import RNG, TEXTS, Turn, is_of_her_slices
from labeling.models import Comparison, Gold, Judgment, Reason, Skip, Slot
from labeling.querysets import is_open_to
from labeling.statements import compiled


def find_exam(turn: Turn) -> Slot | None:
    """A question of the exam, while questions are wanted and there is one she has not seen."""
    held = Slot.objects.held_by(turn.labeler).filter(project=turn.project, reason=Reason.EXAM)
    judged = Judgment.objects.of_project(turn.project).filter(
        labeler=turn.labeler, pk__gt=turn.membership.exam_from, reason=Reason.EXAM, revises=None
    )
    if held.count() + judged.count() >= turn.project.exam_size:
        return None
    return make_probe(turn, draw_gold(turn, is_exam=True), reason=Reason.EXAM)


def find_gold(turn: Turn) -> Slot | None:
    """A comparison whose answer is known; nothing tells it apart."""
    comparison = draw_gold(turn, is_exam=False)
    return make_probe(turn, comparison, reason=Reason.GOLD, propensity=turn.project.gold_share)


def draw_gold(turn: Turn, *, is_exam: bool) -> Comparison | None:
    """Return a random one of the gold she has not met; there is never so much of it that sorting it costs.

    The sum keeps SQLite, which knows nothing of how many rows match, from going through the project's comparisons
    instead of through the gold: that took a second at 10,000.
    """
    if not turn.has_slices:
        drawn = list_drawn(turn.project.pk, turn.labeler.pk, is_exam=is_exam)
    else:
        unmet = list_unmet(turn.project.pk, turn.labeler, is_exam=is_exam)
        drawn = list(unmet.filter(is_of_her_slices(turn)).order_by("?")[:1])
    return next((gold.comparison for gold in drawn), None)


@compiled
def list_drawn(project: Any, labeler: Any, *, is_exam: bool) -> QuerySet[Gold]:
    """One of the gold of a project that has no slices: a claim in twenty asks."""
    return list_unmet(project, labeler, is_exam=is_exam).order_by("?")[:1]


def list_unmet(project: Any, labeler: Any, *, is_exam: bool) -> QuerySet[Gold]:
    gold = Gold.objects.annotate(of_project=F("comparison__project_id") + 0)
    known = gold.filter(of_project=project, is_active=True, is_exam=is_exam)
    return known.filter(*is_open_to(labeler, comparison="comparison__")).select_related(*TEXTS)


def find_repeat(turn: Turn) -> Slot | None:
    """One of her own earlier judgments, the other way round, to see whether she says the same again."""
    until = Now() - timedelta(hours=turn.project.repeat_after_h)
    old = Judgment.objects.of_work().filter(labeler=turn.labeler, revises=None, submitted_at__lt=until)
    first = old.order_by("submitted_at").values_list("submitted_at", flat=True).first()
    if first is None:
        return None
    repeats = Slot.objects.filter(comparison=OuterRef("comparison"), labeler=turn.labeler, reason=Reason.REPEAT)
    skips = Skip.objects.filter(comparison=OuterRef("comparison"), labeler=turn.labeler)
    still = old.filter(is_of_her_slices(turn), comparison__project=turn.project, comparison__state="open")
    unrepeated = still.filter(~Exists(repeats), ~Exists(skips)).with_texts().order_by("submitted_at")
    last = old.order_by("-submitted_at").values_list("submitted_at", flat=True).first() or first
    since = first + RNG.random() * (last - first)
    judgment = unrepeated.filter(submitted_at__gte=since).first() or unrepeated.first()
    if judgment is None:
        return None
    slot = make_probe(turn, judgment.comparison, reason=Reason.REPEAT, propensity=turn.project.repeat_share)
    if slot:
        slot.a_shown_left = not judgment.a_shown_left
    return slot


def make_probe(turn: Turn, comparison: Comparison | None, *, reason: Reason, propensity: float = 1.0) -> Slot | None:
    """Return a slot outside the overlap, for this labeler alone; she never has two probes of one comparison."""
    if comparison is None:
        return None
    return Slot(
        project=turn.project,
        comparison=comparison,
        slice_id=comparison.prompt.slice_id,
        number=Slot.PROBE_NUMBER + turn.labeler.pk,
        a_shown_left=RNG.random() < 0.5,
        reason=reason,
        propensity=propensity,
    )
