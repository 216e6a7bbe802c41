"""What labelers say is stored once, for ever, and never dropped."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.asking import MAX_ACTIVE_MS, check_axes, check_reasons, check_step
from labeling.domain.assignment import require_member
from labeling.domain.attention import count_words, is_hasty
from labeling.domain.content import check_text
from labeling.domain.errors import AlreadyJudged, InvalidJudgment
from labeling.domain.exams import grade_answer
from labeling.domain.fixing import show_fix, store_fix
from labeling.domain.overlap import ask_another
from labeling.domain.placing import (
    check_given,
    choose_guideline_id,
    close_held,
    find_replay,
    load_given,
    read_claim,
    take_place,
)
from labeling.domain.tallying import update_tally
from labeling.domain.tracing import read_trace
from labeling.models import PROBES, Comparison, Guideline, Judgment, Project, Reason, Slot, User, Verdict
from labeling.signals import judgment_stored
from labeling.statements import insert_later
from labeling.writer import hold_writer

QUICK_STRENGTH = 2  # one key says "better", no more and no less


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a labeler said, in the words of the page: left and right as they were shown to her."""

    preference: int  # -3 left is much better .. 0 about the same .. +3 right is much better; forced -4 .. 4, not 0
    scale: str = Project.Scale.QUICK
    both_bad: bool = False
    unsafe_left: bool = False
    unsafe_right: bool = False
    axes: Mapping[str, int] = field(default_factory=dict)  # by name of Project.axes, as preference
    reasons: Sequence[str] = ()  # of Project.reasons
    note: str = ""
    fix: str = ""  # the better completion as she rewrote it
    active_ms: int = 0
    trace: Mapping[str, object] = field(default_factory=dict)  # see tracing.Trace


def record_judgment(
    slot_id: int,
    labeler: User,
    *,
    idempotency_key: uuid.UUID,
    lease_token: uuid.UUID,
    vote: Vote,
    shown_at: datetime | None = None,
    guideline_id: int | None = None,
) -> Judgment:
    """Store a vote on the slot the labeler was given, close the slot, and bring the comparison's tally up to date.

    The same key again is the stored row. A vote that comes after its lease takes the slot, or another of the
    comparison, while one is free; otherwise it is kept as an extra. A late answer to a probe measures nothing and is
    refused. shown_at is what the page says of a claim that was lost or never shown by the server; of a shown one the
    slot knows better, and only one shown by show_reserved has it, within bounds, from the page. guideline_id is the
    guideline the page showed, which may be older than the one that holds now.
    """
    check_given(slot_id, labeler, lease_token, idempotency_key=idempotency_key)
    try:
        with hold_writer():
            closing = close_held.later(slot_id, labeler.pk)
            slot = load_given(slot_id)
            place: Slot | None = slot
            if closing.n_met:
                shown_at = slot.shown_at or shown_at
            elif stored := find_replay(idempotency_key, labeler, slot_id=slot_id):
                return stored
            else:
                place = take_place(slot, labeler)
            return store_judgment(
                slot,
                place,
                labeler,
                vote,
                idempotency_key=idempotency_key,
                lease_token=lease_token,
                shown_at=shown_at,
                guideline_id=guideline_id,
            )
    except IntegrityError:
        return answer_lost_race(idempotency_key, labeler, slot_id=slot_id)


