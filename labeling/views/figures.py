"""Figures as people read them: a number, a bar with its interval, a sentence on what it means, or why it is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.formats import date_format
from django.utils.translation import gettext as _

from labeling.domain.agreement import Agreement
from labeling.domain.charts import Bar, Curve, Reading, draw_bar, draw_curve, say_number, say_percent
from labeling.domain.intervals import Figure, wilson_interval
from labeling.domain.weeks import Week

# How often two raters of one pair agreed elsewhere: Ouyang et al. 2022, arXiv 2203.02155, section 3.4.
CEILING = 0.726
# Krippendorff 2004, "Content Analysis", chapter 11: from .8 on reliable, from .667 on for tentative conclusions.
RELIABLE, TENTATIVE, USUAL = 0.8, 0.667, 0.2
NO_FIGURE = Figure(key="", name="", n=0)


@dataclass(frozen=True)
class ShownFigure:
    """A figure on a page. mark: what its bar compares it with."""

    figure: Figure
    is_share: bool = True
    mark: float | None = None

    @property
    def text(self) -> str:
        if self.figure.value is None:
            return ""
        return say_percent(self.figure.value) if self.is_share else say_number(self.figure.value)

    @property
    def interval(self) -> str:
        """Where the true value lies, in words; an empty text when nobody can tell."""
        if self.figure.low is None or self.figure.high is None:
            return ""
        say = say_percent if self.is_share else say_number
        return _("between %(low)s and %(high)s") % {"low": say(self.figure.low), "high": say(self.figure.high)}

    @property
    def bar(self) -> Bar | None:
        """The interval as a bar; a coefficient below 0 is drawn at 0."""
        value, low, high = self.figure.value, self.figure.low, self.figure.high
        if value is None or low is None or high is None:
            return None
        return draw_bar(value, low, high, mark=self.mark)

    @property
    def meaning(self) -> str:
        return explain(self.figure)


def show_agreement(agreement: Agreement) -> dict[str, ShownFigure]:
    """Return the figures of a part of the project by key; what it lacks is unknown."""
    shown = {figure.key: ShownFigure(figure, is_share=figure.key in ("signs", "exact")) for figure in agreement.figures}
    signs = shown.get("signs")
    return shown | ({"signs": ShownFigure(signs.figure, mark=CEILING)} if signs else {})


def explain(figure: Figure) -> str:
    """Say in a sentence what a figure means for whoever trains on these labels."""
    if figure.value is None:
        return ""
    if figure.key == "signs":
        return explain_share(figure.value)
    if figure.key in ("ordinal", "fleiss"):
        return explain_coefficient(figure.value)
    return ""


def explain_share(value: float) -> str:
    if value >= CEILING:
        return _("As much as trained labelers reach elsewhere: a reward model cannot be asked for more.")
    if value >= 0.6:
        return _("Less than trained labelers reach elsewhere: look at the guideline, the slices and the flags below.")
    return _("Little more than tossing a coin would: settle what “better” means before more is judged.")


def explain_coefficient(value: float) -> str:
    if value >= RELIABLE:
        return _("Reliable: labelers could stand in for each other.")
    if value >= TENTATIVE:
        return _("Enough for careful conclusions.")
    if value >= USUAL:
        return _(
            "Usual for preferences, where people honestly differ; more judgments of each comparison make up for it."
        )
    if value > 0:
        return _("Barely above chance: most of what is learned from these labels would be noise.")
    return _("No better than chance.")


def draw_agreement(weeks: Sequence[Agreement]) -> list[Curve]:
    """Return how agreement went week by week: the share of same winners, alpha and kappa."""
    by_week = [(name_week(week.name), {figure.key: figure for figure in week.figures}) for week in weeks]

    def list_readings(key: str) -> list[Reading]:
        return [read(name, keys.get(key, NO_FIGURE)) for name, keys in by_week]

    curves = [
        draw_curve(_("Same winner"), list_readings("signs"), mark=CEILING),
        draw_curve(_("Krippendorff’s alpha"), list_readings("ordinal"), is_share=False),
        draw_curve(_("Fleiss’ kappa"), list_readings("fleiss"), is_share=False),
    ]
    return [curve for curve in curves if curve]


def draw_decay(weeks: Sequence[Week]) -> list[Curve]:
    """Return how much of the work saw no difference, or a slight one, week by week."""
    days = [(date_format(week.start, "j M"), week) for week in weeks]
    curves = [
        draw_curve(_("Ties"), [read_share(day, week.n_ties, week.n_compared) for day, week in days]),
        draw_curve(
            _("Ties and slight preferences"), [read_share(day, week.n_slight, week.n_compared) for day, week in days]
        ),
    ]
    return [curve for curve in curves if curve]


def draw_labeler(weeks: Sequence[Week]) -> list[Curve]:
    """Return how one labeler went week by week."""
    days = [(date_format(week.start, "j M"), week) for week in weeks]
    curves = [
        draw_curve(_("Gold judged right"), [read_share(day, week.n_right, week.n_gold) for day, week in days]),
        draw_curve(
            _("Left side preferred"), [read_share(day, week.n_left, week.n_decided) for day, week in days], mark=0.5
        ),
        draw_curve(
            _("Ties and slight preferences"), [read_share(day, week.n_slight, week.n_compared) for day, week in days]
        ),
    ]
    return [curve for curve in curves if curve]


def read(label: str, figure: Figure) -> Reading:
    """Return a figure as a point of a curve; without an interval it is one nobody can be sure of."""
    return Reading(label, figure.value, figure.low, figure.high, is_unsure=figure.low is None)


def read_share(label: str, k: int, n: int) -> Reading:
    """Return k of n as a point of a curve, with its interval; nothing of nothing is a gap."""
    return Reading(label, k / n, *wilson_interval(k, n)) if n else Reading(label, None)


def name_week(name: str) -> str:
    """Return a week's Monday as people write it, for example 3 Nov; another name as it is."""
    try:
        return date_format(date.fromisoformat(name), "j M")
    except ValueError:
        return name
