"""Which project a page is about, and the settings of its loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.db.models import QuerySet

from labeling.models import Project, Slice
from rlhf.domain.datasets.rule import CONSENSUS, FreezeRule
from rlhf.domain.errors import LearningError
from rlhf.domain.tuning import (
    InvalidSetting,
    check_rule,
    check_settings,
    join_lines,
    parse_rule,
    parse_settings,
    spell_rule,
    spell_settings,
    split_lines,
)
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
    *("tax_limit", "average_weight", "settings", "rule"),
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
    "stale_after": "Stale after policies",
    "gate": "Promotes a policy when",
    "gate_votes": "Votes the gate asks for",
    "gate_win_rate": "Win rate to exceed",
    "tax_limit": "Tax that is allowed",
    "average_weight": "Averaged with the previous",
    "settings": "Settings of its runs",
    "rule": "Other parts of the freeze rule",
}


def check_terms(project: Project, values: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with a loop's settings by field; they may be within their limits and still not go together."""
    errors = {}
    for name, check in (("settings", check_settings), ("rule", check_rule)):
        try:
            check(project, values.get(name, {}))
        except LearningError as error:
            errors[name] = str(error)
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


class LinesField(forms.Field):
    """What a row keeps as JSON, as `name = value` lines; an object is taken as it is."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocapitalize": "off"})

    def __init__(self, *, spell: Callable[[Any], dict[str, str]], parse: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self.spell, self.parse = spell, parse

    def prepare_value(self, value: Any) -> Any:
        return join_lines(self.spell(value)) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        try:
            return value if isinstance(value, dict) else self.parse(split_lines(value or ""))
        except InvalidSetting as error:
            raise forms.ValidationError(str(error)) from error


class LoopForm(forms.ModelForm):
    """What rounds are begun with: when, how they learn, what they queue, and what promotes a policy.

    What is not sent stays as it is. slices: those of the project, where a page has them for all its forms.
    """

    settings = LinesField(
        spell=spell_settings,
        parse=parse_settings,
        label=LABELS["settings"],
        help_text="kind.name = value, one a line, over the defaults: ppo.alarm = stop, or dpo:ranked.epochs = 2 for "
        "one stage alone. What is taken away has its default again.",
    )
    consensus = forms.ChoiceField(
        choices=list(CONSENSUS.items()),
        required=False,
        label="Votes become a label by",
        help_text="What several votes on a pair come to.",
    )
    rule = LinesField(
        spell=spell_rule,
        parse=parse_rule,
        label=LABELS["rule"],
        help_text="name = value, one a line: labeler_share_max = 0.3, or include = own, ai:NAME.",
    )
    groups = (
        ("When a round begins, and how it learns", ("method", "threshold", "slice", "min_agreement", "max_rounds")),
        ("What its runs are made with", ("settings",)),
        ("How judgments become data", ("consensus", "rule")),
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
        rule = self.instance.rule
        self.initial["consensus"] = rule.get("consensus", FreezeRule.consensus)
        self.initial["rule"] = {name: value for name, value in rule.items() if name != "consensus"}
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
            if cleaned["consensus"] not in ("", FreezeRule.consensus):
                cleaned["rule"] = {"consensus": cleaned["consensus"], **cleaned["rule"]}
            for name, words in check_terms(self.instance.project, cleaned).items():
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