def store_judgment(
    slot: Slot,
    place: Slot | None,
    labeler: User,
    vote: Vote,
    *,
    idempotency_key: uuid.UUID,
    lease_token: uuid.UUID,
    shown_at: datetime | None,
    guideline_id: int | None,
) -> Judgment:
    """Insert the first word of a labeler on a comparison, and what follows from it."""
    now = timezone.now()
    said = read_vote(vote, slot.comparison, a_shown_left=slot.a_shown_left)
    reason, propensity = read_claim(slot, labeler)
    latest_id: int | None = slot.guideline_id  # type: ignore[attr-defined]
    judgment = Judgment(
        idempotency_key=idempotency_key,
        comparison=slot.comparison,
        labeler=labeler,
        slot=place,
        is_extra=place is None,
        a_shown_left=slot.a_shown_left,
        lease_token=lease_token,
        guideline_id=choose_guideline_id(slot.project, guideline_id, latest_id=latest_id),
        reason=reason,
        propensity=propensity,
        is_conditional=slot.is_conditional,
        shown_at=min(shown_at or now, now),
        is_hasty=shown_at is not None and is_hasty(count_shown(slot.comparison), (now - shown_at).total_seconds()),
        **said,
    )
    inserting = insert_later(judgment)
    if vote.fix or slot.reason == Reason.EXAM:
        inserting.settle()  # what follows names it
    judgment_stored.send(Judgment, judgment=judgment)
    store_fix(judgment, vote.fix, labeler)
    if slot.reason == Reason.EXAM:
        grade_answer(judgment)
    if slot.reason not in PROBES:
        update_tally(slot.comparison, None if slot.comparison.n_judgments else [judgment.strength])
        ask_another(slot.comparison)
    return judgment


def answer_lost_race(idempotency_key: uuid.UUID, labeler: User, *, slot_id: int) -> Judgment:
    """Say why the database refused: a replay was first, the labeler had judged it, or she is no member any more."""
    if stored := find_replay(idempotency_key, labeler, slot_id=slot_id):
        return stored
    require_member(Slot.objects.select_related("project").get(pk=slot_id).project, labeler)
    raise AlreadyJudged(_("You have judged this comparison already; use undo to change your vote."))


def current_guideline(project: Project) -> Guideline | None:
    """Return the version of the guideline that holds now."""
    return Guideline.objects.filter(project=project).order_by("-version").first()


def count_shown(comparison: Comparison) -> int:
    """Return how many words a labeler had to read: the last turn and both completions."""
    last = str(comparison.prompt.messages[-1]["content"])
    return count_words([last, comparison.completion_a.text, comparison.completion_b.text])


def read_vote(vote: Vote, comparison: Comparison, *, a_shown_left: bool) -> dict[str, Any]:
    """Turn what was said of left and right into what it says of the contents A and B."""
    if not 0 <= vote.active_ms <= MAX_ACTIVE_MS:
        raise InvalidJudgment(_("active_ms must be from 0 to %s, a day.") % MAX_ACTIVE_MS)
    sign = 1 if a_shown_left else -1
    strength = sign * check_step(vote.preference, name=_("The preference"), scale=vote.scale)
    axes = check_axes(vote.axes, comparison.project)
    return {
        "verdict": Verdict.TIE if strength == 0 else Verdict.A if strength < 0 else Verdict.B,
        "strength": strength,
        "scale": vote.scale,
        "both_bad": vote.both_bad,
        "unsafe_a": vote.unsafe_left if a_shown_left else vote.unsafe_right,
        "unsafe_b": vote.unsafe_right if a_shown_left else vote.unsafe_left,
        "axes": {name: sign * step for name, step in axes.items()},
        "reasons": check_reasons(vote.reasons, comparison.project),
        "note": check_text(vote.note, what=_("the note")),
        "active_ms": vote.active_ms,
        "trace": read_trace(vote.trace),
    }


def show_vote(judgment: Judgment) -> Vote:
    """Return a judgment in the words of the page it was made on; its fix is read if with_texts did not."""
    straight = judgment.a_shown_left
    sign = 1 if straight else -1
    return Vote(
        preference=sign * judgment.strength,
        scale=judgment.scale,
        both_bad=judgment.both_bad,
        unsafe_left=judgment.unsafe_a if straight else judgment.unsafe_b,
        unsafe_right=judgment.unsafe_b if straight else judgment.unsafe_a,
        axes={name: sign * step for name, step in judgment.axes.items()},
        reasons=tuple(judgment.reasons),
        note=judgment.note,
        fix=show_fix(judgment),
        active_ms=judgment.active_ms,
        trace=judgment.trace,
    )
