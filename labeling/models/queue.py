"""Comparisons, their slots, gold, and what was skipped: the queue."""

from __future__ import annotations

import secrets

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling.models.content import Completion, Prompt, Slice
from labeling.models.projects import Project, User
from labeling.querysets import ComparisonQuerySet, SlotQuerySet


class Reason(models.TextChoices):
    """Why a labeler was given a comparison."""

    RANDOM = "random", _("random")
    PRIORITY = "priority", _("priority")
    ACTIVE = "active", _("active")
    GOLD = "gold", _("gold")
    REPEAT = "repeat", _("repeat")
    EXAM = "exam", _("exam")


# Reasons of judgments that measure the labeler: they never count toward overlap and never become data.
PROBES = (Reason.GOLD, Reason.REPEAT, Reason.EXAM)


class Comparison(models.Model):
    """Two completions of one prompt that people compare. A and B are contents; the side they are shown on is the slot's."""

    class State(models.TextChoices):
        OPEN = "open", _("open")
        TRIAGE = "triage", _("waits for a reviewer")
        SETTLED = "settled", _("settled by a reviewer")
        RETIRED = "retired", _("retired")

    # Whatever is asked of a project's comparisons, an index below or that of the constraint begins with it.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons", db_index=False)
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="comparisons")
    completion_a = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="+")
    completion_b = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="+")
    content_sha = models.CharField(
        max_length=64, help_text="sha256 of the prompt and both texts, whichever their order."
    )
    overlap = models.PositiveSmallIntegerField(default=1, help_text="Judgments wanted; 0 keeps it out of the queue.")
    priority = models.SmallIntegerField(default=0, help_text="Higher is claimed first.")
    score = models.FloatField(default=0.0, help_text="How much a judgment would teach; higher is claimed first.")
    reason = models.CharField(max_length=16, choices=Reason, default=Reason.RANDOM, help_text="Why it was proposed.")
    propensity = models.FloatField(default=1.0, help_text="Probability with which it was proposed.")
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    n_judgments = models.PositiveSmallIntegerField(default=0, help_text="Labelers who judged it, probes left out.")
    spread = models.PositiveSmallIntegerField(default=0, help_text="Greatest less least strength, as they stand.")
    is_split = models.BooleanField(default=False, help_text="Labelers name different winners, as they stand.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ComparisonQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "content_sha"], name="one_comparison_per_content"),
            models.CheckConstraint(condition=~Q(completion_a=F("completion_b")), name="completions_differ"),
            models.CheckConstraint(
                condition=Q(state__in=["open", "triage", "settled", "retired"]), name="comparison_state_is_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "-is_split", "-spread", "id"],
                name="comparison_disputed",
                condition=Q(state="open", spread__gt=0),
            ),
            models.Index(fields=["project", "id"], name="comparison_triage", condition=Q(state="triage")),
            models.Index(fields=["project", "-id"], name="comparison_newest"),
        ]

    def __str__(self) -> str:
        return f"comparison {self.pk}"


def draw_slot_id() -> int:
    """Return an id that says nothing of when its slot was made: a probe's, made when it is claimed, is like any other.

    Under 2**53, so that every JSON reader keeps it exactly.
    """
    return secrets.randbelow(2**53 - 1) + 1


