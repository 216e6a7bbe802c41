"""Projects, their guidelines and their people."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Count, Q

from labeling.domain.content import check_text
from labeling.models import Comparison, Guideline, Judgment, Membership, Project, Slot, User

RETRIES = 5


@dataclass(frozen=True, kw_only=True)
class ProjectCounts:
    """What a manager wants to know at a glance."""

    n_comparisons: int
    n_judgments: int
    n_open: int
    n_held: int
    n_labelers: int


@transaction.atomic
def create_project(manager: User, *, name: str, slug: str, scale: str, overlap: int, guideline: str = "") -> Project:
    """Make a project with its first guideline; whoever makes it manages it."""
    project = Project.objects.create(name=name, slug=slug, scale=scale, overlap=overlap)
    Membership.objects.create(project=project, user=manager, role=Membership.Role.MANAGER)
    if guideline.strip():
        publish_guideline(project, guideline)
    return project


def publish_guideline(project: Project, text: str) -> Guideline:
    """Store the next version of the guideline, which judgments name from now on; the same text again is no new one."""
    check_text(text, what="the guideline")
    for _ in range(RETRIES):
        last = project.guidelines.order_by("-version").first()
        if last is not None and last.text == text:
            return last
        try:
            with transaction.atomic():
                return Guideline.objects.create(project=project, version=last.version + 1 if last else 1, text=text)
        except IntegrityError as error:
            refused = error
    raise refused


def count_project(project: Project) -> ProjectCounts:
    """Return the project's numbers, of all labelers together."""
    slots = Slot.objects.filter(project=project).aggregate(
        n_open=Count("id", filter=~Q(state=Slot.State.DONE)), n_held=Count("id", filter=Q(state=Slot.State.HELD))
    )
    judged = Judgment.objects.of_project(project).filter(revises__isnull=True)
    return ProjectCounts(
        n_comparisons=Comparison.objects.filter(project=project).count(),
        n_judgments=judged.count(),
        n_labelers=judged.aggregate(n=Count("labeler", distinct=True))["n"],
        **slots,
    )
