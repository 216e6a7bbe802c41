"""Frozen datasets, runs, their metrics and checkpoints, samples and rounds: what models learned and from what.

Rows point at labeling rows, and every such relation ends in related_name="+": labeling cannot look back.
What must never be true is a constraint here or a trigger in migrations/0002_guards.py.
"""

from __future__ import annotations

import json

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from labeling.models import Comparison, Completion, ImportedJudgment, Judgment, Project, Prompt
from rlhf.contract.config import load_config
from rlhf.contract.settings import RunConfig
from rlhf.querysets import CheckpointQuerySet, ExportQuerySet, RunQuerySet


class Dataset(models.Model):
    """Judgments or demonstrations frozen into bytes; the bytes lie in storage under their hash."""

    class Kind(models.TextChoices):
        PREFERENCE = "preference", "preferences"
        DEMONSTRATION = "demonstration", "demonstrations"
        TEXT = "text", "pre-training text"
        PROMPT = "prompt", "prompts"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=16, choices=Kind)
    sha256 = models.CharField(max_length=64, help_text="Of the rule and both splits' hashes.")
    train_sha256 = models.CharField(max_length=64)
    test_sha256 = models.CharField(max_length=64)
    sources_sha256 = models.CharField(max_length=64, help_text="Of the ids of the judgments behind each line.")
    rule = models.JSONField(help_text="What was included and how a row was made of it.")
    counts = models.JSONField(help_text="What came of it: pairs, ties left out, votes, groups, by source.")
    n_train = models.PositiveIntegerField()
    n_test = models.PositiveIntegerField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sealed_at = models.DateTimeField(null=True, help_text="From here on neither the row nor its sources change.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "sha256", "sources_sha256"], name="one_dataset_per_content"),
            models.CheckConstraint(condition=Q(sha256__regex=r"^[0-9a-f]{64}$"), name="dataset_sha256_is_a_hash"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("rlhf:dataset-detail", args=[self.pk])

    def file_name(self, split: str) -> str:
        """The storage name of a split's bytes; content-addressed, so equal bytes are stored once."""
        return f"datasets/{self.train_sha256 if split == 'train' else self.test_sha256}.jsonl"


class DatasetSource(models.Model):
    """Which judgment stands behind which line of a dataset: the way from a model back to people."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="sources")
    split = models.CharField(max_length=8)
    line = models.PositiveIntegerField()
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="+")
    judgment = models.ForeignKey(Judgment, on_delete=models.PROTECT, null=True, related_name="+")
    imported_judgment = models.ForeignKey(ImportedJudgment, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(judgment__isnull=False, imported_judgment__isnull=True)
                | Q(judgment__isnull=True, imported_judgment__isnull=False),
                name="source_is_one_judgment",
            ),
            models.CheckConstraint(condition=Q(split__in=["train", "test"]), name="source_split_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.split} line {self.line}"


class Loop(models.Model):
    """How a project goes round: how many judgments start a round, and how many pairs it puts back."""

    project = models.OneToOneField(Project, on_delete=models.PROTECT, related_name="+")
    threshold = models.PositiveIntegerField(default=100, help_text="New judgments after which a round may start.")
    n_pairs = models.PositiveIntegerField(default=300, help_text="Comparisons a round puts into the queue.")
    settings = models.JSONField(default=dict, blank=True, help_text="Run settings by kind, over the defaults.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(threshold__gte=1, n_pairs__gte=1), name="loop_counts_are_positive")
        ]

    def __str__(self) -> str:
        return f"loop of {self.project}"


class Round(models.Model):
    """One turn of a project's circle: freeze, train, sample, queue. A first round makes the policy out of nothing."""

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveIntegerField()
    stages = models.JSONField(help_text="The kinds of run it goes through, in order.")
    base = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, related_name="+", help_text="The policy it starts from."
    )
    upto = models.PositiveBigIntegerField(default=0, help_text="The last judgment it learns from, by id.")
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    cause = models.TextField(blank=True)
    n_queued = models.PositiveIntegerField(default=0, help_text="Comparisons this round put into the queue.")
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
        ]

    def __str__(self) -> str:
        return f"round {self.number} of {self.project}"


