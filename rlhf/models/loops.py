"""How each project goes round, and its rounds."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from labeling.models import Project, Slice


class Loop(models.Model):
    """How a project goes round by itself: when a round starts, how it learns, what it asks of a policy, what it queues.

    The row is the state machine's memory; what it waits for is read from judgments and runs, see domain/loop.py.
    """

    class State(models.TextChoices):
        STOPPED = "stopped"
        RUNNING = "running"
        PAUSED = "paused"

    class Method(models.TextChoices):
        DPO = "dpo", "DPO"
        PPO = "ppo", "reward model and PPO"
        BEST_OF_N = "best_of_n", "best of n, then SFT"
        RANKED = "ranked", "reward model, and DPO on what it ranks too"

    class Strategy(models.TextChoices):
        RANDOM = "random", "at random"
        DISAGREEMENT = "disagreement", "where the reward model's heads disagree"
        UNCERTAIN = "uncertain", "where the reward model sees no difference"
        PREVIOUS = "previous", "policy against the one before"
        COVERAGE = "coverage", "slices with few judgments first"

    class Gate(models.TextChoices):
        PEOPLE = "people", "people prefer it"
        FIGURES = "figures", "the figures of its evaluation hold"
        OPEN = "open", "every policy passes"

    class Stale(models.TextChoices):
        KEEP = "keep", "stay as they are"
        DOWNRANK = "downrank", "come last"
        RETIRE = "retire", "are retired"

    project = models.OneToOneField(Project, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.STOPPED)
    threshold = models.PositiveIntegerField(default=100, help_text="New judgments after which a round may start.")
    slice = models.ForeignKey(
        Slice,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Prompts rounds draw from; none: all.",
    )
    min_agreement = models.FloatField(
        null=True, blank=True, help_text="Share of agreeing pairs of votes below which no round starts."
    )
    max_rounds = models.PositiveIntegerField(default=0, help_text="Rounds after which it stops; 0: it goes on.")
    method = models.CharField(max_length=16, choices=Method, default=Method.DPO)
    settings = models.JSONField(default=dict, blank=True, help_text="Run settings by kind, over the defaults.")
    rule = models.JSONField(default=dict, blank=True, help_text="Parts of the freeze rule, over its defaults.")
    average_weight = models.FloatField(
        default=0.0, help_text="Share of the previous policy's weights in the new one; 0 averages nothing."
    )
    n_pairs = models.PositiveIntegerField(default=300, help_text="Comparisons a round puts into the queue.")
    n_samples = models.PositiveSmallIntegerField(default=2, help_text="Completions drawn for a prompt.")
    strategy = models.CharField(max_length=16, choices=Strategy, default=Strategy.DISAGREEMENT)
    random_share = models.FloatField(default=0.1, help_text="Share of the pairs that chance picks; a tenth at least.")
    previous_share = models.FloatField(
        default=0.2, help_text="Share of the pairs whose other side is the previous policy's."
    )
    stale_after = models.PositiveSmallIntegerField(
        default=2, help_text="Policies promoted since the one that wrote it after which a waiting pair is stale."
    )
    stale_rule = models.CharField(max_length=8, choices=Stale, default=Stale.DOWNRANK)
    gate = models.CharField(max_length=8, choices=Gate, default=Gate.PEOPLE)
    gate_votes = models.PositiveIntegerField(default=50, help_text="Votes on both policies' completions it asks for.")
    gate_win_rate = models.FloatField(default=0.5, help_text="What the lower bound of the win rate must exceed.")
    tax_limit = models.FloatField(
        default=0.1,
        help_text="Rise of the perplexity on held-out text and demonstrations, and fall of the share of small tasks done "
        "right, that is allowed.",
    )
    policy = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="Promoted last."
    )
    cause = models.TextField(
        blank=True, help_text="Why it is paused or stopped, or what else holds it back, for people."
    )
    changed_at = models.DateTimeField(default=timezone.now, help_text="When its state changed.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(threshold__gte=1, n_pairs__gte=1), name="loop_counts_are_positive"),
            models.CheckConstraint(condition=Q(state__in=["stopped", "running", "paused"]), name="loop_state_is_known"),
            models.CheckConstraint(condition=Q(n_samples__gte=2), name="loop_samples_make_a_pair"),
            models.CheckConstraint(
                condition=Q(random_share__gte=0.1, random_share__lte=1), name="chance_keeps_a_tenth_of_the_pairs"
            ),
            models.CheckConstraint(
                condition=Q(previous_share__gte=0, previous_share__lte=1)
                & Q(average_weight__gte=0, average_weight__lt=1)
                & Q(gate_win_rate__gte=0, gate_win_rate__lt=1)
                & Q(tax_limit__gte=0),
                name="loop_shares_are_shares",
            ),
        ]

    def __str__(self) -> str:
        return f"loop of {self.project}"


class Round(models.Model):
    """One turn of a project's circle: freeze, train, evaluate, sample, queue.

    A first round makes the policy out of nothing; a round without a candidate only fills the queue again.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    class Decision(models.TextChoices):
        PROMOTED = "promoted", "promoted"
        KEPT = "kept", "stays a candidate"
        ROLLED_BACK = "rolled_back", "rolled back"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveIntegerField()
    stages = models.JSONField(help_text='The runs it goes through, in order: "kind", or "kind:part".')
    base = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, related_name="+", help_text="The policy it starts from."
    )
    upto = models.PositiveBigIntegerField(default=0, help_text="The last judgment it learns from, by id.")
    terms = models.JSONField(
        default=dict, help_text="The loop's settings when it began; later changes are the next round's."
    )
    candidate = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, related_name="+", help_text="The policy it made."
    )
    decision = models.CharField(max_length=16, choices=Decision, blank=True, help_text="What became of the candidate.")
    decided_at = models.DateTimeField(null=True)
    reasons = models.JSONField(default=list, help_text="Why it was decided so: sentences with their figures.")
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    cause = models.TextField(blank=True)
    n_queued = models.PositiveIntegerField(default=0, help_text="Comparisons this round put into the queue.")
    counts = models.JSONField(default=dict, help_text="What became of its samples, and of pairs that were stale.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["project", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_round_per_number"),
            models.UniqueConstraint(
                fields=["project"], condition=Q(state="running"), name="one_running_round_per_project"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["running", "succeeded", "failed"]), name="round_state_is_known"
            ),
            models.CheckConstraint(
                condition=Q(decision="", decided_at__isnull=True)
                | Q(
                    decision__in=["promoted", "kept", "rolled_back"], decided_at__isnull=False, candidate__isnull=False
                ),
                name="decision_is_about_a_candidate",
            ),
        ]

    def __str__(self) -> str:
        return f"round {self.number} of {self.project}"
