"""What is exported, and how."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from labeling.models import Project
from rlhf.domain.datasets.export import FORMATS, list_formats
from rlhf.domain.datasets.package import BOTH
from rlhf.models import Dataset

FORMAT_NAMES = {
    "trl": "trl: TRL’s rows, as JSON lines",
    "parquet": "parquet: TRL’s rows, as Parquet",
    "hh": "hh: transcripts",
    "openai": "openai: preference fine-tuning",
    "kto": "kto: completion and label, two rows a pair",
    "sft": "sft: messages to imitate",
}


class DatasetField(forms.ModelChoiceField):
    """Names repeat: number and project tell datasets apart."""

    def label_from_instance(self, dataset: Dataset) -> str:  # type: ignore[override]
        return f"{dataset.pk}: {dataset} ({dataset.project}, {dataset.n_train + dataset.n_test:,} rows)"


class DatasetExportForm(forms.Form):
    """A frozen dataset in one of the formats."""

    dataset = DatasetField(Dataset.objects.none(), empty_label=None)
    format = forms.ChoiceField(choices=[(name, FORMAT_NAMES[name]) for name in FORMATS])
    split = forms.ChoiceField(
        choices=[(BOTH, "train and test, one zip with a card"), ("train", "train only"), ("test", "test only")],
        label="Rows",
    )

    def __init__(self, *args: Any, datasets: QuerySet[Dataset], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].queryset = datasets  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Say beside the field what the dataset has no rows for."""
        cleaned = super().clean() or {}
        dataset, format = cleaned.get("dataset"), cleaned.get("format")
        if dataset and format and format not in list_formats(dataset.kind):
            self.add_error("format", f"{dataset} has no such rows: use {' or '.join(list_formats(dataset.kind))}.")
        if dataset and cleaned.get("split") == "test" and not dataset.n_test:
            self.add_error("split", f"{dataset} has no test rows.")
        return cleaned


class JudgmentExportForm(forms.Form):
    """All judgments of a project, as they were made."""

    project = forms.ModelChoiceField(Project.objects.none(), empty_label=None, to_field_name="slug")
    format = forms.ChoiceField(
        choices=[("judgments", "JSON lines, exact"), ("csv", "CSV for spreadsheets, lossy: formulas are disarmed")]
    )
    with_notes = forms.BooleanField(
        required=False,
        label="With labelers’ notes",
        help_text="Free text, in which people may have named themselves or others.",
    )

    def __init__(self, *args: Any, projects: QuerySet[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]
