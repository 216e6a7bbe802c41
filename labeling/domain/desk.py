"""A labeler's desk: her keys, text size, width, layout; what nobody chose is as the house has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from labeling.domain.errors import LabelingError
from labeling.models import User

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

FONT_SIZES = range(14, 25)
WIDTHS = {"narrow": gettext_lazy("Narrow"), "wide": gettext_lazy("Wide"), "full": gettext_lazy("The whole window")}
LAYOUTS = {
    "auto": gettext_lazy("Side by side where there is room"),
    "side": gettext_lazy("Side by side"),
    "boxes": gettext_lazy("Side by side, each scrolled by itself"),
    "stacked": gettext_lazy("One below the other"),
}
RENDERS = {"rendered": gettext_lazy("Rendered"), "raw": gettext_lazy("As written")}

# Escape closes, Tab moves, and the others scroll or edit: a labeler cannot do without them.
RESERVED_KEYS = frozenset(
    {"escape", "tab", "backspace", "delete", "shift", "control", "alt", "meta", "capslock", "home", "end", "pageup"}
    | {"pagedown", "arrowup", "arrowdown", "arrowleft", "arrowright", "contextmenu", "dead"}
)
NAMED_KEYS = frozenset({"space", "enter"})


class InvalidDesk(LabelingError):
    """Choices no desk can have: each fault is a sentence."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(" ".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Action:
    """Something a key does. Actions of one scope, and those of scope always, cannot share a key."""

    name: str
    label: StrPromise
    key: str
    scope: str  # quick, seven, or always


ACTIONS = (
    Action("left", gettext_lazy("A is better"), "f", "quick"),
    Action("right", gettext_lazy("B is better"), "j", "quick"),
    Action("tie", gettext_lazy("Tie"), "space", "quick"),
    Action("step_1", gettext_lazy("A is much better"), "1", "seven"),
    Action("step_2", gettext_lazy("A is better"), "2", "seven"),
    Action("step_3", gettext_lazy("A is slightly better"), "3", "seven"),
    Action("step_4", gettext_lazy("About the same"), "4", "seven"),
    Action("step_5", gettext_lazy("B is slightly better"), "5", "seven"),
    Action("step_6", gettext_lazy("B is better"), "6", "seven"),
    Action("step_7", gettext_lazy("B is much better"), "7", "seven"),
    Action("step_8", gettext_lazy("The eighth, where there are eight"), "8", "seven"),
    Action("save", gettext_lazy("Save"), "enter", "always"),
    Action("both_bad", gettext_lazy("Both bad, both unacceptable"), "x", "always"),
    Action("unsafe_left", gettext_lazy("A is unsafe"), "q", "always"),
    Action("unsafe_right", gettext_lazy("B is unsafe"), "p", "always"),
    Action("undo", gettext_lazy("Undo: open the last one again"), "u", "always"),
    Action("skip", gettext_lazy("Skip, and why"), "k", "always"),
    Action("reasons", gettext_lazy("Say why before it is saved"), "c", "always"),
    Action("note", gettext_lazy("Write a note"), "n", "always"),
    Action("fix", gettext_lazy("Rewrite the better completion"), "e", "always"),
    Action("diff", gettext_lazy("Mark the words that differ"), "d", "always"),
    Action("raw", gettext_lazy("As written, or rendered"), "r", "always"),
    Action("sync", gettext_lazy("Scroll both together"), "s", "always"),
    Action("layout", gettext_lazy("Side by side, or one below the other"), "l", "always"),
    Action("jump", gettext_lazy("Go to the other completion"), "w", "always"),
    Action("reveal", gettext_lazy("Show texts behind a warning"), "b", "always"),
    Action("guideline", gettext_lazy("Guideline"), "g", "always"),
    Action("help", gettext_lazy("All keys"), "?", "always"),
)
DEFAULT_KEYS = {action.name: action.key for action in ACTIONS}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """How a labeler likes her judge page."""

    keys: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_KEYS))  # key by action, all of them
    font_size: int = 17
    width: str = "wide"
    layout: str = "auto"
    render: str = "rendered"
    sync_scroll: bool = False
    shows_timer: bool = False
    language: str = ""  # of the pages; an empty string leaves it to the browser
    asks_reasons: bool = False  # with one key: a choice waits for its reasons, and Enter saves


