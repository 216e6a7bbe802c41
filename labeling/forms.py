"""What people send: forms alone read request.POST."""

from __future__ import annotations

from typing import Any

from django import forms

from labeling.domain.judging import MAX_ACTIVE_MS, QUICK_STRENGTH, Vote
from labeling.models import Project, Skip

STEPS = [
    (-3, "A is much better"),
    (-2, "A is better"),
    (-1, "A is slightly better"),
    (0, "About the same"),
    (1, "B is slightly better"),
    (2, "B is better"),
    (3, "B is much better"),
]
# On a phone the seven stand in one row, so each has a short name beside its long one.
SHORT_STEPS = ["A+++", "A++", "A+", "=", "B+", "B++", "B+++"]
CHOICES = {"left": -QUICK_STRENGTH, "right": QUICK_STRENGTH, "tie": 0, "both_bad": 0}


class VoteForm(forms.Form):
    """A vote in the words of the page, where A is the left completion: one key (choice) or seven steps (preference)."""

    scale = forms.ChoiceField(choices=Project.Scale)
    choice = forms.ChoiceField(choices=[(name, name) for name in CHOICES], required=False)
    preference = forms.TypedChoiceField(choices=STEPS, coerce=int, required=False, empty_value=None)
    both_bad = forms.BooleanField(required=False)
    unsafe_left = forms.BooleanField(required=False)
    unsafe_right = forms.BooleanField(required=False)
    note = forms.CharField(required=False, max_length=10_000, strip=False)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=MAX_ACTIVE_MS)
    shown_at = forms.DateTimeField(required=False)
    idempotency_key = forms.UUIDField()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("scale") == Project.Scale.QUICK and not cleaned.get("choice"):
            raise forms.ValidationError("Choose A, B, tie or both bad.")
        if cleaned.get("scale") == Project.Scale.SEVEN and cleaned.get("preference") is None:
            raise forms.ValidationError("Choose one of the seven steps before you save.")
        return cleaned

    def to_vote(self) -> Vote:
        """Return the vote of a valid form."""
        said = self.cleaned_data
        is_quick = said["scale"] == Project.Scale.QUICK
        return Vote(
            preference=CHOICES[said["choice"]] if is_quick else said["preference"],
            scale=said["scale"],
            both_bad=said["choice"] == "both_bad" if is_quick else said["both_bad"],
            unsafe_left=said["unsafe_left"],
            unsafe_right=said["unsafe_right"],
            note=said["note"],
            active_ms=said["active_ms"] or 0,
        )


class ClaimForm(forms.Form):
    """The slot she was given and the proof that it was given to her."""

    slot = forms.IntegerField(min_value=1)
    lease_token = forms.UUIDField()


class JudgmentForm(ClaimForm, VoteForm):
    """A vote on a claim."""


class SkipForm(ClaimForm):
    reason = forms.ChoiceField(choices=Skip.Reason)


class ScaleForm(forms.Form):
    scale = forms.ChoiceField(choices=Project.Scale)


class GuidelineForm(forms.Form):
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 14}), label="Guideline", help_text="Markdown. Saving makes a new version."
    )


class ProjectForm(forms.ModelForm):
    """A new project."""

    overlap = forms.IntegerField(
        min_value=1, max_value=100, initial=1, label="Judgments wanted for each comparison", help_text="From 1 to 100."
    )
    guideline = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8}),
        required=False,
        help_text="Markdown: what makes a completion better.",
    )

    class Meta:
        model = Project
        fields = ("name", "slug", "scale", "overlap")
        labels = {"slug": "Address"}
        help_texts = {"slug": "Letters, digits, hyphens: the last part of /judge/…/"}
