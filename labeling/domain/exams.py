"""An exam of gold before work: grading, a second try, and letting someone in without."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.errors import AlreadyGraded
from labeling.domain.gold import is_right
from labeling.models import Judgment, Membership, Reason, Slot, User
from labeling.querysets import JudgmentQuerySet

ROUNDING = 1e-9  # 0.7 * 10 is a little over 7


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of an exam, as its result page tells it."""

    judgment: Judgment  # with texts; judging.show_vote and showing.show_pair say the rest
    is_right: bool
    strength_min: int  # of the contents A and B
    strength_max: int
    explanation: str


def find_answers(membership: Membership) -> JudgmentQuerySet:
    """Return her answers to the exam she is at, or was last at, as they stand."""
    judged = Judgment.objects.of_project(membership.project).current()
    answers: JudgmentQuerySet = judged.filter(
        labeler=membership.user_id, reason=Reason.EXAM, pk__gt=membership.exam_from, comparison__gold__isnull=False
    )
    return answers.select_related("comparison__gold").order_by("id")


@transaction.atomic
def grade_exam(membership: Membership) -> Membership:
    """Decide an open exam once enough of it is judged; return the membership as it then stands."""
    project = membership.project
    if membership.exam != Membership.Exam.OPEN or not project.exam_size:
        return membership
    rights = [
        is_right(answer.comparison.gold, answer.strength, scale=answer.scale) for answer in find_answers(membership)
    ]
    if len(rights) < project.exam_size:
        return membership
    has_passed = sum(rights) >= project.exam_pass_share * len(rights) - ROUNDING
    result = Membership.Exam.PASSED if has_passed else Membership.Exam.FAILED
    score = {"right": sum(rights), "of": len(rights)}
    return move_exam(membership, result, verb="exam.grade", actor=None, facts=score)


@transaction.atomic
def retake_exam(membership: Membership, actor: User) -> Membership:
    """Open the exam again: only judgments from now on count, on gold she has not judged."""
    judged = Judgment.objects.of_project(membership.project).filter(labeler=membership.user_id)
    upto = judged.aggregate(newest=Max("id"))["newest"] or 0
    return move_exam(membership, Membership.Exam.OPEN, verb="exam.retake", actor=actor, exam_from=upto)


@transaction.atomic
def waive_exam(membership: Membership, actor: User) -> Membership:
    """Let the labeler work without an exam; the questions she holds are taken back."""
    membership = move_exam(membership, Membership.Exam.WAIVED, verb="exam.waive", actor=actor)
    Slot.objects.held_by(membership.user).filter(project=membership.project_id, reason=Reason.EXAM).free_up()
    return membership


def move_exam(
    membership: Membership,
    state: str,
    *,
    verb: str,
    actor: User | None,
    exam_from: int | None = None,
    facts: dict[str, int] | None = None,
) -> Membership:
    """Move the exam if it stands as the caller saw it and the event with it; someone who was first is left alone."""
    seen = Membership.objects.filter(pk=membership.pk, exam=membership.exam, exam_from=membership.exam_from)
    since = membership.exam_from if exam_from is None else exam_from
    if membership.exam != state and seen.update(exam=state, exam_from=since):
        record_event(
            verb,
            membership.user,
            actor=actor,
            project=membership.project,
            before={"exam": membership.exam},
            after={"exam": str(state)} | (facts or {}),
        )
    membership.refresh_from_db(fields=["exam", "exam_from"])
    return membership


def list_answers(membership: Membership) -> list[Answer]:
    """Return what she answered in her last exam, in the order she judged; nothing before it is graded."""
    if membership.exam not in (Membership.Exam.PASSED, Membership.Exam.FAILED):
        return []
    return [
        Answer(
            judgment=judgment,
            is_right=is_right(judgment.comparison.gold, judgment.strength, scale=judgment.scale),
            strength_min=judgment.comparison.gold.strength_min,
            strength_max=judgment.comparison.gold.strength_max,
            explanation=judgment.comparison.gold.explanation,
        )
        for judgment in find_answers(membership).with_texts().select_related("comparison__gold")
    ]


def grade_answer(judgment: Judgment) -> Membership:
    """Grade the exam this judgment is of, if it was the last of it."""
    return grade_exam(find_membership(judgment))


def refuse_graded(judgment: Judgment) -> None:
    """Raise AlreadyGraded where the judgment belongs to an exam whose result is known."""
    membership = find_membership(judgment)
    if membership.exam != Membership.Exam.OPEN or judgment.pk <= membership.exam_from:
        raise AlreadyGraded(_("This vote belongs to an exam that is graded: it cannot be changed any more."))


def find_membership(judgment: Judgment) -> Membership:
    """Return the membership of the labeler in the judgment's project."""
    return Membership.objects.select_related("project", "user").get(
        project=judgment.comparison.project_id, user=judgment.labeler_id
    )
