"""Files made for other programs."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from labeling.models import Project
from rlhf.models.datasets import Dataset
from rlhf.querysets import ExportQuerySet


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
