"""What a project asks of its labelers, and whether an answer fits the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _

from labeling.domain.errors import InvalidJudgment
from labeling.models import Project
from labeling.models.scales import FORCED, list_strengths

MAX_ACTIVE_MS = 24 * 3600 * 1000


def check_step(value: object, *, name: str, scale: str = Project.Scale.SEVEN) -> int:
    """Return a strength that can be said on a scale, or raise InvalidJudgment naming what it was given for."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in list_strengths(check_scale(scale)):
        words = {"name": name, "value": repr(value)[:40]}
        if scale in FORCED:
            raise InvalidJudgment(
                _("%(name)s must be from -4 to 4, and not 0: there is no tie; got %(value)s.") % words
            )
        raise InvalidJudgment(_("%(name)s must be a whole number from -3 to 3, got %(value)s.") % words)
    return value


def check_scale(scale: str) -> str:
    """Return the name of a scale, or raise InvalidJudgment."""
    if scale not in Project.Scale.values:
        known = ", ".join(Project.Scale.values)
        raise InvalidJudgment(_("The scale must be one of %(known)s.") % {"known": known})
    return scale


def check_axes(axes: Mapping[str, object], project: Project) -> dict[str, int]:
    """Return strengths by axis, or raise InvalidJudgment saying which axes the project has; she may leave some out."""
    if unknown := sorted(set(axes) - set(project.axes)):
        raise InvalidJudgment(
            _("%(name)s is no axis of this project: %(allowed)s.")
            % {"name": repr(unknown[0])[:60], "allowed": ", ".join(project.axes) or _("it has none")}
        )
    return {name: check_step(axes[name], name=name) for name in project.axes if name in axes}


def check_reasons(reasons: Sequence[str], project: Project) -> list[str]:
    """Return the words she clicked, each once, or raise InvalidJudgment saying which the project offers."""
    if unknown := sorted(set(reasons) - set(project.reasons)):
        raise InvalidJudgment(
            _("%(name)s is no reason of this project: %(allowed)s.")
            % {"name": repr(unknown[0])[:60], "allowed": ", ".join(project.reasons) or _("it has none")}
        )
    return [word for word in project.reasons if word in reasons]
