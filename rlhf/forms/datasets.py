"""What is frozen, and by which rule."""

from __future__ import annotations

from typing import Any

from django import forms

from labeling.models import Project
from rlhf.contract.errors import CorruptError
from rlhf.domain.datasets.behind import SHARE_WATCHED
from rlhf.domain.datasets.freezing import list_imported_sources
from rlhf.domain.datasets.rule import CONSENSUS, FreezeRule, InvalidRule
from rlhf.domain.errors import LearningError
from rlhf.models import Annotator

TICKS = ("without", "cap")


class NamesField(forms.MultipleChoiceField):
    """Ticked names, whichever they are: the rule says which are nobody's."""

    def valid_value(self, value: Any) -> bool:
        return True


class FreezeForm(forms.Form):
    """What every freeze asks. Limits are hints to the browser; the rule judges its parts."""

    name = forms.CharField(max_length=200, help_text="How people call the dataset.")
    test_share = forms.FloatField(
        initial=0.1,
        min_value=0,
        max_value=0.9,
        widget=forms.NumberInput({"step": "any"}),
        label="Share held out for tests",
        help_text="Whole groups of prompts are held out, so that no prompt is on both sides.",
    )
    seed = forms.IntegerField(initial=42, min_value=0, help_text="Decides which groups are held out.")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def refuse(self, error: LearningError | CorruptError) -> None:
        """Say why there is no dataset, beside the part it is about where the words begin with its name."""
        name = str(error).split(" ", 1)[0]
        self.add_error(name if name in self.fields else None, str(error))

    def parts(self) -> dict[str, Any]:
        """Return what the freeze is called with."""
        return dict(self.cleaned_data)


class PreferenceFreezeForm(FreezeForm):
    """The rule by which votes become pairs. Ticks beside the labelers fill parts of it: whom it excludes, and the cap."""

    without = NamesField(required=False)
    cap = forms.BooleanField(required=False)

    include = forms.MultipleChoiceField(
        label="Whose judgments",
        widget=forms.CheckboxSelectMultiple,
        help_text="Votes recorded elsewhere keep the name of their source.",
    )
    min_judgments = forms.IntegerField(
        initial=1, min_value=1, label="Judgments a comparison needs", help_text="Comparisons with fewer are left out."
    )
    consensus = forms.ChoiceField(
        choices=list(CONSENSUS.items()),
        initial="majority",
        required=False,
        label="What several votes come to",
        help_text="Ties and “both bad” never make a pair, whatever the rule.",
    )
    soft = forms.BooleanField(
        required=False,
        label="Write how likely the better side is as a soft label",
        help_text="With votes weighed by reliability; the share and the strength of votes are soft labels in any case.",
    )
    guideline_from = forms.IntegerField(
        required=False, min_value=0, label="From this version of the guideline on", help_text="Empty for all versions."
    )
    exclude_labelers = forms.CharField(
        required=False, label="Without these labelers", help_text="Usernames, with commas between."
    )
    labeler_share_max = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        widget=forms.NumberInput({"step": "any"}),
        label="Largest share of one labeler",
        help_text="For example 0.1: nobody stands behind more than a tenth of the votes. Empty for no cap.",
    )
    use_margin = forms.BooleanField(
        required=False,
        label="Write the strength of each preference as its margin",
        help_text="A reward model with a margin_scale learns to keep strong preferences further apart.",
    )
    use_extra = forms.BooleanField(
        required=False,
        initial=True,
        label="Count late votes",
        help_text="Votes that came after their place had gone to someone else.",
    )
    use_hasty = forms.BooleanField(
        required=False,
        initial=True,
        label="Count hasty votes",
        help_text="Votes that came sooner than anyone could have read the texts.",
    )
    use_fixes = forms.BooleanField(
        required=False,
        initial=True,
        label="Add what labelers rewrote",
        help_text="A rewritten completion is better than both it was made from: two pairs more.",
    )
    use_quarantined = forms.BooleanField(
        required=False, label="Count votes from quarantine", help_text="Labelers a manager has set aside."
    )
    use_gold = forms.BooleanField(
        required=False,
        label="Count votes on what is gold now",
        help_text="Made before it was gold; answers to gold, repeats and exams are never data.",
    )
    use_unsafe = forms.BooleanField(
        required=False,
        label="Count pairs that prefer the unsafe",
        help_text="Most labelers flagged the preferred text as unsafe, and not the other.",
    )
    note = forms.CharField(required=False, help_text="Kept with the dataset.")
    field_order = [
        *("name", "include", "consensus", "soft", "min_judgments", "test_share", "seed"),
        *("labeler_share_max", "guideline_from", "exclude_labelers"),
        *("use_margin", "use_extra", "use_hasty", "use_fixes", "use_quarantined", "use_gold"),
        *("use_unsafe", "note"),
    ]

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, project=project, **kwargs)
        sources = [(f"imported:{source}", f"{source} (imported)") for source in list_imported_sources(project)]
        passed = Annotator.objects.filter(project=project, exam=Annotator.Exam.PASSED).order_by("name")
        annotators = [(f"ai:{who.name}", f"{who.name} (AI, where nobody has judged)") for who in passed]
        choices = [("own", "our own labelers"), *sources, *annotators]
        self.fields["include"].choices = choices  # type: ignore[attr-defined]

    def visible_fields(self) -> list[Any]:
        """Return the fields but for the ticks, which stand beside what they are about."""
        return [field for field in super().visible_fields() if field.name not in TICKS]

    def clean_consensus(self) -> str:
        return self.cleaned_data["consensus"] or "majority"

    def clean_guideline_from(self) -> int:
        return self.cleaned_data["guideline_from"] or 0

    def clean_labeler_share_max(self) -> float:
        return self.cleaned_data["labeler_share_max"] or 0.0

    def clean_exclude_labelers(self) -> tuple[str, ...]:
        names = self.cleaned_data["exclude_labelers"].split(",")
        return tuple(name.strip() for name in names if name.strip())

    def clean(self) -> dict[str, Any]:
        """Turn the parts into the rule, and say its word beside the part it is about."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        parts = {name: value for name, value in cleaned.items() if name not in ("name", *TICKS)}
        parts["exclude_labelers"] = tuple(dict.fromkeys([*parts["exclude_labelers"], *cleaned["without"]]))
        if cleaned["cap"]:
            parts["labeler_share_max"] = min(parts["labeler_share_max"] or 1, SHARE_WATCHED)
        try:
            cleaned["rule"] = FreezeRule(**{**parts, "include": tuple(parts["include"])})
        except InvalidRule as error:
            self.refuse(error)
        return cleaned

    def parts(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("name", "rule")}
