"""Models on disk that a run made or a person registered."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from labeling.models import Project
from rlhf.models.runs import Run
from rlhf.querysets import CheckpointQuerySet


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
