"""What a labeler sends from the judge page."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any, NamedTuple

from django import forms
from django.utils.translation import gettext_lazy as _

from labeling.domain.asking import MAX_ACTIVE_MS
from labeling.domain.judging import QUICK_STRENGTH, Vote
from labeling.forms.scales import ALL_CHOICES, FREE, SEVEN_CHOICES
from labeling.models import Project, Skip
from labeling.models.scales import list_strengths

CHOICES = {"left": -QUICK_STRENGTH, "right": QUICK_STRENGTH, "tie": 0, "both_bad": 0}
TRACE_CHARS = 2000


class ReadySlot(NamedTuple):
    """What the page shows while what it sent travels: a reserved slot; or nothing, while more is on its way."""

    slot_id: int
    lease_token: uuid.UUID
    is_followed: bool
    shown_at: datetime | None = None


class Draft(NamedTuple):
    """What she put in a form that was refused, in the words of a Vote; what makes no sense is left out."""

    preference: int | None
    both_bad: bool
    unsafe_left: bool
    unsafe_right: bool
    axes: dict[str, int]
    reasons: list[str]
    note: str
    fix: str


NO_TOKEN = uuid.UUID(int=0)


class ReadyForm(forms.Form):
    """What every act on a pair may carry: the slot the page had ready and shows now, or that more acts follow."""

    show_slot = forms.IntegerField(required=False, min_value=1)
    show_token = forms.UUIDField(required=False)
    show_at = forms.DateTimeField(required=False)
    more = forms.BooleanField(required=False)

    def to_ready(self) -> ReadySlot | None:
        """Return the slot she looks at now; None when the page waits for one."""
        said = self.cleaned_data
        slot_id, token, is_followed = said.get("show_slot"), said.get("show_token"), said.get("more", False)
        if not is_followed and not (slot_id and token):
            return None
        return ReadySlot(slot_id or 0, token or NO_TOKEN, is_followed, said.get("show_at"))


class VoteForm(ReadyForm):
    """A vote in the words of the page, where A is the left completion: one key (choice) or a step (preference)."""

    scale = forms.ChoiceField(choices=Project.Scale)
    choice = forms.ChoiceField(choices=[(name, name) for name in CHOICES], required=False)
    preference = forms.TypedChoiceField(choices=ALL_CHOICES, coerce=int, required=False, empty_value=None)
    both_bad = forms.BooleanField(required=False)
    unsafe_left = forms.BooleanField(required=False)
    unsafe_right = forms.BooleanField(required=False)
    note = forms.CharField(label=_("Note"), required=False, max_length=10_000, strip=False)
    fix = forms.CharField(label=_("Fix"), required=False, strip=False)
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=MAX_ACTIVE_MS)
    shown_at = forms.DateTimeField(required=False)
    guideline = forms.IntegerField(required=False, min_value=0)
    trace = forms.CharField(required=False)
    idempotency_key = forms.UUIDField()

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project
        words = [(word, word) for word in project.reasons]
        self.fields["reasons"] = forms.MultipleChoiceField(label=_("Why?"), choices=words, required=False)
        for number, name in enumerate(project.axes):
            self.fields[f"axis_{number}"] = forms.TypedChoiceField(
                label=name, choices=SEVEN_CHOICES, coerce=int, required=False, empty_value=None
            )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        scale = cleaned.get("scale")
        if scale == Project.Scale.QUICK and not cleaned.get("choice"):
            raise forms.ValidationError(_("Choose A, B, tie or both bad."))
        if scale and scale != Project.Scale.QUICK and cleaned.get("preference") not in list_strengths(scale):
            raise forms.ValidationError(_("Choose one of the steps before you save."))
        return cleaned

    def clean_trace(self) -> dict[str, Any]:
        """Return what the page says of its making; what it garbled is worth no refusal."""
        text, trace = self.cleaned_data["trace"], {}
        try:
            trace = json.loads(text) if 0 < len(text) <= TRACE_CHARS else {}
        except (ValueError, RecursionError):
            pass
        return (trace if isinstance(trace, dict) else {}) | {"axes_first": self.project.axes_first}

    def list_faults(self) -> list[str]:
        """Return what is wrong, a sentence each, field names where people need them."""
        general = [str(error) for error in self.non_field_errors()]
        named = [f"{self[name].label}: {' '.join(errors)}" for name, errors in self.errors.items() if name != "__all__"]
        return general + named

    def to_draft(self) -> Draft:
        """Return what she wrote and chose, refused or not, to be shown to her again."""
        said = self.cleaned_data
        choice, preference = said.get("choice"), said.get("preference")
        axes = {name: said.get(f"axis_{number}") for number, name in enumerate(self.project.axes)}
        return Draft(
            preference=CHOICES[choice] if choice else preference,
            both_bad=choice == "both_bad" or said.get("both_bad", False),
            unsafe_left=said.get("unsafe_left", False),
            unsafe_right=said.get("unsafe_right", False),
            axes={name: step for name, step in axes.items() if step is not None},
            reasons=[word for word in self.project.reasons if word in self["reasons"].data],
            note=self["note"].data or "",
            fix=self["fix"].data or "",
        )

    def to_vote(self) -> Vote:
        """Return the vote of a valid form."""
        said = self.cleaned_data
        is_quick = said["scale"] == Project.Scale.QUICK
        axes = {name: said[f"axis_{number}"] for number, name in enumerate(self.project.axes)}
        return Vote(
            preference=CHOICES[said["choice"]] if is_quick else said["preference"],
            scale=said["scale"],
            both_bad=said["choice"] == "both_bad" if is_quick else said["both_bad"],
            unsafe_left=said["unsafe_left"],
            unsafe_right=said["unsafe_right"],
            axes={name: step for name, step in axes.items() if step is not None},
            reasons=said["reasons"],
            note=said["note"],
            fix=said["fix"],
            active_ms=said["active_ms"] or 0,
            trace=said["trace"],
        )


class ClaimForm(forms.Form):
    """The slot she was given and the proof that it was given to her."""

    slot = forms.IntegerField(min_value=1)
    lease_token = forms.UUIDField()


class JudgmentForm(ClaimForm, VoteForm):
    """A vote on a claim."""


class SkipForm(ClaimForm, ReadyForm):
    reason = forms.ChoiceField(choices=Skip.Reason)


class UndoForm(forms.Form):
    """The judgment in sight: she goes back from there."""

    before = forms.IntegerField(required=False, min_value=1)


class ScaleForm(forms.Form):
    """One key or seven steps, as she likes it: where her project forces a choice, nothing else will do."""

    scale = forms.ChoiceField(choices=[(scale, scale.label) for scale in FREE])


class DiffForm(forms.Form):
    """Whether the page shows the words that differ, and wants them with every pair."""

    diff = forms.BooleanField(required=False)
