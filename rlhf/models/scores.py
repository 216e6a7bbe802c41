"""What reward models say of pairs, beside what people and annotators say of them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from labeling.models import Comparison
from rlhf.models.checkpoints import Checkpoint
from rlhf.models.runs import Run


class PairScore(models.Model):
    """How much better a reward model finds completion A of a comparison than its completion B."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="+", help_text="The scoring run that said it.")
    reward_model = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="+")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="+")
    margin = models.FloatField(
        null=True, help_text="Score of A less that of B, nats, mean over the heads; none where a text did not fit."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reward_model", "comparison"], name="one_pair_score_per_reward_model"),
        ]

    def __str__(self) -> str:
        return f"score of comparison {self.comparison_id} by {self.reward_model}"
