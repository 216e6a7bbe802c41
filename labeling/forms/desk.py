"""What a labeler chooses at her desk: a key for each action, how texts are shown, the language, slices she declines."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from labeling.domain.desk import (
    ACTIONS,
    FONT_SIZES,
    LAYOUTS,
    RENDERS,
    WIDTHS,
    Action,
    Desk,
    find_shared_keys,
    is_key,
)

SCOPES = {"quick": _("One key"), "seven": _("Steps, from left to right"), "always": _("Always")}


class KeyField(forms.CharField):
    """One key: a character, or the name of a key that writes none."""

    def __init__(self, action: Action) -> None:
        attributes = {"size": 6, "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        super().__init__(
            label=action.label, required=False, strip=False, max_length=12, widget=forms.TextInput(attributes)
        )

    def clean(self, value: Any) -> str:
        typed = "space" if value == " " else super().clean(value).strip().lower()
        key = {gettext("space"): "space", gettext("enter"): "enter"}.get(typed, typed)
        if not key:
            raise forms.ValidationError(_("Give it a key."))
        if not is_key(key):
            raise forms.ValidationError(_("Type one character, or space or enter: others are the browser's."))
        return key

    def prepare_value(self, value: Any) -> Any:
        return {"space": gettext("space"), "enter": gettext("enter")}.get(value, value)


class DeskForm(forms.Form):
    """All of a desk but the declined slices."""

    language = forms.ChoiceField(label=_("Language"), required=False, choices=[("", _("As the browser says"))])
    font_size = forms.TypedChoiceField(
        label=_("Text size of prompts and completions"), coerce=int, choices=[(size, size) for size in FONT_SIZES]
    )
    width = forms.ChoiceField(label=_("Width"), choices=WIDTHS.items())
    layout = forms.ChoiceField(label=_("Completions stand"), choices=LAYOUTS.items())
    render = forms.ChoiceField(label=_("Texts are shown"), choices=RENDERS.items())
    sync_scroll = forms.BooleanField(label=_("Scroll both completions together"), required=False)
    shows_timer = forms.BooleanField(label=_("Show how long a pair has been open"), required=False)
    asks_reasons = forms.BooleanField(label=_("Ask for my reasons before a one-key choice is saved"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["language"].choices += settings.LANGUAGES  # type: ignore[attr-defined]
        for action in ACTIONS:
            self.fields[f"key_{action.name}"] = KeyField(action)

    def clean(self) -> dict[str, Any]:
        """Explain two actions on one key at both of them."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        keys = {action.name: cleaned[f"key_{action.name}"] for action in ACTIONS if f"key_{action.name}" in cleaned}
        known = [action for action in ACTIONS if action.name in keys]
        for first, second in combinations(known, 2):
            for fault in find_shared_keys(keys, [first, second]):
                self.add_error(f"key_{first.name}", fault)
                self.add_error(f"key_{second.name}", fault)
        return cleaned

    def to_desk(self) -> Desk:
        """Return the desk of a valid form."""
        options = {name: value for name, value in self.cleaned_data.items() if not name.startswith("key_")}
        return Desk(keys={action.name: self.cleaned_data[f"key_{action.name}"] for action in ACTIONS}, **options)

    @property
    def options(self) -> list[forms.BoundField]:
        return [field for field in self if not field.name.startswith("key_")]

    @property
    def key_groups(self) -> list[tuple[Any, list[forms.BoundField]]]:
        """The actions' fields under the scope in which they act."""
        return [
            (label, [self[f"key_{action.name}"] for action in ACTIONS if action.scope == scope])
            for scope, label in SCOPES.items()
        ]


def fill_desk(desk: Desk) -> dict[str, Any]:
    """Return what a desk's form shows at first."""
    options = {name: value for name, value in vars(desk).items() if name != "keys"}
    return options | {f"key_{name}": key for name, key in desk.keys.items()}


class AcceptForm(forms.Form):
    """A slice she wants to be shown again; without a name it is the slice of prompts that have none."""

    name = forms.CharField(max_length=64, required=False, strip=False)
