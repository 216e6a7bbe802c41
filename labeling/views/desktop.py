"""What lies on a labeler's desk, in the words of the page: her keys as they are printed, the scale, axes, reasons."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from labeling.domain.desk import ACTIONS, Desk, read_desk
from labeling.domain.judging import Vote
from labeling.forms.scales import SEVEN_CHOICES, STEPS
from labeling.models import Project, User

SCOPES = {
    "quick": gettext_lazy("One key"),
    "seven": gettext_lazy("Steps, from left to right"),
    "always": gettext_lazy("Always"),
}


class Step(NamedTuple):
    """One step of the scale as it stands on the page."""

    value: int
    label: Any
    short: str
    meaning: Any
    key: str
    is_chosen: bool


def show_desk(user: User, scale: str) -> dict[str, Any]:
    """Return her desk, her keys as they are printed, and all of them for the help sheet, in the words of her scale."""
    desk = read_desk(user)
    printed = {name: print_key(key) for name, key in desk.keys.items()}
    words = {f"step_{number}": step.label for number, step in enumerate(STEPS[scale], 1)}
    sheet = [
        (
            title,
            [
                (printed[action.name], words.get(action.name, action.label))
                for action in ACTIONS
                if action.scope == scope
            ],
        )
        for scope, title in SCOPES.items()
    ]
    return {"desk": desk, "printed": printed, "help_sheet": sheet}


def print_key(key: str) -> str:
    """Return a key as it is printed on a button."""
    return {"space": _("Space"), "enter": "⏎"}.get(key, key.upper() if len(key.upper()) == 1 else key)


def list_steps(desk: Desk, scale: str, vote: Vote | None) -> list[Step]:
    """Return the steps of a scale from left to right, each with its key."""
    chosen = vote.preference if vote else None
    return [
        Step(*words, desk.keys[f"step_{number}"], words.value == chosen)
        for number, words in enumerate(STEPS[scale], start=1)
    ]


def list_axes(project: Project, vote: Vote | None) -> list[tuple[str, str, list[tuple[int, Any, bool]]]]:
    """Return each quality with the name of its field and its seven steps."""
    said = vote.axes if vote else {}
    return [
        (name, f"axis_{number}", [(value, label, said.get(name) == value) for value, label in SEVEN_CHOICES])
        for number, name in enumerate(project.axes)
    ]


def list_reasons(project: Project, vote: Vote | None) -> list[tuple[str, bool]]:
    """Return the words a labeler may click, and which she clicked."""
    said = vote.reasons if vote else ()
    return [(word, word in said) for word in project.reasons]
