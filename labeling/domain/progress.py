"""How far a labeler has come: her own numbers, never anyone else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, Exists, IntegerField, OuterRef, Q, QuerySet, Subquery

from labeling.domain.selection import RANDOM_ORDER
from labeling.domain.skipping import find_last_skip
from labeling.domain.turns import may_judge
from labeling.domain.waiting import find_midnight
from labeling.models import PROBES, Judgment, Membership, Project, Skip, Slice, Slot, User

MAX_LEFT = 100  # what waits is counted up to here: a page shows "100+", and costs the same whatever the queue
WINDOW = 150  # free slots looked at for it; some are not for her, some are of one comparison


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What one labeler has judged today in a project, and what waits for her, what she holds included.

    is_more: there is more than `left` says.
    """

    today: int
    left: int
    is_more: bool = False

    @property
    def total(self) -> int:
        return self.today + self.left

    @property
    def is_done(self) -> bool:
        """Nothing waits for her, as far as anyone looked."""
        return self.left == 0 and not self.is_more

    @property
    def left_text(self) -> str:
        """What waits for her as a page says it."""
        return f"{self.left}+" if self.is_more else str(self.left)


@dataclass(frozen=True)
class Counts:
    """What stands behind the number left: see count_left.

    n_waiting: comparisons of the first free slots that wait for her; n_looked_at: how many slots those were; n_held:
    of work; n_shown: the pair in front of her, whatever it is; n_probes: those of today she is done with.
    """

    n_waiting: int
    n_looked_at: int
    n_held: int
    n_shown: int
    n_probes: int


class CountRows(Subquery):
    """How many rows a subquery returns; it may be sliced, so that no more are looked for."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


def measure_progress(project: Project, labeler: User) -> Progress:
    """Return the labeler's own progress; a revision is no second judgment."""
    return measure_progresses([project], labeler)[project.pk]


def measure_progresses(projects: Sequence[Project], labeler: User) -> dict[int, Progress]:
    """Return the labeler's progress by project id, in as many queries for one project as for a hundred."""
    judged = Judgment.objects.filter(labeler=labeler, revises__isnull=True, submitted_at__gte=find_midnight())
    by_project = judged.values_list("comparison__project").annotate(
        n=Count("id"), n_probes=Count("id", filter=Q(reason__in=PROBES))
    )
    today = {pk: (n, n_probes) for pk, n, n_probes in by_project}
    progresses = {}
    for pk, counts in count_left(projects, labeler).items():
        n, n_probes = today.get(pk, (0, 0))
        progresses[pk] = read_progress(n, replace(counts, n_probes=counts.n_probes + n_probes))
    return progresses


def read_progress(today: int, counts: Counts) -> Progress:
    """Return what a page shows: with every vote and every skip of a day one less is left.

    A probe adds nothing to the work and takes nothing from it, so the number would stand still at one. Those she was
    given today are taken off instead; the last of the work is one left, with more to come, until it is done.
    """
    work = counts.n_waiting + counts.n_held
    left = max(work - counts.n_probes, min(1, work + counts.n_shown))
    is_more = left > MAX_LEFT or counts.n_looked_at == WINDOW or 1 == left < work
    return Progress(today=today, left=min(left, MAX_LEFT), is_more=is_more)


def count_left(projects: Sequence[Project], labeler: User) -> dict[int, Counts]:
    """Return the counts of each project, by its id."""
    slices = list_slices(projects, labeler)
    window = look_at(Slot.objects.free().filter(project=OuterRef("pk")), slices)
    inner_window = look_at(Slot.objects.free().filter(project=OuterRef(OuterRef("pk"))), slices)
    waiting = Slot.objects.claimable_by(labeler).filter(pk__in=inner_window)
    held = Slot.objects.held_by(labeler).filter(project=OuterRef("pk"))
    counted = Project.objects.filter(pk__in=[project.pk for project in projects]).values_list(
        "pk",
        CountRows(waiting.values("comparison").distinct()),
        CountRows(window),
        CountRows(held.of_work().values("pk")),
        CountRows(held.shown().values("pk")),
        CountRows(list_skipped_probes(labeler).filter(comparison__project=OuterRef("pk")).values("pk")),
    )
    return {row[0]: Counts(*row[1:]) for row in counted.order_by()}


def list_skipped_probes(labeler: User) -> QuerySet[Skip]:
    """Return the probes she skipped today."""
    put_by = Slot.objects.filter(comparison=OuterRef("comparison"), number=Slot.PROBE_NUMBER + labeler.pk)
    return Skip.objects.filter(Exists(put_by), labeler=labeler, created_at__gte=find_midnight())


def list_slices(projects: Sequence[Project], labeler: User) -> list[int] | None:
    """Return the slices she judges in any of the projects; None when none of them has slices."""
    slices = list(Slice.objects.filter(project__in=projects))
    if not slices:
        return None
    memberships = {row.project_id: row for row in Membership.objects.filter(user=labeler, project__in=projects)}
    return [row.pk for row in slices if row.project_id in memberships and may_judge(memberships[row.project_id], row)]


def look_at(free: QuerySet[Slot], slices: list[int] | None) -> QuerySet[Slot, Any]:
    """Return some free slots that may be for her: the first of the queue where there are no slices."""
    slots = free.order_by(*RANDOM_ORDER) if slices is None else free.filter(Q(slice=None) | Q(slice__in=slices))
    return slots.values("pk")[:WINDOW]


def find_last_act(project: Project, labeler: User, *, before: Judgment | None = None) -> Judgment | Skip | None:
    """Return what undo would undo: her last judgment as it stands, or her skip if that came later.

    before: she is at this judgment already, and goes back further.
    """
    judgments = Judgment.objects.of_project(project).filter(labeler=labeler).current().order_by("-id")
    judgment = (judgments.filter(pk__lt=before.pk) if before else judgments).first()
    skip = find_last_skip(project, labeler, before=before.submitted_at if before else None)
    if judgment and skip:
        return skip if skip.created_at > judgment.submitted_at else judgment
    return judgment or skip
