"""Which project a page is about, and the settings of its loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import QuerySet

from labeling.models import Project, Slice
from rlhf.forms.runs import FieldGroup
from rlhf.models import Checkpoint, Loop


class ProjectForm(forms.Form):
    """Which project a page is about and what kind of thing is to be made; what is not said is the first."""

    project = forms.ModelChoiceField(Project.objects.none(), to_field_name="slug", empty_label=None, required=False)
    kind = forms.ChoiceField(required=False)

    def __init__(self, data: Any, *, projects: QuerySet[Project], kinds: list[tuple[str, str]]) -> None:
        super().__init__(data)
        self.fields["project"].queryset = self.projects = projects  # type: ignore[attr-defined]
        self.fields["kind"].choices = kinds  # type: ignore[attr-defined]
        self.full_clean()

    @property
    def chosen_project(self) -> Project | None:
        return self.cleaned_data.get("project") or self.projects.first()

    @property
    def chosen_kind(self) -> str:
        return self.cleaned_data.get("kind") or self.fields["kind"].choices[0][0]  # type: ignore[attr-defined]


LOOP_FIELDS = [
    *("method", "threshold", "slice", "min_agreement", "max_rounds", "n_pairs", "n_samples", "strategy"),
    *("random_share", "previous_share", "stale_rule", "stale_after", "gate", "gate_votes", "gate_win_rate"),
    *("tax_limit", "average_weight"),
]
# field: least, greatest
LIMITS: dict[str, tuple[float, float]] = {
    "threshold": (1, 10**6),
    "min_agreement": (0, 1),
    "max_rounds": (0, 10**4),
    "n_pairs": (1, 10**6),
    "n_samples": (2, 64),
    "random_share": (0.1, 1),
    "previous_share": (0, 1),
    "stale_after": (0, 1000),
    "gate_votes": (1, 10**6),
    "gate_win_rate": (0, 0.99),
    "tax_limit": (0, 100),
    "average_weight": (0, 0.99),
}
LABELS = {
    "method": "Learns with",
    "threshold": "Judgments a round needs",
    "slice": "Prompts of slice",
    "min_agreement": "Least agreement",
    "max_rounds": "Rounds to go",
    "n_pairs": "Pairs a round queues",
    "n_samples": "Completions of a prompt",
    "strategy": "Chooses pairs",
    "random_share": "Share of chance",
    "previous_share": "Share of duels",
    "stale_rule": "Stale pairs",
    "stale_after": "Stale after rounds",
    "gate": "Promotes a policy when",
    "gate_votes": "Votes the gate asks for",
    "gate_win_rate": "Win rate to exceed",
    "tax_limit": "Tax that is allowed",
    "average_weight": "Averaged with the previous",
}


def check_terms(values: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with a loop's settings by field; they may be within their limits and still not go together."""
    errors = {}
    for name, (low, high) in LIMITS.items():
        value = values.get(name)
        if value is not None and not low <= value <= high:
            errors[name] = f"{LABELS[name]} must be from {low:g} to {high:g}."
    if not errors and values.get("gate") == Loop.Gate.PEOPLE:
        share = 1 - values["random_share"] if values["strategy"] == Loop.Strategy.PREVIOUS else values["previous_share"]
        n_duels = round(share * values["n_pairs"])
        if n_duels < values["gate_votes"]:
            errors["gate_votes"] = (
                f"A round queues {n_duels} pairs that show both policies, and the gate asks for {values['gate_votes']} "
                f"votes on such: raise the share of duels, queue more pairs or ask for fewer votes."
            )
    return errors


class LoopForm(forms.ModelForm):
    """What rounds are begun with: when, how they learn, what they queue, and what promotes a policy.

    What is not sent stays as it is. slices: those of the project, where a page has them for all its forms.
    """

    groups = (
        ("When a round begins, and how it learns", ("method", "threshold", "slice", "min_agreement", "max_rounds")),
        ("Which pairs it queues", ("n_pairs", "n_samples", "strategy", "random_share", "previous_share")),
        ("What happens to older pairs", ("stale_rule", "stale_after")),
        ("What promotes a policy", ("gate", "gate_votes", "gate_win_rate", "tax_limit", "average_weight")),
    )

    class Meta:
        model = Loop
        fields = LOOP_FIELDS
        labels = LABELS

    def __init__(self, *args: Any, slices: Sequence[Slice] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_bound:
            kept = {self.add_prefix(name): value for name, value in self.initial.items() if value is not None}
            self.data = kept | self.data.dict()
        found = self.instance.project.slices.all()
        field = self.fields["slice"]
        field.queryset = found  # type: ignore[attr-defined]
        options = [(one.pk, str(one)) for one in (found if slices is None else slices)]
        field.choices = [("", "all prompts"), *options]  # type: ignore[attr-defined]
        for name, (low, high) in LIMITS.items():
            is_share = isinstance(self.fields[name], forms.FloatField)
            self.fields[name].widget.attrs |= {"min": low, "max": high} | ({"step": "any"} if is_share else {})

    @property
    def field_groups(self) -> list[FieldGroup]:
        """Return the fields as the page lays them out."""
        return [FieldGroup(title, [self[name] for name in names]) for title, names in self.groups]

    def clean(self) -> dict[str, Any]:
        """Say beside its field what cannot be, or does not go together."""
        cleaned = super().clean() or {}
        if not self.errors:
            for name, words in check_terms(cleaned).items():
                self.add_error(name, words)
        return cleaned

    def save(self, commit: bool = True) -> Loop:
        """Store the settings alone: a pause or a promotion since the row was read stays."""
        loop: Loop = super().save(commit=False)
        if commit:
            loop.save(update_fields=LOOP_FIELDS)
        return loop


class PauseForm(forms.Form):
    """Why a loop is paused or stopped, for those who read it there."""

    because = forms.CharField(required=False, max_length=500, label="Why")


class RollbackForm(forms.Form):
    """Which promoted policy to go back to."""

    policy = forms.TypedChoiceField(label="Go back to")

    def __init__(self, *args: Any, policies: Sequence[Checkpoint], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = {policy.pk: policy for policy in policies}
        field = self.fields["policy"]
        field.choices = [(pk, str(policy)) for pk, policy in found.items()]  # type: ignore[attr-defined]
        field.coerce = lambda pk: found[int(pk)]  # type: ignore[attr-defined]

    @property
    def has_choices(self) -> bool:
        return bool(self.fields["policy"].choices)  # type: ignore[attr-defined]
