"""How AI feedback stands in a project: annotators with their figures, and what is left to revise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q

from labeling.models import Completion, Project
from rlhf.domain.feedback.annotators import read_family, warn_of_kin
from rlhf.models import AIJudgment, Annotator, Revision, Sample


@dataclass(frozen=True)
class Standing:
    """An annotator and what became of asking it."""

    annotator: Annotator
    n_judgments: int
    n_flips: int
    n_unsure: int
    n_disputed: int
    n_revisions: int
    warning: str = ""

    def describe(self) -> str:
        """Return one line for people."""
        who = self.annotator
        asked = who.checkpoint or f"{who.model} at {who.endpoint}"
        state = "" if who.is_active else ", retired"
        return (
            f"{who.name}: {asked}, by {who.constitution}, exam {who.get_exam_display()}{state}; "
            f"{self.n_judgments} judgments ({self.n_flips} flips, {self.n_unsure} left to people, "
            f"{self.n_disputed} disputed by the reward model), {self.n_revisions} revisions"
        )


def list_standings(project: Project) -> list[Standing]:
    """Return the project's annotators, those still asked first."""
    annotators = Annotator.objects.filter(project=project).select_related("checkpoint", "constitution", "project")
    said = AIJudgment.objects.filter(annotator__project=project).order_by().values("annotator")
    counted = said.annotate(
        n=Count("id"),
        n_flips=Count("id", filter=Q(is_flip=True)),
        n_unsure=Count("id", filter=Q(needs_person=True)),
        n_disputed=Count("id", filter=Q(dispute__isnull=False)),
    )
    judged = {row["annotator"]: (row["n"], row["n_flips"], row["n_unsure"], row["n_disputed"]) for row in counted}
    revisions = Revision.objects.filter(annotator__project=project).order_by().values("annotator")
    revised = {row["annotator"]: row["n"] for row in revisions.annotate(n=Count("id"))}
    family = read_family(project)
    return [
        Standing(who, *judged.get(who.pk, (0, 0, 0, 0)), revised.get(who.pk, 0), warn_of_kin(who, family))
        for who in annotators.order_by("-is_active", "name")
    ]


def count_annotators(projects: Iterable[Project]) -> dict[int, int]:
    """Return how many annotators each project has, by project, in one query."""
    counted = Annotator.objects.filter(project__in=projects).order_by().values("project").annotate(n=Count("id"))
    return {row["project"]: row["n"] for row in counted}


def list_revisable(annotator: Annotator, n: int) -> list[Completion]:
    """Return the newest sampled completions the annotator has not revised; held-out prompts are nobody's."""
    sampled = Sample.objects.filter(completion=OuterRef("pk"), checkpoint__project=annotator.project)
    revised = Revision.objects.filter(annotator=annotator, original=OuterRef("pk"))
    found = Completion.objects.filter(Exists(sampled), ~Exists(revised), prompt__is_held_out=False)
    return list(found.select_related("prompt").order_by("-id")[:n])
