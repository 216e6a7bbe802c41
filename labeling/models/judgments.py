"""What people said: judgments, the completions they rewrote, what reviewers decided, and votes recorded elsewhere."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling.models.content import Completion, Import
from labeling.models.projects import Guideline, Project, User
from labeling.models.queue import Comparison, Reason, Slot
from labeling.models.scales import FORCED, WIDEST
from labeling.querysets import JudgmentQuerySet


class Verdict(models.TextChoices):
    """Which content is better; never which side."""

    A = "A"
    B = "B"
    TIE = "tie"


def verdict_matches_strength(*, most: int) -> Q:
    """The verdict is the sign of the strength: negative is A, positive is B."""
    return (
        Q(verdict="A", strength__gte=-most, strength__lt=0)
        | Q(verdict="B", strength__gt=0, strength__lte=most)
        | Q(verdict="tie", strength=0)
    )


def strength_is_of_its_scale() -> Q:
    """No scale goes further than its last step, and on a forced one there is no middle."""
    forced = Q(scale__in=[str(scale) for scale in FORCED])
    return (~forced & Q(strength__gte=-3, strength__lte=3)) | (forced & ~Q(strength=0))


class Judgment(models.Model):
    """What one labeler said of one comparison. Rows are never changed: a correction is a new row that revises the old."""

    idempotency_key = models.UUIDField(
        unique=True, default=uuid.uuid4, help_text="Made by the client; a replay finds the row."
    )
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="judgments")
    # An index of the labeler alone would tempt PostgreSQL, whose statistics lag behind, to read all she ever judged.
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="judgments", db_index=False)
    slot = models.OneToOneField(Slot, on_delete=models.PROTECT, null=True, blank=True, related_name="judgment")
    is_extra = models.BooleanField(default=False, help_text="The vote came after its slot had gone to someone else.")
    revises = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="revision")
    verdict = models.CharField(max_length=3, choices=Verdict)
    strength = models.SmallIntegerField(
        help_text="As said on its scale: -3 A is much better .. 0 about the same .. +3 B is much better; "
        "or -4 .. -1 A, 1 .. 4 B."
    )
    scale = models.CharField(max_length=16, choices=Project.Scale, help_text="The scale it was given on.")
    both_bad = models.BooleanField(default=False)
    unsafe_a = models.BooleanField(default=False)
    unsafe_b = models.BooleanField(default=False)
    axes = models.JSONField(default=dict, blank=True, help_text="Strength by axis, as of the contents A and B.")
    reasons = models.JSONField(default=list, blank=True, help_text="The words she clicked.")
    note = models.TextField(blank=True)
    a_shown_left = models.BooleanField()
    lease_token = models.UUIDField(
        null=True,
        editable=False,
        help_text="Proof that she was given the place; none for what was said before it was kept.",
    )
    guideline = models.ForeignKey(Guideline, on_delete=models.PROTECT, null=True, blank=True, related_name="judgments")
    reason = models.CharField(max_length=16, choices=Reason, default=Reason.RANDOM)
    propensity = models.FloatField(default=1.0)
    is_conditional = models.BooleanField(default=False, help_text="That of the place she was given.")
    shown_at = models.DateTimeField()
    submitted_at = models.DateTimeField(default=timezone.now, editable=False)
    active_ms = models.PositiveIntegerField(default=0, help_text="Milliseconds the page was visible and in use.")
    is_hasty = models.BooleanField(default=False, help_text="Sooner than anyone could have read it, by our clock.")
    trace = models.JSONField(default=dict, blank=True, help_text="How it was made: see labeling/domain/tracing.py.")

    objects = JudgmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=verdict_matches_strength(most=WIDEST), name="verdict_is_the_sign_of_strength"
            ),
            models.CheckConstraint(condition=strength_is_of_its_scale(), name="strength_is_of_its_scale"),
            models.CheckConstraint(
                condition=Q(slot__isnull=False) | Q(is_extra=True) | Q(revises__isnull=False),
                name="judgment_has_its_place",
            ),
            models.UniqueConstraint(
                fields=["comparison", "labeler"],
                condition=Q(revises__isnull=True) & ~Q(reason="repeat"),
                name="one_judgment_per_labeler",
            ),
            models.UniqueConstraint(
                fields=["comparison", "labeler"],
                condition=Q(revises__isnull=True, reason="repeat"),
                name="one_repeat_per_labeler",
            ),
        ]
        indexes = [
            models.Index(fields=["labeler", "-id"], name="judgment_by_labeler"),
            models.Index(fields=["labeler", "submitted_at"], name="judgment_by_day", condition=Q(revises__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} on comparison {self.comparison_id}"


class Fix(models.Model):
    """A completion a labeler rewrote from the one she preferred: better than both, and a demonstration."""

    judgment = models.OneToOneField(Judgment, on_delete=models.PROTECT, related_name="fix")
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="fixes")

    class Meta:
        verbose_name_plural = "fixes"

    def __str__(self) -> str:
        return f"fix of judgment {self.judgment_id}"


class Adjudication(models.Model):
    """What a reviewer decided of a comparison. Rows are never changed: the last one counts."""

    class Act(models.TextChoices):
        ACCEPT = "accept", _("accept what the labelers said")
        OVERRIDE = "override", _("decide otherwise")
        SEND_BACK = "send_back", _("send back to be judged anew")
        RETIRE = "retire", _("retire it")

    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="adjudications")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="adjudications")
    act = models.CharField(max_length=12, choices=Act)
    strength = models.SmallIntegerField(
        null=True, blank=True, help_text="When she decides otherwise: negative is A, positive is B."
    )
    scale = models.CharField(
        max_length=16, choices=Project.Scale, default=Project.Scale.SEVEN, help_text="The scale of the strength."
    )
    both_bad = models.BooleanField(default=False)
    upto = models.BigIntegerField(default=0, help_text="The newest judgment she had seen; sent back, later ones count.")
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(act="override", strength__isnull=False, strength__gte=-WIDEST, strength__lte=WIDEST)
                    & strength_is_of_its_scale()
                )
                | (~Q(act="override") & Q(strength__isnull=True)),
                name="override_has_a_strength",
            )
        ]

    def __str__(self) -> str:
        return f"{self.act} on comparison {self.comparison_id}"


class ImportedJudgment(models.Model):
    """A vote recorded elsewhere, under its source's name; never mixed up with what our own labelers said."""

    imported = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="judgments")
    line = models.PositiveIntegerField(help_text="Line of the imported file.")
    part = models.PositiveIntegerField(default=0, help_text="Which pair of that line, when a line ranks several.")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="imported_judgments")
    verdict = models.CharField(max_length=3, choices=Verdict)
    strength = models.SmallIntegerField()
    both_bad = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["imported", "line", "part"], name="one_imported_judgment_per_line"),
            models.CheckConstraint(
                condition=verdict_matches_strength(most=3), name="imported_verdict_is_the_sign_of_strength"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} on comparison {self.comparison_id}, says {self.imported.source}"
