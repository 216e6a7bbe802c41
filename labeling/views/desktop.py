"""What lies on a labeler's desk, in the words of the page: her keys as they are printed, the scale, axes, reasons."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from labeling.domain.desk import ACTIONS, Desk, read_desk
from labeling.domain.judging import Vote
from labeling.forms.judging import STEPS
from labeling.models import Project, User

# On a phone the seven stand in one row, so each has a short name beside its long one; and each says what it means.
SHORT_STEPS = ["A+++", "A++", "A+", "=", "B+", "B++", "B+++"]
MEANINGS = [
    gettext_lazy("Nobody would want B once they have seen A."),
    gettext_lazy("A is clearly better, though B has its merits."),
    gettext_lazy("A is better by a detail or a matter of taste."),
    gettext_lazy("You could not say which one to send."),
    gettext_lazy("B is better by a detail or a matter of taste."),
    gettext_lazy("B is clearly better, though A has its merits."),
    gettext_lazy("Nobody would want A once they have seen B."),
]
SCOPES = {"quick": gettext_lazy("One key"), "seven": gettext_lazy("Seven steps"), "always": gettext_lazy("Always")}


class Step(NamedTuple):
    """One step of the scale as it stands on the page."""

    value: int
    label: Any
    short: str
    meaning: Any
    key: str
    is_chosen: bool


def show_desk(user: User) -> dict[str, Any]:
    """Return her desk, her keys as they are printed, and all of them for the help sheet."""
    desk = read_desk(user)
    printed = {name: print_key(key) for name, key in desk.keys.items()}
    sheet = [
        (title, [(printed[action.name], action.label) for action in ACTIONS if action.scope == scope])
        for scope, title in SCOPES.items()
    ]
    return {"desk": desk, "printed": printed, "help_sheet": sheet}


def print_key(key: str) -> str:
    """Return a key as it is printed on a button."""
    return {"space": _("Space"), "enter": "⏎"}.get(key, key.upper() if len(key.upper()) == 1 else key)


def list_steps(desk: Desk, vote: Vote | None) -> list[Step]:
    """Return the seven steps from left to right."""
    chosen = vote.preference if vote else None
    return [
        Step(value, label, short, meaning, desk.keys[f"step_{number}"], value == chosen)
        for number, ((value, label), short, meaning) in enumerate(zip(STEPS, SHORT_STEPS, MEANINGS, strict=True), 1)
    ]


def list_axes(project: Project, vote: Vote | None) -> list[tuple[str, str, list[tuple[int, Any, bool]]]]:
    """Return each quality with the name of its field and its seven steps."""
    said = vote.axes if vote else {}
    return [
        (name, f"axis_{number}", [(value, label, said.get(name) == value) for value, label in STEPS])
        for number, name in enumerate(project.axes)
    ]


def list_reasons(project: Project, vote: Vote | None) -> list[tuple[str, bool]]:
    """Return the words a labeler may click, and which she clicked."""
    said = vote.reasons if vote else ()
    return [(word, word in said) for word in project.reasons]
