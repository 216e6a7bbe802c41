"""A new run: its inputs, and its settings generated from the configuration class. And which runs the list shows."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, NamedTuple

from django import forms
from django.db.models import QuerySet

from labeling.models import Project
from rlhf.contract.config import CONFIGS
from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import build_config
from rlhf.domain.planning import DATASET_KINDS, FOLDERS, REWARDED_KINDS
from rlhf.domain.tuning import JUDGE
from rlhf.models import Checkpoint, Dataset, Run

BOTH = (Checkpoint.Kind.REWARD, Checkpoint.Kind.POLICY)
BASE_KINDS = {"evaluate": BOTH, "merge": BOTH, "score": (Checkpoint.Kind.REWARD,)}
BASE_LABELS = {
    "sample": "Policy that samples",
    "evaluate": "Model to evaluate",
    "score": "Reward model that scores",
    "merge": "Model to go from",
}


class FieldGroup(NamedTuple):
    """Some fields of a form, rendered by the template that renders a whole one."""

    title: str
    visible_fields: list[forms.BoundField]


def choose_inputs(project: Project, kind: str) -> dict[str, QuerySet[Any]]:
    """Return what a run of this kind may read, by the name of the input."""
    checkpoints = Checkpoint.objects.filter(project=project)
    inputs: dict[str, QuerySet[Any]] = {}
    if kind in DATASET_KINDS:
        kinds = [DATASET_KINDS[kind], *([Dataset.Kind.BENCHMARK] if kind == Run.Kind.EVALUATE else [])]
        inputs["dataset"] = Dataset.objects.filter(project=project, kind__in=kinds, sealed_at__isnull=False)
    if kind != Run.Kind.PRETRAIN:
        inputs["base"] = checkpoints.filter(kind__in=BASE_KINDS.get(kind, (Checkpoint.Kind.POLICY,)))
    if kind in REWARDED_KINDS:
        inputs["reward_model"] = checkpoints.filter(kind=Checkpoint.Kind.REWARD)
    if kind == Run.Kind.MERGE:
        inputs["other"] = checkpoints
    return inputs


class RunForm(forms.Form):
    """A run of one kind in one project; what is left empty is the newest there is."""

    def __init__(self, *args: Any, project: Project, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project, self.config_class = project, CONFIGS[kind]
        self.input_names = self.add_inputs(kind)
        self.own_names = self.add_settings(own=True)
        self.shared_names = self.add_settings(own=False)

    def add_inputs(self, kind: str) -> list[str]:
        """Add the dataset and the models the kind reads."""
        wanted = DATASET_KINDS[kind].label if kind in DATASET_KINDS else ""
        newest = "What the other was trained from" if kind == Run.Kind.MERGE else "The newest"
        texts = {
            "dataset": ("Dataset", "Freeze what the project has now", f"A frozen dataset of {wanted}."),
            "base": (BASE_LABELS.get(kind, "Policy to start from"), newest, "A model of this project."),
            "other": ("Model to go to", "The newest policy", "Of the same shape and tokenizer."),
            "reward_model": ("Reward model", "The newest", "It scores the completions."),
        }
        for name, queryset in choose_inputs(self.project, kind).items():
            label, empty_label, help_text = texts[name]
            self.fields[name] = forms.ModelChoiceField(
                queryset, required=False, label=label, empty_label=empty_label, help_text=help_text
            )
        return list(self.fields)

    def add_settings(self, *, own: bool) -> list[str]:
        """Add a form field for each setting the class declares itself, or for each it inherits."""
        declared = vars(self.config_class)["__annotations__"]
        names = []
        for item in fields(self.config_class):
            if item.name not in FOLDERS and (item.name in declared) == own:
                self.fields[item.name] = self.build_judge(item) if item.name == JUDGE else build_field(item)
                names.append(item.name)
        return names

    def build_judge(self, item: Field[Any]) -> forms.Field:
        """Return a choice among the project's reward models, by name: where one lies is nobody's to say."""
        names = Checkpoint.objects.reward_models_of(self.project).values_list("name", flat=True)
        choices = [("", "None"), *((name, name) for name in names)]
        help_text = describe_setting(item)
        return forms.ChoiceField(choices=choices, required=False, help_text=help_text, label=item.name, label_suffix="")

    @property
    def groups(self) -> list[FieldGroup]:
        """Return the fields as the page lays them out."""
        groups = {
            "What it learns from": self.input_names,
            f"Particular to {Run.Kind(self.config_class.kind).label}": self.own_names,
            "Common to such runs": self.shared_names,
        }
        return [FieldGroup(title, [self[name] for name in names]) for title, names in groups.items()]

    def clean(self) -> dict[str, Any]:
        """Let the configuration class judge the settings, and say its word beside the field it is about."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        settings = {name: cleaned[name] for name in (*self.own_names, *self.shared_names)}
        try:
            cleaned["config"] = build_config(self.config_class, settings)
        except ConfigError as error:
            name = str(error).split(" ", 1)[0]
            self.add_error(name if name in settings else None, str(error))
        return cleaned

    def plan(self) -> dict[str, Any]:
        """Return what the run is planned with."""
        return {name: self.cleaned_data[name] for name in ("config", *self.input_names)}


def build_field(item: Field[Any]) -> forms.Field:
    """Return the form field of one setting. Limits are hints to the browser: the configuration class enforces them."""
    limits = item.metadata
    shared = {"initial": item.default, "help_text": describe_setting(item), "label": item.name, "label_suffix": ""}
    if limits["choices"]:
        return forms.ChoiceField(choices=[(choice, choice) for choice in limits["choices"]], **shared)
    if isinstance(item.default, str):
        return forms.CharField(required=False, **shared)
    hints = {"min": limits["low"], "max": limits["high"]}
    attributes = {
        name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in hints.items() if limit is not None
    }
    if isinstance(item.default, int):
        return forms.IntegerField(widget=forms.NumberInput(attributes), **shared)
    return forms.FloatField(widget=forms.NumberInput(attributes | {"step": "any"}), **shared)


def describe_setting(item: Field[Any]) -> str:
    """Return the setting's help sentence and the value it has when nobody says otherwise."""
    assert item.default is not MISSING
    default = f"{item.default:g}" if isinstance(item.default, float) else item.default
    return f"{item.metadata['help']} Default: {default}." if default != "" else item.metadata["help"]


class RunFilterForm(forms.Form):
    """Which runs the list shows; everything when nothing is chosen."""

    project = forms.ModelChoiceField(
        Project.objects.none(), to_field_name="slug", empty_label="All projects", required=False
    )
    kind = forms.ChoiceField(choices=[("", "All kinds"), *Run.Kind.choices], required=False)
    state = forms.ChoiceField(
        choices=[("", "All states"), *((state.value, state.value) for state in Run.State)], required=False
    )

    def __init__(self, data: Any, *, projects: QuerySet[Project]) -> None:
        super().__init__(data)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]

    def filters(self) -> dict[str, Any]:
        """Return what the database is asked for; a choice nobody knows asks for nothing."""
        self.full_clean()
        return {name: value for name, value in self.cleaned_data.items() if value}
