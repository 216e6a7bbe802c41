"""What a manager reads of one labeler: her latest judgments, her answers to gold, and what was done about her."""

from __future__ import annotations

from dataclasses import dataclass

from labeling.domain.gold import is_right
from labeling.models import AuditEvent, Judgment, Membership, Project, Reason, User


@dataclass(frozen=True, kw_only=True)
class GoldAnswer:
    """One answer to gold, at work or in an exam; the comparison comes with its prompt and its gold."""

    judgment: Judgment
    is_right: bool


def list_judgments(project: Project, labeler: User, *, n: int = 25) -> list[Judgment]:
    """Return her latest judgments of work as they stand, newest first, with their prompts."""
    judged = Judgment.objects.of_project(project).current().of_work().filter(labeler=labeler)
    return list(judged.select_related("comparison__prompt").order_by("-id")[:n])


def list_gold_answers(project: Project, labeler: User, *, n: int = 50) -> list[GoldAnswer]:
    """Return her latest answers to gold that is in use, newest first, and whether they are right."""
    judged = Judgment.objects.of_project(project).current().filter(labeler=labeler)
    answers = judged.filter(reason__in=[Reason.GOLD, Reason.EXAM], comparison__gold__is_active=True)
    return [
        GoldAnswer(
            judgment=judgment,
            is_right=is_right(judgment.comparison.gold, judgment.strength, scale=judgment.scale),
        )
        for judgment in answers.select_related("comparison__prompt", "comparison__gold").order_by("-id")[:n]
    ]


def list_events(membership: Membership, *, n: int = 50) -> list[AuditEvent]:
    """Return what was done about her in the project, newest first."""
    events = AuditEvent.objects.filter(project=membership.project, subject=str(membership.user))
    return list(events.select_related("actor").order_by("-id")[:n])


def count_kept(project: Project, labeler: User) -> int:
    """Return how many judgments of work of hers there are, whether or not they count now."""
    return Judgment.objects.of_project(project).current().of_work().filter(labeler=labeler).count()
