"""Where an annotator and the project's reward model are each sure of the other side: people decide."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, QuerySet

from labeling.domain.overlap import chunks
from labeling.models import Comparison, Judgment
from rlhf.domain.feedback.asking import UNSURE
from rlhf.domain.pair_scores import adopt_scores, as_probability, find_temperature
from rlhf.models import AIJudgment, Annotator, Checkpoint, Dispute, PairScore


def list_undecided(annotator: Annotator) -> QuerySet[AIJudgment]:
    """Return what an annotator said of pairs that nobody has judged yet and somebody still may; revisions take no part."""
    judged = Judgment.objects.filter(comparison=OuterRef("comparison"))
    said = AIJudgment.objects.filter(~Exists(judged), annotator=annotator, comparison__state=Comparison.State.OPEN)
    return said.exclude(comparison__prompt__is_held_out=True).exclude(run__config__task="revise")


def list_disputable(annotator: Annotator) -> list[int]:
    """Return the comparisons of which the annotator is sure, and nothing has been disputed."""
    sure = list_undecided(annotator).filter(needs_person=False, dispute=None)
    return list(sure.order_by("comparison").values_list("comparison", flat=True))


def record_disputes(annotator: Annotator, reward_model: Checkpoint) -> int:
    """Keep each judgment whose other side the reward model is sure of, and return how many are new.

    What was disputed once stays so, whatever a later reward model says: it waits for a person.
    """
    disputable = list_disputable(annotator)
    adopt_scores(reward_model, disputable)
    n_new, temperature = 0, find_temperature(reward_model)
    for chunk in chunks(disputable):
        scores = PairScore.objects.filter(reward_model=reward_model, comparison__in=chunk, margin__isnull=False)
        found = {score.comparison_id: score for score in scores}
        said = AIJudgment.objects.filter(annotator=annotator, comparison__in=list(found))
        disputes = [
            Dispute(judgment=judgment, score=score)
            for judgment in said
            if (score := found[judgment.comparison_id])
            and is_disputed(judgment.p, as_probability(score.margin or 0.0, temperature=temperature))
        ]
        n_new += len(Dispute.objects.bulk_create(disputes, ignore_conflicts=True))
    return n_new


def is_disputed(annotator: float, reward_model: float) -> bool:
    """Say whether two probabilities that A is better are both far from a half, on different sides of it."""
    low, high = UNSURE
    return min(annotator, reward_model) < low and max(annotator, reward_model) > high
