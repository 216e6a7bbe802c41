"""What a manager says about a project: its settings, section by section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from labeling.domain.content import check_text
from labeling.domain.errors import InvalidContent
from labeling.domain.projects import SETTINGS
from labeling.domain.search import MAX_ID, Place
from labeling.models import Project

RESERVED = {"new"}  # /projects/new/ is a page
MAX_AXES, MAX_REASONS, LINE_CHARS = 8, 30, 60


class LinesField(forms.CharField):
    """A list of words, one a line."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        self.most = most
        super().__init__(required=False, widget=forms.Textarea(attrs={"rows": 4}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        lines = list(dict.fromkeys(" ".join(line.split()) for line in (super().clean(value) or "").splitlines()))
        lines = [line for line in lines if line]
        if len(lines) > self.most:
            raise forms.ValidationError(_("At most %s lines: leave some out.") % self.most)
        if long := next((line for line in lines if len(line) > LINE_CHARS), None):
            raise forms.ValidationError(
                _("“%(line)s…” is too long: at most %(most)s characters.") % {"line": long[:30], "most": LINE_CHARS}
            )
        return lines


class PercentField(forms.FloatField):
    """A share, said in percent."""

    def __init__(self, *, low: float = 0, high: float = 100, **kwargs: Any) -> None:
        super().__init__(min_value=low, max_value=high, step_size=0.1, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return f"{100 * value:.4g}" if isinstance(value, float) else value

    def clean(self, value: Any) -> Any:
        percent = super().clean(value)
        return None if percent is None else round(percent / 100, 6)


class SettingsForm(forms.ModelForm):
    """The settings of a project; every field says what it does."""

    sections = [
        (_("The project"), "", ["name", "description"]),
        (
            _("What a labeler is asked"),
            _("A change holds for what is judged from now on; judgments keep the scale they were given on."),
            ["scale", "asks_flags", "asks_fixes", "axes", "reasons", "axes_first", "content_warning"],
        ),
        (
            _("How many judgments a comparison gets"),
            _("More judgments of one comparison show how far people agree; one of each covers more ground."),
            ["overlap", "overlap_share", "overlap_max", "spread_limit", "triage_after"],
        ),
        (
            _("What is handed out, and to whom"),
            _("Gold and repeats are slipped in unmarked and measure labelers; they are never part of a dataset."),
            [
                "strategy", "random_share", "gold_share", "repeat_share", "repeat_after_h", "exam_size",
                "exam_pass_share", "lease_s",
            ],
        ),
        (
            _("How much one person judges"),
            _("Nobody should decide alone what a model learns, nor work without a rest."),
            ["daily_cap", "labeler_cap", "break_after_min"],
        ),
    ]  # fmt: skip

    axes = LinesField(
        most=MAX_AXES, label=_("Qualities judged besides"),
        help_text=_("One a line, for example helpful, correct, harmless. Each is judged on seven steps, too."),
    )  # fmt: skip
    reasons = LinesField(
        most=MAX_REASONS, label=_("Reasons to click"),
        help_text=_("One a line, for example wrong fact, too long. The first nine have a key."),
    )  # fmt: skip
    overlap = forms.IntegerField(
        min_value=1, max_value=100, label=_("Judgments wanted"), help_text=_("For each new comparison: 1 to 100.")
    )
    overlap_share = PercentField(
        label=_("Share that gets them (%)"), help_text=_("The other new comparisons get one judgment each.")
    )
    overlap_max = forms.IntegerField(
        min_value=0, max_value=100, label=_("At most, where labelers disagree"),
        help_text=_("Where they disagree one more judgment is asked for, up to this many; 0 never asks."),
    )  # fmt: skip
    spread_limit = forms.IntegerField(
        min_value=1, max_value=6, label=_("Steps apart that count as disagreement"),
        help_text=_("1 to 6, from -3 to +3. Different winners always count."),
    )  # fmt: skip
    triage_after = forms.IntegerField(
        min_value=0, max_value=100, label=_("Skips until a reviewer looks"), help_text=_("0 never.")
    )
    random_share = PercentField(
        low=10, label=_("Drawn at random (%)"),
        help_text=_("Of all that is handed out, whatever the order: the control that keeps estimates honest. At least 10."),
    )  # fmt: skip
    gold_share = PercentField(high=50, label=_("Gold (%)"), help_text=_("While there is any; at most 50."))
    repeat_share = PercentField(
        high=50, label=_("Repeats (%)"), help_text=_("Labelers judge an own earlier comparison again; at most 50.")
    )
    repeat_after_h = forms.IntegerField(
        min_value=0, max_value=10_000, label=_("Hours until a repeat"), help_text=_("24 or more: people remember.")
    )
    exam_size = forms.IntegerField(
        min_value=0, max_value=1000, label=_("Questions of the exam"),
        help_text=_("Gold that is kept for exams, judged before work; 0 for no exam."),
    )  # fmt: skip
    exam_pass_share = PercentField(label=_("Right answers to pass (%)"))
    lease_s = forms.IntegerField(
        min_value=30, max_value=86_400, label=_("Seconds a comparison is kept for its labeler"),
        help_text=_("An open page renews it; after that it goes to someone else. 30 to 86,400."),
    )  # fmt: skip
    daily_cap = forms.IntegerField(
        min_value=0, max_value=100_000, label=_("Judgments a day"), help_text=_("For each labeler; 0 sets no cap.")
    )
    labeler_cap = forms.IntegerField(
        min_value=0, max_value=10_000_000, label=_("Judgments in all"), help_text=_("For each labeler; 0 sets no cap.")
    )
    break_after_min = forms.IntegerField(
        min_value=0, max_value=1440, label=_("Minutes until a break is suggested"), help_text=_("0 never.")
    )

    class Meta:
        model = Project
        fields = SETTINGS
        labels = {
            "name": _("Name"), "description": _("Description"), "scale": _("Scale"), "strategy": _("Order"),
            "axes_first": _("Ask for these qualities before the overall preference"),
            "asks_flags": _("Offer the flags “unsafe”"), "asks_fixes": _("Offer to rewrite the better completion"),
            "content_warning": _("Content warning"),
        }  # fmt: skip
        help_texts = {
            "description": _("What this is for, in a sentence or two."),
            "scale": _(
                "One key is fast; steps say by how much, too. Where there is no tie, who is unsure has to choose."
            ),
            "axes_first": _("Slower and more thorough; otherwise they come after it."),
            "asks_flags": "",
            "asks_fixes": _("What is rewritten becomes a demonstration, better than both."),
            "content_warning": _(
                "Texts are blurred behind these words until the labeler asks for them; empty for none."
            ),
            "strategy": "",
        }
        widgets = {"description": forms.Textarea(attrs={"rows": 3}), "scale": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.pk:
            for name in SETTINGS:
                self.initial.setdefault(name, getattr(self.instance, name))

    def list_sections(self) -> Iterator[tuple[Any, Any, list[BoundField]]]:
        for title, text, names in self.sections:
            yield title, text, [self[name] for name in names]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in ("name", "description", "content_warning"):
            try:
                check_text(cleaned.get(name, ""), what=str(self.fields[name].label))
            except InvalidContent as error:
                self.add_error(name, str(error))
        most, wanted = cleaned.get("overlap_max"), cleaned.get("overlap")
        if most and wanted and most < wanted:
            self.add_error("overlap_max", _("Less than the judgments wanted: make it %s or more, or 0.") % wanted)
        return cleaned

    @property
    def settings(self) -> dict[str, Any]:
        """What a valid form says."""
        return {name: value for name, value in self.cleaned_data.items() if name in self._meta.fields}


class NewProjectForm(SettingsForm):
    """A new project, with its address and its first guideline."""

    sections = [
        (_("The project"), "", ["name", "slug", "description", "guideline"]),
        *SettingsForm.sections[1:],
    ]
    guideline = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8}), required=False, label=_("Guideline"),
        help_text=_("Markdown: what makes a completion better. You can publish new versions at any time."),
    )  # fmt: skip

    class Meta(SettingsForm.Meta):
        fields = ("slug", *SETTINGS)
        labels = {**SettingsForm.Meta.labels, "slug": _("Address")}
        help_texts = {
            **SettingsForm.Meta.help_texts,
            "slug": _("Letters, digits, hyphens: the last part of /judge/…/. It stays as it is."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["scale"] = (
            Project.Scale.SEVEN
        )  # what says by how much teaches more; one key is there for who is in a hurry

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if slug in RESERVED:
            raise forms.ValidationError(_("“%s” is the name of a page here: choose another address.") % slug)
        return slug

    def clean_guideline(self) -> str:
        try:
            return check_text(self.cleaned_data["guideline"], what=str(_("the guideline")))
        except InvalidContent as error:
            raise forms.ValidationError(str(error)) from error


class OverlapForm(forms.Form):
    """The overlap a manager saw, and where an earlier trip stopped after how many changes."""

    overlap = forms.IntegerField(min_value=1, max_value=100)
    after = forms.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    n_changed = forms.IntegerField(min_value=0, required=False)

    def to_place(self) -> Place | None:
        return Place(self.cleaned_data["after"]) if self.cleaned_data["after"] else None


class StateForm(forms.Form):
    act = forms.ChoiceField(choices=[("archive", "archive"), ("reopen", "reopen")])