class Slot(models.Model):
    """One of the places a comparison has for judgments; a claim is a slot held under a lease.

    project, slice, priority and score are copies, so that the claim reads one index. A reserved slot is held but not
    shown yet (shown_at is null): the page has it ready. Slots of probes stand outside the overlap: they are made when
    they are claimed, and numbered from PROBE_NUMBER on by labeler.
    """

    PROBE_NUMBER = 1_000_000

    class State(models.TextChoices):
        FREE = "free"
        HELD = "held"
        DONE = "done"
        SHUT = "shut"

    id = models.BigIntegerField(primary_key=True, default=draw_slot_id, editable=False)
    # Indexes of these columns alone would tempt PostgreSQL, whose statistics lag behind, away from those below.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slots", db_index=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="slots", db_index=False)
    slice = models.ForeignKey(Slice, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False)
    number = models.PositiveBigIntegerField(help_text="0 .. overlap - 1.")
    priority = models.SmallIntegerField(default=0)
    score = models.FloatField(default=0.0)
    shuffle = models.PositiveIntegerField(default=0, help_text="Random order among equals.")
    a_shown_left = models.BooleanField(help_text="Drawn on the server, alternating within a comparison.")
    reason = models.CharField(max_length=16, choices=Reason, default=Reason.RANDOM)
    propensity = models.FloatField(default=1.0, help_text="Probability with which the reason picked this comparison.")
    is_conditional = models.BooleanField(
        default=False, help_text="Whether it was asked for hung on what others had said: agreement leaves it out."
    )
    state = models.CharField(max_length=8, choices=State, default=State.FREE)
    labeler = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="slots", db_index=False
    )
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    shown_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField(
        null=True, default=timezone.now, editable=False, help_text="When it could be claimed from, the last time."
    )

    objects = SlotQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "number"], name="one_slot_per_number"),
            models.UniqueConstraint(
                fields=["comparison", "labeler"], condition=~Q(reason="repeat"), name="one_slot_per_labeler"
            ),
            models.UniqueConstraint(
                fields=["comparison", "labeler"], condition=Q(reason="repeat"), name="one_repeat_slot_per_labeler"
            ),
            models.CheckConstraint(condition=Q(state__in=["free", "held", "done", "shut"]), name="slot_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state="held") | Q(lease_token__isnull=False, lease_until__isnull=False),
                name="held_slot_has_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["free", "shut"], labeler__isnull=True)
                | Q(state__in=["held", "done"], labeler__isnull=False),
                name="free_slot_has_no_labeler",
            ),
            models.CheckConstraint(
                condition=Q(propensity__gt=0, propensity__lte=1), name="propensity_is_a_probability"
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "slice", "number", "-priority", "shuffle", "id"],
                name="slot_free",
                condition=Q(state="free"),
            ),
            models.Index(
                fields=["project", "slice", "number", "shuffle", "id"],
                name="slot_free_random",
                condition=Q(state="free"),
            ),
            models.Index(
                fields=["project", "slice", "number", "-priority", "-score", "shuffle", "id"],
                name="slot_free_score",
                condition=Q(state="free"),
            ),
            models.Index(fields=["project", "opened_at"], name="slot_opened", condition=Q(state="free")),
            # Not of the state: PostgreSQL, whose statistics say that next to nothing is held, would look through all that
            # is held wherever one held slot is asked for.
            models.Index(fields=["project", "lease_until"], name="slot_lease", condition=Q(lease_until__isnull=False)),
            models.Index(fields=["labeler", "project"], name="slot_held_by", condition=Q(state="held")),
            models.Index(fields=["project"], name="slot_conditional", condition=Q(is_conditional=True)),
        ]

    def __str__(self) -> str:
        return f"slot {self.number} of comparison {self.comparison_id}"


class Skip(models.Model):
    """A labeler passed a comparison on; she will not be given it again."""

    class Reason(models.TextChoices):
        CANNOT_JUDGE = "cannot_judge", _("I cannot judge this")
        BAD_PROMPT = "bad_prompt", _("The prompt makes no sense")
        LANGUAGE = "language", _("Not my language")
        UNSAFE = "unsafe", _("I would rather not read this")
        BROKEN = "broken", _("It is shown broken")

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="skips")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="skips", db_index=False)
    reason = models.CharField(max_length=16, choices=Reason)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["comparison", "labeler"], name="one_skip_per_labeler")]
        indexes = [models.Index(fields=["labeler", "-id"], name="skip_by_labeler")]

    def __str__(self) -> str:
        return f"{self.labeler} skipped comparison {self.comparison_id}"


class Gold(models.Model):
    """A comparison whose right answer is known: it is slipped in unmarked to measure labelers."""

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, related_name="gold")
    strength_min = models.SmallIntegerField(help_text="The least strength that is right: -3 A .. +3 B.")
    strength_max = models.SmallIntegerField(help_text="The greatest strength that is right.")
    explanation = models.TextField(blank=True, help_text="Why; shown after an exam, never at work.")
    is_exam = models.BooleanField(default=False, help_text="Kept for exams, never slipped into work.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(strength_min__gte=-3, strength_max__lte=3, strength_min__lte=F("strength_max")),
                name="gold_strengths_are_a_range",
            )
        ]

    def __str__(self) -> str:
        return f"gold {self.comparison_id}"
