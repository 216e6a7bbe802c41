"""What a manager sends about a file: the file itself, what its columns mean, and how its rows enter."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from labeling.domain.errors import InvalidContent
from labeling.domain.intake.detection import FORMATS, PROMPTS
from labeling.domain.intake.mapping import FIELDS, Mapping, guess_columns, guess_values
from labeling.domain.intake.refusals import RowRefused, tell
from labeling.domain.intake.storing import Placement
from labeling.domain.intake.tags import LANGUAGE_CHARS, SLICE_CHARS
from labeling.domain.intake.uploading import UPLOAD_BYTES
from labeling.models import Project

UNJUDGED = "unjudged"
VALUES_FIELDS = {"A": "values_a", "B": "values_b", "tie": "values_tie", "both_bad": "values_both_bad"}
LABELS = {
    "prompt": _("Prompt"),
    "system": _("System message"),
    "chosen": _("Better completion, or completion A"),
    "rejected": _("Worse completion, or completion B"),
    "completion": _("Completion worth imitating"),
    "verdict": _("Who won"),
    "strength": _("Strength, 0 to 3"),
    "group": _("Group"),
    "slice": _("Slice"),
    "language": _("Language"),
}
HELP_TEXTS = {
    "prompt": _("Text, or a list of messages."),
    "completion": _("Only where a row shows one good answer."),
    "verdict": _("A column that says A, B, tie or both bad, in whatever words."),
    "strength": _("Where its sign says who won - negative A, positive B - choose its column as who won, too."),
    "group": _("Rows of one group stay on one side of every split."),
}


class BoundedUpload(FileUploadHandler):
    """Lets no more through than a file may have; the rest of what is sent is read and forgotten."""

    def __init__(self, request: HttpRequest, n_most: int = UPLOAD_BYTES) -> None:
        super().__init__(request)
        self.n_most = n_most
        self.n_received = 0
        self.is_too_large = False

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self.n_received += len(raw_data)
        if self.n_received > self.n_most:
            self.is_too_large = True
            raise StopUpload(connection_reset=False)
        return raw_data

    def file_complete(self, file_size: int) -> UploadedFile | None:
        return None


class UploadForm(forms.Form):
    """A file, and what its votes go by."""

    file = forms.FileField(
        label=_("File"), help_text=_("JSON Lines, a JSON array, CSV, TSV or Parquet; .gz is unpacked. UTF-8.")
    )
    source = forms.CharField(
        max_length=200,
        required=False,
        label=_("Source"),
        help_text=_("The name its votes go by; empty takes the file’s."),
    )
    format = forms.ChoiceField(required=False, label=_("Format"))

    def __init__(self, *args: Any, upload: BoundedUpload | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.upload = upload
        names = [*FORMATS, PROMPTS.name]
        self.fields["format"].choices = [("", _("find out")), *((name, name) for name in names)]  # type: ignore[attr-defined]

    def clean_source(self) -> str:
        source = str(self.cleaned_data["source"])
        if "\x00" in source or not source.isprintable():
            raise forms.ValidationError(_("Use plain characters."))
        return source

    def add_size_error(self) -> None:
        """Say that the file is too large, where that is why there is none."""
        if self.upload is not None and self.upload.is_too_large:
            self.errors.pop("file", None)
            most = filesizeformat(self.upload.n_most)
            self.add_error("file", _("A file may have %(most)s: pack or split it.") % {"most": most})

    def full_clean(self) -> None:
        super().full_clean()
        if self.is_bound:
            self.add_size_error()


class MappingForm(forms.Form):
    """Which column of the file is which field of ours. Columns go by their number: their names are strangers' text."""

    values_a = forms.CharField(required=False, label=_("Values that mean A"))
    values_b = forms.CharField(required=False, label=_("Values that mean B"))
    values_tie = forms.CharField(required=False, label=_("Values that mean a tie"))
    values_both_bad = forms.CharField(required=False, label=_("Values that mean both are bad"))

    def __init__(
        self, *args: Any, columns: dict[str, list[str]], mapping: Mapping | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.columns = list(columns)
        guessed = mapping.columns if mapping else guess_columns(self.columns)
        choices = [(str(number), name_choice(name, columns[name])) for number, name in enumerate(self.columns)]
        for name in FIELDS:
            initial = str(self.columns.index(guessed[name])) if guessed.get(name) in self.columns else ""
            empty = [("", _("the better one is in its column")), (UNJUDGED, _("nobody has judged these pairs yet"))]
            self.fields[name] = forms.ChoiceField(
                choices=[*(empty if name == "verdict" else [("", "—")]), *choices],
                required=False,
                label=LABELS[name],
                help_text=HELP_TEXTS.get(name, ""),
                initial=UNJUDGED if name == "verdict" and mapping and mapping.is_unjudged else initial,
            )
        values = mapping.values if mapping else guess_values(columns.get(guessed.get("verdict", ""), []))
        for verdict, field in VALUES_FIELDS.items():
            self.fields[field].initial = ", ".join(values.get(verdict, ()))
        self.order_fields([*FIELDS[:6], *VALUES_FIELDS.values(), *FIELDS[6:]])

    def clean(self) -> dict[str, Any]:
        """Turn the choices into the mapping; what is wrong with it is said above the fields."""
        cleaned = super().clean() or {}
        chosen = {name: cleaned.get(name) or "" for name in FIELDS}
        columns = {name: self.columns[int(number)] for name, number in chosen.items() if number.isdigit()}
        values = {verdict: cleaned.get(field) for verdict, field in VALUES_FIELDS.items()}
        try:
            cleaned["mapping"] = Mapping(
                columns,
                {verdict: tuple(split_values(text or "")) for verdict, text in values.items()},
                is_unjudged=chosen["verdict"] == UNJUDGED,
            )
        except InvalidContent as error:
            self.add_error(None, tell(error.reason.said) if isinstance(error, RowRefused) else str(error))
        return cleaned


class PlacementForm(forms.Form):
    """How the rows of a checked file enter."""

    overlap = forms.IntegerField(
        min_value=0,
        max_value=100,
        label=_("Judgments wanted for each new pair"),
        help_text=_("0 keeps the pairs out of the queue: only their recorded votes enter."),
    )
    blind = forms.BooleanField(
        required=False,
        initial=True,
        label=_("Keep pairs that name their writer out of the queue"),
        help_text=_("They enter with their recorded votes, and nobody is asked about them."),
    )
    priority = forms.IntegerField(
        min_value=-1000, max_value=1000, initial=0, label=_("Priority"), help_text=_("Higher is judged first.")
    )
    slice_name = forms.CharField(
        max_length=SLICE_CHARS, required=False, label=_("Slice"), help_text=_("Of rows that name none.")
    )
    language = forms.RegexField(
        r"^[A-Za-z0-9-]*$",
        max_length=LANGUAGE_CHARS,
        required=False,
        label=_("Language"),
        help_text=_("Of rows that name none, for example en or pt-BR."),
    )

    def __init__(self, *args: Any, project: Project, report: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.n_unjudged = report.get("n_unjudged", 0)
        self.fields["overlap"].initial = project.overlap if self.n_unjudged else 0
        if not (self.n_unjudged or report.get("n_pairs")):
            del self.fields["overlap"], self.fields["blind"], self.fields["priority"]

    def clean_overlap(self) -> int:
        overlap = int(self.cleaned_data["overlap"])
        if overlap == 0 and self.n_unjudged:
            raise forms.ValidationError(
                _("Nobody has judged these pairs: with 0 nobody ever would. Ask for 1 or more.")
            )
        return overlap

    def placement(self) -> Placement:
        return Placement(**self.cleaned_data)


def name_choice(name: str, values: list[str]) -> str:
    """Return a column's name with its first value, as a select shows it."""
    return f"{name} · {' '.join(values[0].split())[:40]}" if values else name


def split_values(text: str) -> list[str]:
    return [value.strip() for value in text.split(",") if value.strip()]
