"""What someone finds at the front door: her projects, what waits for her in each, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import OuterRef, Q

from labeling.domain.progress import CountRows, Progress, measure_progresses
from labeling.domain.review import MAX_COUNTED
from labeling.models import Comparison, Membership, Project, User


@dataclass(frozen=True, kw_only=True)
class Place:
    """One project as its member finds it. n_disputed: comparisons that wait for her as a reviewer; None if she is none."""

    project: Project
    membership: Membership | None
    progress: Progress
    n_disputed: int | None
    may_manage: bool

    @property
    def disputed_text(self) -> str:
        """What waits for her decision as a page says it."""
        return f"{MAX_COUNTED}+" if self.n_disputed == MAX_COUNTED else str(self.n_disputed)

    @property
    def state(self) -> str:
        """What keeps her from work, or "open"; why a manager paused her is between the two of them."""
        if self.membership and not self.membership.is_active:
            return "paused"
        if self.project.is_archived:
            return "archived"
        if self.project.exam_size and self.membership and self.membership.exam in ("open", "failed"):
            return f"exam_{self.membership.exam}"
        if self.project.daily_cap and self.progress.today >= self.project.daily_cap:
            return "capped"
        return "open" if self.progress.left else "done"


def list_places(user: User) -> list[Place]:
    """Return the user's projects, in as many queries for one as for a hundred."""
    memberships = {row.project_id: row for row in Membership.objects.filter(user=user)}
    projects = list(Project.objects.known_to(user))
    progresses = measure_progresses(projects, user)
    roles = {pk: row.role for pk, row in memberships.items() if row.is_active}
    reviewed = [row for row in projects if user.is_superuser or roles.get(row.pk) in ("reviewer", "manager")]
    disputes = count_disputed(reviewed)
    return [
        Place(
            project=project,
            membership=memberships.get(project.pk),
            progress=progresses[project.pk],
            n_disputed=disputes.get(project.pk, 0) if project in reviewed else None,
            may_manage=user.is_superuser or roles.get(project.pk) == Membership.Role.MANAGER,
        )
        for project in projects
    ]


def count_disputed(projects: Iterable[Project]) -> dict[int, int]:
    """Return how many comparisons wait for a reviewer, by project, as review.count_open does of one: 100 is that or more."""
    of_project = Comparison.objects.filter(project=OuterRef("pk"))
    sharp = Q(is_split=True) | Q(spread__gte=OuterRef("spread_limit"))
    disputed = of_project.filter(sharp, state=Comparison.State.OPEN, spread__gt=0, gold__isnull=True)
    triage = of_project.filter(state=Comparison.State.TRIAGE)
    counted = Project.objects.filter(pk__in=[project.pk for project in projects]).values_list(
        "pk", CountRows(disputed.values("pk")[:MAX_COUNTED]), CountRows(triage.values("pk")[:MAX_COUNTED])
    )
    return {pk: min(n_disputed + n_triage, MAX_COUNTED) for pk, n_disputed, n_triage in counted}
