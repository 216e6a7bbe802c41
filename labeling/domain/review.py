"""What waits for a reviewer, what she sees of it - every vote, and nobody's name - and what she decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThanOrEqual
from django.utils.translation import gettext as _

from labeling.domain.adjudicating import (
    check_decision,
    count_places,
    find_newest,
    find_sent_back,
    has_part,
    move_comparison,
    refuse_other_scale,
    refuse_stale,
    require_reviewer,
)
from labeling.domain.audit import record_event
from labeling.domain.content import check_text
from labeling.domain.fixing import show_fix
from labeling.domain.placing import load_judged
from labeling.models import Adjudication, Comparison, Judgment, Project, Skip, User
from labeling.querysets import ComparisonQuerySet

MAX_COUNTED = 100


@dataclass(frozen=True, kw_only=True)
class ShownVote:
    """What one labeler said of the contents A and B; she goes by a number that holds within the comparison."""

    number: int  # "labeler 1": in the order of their first judgments
    strength: int
    scale: str
    a_shown_left: bool
    both_bad: bool
    unsafe_a: bool
    unsafe_b: bool
    axes: Mapping[str, int]
    reasons: Sequence[str]
    note: str
    fix: str
    is_hasty: bool
    is_extra: bool
    n_revisions: int
    counts: bool  # False for what was said before it was sent back
    submitted_at: datetime


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """A comparison as a reviewer decides it; A stands left."""

    comparison: Comparison
    votes: Sequence[ShownVote]
    skips: Sequence[str]  # why labelers passed it on, without who
    adjudications: Sequence[Adjudication]
    seen_upto: int  # to send with the decision: the newest judgment there is
    seen_last: int  # and the newest decision, 0 for none
    may_adjudicate: bool  # False for whoever judged it or wrote a text of it


def find_disputed(project: Project) -> ComparisonQuerySet:
    """Open comparisons whose labelers disagree, the sharpest disagreement first; gold, whose answer is known, is none."""
    # One row comparison says "different winners, or this far apart" as one stretch of the index comparison_disputed.
    sharp = TupleGreaterThanOrEqual(Tuple("is_split", "spread"), (False, project.spread_limit))
    disputed: ComparisonQuerySet = Comparison.objects.filter(
        sharp, project=project, state=Comparison.State.OPEN, spread__gt=0, gold__isnull=True
    )
    return disputed.order_by("-is_split", "-spread", "id")


def list_triage(project: Project) -> ComparisonQuerySet:
    """Comparisons that wait for a reviewer since too many labelers passed them on, the oldest first."""
    waiting: ComparisonQuerySet = Comparison.objects.filter(project=project, state=Comparison.State.TRIAGE)
    return waiting.order_by("id")


def count_open(project: Project) -> int:
    """Return how many comparisons wait for a reviewer; 100 means that many or more."""
    n_disputed = len(find_disputed(project).values_list("pk")[:MAX_COUNTED])
    n_triage = len(list_triage(project).values_list("pk")[: MAX_COUNTED - n_disputed])
    return n_disputed + n_triage


def show_dispute(comparison: Comparison, reviewer: User) -> Dispute:
    """Return all that a reviewer needs to decide, and nothing of who said or wrote what."""
    adjudications = list(comparison.adjudications.select_related("reviewer"))
    votes = list_votes(comparison, after=find_sent_back(adjudications))
    return Dispute(
        comparison=comparison,
        votes=votes,
        skips=[Skip.Reason(reason) for reason in comparison.skips.order_by("id").values_list("reason", flat=True)],
        adjudications=adjudications,
        seen_upto=find_newest(comparison),
        seen_last=adjudications[0].pk if adjudications else 0,
        may_adjudicate=not has_part(comparison, reviewer),
    )


def list_votes(comparison: Comparison, *, after: int) -> list[ShownVote]:
    """Return the labelers' last words, numbered in the order of their first; probes measure labelers and are no votes."""
    said: dict[int, list[Judgment]] = {}
    rows = comparison.judgments.of_work().select_related("fix__completion").order_by("id")
    for judgment in rows:
        said.setdefault(judgment.labeler_id, []).append(judgment)
    return [show_labeler(number, words, after=after) for number, words in enumerate(said.values(), start=1)]


def show_labeler(number: int, words: Sequence[Judgment], *, after: int) -> ShownVote:
    """Return the last of a labeler's words on a comparison."""
    last = words[-1]
    return ShownVote(
        number=number,
        strength=last.strength,
        scale=last.scale,
        a_shown_left=last.a_shown_left,
        both_bad=last.both_bad,
        unsafe_a=last.unsafe_a,
        unsafe_b=last.unsafe_b,
        axes=last.axes,
        reasons=last.reasons,
        note=last.note,
        fix=show_fix(last),
        is_hasty=last.is_hasty,
        is_extra=last.is_extra,
        n_revisions=len(words) - 1,
        counts=last.pk > after,
        submitted_at=last.submitted_at,
    )


@transaction.atomic
def adjudicate(
    comparison: Comparison,
    reviewer: User,
    *,
    act: str,
    strength: int | None = None,
    scale: str = "",
    both_bad: bool = False,
    note: str = "",
    seen_upto: int,
    seen_last: int | None = None,
) -> Adjudication:
    """Store a reviewer's decision and move the comparison; a later decision replaces it.

    Accepted, overridden or retired it is handed out no more. Sent back it is open, its votes so far count no more, and
    it gets as many places as had been judged, for labelers new to it. seen_upto and seen_last are what
    review.show_dispute said: whoever decides without having seen a vote or a decision is asked to look again. scale is
    that of the steps she chose from; unless she says, the project's.
    """
    seen = comparison.state
    comparison = load_judged(comparison.pk)
    require_reviewer(comparison, reviewer)
    scale = scale or comparison.project.scale
    refuse_other_scale(comparison.project, scale)
    check_decision(comparison, act, strength=strength, scale=scale, both_bad=both_bad)
    refuse_stale(comparison, seen_state=seen, seen_upto=seen_upto, seen_last=seen_last)
    before = {"state": comparison.state}
    n_judged = count_places(comparison)
    decision = Adjudication.objects.create(
        comparison=comparison,
        reviewer=reviewer,
        act=act,
        strength=strength,
        scale=scale,
        both_bad=both_bad,
        upto=seen_upto,
        note=check_text(note, what=_("the note")),
    )
    move_comparison(comparison, act, n_judged=n_judged)
    said = {"strength": strength, "scale": scale, "both_bad": both_bad}
    after = {"state": comparison.state, "act": act, "upto": seen_upto} | said
    record_event(
        "comparison.adjudicate", comparison, actor=reviewer, project=comparison.project, before=before, after=after
    )
    return decision