def read_desk(user: User) -> Desk:
    """Return what the labeler chose; what cannot be read, or is no longer known, is as the house has it."""
    stored = user.desk if isinstance(user.desk, dict) else {}
    own = stored.get("keys") if isinstance(stored.get("keys"), dict) else {}
    chosen = {name: key for name, key in (own or {}).items() if name in DEFAULT_KEYS and is_key(key)}
    keys = DEFAULT_KEYS | chosen
    if find_key_faults(keys):
        keys = swap_keys(chosen)
    known = {option.name: stored[option.name] for option in fields(Desk) if option.name in stored}
    good = {name: value for name, value in known.items() if name != "keys" and not find_option_faults({name: value})}
    return Desk(keys=DEFAULT_KEYS if find_key_faults(keys) else keys, **good)


def save_desk(user: User, desk: Desk) -> None:
    """Store the labeler's desk, or raise InvalidDesk with every fault. Only what differs from the house's keys is kept."""
    chosen = asdict(desk)
    faults = [*find_key_faults(desk.keys), *find_option_faults(chosen)]
    if faults:
        raise InvalidDesk(faults)
    chosen["keys"] = {name: key for name, key in desk.keys.items() if key != DEFAULT_KEYS[name]}
    user.desk = chosen
    user.save(update_fields=["desk"])


def swap_keys(own: dict[str, str]) -> dict[str, str]:
    """Return a key for every action; one whose key she gave to another gets the key that the other had.

    So she keeps her keys when the house learns a new action.
    """
    givers = {key: name for name, key in own.items()}
    return {
        name: own.get(name) or (DEFAULT_KEYS[givers[key]] if key in givers else key)
        for name, key in DEFAULT_KEYS.items()
    }


def is_key(key: Any) -> bool:
    """Tell whether a key can be an action's: one visible character in lower case, space or enter."""
    if not isinstance(key, str) or key in RESERVED_KEYS:
        return False
    return key in NAMED_KEYS or (len(key) == 1 and key.isprintable() and not key.isspace() and key == key.lower())


def find_key_faults(keys: dict[str, str]) -> list[str]:
    """Return a sentence for each key that cannot be, and for each two actions that want the same one."""
    faults = [_("There is no action “%s”.") % name for name in keys if name not in DEFAULT_KEYS]
    faults += [_("“%s” has no key.") % action.label for action in ACTIONS if action.name not in keys]
    known = [action for action in ACTIONS if action.name in keys]
    faults += [
        _("“%(key)s” cannot be the key of “%(action)s”.") % {"key": keys[action.name], "action": action.label}
        for action in known
        if not is_key(keys[action.name])
    ]
    return faults + list(find_shared_keys(keys, known))


def find_shared_keys(keys: dict[str, str], known: list[Action]) -> Iterable[str]:
    for number, action in enumerate(known):
        for other in known[:number]:
            meet = action.scope == other.scope or "always" in (action.scope, other.scope)
            if meet and keys[action.name] == keys[other.name]:
                words = {"key": keys[action.name], "first": other.label, "second": action.label}
                yield _("“%(first)s” and “%(second)s” cannot both have the key “%(key)s”.") % words


def find_option_faults(chosen: dict[str, Any]) -> list[str]:
    """Return a sentence for each option that is none."""
    faults = []
    size = chosen.get("font_size", 17)
    if isinstance(size, bool) or not isinstance(size, int) or size not in FONT_SIZES:
        faults.append(_("The text size is from 14 to 24."))
    languages = {"", *dict(settings.LANGUAGES)}
    for name, options in {"width": WIDTHS, "layout": LAYOUTS, "render": RENDERS, "language": languages}.items():
        if name in chosen and (not isinstance(chosen[name], str) or chosen[name] not in options):
            faults.append(_("“%(value)s” is no %(name)s.") % {"value": chosen[name], "name": name})
    faults += [
        _("%s is on or off.") % name
        for name in ("sync_scroll", "shows_timer", "asks_reasons")
        if name in chosen and not isinstance(chosen[name], bool)
    ]
    return faults
