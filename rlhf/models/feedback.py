"""AI feedback: constitutions, the models that judge by them, what those said, and where a reward model denies it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from labeling.models import Comparison, Completion, Project
from rlhf.models.checkpoints import Checkpoint
from rlhf.models.runs import Run
from rlhf.models.scores import PairScore


class Constitution(models.Model):
    """Principles that AI feedback follows; a changed constitution is a new version, and old ones stay."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    version = models.PositiveIntegerField()
    principles = models.JSONField(help_text="[{id, critique, revision, comparison, tags, weight}], in order.")
    note = models.TextField(blank=True, help_text="What changed, for people.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["project", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["project", "version"], name="one_constitution_per_version"),
        ]

    def __str__(self) -> str:
        return f"constitution v{self.version} of {self.project}"


class Annotator(models.Model):
    """A model that compares completions: a local checkpoint or an endpoint, under one constitution, after an exam."""

    class Source(models.TextChoices):
        CHECKPOINT = "checkpoint", "a checkpoint of ours"
        ENDPOINT = "endpoint", "an OpenAI-compatible endpoint"

    class Exam(models.TextChoices):
        OPEN = "open", "not taken yet"
        PASSED = "passed", "passed"
        FAILED = "failed", "failed"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    source = models.CharField(max_length=16, choices=Source)
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    endpoint = models.URLField(blank=True, help_text="Base URL, up to and with /v1.")
    model = models.CharField(max_length=200, blank=True, help_text="What the endpoint calls it.")
    key_name = models.CharField(
        max_length=100, blank=True, help_text="Environment variable that holds the endpoint's key."
    )
    decoding = models.JSONField(default=dict, help_text="Temperature, max_tokens and the rest.")
    template_sha256 = models.CharField(max_length=64, help_text="Of the texts it is asked with.")
    constitution = models.ForeignKey(Constitution, on_delete=models.PROTECT, related_name="+")
    both_orders = models.BooleanField(default=True, help_text="Ask twice, sides swapped, and average.")
    weight = models.FloatField(default=0.5, help_text="Weight of its rows in a dataset that takes them.")
    exam = models.CharField(max_length=8, choices=Exam, default=Exam.OPEN)
    exam_result = models.JSONField(default=dict, help_text="Agreement, flips and length preference, with their limits.")
    is_active = models.BooleanField(default=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["project", "name"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_annotator_per_name"),
            models.CheckConstraint(
                condition=Q(source="checkpoint", checkpoint__isnull=False, endpoint="")
                | (Q(source="endpoint", checkpoint__isnull=True) & ~Q(endpoint="")),
                name="annotator_has_one_source",
            ),
            models.CheckConstraint(condition=Q(weight__gt=0, weight__lte=1), name="annotator_weight_is_a_share"),
        ]

    def __str__(self) -> str:
        return self.name


class AIJudgment(models.Model):
    """What an annotator said of a comparison: how likely A is the better one, asked in both orders."""

    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="judgments")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, null=True, related_name="+")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="+")
    p = models.FloatField(help_text="That A is better; 0.5 where the orders name different winners.")
    p_ab = models.FloatField(help_text="That A is better, asked with A first.")
    p_ba = models.FloatField(null=True, help_text="That A is better, asked with B first.")
    is_flip = models.BooleanField(default=False, help_text="The orders name different winners.")
    needs_person = models.BooleanField(default=False, help_text="Too unsure to stand without a person.")
    principle = models.CharField(max_length=100, blank=True, help_text="The id of the principle it was asked under.")
    critique = models.TextField(blank=True, help_text="What it wrote before it chose, if it was asked to.")
    n_tokens = models.PositiveIntegerField(default=0)
    cost = models.FloatField(default=0.0, help_text="In the endpoint's currency, where its price is known.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["annotator", "comparison"], name="one_ai_judgment_per_comparison"),
            models.CheckConstraint(
                condition=Q(p__gte=0, p__lte=1, p_ab__gte=0, p_ab__lte=1)
                & (Q(p_ba__isnull=True) | Q(p_ba__gte=0, p_ba__lte=1)),
                name="ai_judgment_is_a_probability",
            ),
        ]

    def __str__(self) -> str:
        return f"AI judgment of comparison {self.comparison_id}"


class Dispute(models.Model):
    """An annotator and a reward model were each sure of the other side of a comparison: people decide it."""

    judgment = models.OneToOneField(AIJudgment, on_delete=models.PROTECT, related_name="dispute")
    score = models.ForeignKey(PairScore, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"dispute about comparison {self.judgment.comparison_id}"


class Revision(models.Model):
    """A completion an annotator rewrote after criticizing it; the rewritten one is a third completion of the prompt."""

    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="revisions")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, null=True, related_name="+")
    original = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    revised = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    turn = models.PositiveSmallIntegerField(default=1, help_text="1 for the first rewriting, up to 4.")
    principle = models.CharField(max_length=100)
    critique = models.TextField()
    n_tokens = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["annotator", "original", "turn"], name="one_revision_per_turn"),
            models.CheckConstraint(condition=~Q(original=F("revised")), name="revision_changes_something"),
        ]

    def __str__(self) -> str:
        return f"revision of completion {self.original_id}"


class FeedbackReport(models.Model):
    """Three reward models, tested on the same of people's pairs: taught by people, by annotators, and by both.

    What came of it is read from their runs.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    annotators = models.JSONField(help_text="Names of those whose labels were learned.")
    human = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="+")
    ai = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="+")
    mixed = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"report {self.pk} on AI feedback of {self.project}"
