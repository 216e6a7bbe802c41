"""Why a labeler is given nothing now: in words for her, and in seconds until it is worth asking again."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from labeling.domain.turns import Turn, list_slices
from labeling.models import Comparison, Judgment, Membership, Project, Slot, User
from labeling.querysets import SlotQuerySet


class EmptyReason(models.TextChoices):
    """Why a labeler is given nothing."""

    ARCHIVED = "archived", _("This project is closed")
    EXAM_FAILED = "exam_failed", _("The exam was not passed")
    EXAM_SHORT = "exam_short", _("The exam has no more questions")
    DAILY_CAP = "daily_cap", _("Enough for today")
    LABELER_CAP = "labeler_cap", _("You have done your share")
    NO_COMPARISONS = "no_comparisons", _("Nothing to judge yet")
    ALL_HELD = "all_held", _("The rest is in other hands")
    OTHER_SLICES = "other_slices", _("The rest is not in your field")
    ALL_MINE_DONE = "all_mine_done", _("You have judged all you can")
    IN_TRIAGE = "in_triage", _("The rest waits for a reviewer")
    ALL_DONE = "all_done", _("Everything is judged")

    @property
    def sentence(self) -> Promise:
        """What it means for her, and what to do."""
        return SENTENCES[self]

    @property
    def poll_s(self) -> int:
        """Seconds after which asking again may help."""
        return POLLS_S.get(self, 60)


SENTENCES = {
    EmptyReason.ARCHIVED: _("Nothing is handed out any more. Thank you for your judgments."),
    EmptyReason.EXAM_FAILED: _("Your manager can let you try again."),
    EmptyReason.EXAM_SHORT: _(
        "You have answered all there are. Ask your manager to add some, or to let you in without."
    ),
    EmptyReason.DAILY_CAP: _("You have judged as many as this project asks of one person a day. More tomorrow."),
    EmptyReason.LABELER_CAP: _("You have judged as many as this project asks of one person. Thank you."),
    EmptyReason.NO_COMPARISONS: _(
        "Comparisons appear here as soon as someone imports pairs or a policy has been sampled."
    ),
    EmptyReason.ALL_HELD: _("Other labelers are at work on what is left. If one of them stops, it comes to you."),
    EmptyReason.OTHER_SLICES: _("What is left is in other languages or of other kinds than you judge."),
    EmptyReason.ALL_MINE_DONE: _("What is left needs other people's judgments. Thank you."),
    EmptyReason.IN_TRIAGE: _("Every other comparison has the judgments it needs. Thank you."),
    EmptyReason.ALL_DONE: _("Every comparison has the judgments it needs. Thank you."),
}
# Only another labeler's lease runs out in minutes; for the rest someone has to do something, or a day to pass.
POLLS_S = {
    EmptyReason.ALL_HELD: 20,
    EmptyReason.NO_COMPARISONS: 30,
    EmptyReason.ARCHIVED: 600,
    EmptyReason.DAILY_CAP: 600,
    EmptyReason.LABELER_CAP: 600,
}


def explain_empty(project: Project, labeler: User) -> EmptyReason:
    """Return why the labeler is given nothing now; changes nothing."""
    membership = Membership.objects.filter(project=project, user=labeler).first()
    turn = Turn(project, labeler, membership or Membership(project=project, user=labeler))
    return explain_rules(turn) or explain_queue(turn)


def explain_rules(turn: Turn) -> EmptyReason | None:
    """Return which of the project's rules keeps comparisons from her, if one does."""
    if turn.project.is_archived:
        return EmptyReason.ARCHIVED
    if turn.project.exam_size > 0 and turn.membership.exam == Membership.Exam.FAILED:
        return EmptyReason.EXAM_FAILED
    if turn.project.exam_size > 0 and turn.membership.exam == Membership.Exam.OPEN:
        return EmptyReason.EXAM_SHORT
    return find_cap(turn, n_held=0)


def explain_queue(turn: Turn) -> EmptyReason:
    """Return what became of the comparisons. Each question is answered by the rows of one index, of which few match."""
    slots = Slot.objects.of_work().filter(project=turn.project)
    others = slots.filter(state=Slot.State.HELD).exclude(labeler=turn.labeler)
    if of_her_slices(others, turn).open_to(turn.labeler).exists():
        return EmptyReason.ALL_HELD
    free = slots.free()
    if free.exists() or others.exists():
        hers = of_her_slices(free, turn).exists() or of_her_slices(others, turn).exists()
        return EmptyReason.ALL_MINE_DONE if hers else EmptyReason.OTHER_SLICES
    if Comparison.objects.filter(project=turn.project, state=Comparison.State.TRIAGE).exists():
        return EmptyReason.IN_TRIAGE
    return EmptyReason.ALL_DONE if slots.exists() else EmptyReason.NO_COMPARISONS


def of_her_slices(slots: SlotQuerySet, turn: Turn) -> SlotQuerySet:
    slices = list_slices(turn)
    return slots if slices is None else slots.filter(models.Q(slice=None) | models.Q(slice__in=slices))


def is_capped(turn: Turn, *, n_held: int) -> bool:
    """Say whether one more than she holds already would be over a cap."""
    return find_cap(turn, n_held=n_held) is not None


def find_cap(turn: Turn, *, n_held: int) -> EmptyReason | None:
    """Return the cap she has reached; nothing is counted where none is set, and never more rows than the cap."""
    daily, total = turn.project.daily_cap, turn.project.labeler_cap
    if not daily and not total:
        return None
    judged = Judgment.objects.of_project(turn.project).filter(labeler=turn.labeler, revises=None)
    if daily and n_held + judged.filter(submitted_at__gte=find_midnight())[:daily].count() >= daily:
        return EmptyReason.DAILY_CAP
    if total and n_held + judged[:total].count() >= total:
        return EmptyReason.LABELER_CAP
    return None


def find_midnight() -> datetime:
    """Return when today began."""
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
