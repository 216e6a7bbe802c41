"""Prompts, completions, where they came from, and the slices they fall into."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from labeling.models.projects import Project, User


class Slice(models.Model):
    """Prompts of one kind and language: what figures are broken down by, and what labelers are skilled in."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slices")
    name = models.CharField(max_length=64, blank=True, help_text="For example code, chat, refusals.")
    language = models.CharField(max_length=16, blank=True, help_text="For example en, de, pt-BR; empty if unknown.")

    class Meta:
        ordering = ["project", "name", "language"]
        constraints = [models.UniqueConstraint(fields=["project", "name", "language"], name="one_slice_per_name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.language})" if self.name and self.language else self.name or self.language


class Import(models.Model):
    """A file of other people's prompts, pairs or demonstrations; its rows count once it is committed."""

    class State(models.TextChoices):
        UPLOADED = "uploaded"
        CHECKED = "checked"
        STAGED = "staged"
        COMMITTED = "committed"
        REFUSED = "refused"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    source = models.CharField(max_length=200, help_text="Who made these rows, for example hh-rlhf.")
    filename = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64, blank=True)
    format = models.CharField(max_length=16, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.STAGED)
    n_rows = models.PositiveIntegerField(default=0)
    owner = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    file = models.CharField(max_length=255, blank=True, help_text="Its name in the storage while it is waited for.")
    mapping = models.JSONField(
        default=dict, blank=True, help_text="Which of its columns are which of ours; empty for none."
    )
    options = models.JSONField(default=dict, blank=True, help_text="Overlap and slice its rows get.")
    report = models.JSONField(default=dict, blank=True, help_text="What checking found.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "sha256", "format"],
                condition=Q(state__in=["staged", "committed"]),
                name="one_import_per_file",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["uploaded", "checked", "staged", "committed", "refused"]),
                name="import_state_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} ({self.filename})"


class Prompt(models.Model):
    """A conversation that ends where a completion begins."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    messages = models.JSONField(help_text="List of {role, content}.")
    content_sha = models.CharField(max_length=64, help_text="sha256 of the canonical messages.")
    group = models.CharField(
        max_length=64, db_index=True, help_text="Prompts of one group share a side of every split."
    )
    slice = models.ForeignKey(Slice, on_delete=models.SET_NULL, null=True, blank=True, related_name="prompts")
    is_held_out = models.BooleanField(default=False, help_text="Kept for evaluation: neither queued nor trained on.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "content_sha"], name="one_prompt_per_content")]

    def __str__(self) -> str:
        return str(self.messages[-1]["content"])[:80]


class Completion(models.Model):
    """A candidate answer to a prompt; author is set only when a person of the house wrote it."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="completions")
    text = models.TextField(blank=True)
    content_sha = models.CharField(max_length=64, help_text="sha256 of the text.")
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="completions")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prompt", "content_sha"], name="one_completion_per_content")]

    def __str__(self) -> str:
        return self.text[:80]


class Demonstration(models.Model):
    """A completion worth imitating, for supervised fine-tuning: imported, or written by a labeler who fixed another."""

    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="demonstrations")
    imported = models.ForeignKey(Import, on_delete=models.CASCADE, null=True, blank=True, related_name="demonstrations")
    line = models.PositiveIntegerField(null=True, blank=True, help_text="Line of the imported file.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["imported", "line"], name="one_demonstration_per_line"),
            models.CheckConstraint(
                condition=Q(imported__isnull=False, line__isnull=False) | Q(imported__isnull=True, line__isnull=True),
                name="imported_demonstration_has_its_line",
            ),
            models.UniqueConstraint(
                fields=["completion"], condition=Q(imported__isnull=True), name="one_own_demonstration_per_completion"
            ),
        ]

    def __str__(self) -> str:
        return str(self.completion)
