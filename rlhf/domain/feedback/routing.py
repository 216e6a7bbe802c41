"""Which comparisons an annotator has judged go to people all the same: those in doubt first, and some of the sure.

In doubt is what it was unsure of, what it changed its mind about with the order, and where the project's reward model is
as sure of the other side. Of the rest a share is drawn for an audit.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass

from labeling.domain.audit import record_event
from labeling.domain.overlap import chunks, set_overlap
from labeling.models import Comparison, User
from rlhf.domain.feedback.disputes import list_disputable, list_undecided, record_disputes
from rlhf.domain.freshness import SENT_PRIORITY, raise_priority
from rlhf.domain.pair_scores import find_judge, list_unscored, score_pairs
from rlhf.models import Annotator, Run

AUDIT_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Routing:
    """How many comparisons went to people. n_unsure and n_disputed: to the front. n_audit: sure ones, drawn by chance.

    n_unscored: sure ones of which the reward model has said nothing yet; the project may have none.
    """

    n_unsure: int
    n_disputed: int
    n_audit: int
    n_unscored: int = 0

    def describe(self, run: Run | None = None) -> str:
        """Return a sentence for people. run: the one that scores what is not scored yet."""
        said = (
            f"{self.n_unsure} unsure comparisons and {self.n_disputed} on which the reward model is sure of the other "
            f"side go to people first, {self.n_audit} sure ones for an audit."
        )
        if run is None:
            return said
        return f"{said} {run} scores {self.n_unscored} more; where it denies them they are sent when it is over."


def route_judgments(annotator: Annotator, *, user: User | None = None, seed: int = 42) -> tuple[Routing, Run | None]:
    """Send comparisons no person has judged to the queue: those in doubt first, and of the sure a share drawn by chance.

    What the reward model has not scored is scored by the run that is returned, and routed at its end. Done twice it
    changes nothing. Writes an audit event.
    """
    reward_model = find_judge(annotator.project)
    run = None
    n_new = record_disputes(annotator, reward_model) if reward_model else 0
    n_unscored = 0
    if reward_model is not None and (unscored := list_unscored(reward_model, list_disputable(annotator))):
        n_unscored = len(unscored)
        run = score_pairs(reward_model, unscored, user=user, annotator=annotator.pk)
    said = list_undecided(annotator).order_by("comparison")
    unsure = list(said.filter(needs_person=True).values_list("comparison", flat=True))
    disputed = list(said.filter(dispute__isnull=False).values_list("comparison", flat=True))
    sure = list(said.filter(needs_person=False, dispute=None).values_list("comparison", flat=True))
    audit = [pk for pk in sure if random.Random(seed * 1_000_003 + pk).random() < AUDIT_SHARE]
    in_doubt = sorted({*unsure, *disputed})
    n_changed = queue_comparisons(annotator, [*in_doubt, *audit], user=user) + raise_priority(in_doubt, SENT_PRIORITY)
    routing = Routing(n_unsure=len(unsure), n_disputed=len(disputed), n_audit=len(audit), n_unscored=n_unscored)
    if n_changed or n_new:
        facts = asdict(routing) | ({"reward_model": str(reward_model)} if reward_model else {})
        record_event("annotator.route", annotator, actor=user, project=annotator.project, after=facts)
    return routing, run


def route_answered(run: Run) -> None:
    """Route what an annotator said, once the run that asked or scored it is over, where that was wanted."""
    assert run.dataset is not None
    rule = run.dataset.rule
    if (pk := rule.get("annotator")) and (run.kind == Run.Kind.SCORE or rule.get("route")):
        route_judgments(Annotator.objects.select_related("project").get(pk=pk))


def queue_comparisons(annotator: Annotator, ids: list[int], *, user: User | None) -> int:
    """Give comparisons that nobody was to judge the project's overlap; return how many these were."""
    n_queued = 0
    for chunk in chunks(ids):
        out = list(Comparison.objects.filter(pk__in=chunk, overlap=0).values_list("pk", flat=True))
        set_overlap(out, annotator.project.overlap, actor=user)
        n_queued += len(out)
    return n_queued
