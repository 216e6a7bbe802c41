"""People, projects, guidelines, and who may do what where."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling.models import scales
from labeling.querysets import ProjectQuerySet


class User(AbstractUser):
    """A person, or a simulated labeler that judges the demo in a person's stead."""

    class Kind(models.TextChoices):
        HUMAN = "human", "person"
        SIMULATED = "simulated", "simulated labeler"

    kind = models.CharField(max_length=16, choices=Kind, default=Kind.HUMAN)
    desk = models.JSONField(
        default=dict, blank=True, help_text="How she likes her judge page: keys, text size, width, layout."
    )


class Project(models.Model):
    """A queue of comparisons, its guideline and its people, and the rules by which they work."""

    Scale = scales.Scale

    class Strategy(models.TextChoices):
        PRIORITY = "priority", _("by priority, else in random order")
        SCORE = "score", _("by priority, then score: what the reward model is least sure of first")

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    is_archived = models.BooleanField(default=False, help_text="Closed: nothing is handed out any more.")

    # What a labeler is asked.
    scale = models.CharField(max_length=16, choices=Scale, default=Scale.QUICK)
    axes = models.JSONField(default=list, blank=True, help_text="Names of qualities judged besides, each -3..3.")
    axes_first = models.BooleanField(default=False, help_text="Ask for the axes before the overall preference.")
    reasons = models.JSONField(default=list, blank=True, help_text="Words a labeler may click as her reasons.")
    asks_flags = models.BooleanField(default=True, help_text="Offer the unsafe flags.")
    asks_fixes = models.BooleanField(default=False, help_text="Offer to rewrite the better completion.")
    content_warning = models.CharField(
        max_length=200, blank=True, help_text="Texts are blurred behind these words until the labeler asks for them."
    )

    # How many judgments a comparison gets.
    overlap = models.PositiveSmallIntegerField(default=1, help_text="Judgments wanted for each new comparison.")
    overlap_share = models.FloatField(
        default=1.0, help_text="Share of new comparisons that get the overlap; the others get one judgment."
    )
    overlap_max = models.PositiveSmallIntegerField(
        default=0, help_text="Where labelers disagree, ask for more judgments up to this many; 0 never asks."
    )
    spread_limit = models.PositiveSmallIntegerField(
        default=3, help_text="Labelers disagree when their strengths lie this far apart, or name different winners."
    )
    triage_after = models.PositiveSmallIntegerField(
        default=3, help_text="Skips after which a comparison waits for a reviewer; 0 never."
    )

    # What is handed out, and to whom.
    lease_s = models.PositiveIntegerField(
        default=900, help_text="Seconds a claimed comparison is kept for its labeler."
    )
    strategy = models.CharField(max_length=16, choices=Strategy, default=Strategy.PRIORITY)
    random_share = models.FloatField(default=0.1, help_text="Share of claims drawn at random whatever the strategy.")
    gold_share = models.FloatField(default=0.05, help_text="Share of claims that are gold, while there is any.")
    repeat_share = models.FloatField(default=0.03, help_text="Share of claims that repeat an own earlier judgment.")
    repeat_after_h = models.PositiveSmallIntegerField(default=24, help_text="Hours before a judgment is repeated.")
    exam_size = models.PositiveSmallIntegerField(default=0, help_text="Gold a labeler judges before work; 0 for none.")
    exam_pass_share = models.FloatField(default=0.75, help_text="Share of the exam that must be right.")
    daily_cap = models.PositiveIntegerField(default=0, help_text="Judgments a labeler may make a day; 0 sets no cap.")
    labeler_cap = models.PositiveIntegerField(default=0, help_text="Judgments a labeler may make in all; 0 no cap.")
    break_after_min = models.PositiveSmallIntegerField(
        default=50, help_text="Minutes of work after which a break is suggested; 0 never."
    )

    frozen_upto = models.BigIntegerField(
        default=0, editable=False, help_text="Judgments up to this id went into a dataset: no revision after that."
    )

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(overlap__gte=1, overlap__lte=100), name="overlap_between_1_and_100"),
            models.CheckConstraint(condition=Q(lease_s__gte=1), name="lease_is_positive"),
            models.CheckConstraint(
                condition=Q(overlap_share__gte=0, overlap_share__lte=1), name="overlap_share_is_a_share"
            ),
            models.CheckConstraint(condition=Q(overlap_max__lte=100), name="overlap_max_at_most_100"),
            models.CheckConstraint(
                condition=Q(spread_limit__gte=1, spread_limit__lte=6), name="spread_limit_between_1_and_6"
            ),
            models.CheckConstraint(
                condition=Q(random_share__gte=0.1, random_share__lte=1), name="random_share_at_least_a_tenth"
            ),
            models.CheckConstraint(
                condition=Q(gold_share__gte=0, repeat_share__gte=0) & Q(gold_share__lte=0.5, repeat_share__lte=0.5),
                name="gold_and_repeat_shares_at_most_half",
            ),
            models.CheckConstraint(
                condition=Q(exam_pass_share__gte=0, exam_pass_share__lte=1), name="exam_pass_share_is_a_share"
            ),
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
    is_breaking = models.BooleanField(
        default=False, help_text="Judgments under earlier versions answer another question."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["project", "-version"]
        constraints = [models.UniqueConstraint(fields=["project", "version"], name="one_guideline_per_version")]

    def __str__(self) -> str:
        return f"{self.project} v{self.version}"


class Membership(models.Model):
    """What a user may do in a project."""

    class Role(models.TextChoices):
        LABELER = "labeler", _("labeler")
        REVIEWER = "reviewer", _("reviewer")
        MANAGER = "manager", _("manager")

    class Exam(models.TextChoices):
        OPEN = "open", _("not taken")
        PASSED = "passed", _("passed")
        FAILED = "failed", _("failed")
        WAIVED = "waived", _("waived")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.LABELER)
    is_active = models.BooleanField(default=True, help_text="A suspended member can neither claim nor judge.")
    is_quarantined = models.BooleanField(
        default=False, help_text="Her judgments are kept but left out of datasets until she is reinstated."
    )
    exam = models.CharField(max_length=8, choices=Exam, default=Exam.OPEN)
    exam_from = models.BigIntegerField(
        default=0, editable=False, help_text="The exam counts her judgments after this id: a second try starts anew."
    )
    languages = models.JSONField(default=list, blank=True, help_text="Languages she judges; empty for all.")
    slices = models.JSONField(default=list, blank=True, help_text="Slices she is skilled in; empty for all.")
    declined = models.JSONField(default=list, blank=True, help_text="Slices she would rather not see.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_user")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"
