"""How far each two labelers agree: as a table of names where they are few, and as a list with intervals for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from labeling.domain.agreement import MIN_ITEMS, Agreement
from labeling.domain.intervals import Figure
from labeling.domain.parts import MAX_PAIRS
from labeling.domain.quality_report import load_report
from labeling.permissions import get_reviewed_project, login_required
from labeling.views.figures import ShownFigure, show_agreement

LEVELS = (0.4, 0.55, 0.75, 0.9)
BETWEEN = " - "  # stands between the two names of a pair; no username holds a space
MATRIX = 20  # labelers beyond whom a table of names is no table any more


@dataclass(frozen=True)
class Cell:
    """How often two labelers name the same winner, and Cohen's kappa of it, where one can be said."""

    share: float
    n: int
    kappa: Figure | None = None

    @property
    def percent(self) -> str:
        return f"{100 * self.share:.0f}"

    @property
    def level(self) -> str:
        """From 0, far below what others reach, to 4, far above; few where chance alone could make any of these."""
        return "few" if self.n < MIN_ITEMS else str(sum(self.share >= limit for limit in LEVELS))

    @property
    def beyond_chance(self) -> str:
        return "" if self.kappa is None or self.kappa.value is None else f"{self.kappa.value:.2f}"

    @property
    def between(self) -> str:
        """The interval of kappa, or why there is none."""
        if self.kappa is None:
            return ""
        if self.kappa.low is None or self.kappa.high is None:
            return self.kappa.reason
        words = {"low": f"{self.kappa.low:.2f}", "high": f"{self.kappa.high:.2f}"}
        return _("Cohen’s kappa, between %(low)s and %(high)s") % words


@dataclass(frozen=True)
class Matrix:
    """Pairs of labelers as a table."""

    labelers: list[str]
    rows: list[tuple[str, list[Cell | None]]]


@dataclass(frozen=True)
class PairRow:
    """Two labelers in the list, and the figures of what both judged."""

    names: tuple[str, str]
    n: int
    figures: list[ShownFigure]

    @property
    def is_thin(self) -> bool:
        """Whether both judged too few comparisons for an interval."""
        return self.n < MIN_ITEMS

    @property
    def order(self) -> tuple[bool, float]:
        """Who agrees least comes first; of too few comparisons nothing can be said, they come last."""
        value = self.figures[0].figure.value
        return self.is_thin, 1.0 if value is None else value


@login_required
@require_safe
def show_pairs(request: HttpRequest, slug: str) -> HttpResponse:
    """List the pairs of labelers, all or those of ?labeler=NAME."""
    project = get_reviewed_project(request.user, slug)
    report = load_report(project)
    if report is None:  # its page says that it is being measured, and looks again
        return redirect("labeling:quality", slug)
    rows = sorted(map(build_row, report.pairs), key=lambda row: row.order)
    chosen = request.GET.get("labeler", "")
    context = {
        "project": project,
        "at": report.at,
        "rows": [row for row in rows if not chosen or chosen in row.names],
        "labelers": sorted({name for row in rows for name in row.names}),
        "chosen": chosen,
        "limit": MAX_PAIRS if len(rows) >= MAX_PAIRS else None,
    }
    return render(request, "labeling/quality_pairs.html", context)


def build_row(pair: Agreement) -> PairRow:
    first, second = pair.name.split(BETWEEN)
    shown = show_agreement(pair)
    return PairRow((first, second), pair.n_items, [shown[key] for key in ("signs", "cohen", "ordinal")])


def build_matrix(pairs: Sequence[Agreement]) -> Matrix | None:
    """Return the pairs that judged something in common as a table of the labelers; None for none, and for too many."""
    cells: dict[tuple[str, str], Cell] = {}
    for pair in pairs:
        first, second = pair.name.split(BETWEEN)
        figures = {figure.key: figure for figure in pair.figures}
        if (signs := figures.get("signs")) and signs.value is not None:
            cell = Cell(signs.value, pair.n_items, figures.get("cohen"))
            cells[first, second] = cells[second, first] = cell
    labelers = sorted({name for names in cells for name in names})
    rows = [(name, [cells.get((name, other)) for other in labelers]) for name in labelers]
    return Matrix(labelers, rows) if 0 < len(rows) <= MATRIX else None
