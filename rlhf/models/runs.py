"""Runs, what they logged, and what they drew."""

from __future__ import annotations

import json

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from labeling.models import Completion, Project, Prompt
from rlhf.contract.config import load_config
from rlhf.contract.settings import RunConfig
from rlhf.models.datasets import Dataset
from rlhf.models.loops import Round
from rlhf.querysets import RunQuerySet


class Run(models.Model):
    """One piece of learning. The row is the truth; a Celery message only rings at the worker's door."""

    class Kind(models.TextChoices):
        PRETRAIN = "pretrain", "pre-training"
        SFT = "sft", "supervised fine-tuning"
        REWARD = "reward", "reward model"
        DPO = "dpo", "DPO"
        PPO = "ppo", "PPO"
        KTO = "kto", "KTO"
        GRPO = "grpo", "RLOO or GRPO"
        MERGE = "merge", "averaging of weights"
        SAMPLE = "sample", "sampling"
        EVALUATE = "evaluate", "evaluation"
        SCORE = "score", "scoring of pairs"
        FEEDBACK = "feedback", "AI feedback"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    round = models.ForeignKey(Round, on_delete=models.PROTECT, null=True, related_name="runs")
    kind = models.CharField(max_length=16, choices=Kind)
    part = models.CharField(
        max_length=16, blank=True, help_text="What it is for, where a round has several stages of its kind."
    )
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    config = models.JSONField(help_text="What contract.config.load_config reads.")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, null=True, related_name="runs")
    base = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, related_name="+", help_text="The model it starts from."
    )
    reward_model = models.ForeignKey("Checkpoint", on_delete=models.PROTECT, null=True, related_name="+")
    other = models.ForeignKey(
        "Checkpoint", on_delete=models.PROTECT, null=True, related_name="+", help_text="The model it is merged with."
    )
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
    estimate = models.JSONField(
        default=dict, help_text="What it was thought to cost: memory_bytes, seconds, total_bytes."
    )
    alarms = models.JSONField(
        default=list, help_text="Signs of over-optimization: [{step, name, words}], oldest first."
    )
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
                fields=["round", "kind", "part"],
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


class Sample(models.Model):
    """A completion some checkpoint drew, and how."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="samples")
    checkpoint = models.ForeignKey("Checkpoint", on_delete=models.PROTECT, related_name="samples")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="+")
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, null=True, related_name="+")
    index = models.PositiveIntegerField(help_text="0 .. n - 1 within its prompt.")
    text = models.TextField(blank=True)
    n_tokens = models.PositiveIntegerField()
    finished = models.BooleanField(help_text="It ended with an end token.")
    decoding = models.JSONField(help_text="Temperature, top_p and the rest.")
    seed = models.BigIntegerField()
    scores = models.JSONField(default=list, help_text="What each head of the last reward model that scored it said.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "prompt", "index"], name="one_sample_per_index")]

    def __str__(self) -> str:
        return self.text[:80]
