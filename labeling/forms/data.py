"""What someone looks for in the data, and what a manager does to the rows she found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from labeling.domain.bulk import MAX_PRIORITY, Change
from labeling.domain.content import UNSTORABLE
from labeling.domain.filters import FOR_MANAGERS, Page
from labeling.domain.overlap import MAX_OVERLAP
from labeling.domain.search import MAX_ID, Place, Search
from labeling.models import Comparison, Project, Reason, User, Verdict

QUERY_CHARS = 2000


def choose(label: Any, choices: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=[("", _("any")), *choices], required=False)


def ask_whether(label: Any) -> forms.TypedChoiceField:
    """Yes, no, or either."""
    words = [("", _("either")), ("yes", _("yes")), ("no", _("no"))]
    return forms.TypedChoiceField(
        label=label, choices=words, coerce=lambda word: word == "yes", empty_value=None, required=False
    )


def ask_count(label: Any, *, low: int = 0, high: int = 32_767) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=low, max_value=high, required=False)


def ask_number(label: Any) -> forms.IntegerField:
    return ask_count(label, low=1, high=MAX_ID)


def ask_day(label: Any) -> forms.DateField:
    return forms.DateField(label=label, required=False, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"))


class SearchForm(forms.Form):
    """A search in the query string; a name it does not know, or a value that cannot be, is an error."""

    page: str
    text = forms.CharField(
        required=False, max_length=QUERY_CHARS, label=_("Words"), widget=forms.TextInput({"type": "search"})
    )
    number = ask_number(_("Number"))
    slice = choose(_("Slice"), [])
    language = choose(_("Language"), [])
    after = forms.CharField(
        required=False, validators=[RegexValidator(r"^\d{1,18}(-\d{1,18})?$")], widget=forms.HiddenInput
    )

    def __init__(self, data: QueryDict, *, project: Project, manages: bool) -> None:
        super().__init__(data, auto_id="filter-%s")
        self.project = project
        rows = list(project.slices.values_list("name", "language"))
        for name, values in (("slice", {name for name, _l in rows}), ("language", {word for _n, word in rows})):
            known = [(value, value) for value in sorted(values) if value]
            self.fields[name].choices = [("", _("any")), *known]  # type: ignore[attr-defined]
        for name in FOR_MANAGERS & set(self.fields) if not manages else ():
            del self.fields[name]

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        if UNSTORABLE.search(text):
            raise forms.ValidationError(_("No text here holds such a character."))
        return text

    def clean_labeler(self) -> User | None:
        name = self.cleaned_data["labeler"]
        user = User.objects.filter(username=name).first() if name else None
        if name and user is None:
            raise forms.ValidationError(_("Nobody has the name “%s”.") % name)
        return user

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if strange := sorted(set(self.data) - set(self.fields)):
            raise forms.ValidationError(
                _("“%s” is no filter of this page: take it out of the address.") % strange[0][:60]
            )
        return cleaned

    @property
    def facts(self) -> dict[str, Any]:
        said = self.cleaned_data
        names = [name for name in self.fields if name not in ("text", "after")]
        return {name: said[name] for name in names if said.get(name) not in (None, "")}

    def to_search(self) -> Search:
        """Return what is looked for; call is_valid first."""
        return Search(page=self.page, text=self.cleaned_data["text"], facts=self.facts)

    def to_place(self) -> Place | None:
        after = self.cleaned_data["after"]
        return Place(*map(int, after.split("-"))) if after else None

    def write_query(self, **changes: Any) -> str:
        """Return the query string of the same search, without its place unless a change gives one."""
        query = QueryDict(mutable=True)
        for name in self.fields:
            value = self.data.get(name, "")
            if value and name != "after":
                query[name] = value
        for name, value in changes.items():
            query[name] = str(value)
        return query.urlencode()

    def list_filters(self) -> list[forms.BoundField]:
        return [field for field in self.visible_fields() if field.name != "text"]


class PromptSearch(SearchForm):
    page = Page.PROMPTS
    held_out = ask_whether(_("Held out"))
    compared = ask_whether(_("Has comparisons"))
    since = ask_day(_("Since"))
    until = ask_day(_("Until"))


class CompletionSearch(SearchForm):
    page = Page.COMPLETIONS
    prompt = ask_number(_("Prompt"))
    written = ask_whether(_("Written here"))
    demonstration = ask_whether(_("Demonstration"))


STANDINGS = [("waits", _("waits for labelers")), ("judged", _("judged"))]


class ComparisonSearch(SearchForm):
    page = Page.COMPARISONS
    prompt = ask_number(_("Prompt"))
    state = choose(_("State"), [*STANDINGS, *Comparison.State.choices[1:], ("open", _("not decided by a reviewer"))])
    reason = choose(_("Proposed by"), [(value, label) for value, label in Reason.choices[:3]])
    fewest = ask_count(_("Judgments from"))
    most = ask_count(_("Judgments to"))
    overlap = ask_count(_("Overlap"), high=MAX_OVERLAP)
    queued = ask_whether(_("In the queue"))
    split = ask_whether(_("Different winners"))
    unsafe = ask_whether(_("Flagged unsafe"))
    both_bad = ask_whether(_("Both bad"))
    verdict = choose(_("Somebody said"), Verdict.choices)
    labeler = forms.CharField(required=False, max_length=150, label=_("Judged by"))
    gold = ask_whether(_("Gold"))
    since = ask_day(_("Since"))
    until = ask_day(_("Until"))


class JudgmentSearch(SearchForm):
    page = Page.JUDGMENTS
    comparison = ask_number(_("Comparison"))
    labeler = forms.CharField(required=False, max_length=150, label=_("Labeler"))
    verdict = choose(_("Verdict"), Verdict.choices)
    reason = choose(_("Reason"), Reason.choices)
    guideline = ask_count(_("Guideline version"), high=1_000_000)
    unsafe = ask_whether(_("Flagged unsafe"))
    both_bad = ask_whether(_("Both bad"))
    note = ask_whether(_("With a note"))
    revised = ask_whether(_("Changed"))
    hasty = ask_whether(_("Hasty"))
    extra = ask_whether(_("Extra vote"))
    since = ask_day(_("Since"))
    until = ask_day(_("Until"))


SEARCHES: Mapping[str, type[SearchForm]] = {
    form.page: form for form in (PromptSearch, CompletionSearch, ComparisonSearch, JudgmentSearch)
}
ACTS = [
    ("retire", _("Retire")), ("reopen", _("Reopen")), ("overlap", _("Set the overlap")),
    ("priority", _("Set the priority")), ("slice", _("Put into a slice")),
]  # fmt: skip


class BulkForm(forms.Form):
    """A change of the rows ticked, or of all that a search finds; of the latter how far earlier trips came."""

    act = forms.ChoiceField(choices=ACTS, label=_("What to do"))
    overlap = ask_count(_("Overlap"), high=MAX_OVERLAP)
    priority = ask_count(_("Priority"), low=-MAX_PRIORITY, high=MAX_PRIORITY)
    slice_name = forms.CharField(required=False, max_length=64, label=_("Slice"))
    language = forms.CharField(required=False, max_length=16, label=_("Language"))
    scope = forms.ChoiceField(choices=[("ticked", _("the rows ticked")), ("all", _("all rows found"))])
    query = forms.CharField(required=False, max_length=4 * QUERY_CHARS)
    confirmed = forms.BooleanField(required=False)
    after = ask_number("")
    n_changed = ask_count("", high=MAX_ID)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        act = cleaned.get("act")
        if act in ("overlap", "priority") and cleaned.get(act) is None and act not in self.errors:
            self.add_error(act, _("Say which: a whole number."))
        for name in ("slice_name", "language"):
            if UNSTORABLE.search(cleaned.get(name) or ""):
                self.add_error(name, _("No text here holds such a character."))
        return cleaned

    @property
    def ids(self) -> list[int]:
        """The rows ticked; whatever is no number was never a row."""
        ticked = self.data.getlist("row")[:1000] if isinstance(self.data, QueryDict) else []
        return [int(pk) for pk in ticked if pk.isascii() and pk.isdigit() and len(pk) < 19]

    def to_change(self) -> Change:
        """Return what a valid form asks for."""
        said = self.cleaned_data
        values = {
            "overlap": said["overlap"],
            "priority": said["priority"],
            "slice": (said["slice_name"], said["language"]),
        }
        return Change(act=said["act"], value=values.get(said["act"]))

    def to_place(self) -> Place | None:
        return Place(self.cleaned_data["after"]) if self.cleaned_data["after"] else None


class ViewForm(forms.Form):
    """A search to come back to."""

    page = forms.ChoiceField(choices=Page.choices)
    query = forms.CharField(required=False, max_length=4 * QUERY_CHARS)
    name = forms.CharField(max_length=100, label=_("Name"))
    is_shared = forms.BooleanField(required=False, label=_("For everyone in the project"))
