"""The audit trail, and the views people saved."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from labeling.models.projects import Project, User


class AuditEvent(models.Model):
    """Who changed what, when, from what, to what. Rows are never changed."""

    # The trail outlives what it speaks of: no constraint of the database ties it to the rows it names.
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, null=True, blank=True, related_name="events"
    )
    actor = models.ForeignKey(
        User, on_delete=models.DO_NOTHING, db_constraint=False, null=True, blank=True, related_name="+"
    )
    verb = models.CharField(max_length=48, help_text="For example project.edit, member.quarantine.")
    subject = models.CharField(max_length=200, help_text="What it was done to, for example comparison 12.")
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["project", "-id"], name="event_by_project")]

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}"


class SavedView(models.Model):
    """A search someone wants to come back to; a shared one is everybody's in the project."""

    class Page(models.TextChoices):
        PROMPTS = "prompts"
        COMPLETIONS = "completions"
        COMPARISONS = "comparisons"
        JUDGMENTS = "judgments"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="views")
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    page = models.CharField(max_length=16, choices=Page)
    name = models.CharField(max_length=100)
    query = models.CharField(max_length=2000, blank=True, help_text="The query string of the page.")
    is_shared = models.BooleanField(default=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "owner", "page", "name"], name="one_view_per_name"),
            models.CheckConstraint(
                condition=Q(page__in=["prompts", "completions", "comparisons", "judgments"]), name="view_page_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name
