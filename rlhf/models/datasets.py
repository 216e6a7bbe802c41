"""Frozen datasets and the judgments behind their lines."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from labeling.models import Comparison, ImportedJudgment, Judgment, Project


class Dataset(models.Model):
    """Judgments or demonstrations frozen into bytes; the bytes lie in storage under their hash."""

    class Kind(models.TextChoices):
        PREFERENCE = "preference", "preferences"
        DEMONSTRATION = "demonstration", "demonstrations"
        TEXT = "text", "pre-training text"
        PROMPT = "prompt", "prompts"
        BENCHMARK = "benchmark", "test pairs"

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
    ai_judgment = models.ForeignKey("AIJudgment", on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(judgment__isnull=False, imported_judgment__isnull=True, ai_judgment__isnull=True)
                | Q(judgment__isnull=True, imported_judgment__isnull=False, ai_judgment__isnull=True)
                | Q(judgment__isnull=True, imported_judgment__isnull=True, ai_judgment__isnull=False),
                name="source_is_one_judgment",
            ),
            models.CheckConstraint(condition=Q(split__in=["train", "test"]), name="source_split_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.split} line {self.line}"
