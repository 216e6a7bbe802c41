"""How far a labeler has come: her own numbers, never anyone else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count
from django.utils import timezone

from labeling.domain.skipping import find_last_skip
from labeling.models import Judgment, Project, Skip, Slot, User


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What one labeler has judged today in a project, and what waits for her, the one she holds included."""

    today: int
    left: int

    @property
    def total(self) -> int:
        return self.today + self.left


def measure_progress(project: Project, labeler: User) -> Progress:
    """Return the labeler's own progress; a revision is no second judgment."""
    return measure_progresses([project], labeler)[project.pk]


def measure_progresses(projects: Sequence[Project], labeler: User) -> dict[int, Progress]:
    """Return the labeler's progress by project id, in as many queries for one project as for a hundred."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    judged = Judgment.objects.filter(labeler=labeler, revises__isnull=True, submitted_at__gte=midnight)
    today = dict(judged.values_list("comparison__project").annotate(n=Count("id")))
    slots = Slot.objects.filter(project__in=projects)
    waiting = dict(slots.claimable_by(labeler).values_list("project").annotate(n=Count("comparison", distinct=True)))
    held = dict(slots.held_by(labeler).values_list("project").annotate(n=Count("id")))
    return {
        project.pk: Progress(today=today.get(project.pk, 0), left=waiting.get(project.pk, 0) + held.get(project.pk, 0))
        for project in projects
    }


def find_last_act(project: Project, labeler: User) -> Judgment | Skip | None:
    """Return what undo would undo: her last judgment as it stands, or her skip if that came later."""
    judgment = Judgment.objects.of_project(project).filter(labeler=labeler).current().order_by("-id").first()
    skip = find_last_skip(project, labeler)
    if judgment and skip:
        return skip if skip.created_at > judgment.submitted_at else judgment
    return judgment or skip