class Run(models.Model):
    """One piece of learning. The row is the truth; a Celery message only rings at the worker's door."""

    class Kind(models.TextChoices):
        PRETRAIN = "pretrain", "pre-training"
        SFT = "sft", "supervised fine-tuning"
        REWARD = "reward", "reward model"
        DPO = "dpo", "DPO"
        PPO = "ppo", "PPO"
        SAMPLE = "sample", "sampling"
        EVALUATE = "evaluate", "evaluation"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    round = models.ForeignKey(Round, on_delete=models.PROTECT, null=True, related_name="runs")
    kind = models.CharField(max_length=16, choices=Kind)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    config = models.JSONField(help_text="What contract.config.load_config reads.")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, null=True, related_name="runs")
    base = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, related_name="+", help_text="The model it starts from."
    )
    reward_model = models.ForeignKey("Checkpoint", on_delete=models.PROTECT, null=True, related_name="+")
    attempt = models.PositiveIntegerField(
        default=0, help_text="The fence: raised by each claim, carried by each write."
    )
    handed_back = models.PositiveIntegerField(default=0, help_text="Attempts that ended by an orderly stop.")
    max_attempts = models.PositiveIntegerField(default=3)
    lease_until = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    stage = models.CharField(max_length=100, blank=True, help_text="What it is doing now, for people.")
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    eta_s = models.FloatField(null=True, help_text="Seconds left, as far as the run can tell.")
    result = models.JSONField(default=dict, help_text="The final metrics.")
    cause = models.TextField(blank=True, help_text="Why it failed, for people.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running", "succeeded", "failed", "cancelled"]),
                name="run_state_is_known",
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="running_run_has_a_lease"
            ),
            models.CheckConstraint(
                condition=Q(attempt__lte=F("max_attempts") + F("handed_back")), name="attempts_are_capped"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["succeeded", "failed", "cancelled"], finished_at__isnull=False)
                | Q(state__in=["queued", "running"], finished_at__isnull=True),
                name="ended_run_has_an_end",
            ),
            models.UniqueConstraint(
                fields=["project", "kind"], condition=Q(state="running"), name="one_running_run_per_kind"
            ),
            models.UniqueConstraint(
                fields=["round", "kind"],
                condition=Q(state__in=["queued", "running", "succeeded"], round__isnull=False),
                name="one_run_per_stage_of_a_round",
            ),
        ]
        indexes = [models.Index(fields=["state", "lease_until"], name="run_to_sweep")]

    def __str__(self) -> str:
        return f"run {self.pk} ({self.kind})"

    def get_absolute_url(self) -> str:
        return reverse("rlhf:run-detail", args=[self.pk])

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.SUCCEEDED, self.State.FAILED, self.State.CANCELLED)

    def load_config(self) -> RunConfig:
        return load_config(json.dumps(self.config))


class Metric(models.Model):
    """The values a run logged at one step, under TRL's keys."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    values = models.JSONField()

    class Meta:
        ordering = ["run", "step"]
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="one_metric_row_per_step")]

    def __str__(self) -> str:
        return f"step {self.step} of run {self.run_id}"


class Checkpoint(models.Model):
    """A whole model on disk; the row is made last, so what is listed is complete."""

    class Kind(models.TextChoices):
        POLICY = "policy", "policy"
        REWARD = "reward", "reward model"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    run = models.OneToOneField(Run, on_delete=models.PROTECT, null=True, related_name="checkpoint")
    attempt = models.PositiveIntegerField(default=0, help_text="The fence of the run when it was registered.")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=16, choices=Kind)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="children")
    path = models.CharField(max_length=500, help_text="Folder, relative to PREFLOOP_HOME unless absolute.")
    manifest_sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(manifest_sha256__regex=r"^[0-9a-f]{64}$"), name="checkpoint_manifest_is_a_hash"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("rlhf:checkpoint-detail", args=[self.pk])


class Sample(models.Model):
    """A completion some checkpoint drew, and how."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="samples")
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="samples")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="+")
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, null=True, related_name="+")
    index = models.PositiveIntegerField(help_text="0 .. n - 1 within its prompt.")
    text = models.TextField(blank=True)
    n_tokens = models.PositiveIntegerField()
    finished = models.BooleanField(help_text="It ended with an end token.")
    decoding = models.JSONField(help_text="Temperature, top_p and the rest.")
    seed = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "prompt", "index"], name="one_sample_per_index")]

    def __str__(self) -> str:
        return self.text[:80]


class Export(models.Model):
    """A file made for other programs, for a while: asked for, written by a worker, fetched, and taken away again."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"
        EXPIRED = "expired"

    MAX_ATTEMPTS = 3

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    dataset = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, null=True, related_name="exports", help_text="None: the project's judgments."
    )
    format = models.CharField(max_length=16)
    options = models.JSONField(default=dict, help_text="Which split; whether notes are written.")
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    attempt = models.PositiveIntegerField(
        default=0, help_text="The fence: raised by each claim, carried by each write."
    )
    lease_until = models.DateTimeField(null=True)
    cause = models.TextField(blank=True, help_text="Why it failed, for people.")
    file = models.CharField(max_length=255, blank=True, help_text="Its name in the storage.")
    filename = models.CharField(max_length=255, blank=True, help_text="What the browser is told to call it.")
    sha256 = models.CharField(max_length=64, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    n_rows = models.PositiveBigIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    objects = ExportQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running", "ready", "failed", "expired"]), name="export_state_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="running_export_has_a_lease"
            ),
            models.CheckConstraint(
                condition=~Q(state="ready") | (~Q(file="") & Q(expires_at__isnull=False)),
                name="ready_export_has_a_file",
            ),
            models.CheckConstraint(condition=Q(attempt__lte=3), name="export_attempts_are_capped"),
        ]
        indexes = [models.Index(fields=["state", "lease_until"], name="export_to_sweep")]

    def __str__(self) -> str:
        return f"export {self.pk} ({self.format})"

    def get_absolute_url(self) -> str:
        return reverse("rlhf:export-detail", args=[self.pk])

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.QUEUED, self.State.RUNNING)
