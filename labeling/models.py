"""Projects, prompts, completions, comparisons, slots and judgments: what people judge and what they said.

Nothing here knows which model wrote a completion; `rlhf` keeps that, and no relation leads there.
What must never be true is a constraint here or a trigger in migrations/0002_guards.py.
"""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from labeling.querysets import ComparisonQuerySet, JudgmentQuerySet, ProjectQuerySet, SlotQuerySet


class User(AbstractUser):
    """A person, or a simulated labeler that judges the demo in a person's stead."""

    class Kind(models.TextChoices):
        HUMAN = "human", "person"
        SIMULATED = "simulated", "simulated labeler"

    kind = models.CharField(max_length=16, choices=Kind, default=Kind.HUMAN)


class Project(models.Model):
    """A queue of comparisons, its guideline and its people."""

    class Scale(models.TextChoices):
        SEVEN = "seven", "seven steps, much better to much better"
        QUICK = "quick", "one key: A, B, tie, both bad"

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    scale = models.CharField(max_length=16, choices=Scale, default=Scale.QUICK)
    overlap = models.PositiveSmallIntegerField(default=1, help_text="Judgments wanted for each new comparison.")
    lease_s = models.PositiveIntegerField(
        default=900, help_text="Seconds a claimed comparison is kept for its labeler."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(overlap__gte=1, overlap__lte=100), name="overlap_between_1_and_100"),
            models.CheckConstraint(condition=Q(lease_s__gte=1), name="lease_is_positive"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("labeling:judge", args=[self.slug])


class Guideline(models.Model):
    """One version of a project's instructions, in Markdown; judgments name the version they followed."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["project", "-version"]
        constraints = [models.UniqueConstraint(fields=["project", "version"], name="one_guideline_per_version")]

    def __str__(self) -> str:
        return f"{self.project} v{self.version}"


class Membership(models.Model):
    """What a user may do in a project."""

    class Role(models.TextChoices):
        LABELER = "labeler"
        REVIEWER = "reviewer"
        MANAGER = "manager"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.LABELER)
    is_active = models.BooleanField(default=True, help_text="A suspended member can neither claim nor judge.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_user")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"


class Import(models.Model):
    """A file of other people's prompts, pairs or demonstrations; its rows count once it is committed."""

    class State(models.TextChoices):
        STAGED = "staged"
        COMMITTED = "committed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    source = models.CharField(max_length=200, help_text="Who made these rows, for example hh-rlhf.")
    filename = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    format = models.CharField(max_length=16)
    state = models.CharField(max_length=16, choices=State, default=State.STAGED)
    n_rows = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "sha256", "format"], name="one_import_per_file"),
            models.CheckConstraint(condition=Q(state__in=["staged", "committed"]), name="import_state_is_known"),
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
    """A completion worth imitating, for supervised fine-tuning."""

    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="demonstrations")
    imported = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="demonstrations")
    line = models.PositiveIntegerField(help_text="Line of the imported file.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["imported", "line"], name="one_demonstration_per_line")]

    def __str__(self) -> str:
        return str(self.completion)


class Comparison(models.Model):
    """Two completions of one prompt that people compare. A and B are contents; the side they are shown on is the slot's."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="comparisons")
    completion_a = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="+")
    completion_b = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="+")
    content_sha = models.CharField(
        max_length=64, help_text="sha256 of the prompt and both texts, whichever their order."
    )
    overlap = models.PositiveSmallIntegerField(default=1, help_text="Judgments wanted; 0 keeps it out of the queue.")
    priority = models.SmallIntegerField(default=0, help_text="Higher is claimed first.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ComparisonQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "content_sha"], name="one_comparison_per_content"),
            models.CheckConstraint(condition=~Q(completion_a=F("completion_b")), name="completions_differ"),
        ]

    def __str__(self) -> str:
        return f"comparison {self.pk}"


class Slot(models.Model):
    """One of the places a comparison has for judgments; a claim is a slot held under a lease.

    project and priority are copies of the comparison's, so that the claim reads one index.
    """

    class State(models.TextChoices):
        FREE = "free"
        HELD = "held"
        DONE = "done"

    class Reason(models.TextChoices):
        RANDOM = "random"
        ACTIVE = "active"
        GOLD = "gold"
        REPEAT = "repeat"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slots")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="slots")
    number = models.PositiveSmallIntegerField(help_text="0 .. overlap - 1.")
    priority = models.SmallIntegerField(default=0)
    shuffle = models.PositiveIntegerField(default=0, help_text="Random order among equals.")
    a_shown_left = models.BooleanField(help_text="Drawn on the server, alternating within a comparison.")
    reason = models.CharField(max_length=16, choices=Reason, default=Reason.RANDOM)
    propensity = models.FloatField(default=1.0, help_text="Probability with which the reason picked this comparison.")
    state = models.CharField(max_length=8, choices=State, default=State.FREE)
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="slots")
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    shown_at = models.DateTimeField(null=True, blank=True)

    objects = SlotQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "number"], name="one_slot_per_number"),
            models.UniqueConstraint(fields=["comparison", "labeler"], name="one_slot_per_labeler"),
            models.CheckConstraint(condition=Q(state__in=["free", "held", "done"]), name="slot_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state="held") | Q(lease_token__isnull=False, lease_until__isnull=False),
                name="held_slot_has_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(state="free", labeler__isnull=True) | (~Q(state="free") & Q(labeler__isnull=False)),
                name="free_slot_has_no_labeler",
            ),
            models.CheckConstraint(
                condition=Q(propensity__gt=0, propensity__lte=1), name="propensity_is_a_probability"
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "number", "-priority", "shuffle", "id"], name="slot_free", condition=Q(state="free")
            ),
            models.Index(fields=["project", "lease_until"], name="slot_lease", condition=Q(state="held")),
            models.Index(fields=["labeler", "project"], name="slot_held_by", condition=Q(state="held")),
        ]

    def __str__(self) -> str:
        return f"slot {self.number} of comparison {self.comparison_id}"


class Skip(models.Model):
    """A labeler passed a comparison on; she will not be given it again."""

    class Reason(models.TextChoices):
        CANNOT_JUDGE = "cannot_judge", "I cannot judge this"
        BAD_PROMPT = "bad_prompt", "The prompt makes no sense"
        LANGUAGE = "language", "Not my language"
        UNSAFE = "unsafe", "I would rather not read this"
        BROKEN = "broken", "It is shown broken"

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="skips")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="skips")
    reason = models.CharField(max_length=16, choices=Reason)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["comparison", "labeler"], name="one_skip_per_labeler")]

    def __str__(self) -> str:
        return f"{self.labeler} skipped comparison {self.comparison_id}"


class Verdict(models.TextChoices):
    """Which content is better; never which side."""

    A = "A"
    B = "B"
    TIE = "tie"


def verdict_matches_strength() -> Q:
    """The verdict is the sign of the strength: negative is A, positive is B."""
    return (
        Q(verdict="A", strength__gte=-3, strength__lt=0)
        | Q(verdict="B", strength__gt=0, strength__lte=3)
        | Q(verdict="tie", strength=0)
    )


class Judgment(models.Model):
    """What one labeler said of one comparison. Rows are never changed: a correction is a new row that revises the old."""

    idempotency_key = models.UUIDField(
        unique=True, default=uuid.uuid4, help_text="Made by the client; a replay finds the row."
    )
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="judgments")
    labeler = models.ForeignKey(User, on_delete=models.PROTECT, related_name="judgments")
    slot = models.OneToOneField(Slot, on_delete=models.PROTECT, null=True, blank=True, related_name="judgment")
    is_extra = models.BooleanField(default=False, help_text="The vote came after its slot had gone to someone else.")
    revises = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="revision")
    verdict = models.CharField(max_length=3, choices=Verdict)
    strength = models.SmallIntegerField(help_text="-3 A is much better .. 0 about the same .. +3 B is much better.")
    scale = models.CharField(max_length=16, choices=Project.Scale, help_text="The scale it was given on.")
    both_bad = models.BooleanField(default=False)
    unsafe_a = models.BooleanField(default=False)
    unsafe_b = models.BooleanField(default=False)
    note = models.TextField(blank=True)
    a_shown_left = models.BooleanField()
    guideline = models.ForeignKey(Guideline, on_delete=models.PROTECT, null=True, blank=True, related_name="judgments")
    reason = models.CharField(max_length=16, choices=Slot.Reason, default=Slot.Reason.RANDOM)
    propensity = models.FloatField(default=1.0)
    shown_at = models.DateTimeField()
    submitted_at = models.DateTimeField(default=timezone.now, editable=False)
    active_ms = models.PositiveIntegerField(default=0, help_text="Milliseconds the page was visible and in use.")

    objects = JudgmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=verdict_matches_strength(), name="verdict_is_the_sign_of_strength"),
            models.CheckConstraint(
                condition=Q(slot__isnull=False) | Q(is_extra=True) | Q(revises__isnull=False),
                name="judgment_has_its_place",
            ),
            models.UniqueConstraint(
                fields=["comparison", "labeler"], condition=Q(revises__isnull=True), name="one_judgment_per_labeler"
            ),
        ]
        indexes = [models.Index(fields=["labeler", "-id"], name="judgment_by_labeler")]

    def __str__(self) -> str:
        return f"{self.verdict} on comparison {self.comparison_id}"


class ImportedJudgment(models.Model):
    """A vote recorded elsewhere, under its source's name; never mixed up with what our own labelers said."""

    imported = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="judgments")
    line = models.PositiveIntegerField(help_text="Line of the imported file.")
    part = models.PositiveIntegerField(default=0, help_text="Which pair of that line, when a line ranks several.")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="imported_judgments")
    verdict = models.CharField(max_length=3, choices=Verdict)
    strength = models.SmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["imported", "line", "part"], name="one_imported_judgment_per_line"),
            models.CheckConstraint(
                condition=verdict_matches_strength(), name="imported_verdict_is_the_sign_of_strength"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} on comparison {self.comparison_id}, says {self.imported.source}"
