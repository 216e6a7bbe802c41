"""Which project a page is about, and the figures of its loop."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from labeling.models import Project
from rlhf.models import Loop


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


class LoopForm(forms.ModelForm):
    """When a round may start and how many pairs it puts back."""

    threshold = forms.IntegerField(
        min_value=1,
        max_value=10**6,
        label="Judgments a round needs",
        help_text="New judgments after which a round may start.",
    )
    n_pairs = forms.IntegerField(
        min_value=1,
        max_value=10**6,
        label="Pairs a round queues",
        help_text="Comparisons a round puts into the queue.",
    )

    class Meta:
        model = Loop
        fields = ["threshold", "n_pairs"]
