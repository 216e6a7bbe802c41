"""The quality page: how far labelers agree, what a team can hope for, and how each labeler fares."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from labeling.domain.agreement import Agreement
from labeling.domain.quality import LabelerQuality
from labeling.domain.quality_report import load_report
from labeling.forms.standing import list_acts, name_standing
from labeling.models import Membership
from labeling.permissions import get_reviewed_project, login_required, may_manage
from labeling.views.figures import NO_FIGURE, ShownFigure, draw_agreement, draw_decay, show_agreement
from labeling.views.quality_pairs import build_matrix

CEILINGS = (
    ("72.6 ± 1.5%", gettext_lazy("among InstructGPT’s labelers")),
    ("77.3 ± 1.3%", gettext_lazy("among labelers its training never saw")),
)


@dataclass(frozen=True)
class LabelerRow:
    """A labeler in the table: her figures, and how she stands now rather than when they were measured."""

    quality: LabelerQuality
    membership: Membership | None

    @property
    def standing(self) -> str:
        return name_standing(self.membership)

    @property
    def acts(self) -> list[tuple[str, str, str]]:
        return list_acts(self.membership)

    @property
    def figures(self) -> list[ShownFigure]:
        row = self.quality
        return [
            ShownFigure(row.gold),
            ShownFigure(row.consistency),
            ShownFigure(row.left, mark=0.5),
            ShownFigure(row.longer, mark=0.5),
            ShownFigure(row.ties),
            ShownFigure(row.hasty),
        ]


@login_required
@require_safe
def show_quality(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_reviewed_project(request.user, slug)
    report = load_report(project)
    if report is None:
        return render(request, "labeling/quality_wait.html", {"project": project})
    memberships = {row.user_id: row for row in Membership.objects.filter(project=project)}
    rows = [LabelerRow(quality, memberships.get(quality.labeler.pk)) for quality in report.labelers]
    context = {
        "project": project,
        "at": report.at,
        "whole": report.whole,
        "n_quarantined": report.n_quarantined,
        "n_sent_back": report.n_sent_back,
        "n_contested": report.n_contested,
        "headlines": list_headlines(report.whole),
        "ceilings": CEILINGS,
        "curves": draw_agreement(report.weeks),
        "decay": draw_decay(report.decay),
        "slices": [(part, show_agreement(part)) for part in report.slices],
        "matrix": build_matrix(report.pairs),
        "rows": sorted(rows, key=lambda row: (not row.quality.flags, -row.quality.n, str(row.quality.labeler))),
        "may_manage": may_manage(request.user, project),
        "n_pairs": len(report.pairs),
    }
    return render(request, "labeling/quality_detail.html", context)


@login_required
@require_safe
def show_ceiling(request: HttpRequest, slug: str) -> HttpResponse:
    """Say in a sentence how often two labelers agree, for pages where a model's accuracy stands: no more can be hoped."""
    project = get_reviewed_project(request.user, slug)
    report = load_report(project)
    if report is None:  # it is being measured: the link that stands there will do
        return HttpResponse(status=204)
    signs = show_agreement(report.whole).get("signs")
    return render(request, "labeling/_ceiling.html", {"project": project, "signs": signs})


def list_headlines(whole: Agreement) -> list[tuple[str, ShownFigure, str]]:
    """Return the project's figures with their names and what each one is."""
    shown = show_agreement(whole)
    unknown = ShownFigure(NO_FIGURE)
    return [
        (
            _("Same winner"),
            shown.get("signs", unknown),
            _("Of two labelers of one comparison, so often both name the same winner, or both none."),
        ),
        (
            _("Krippendorff’s alpha"),
            shown.get("ordinal", unknown),
            _(
                "Agreement on winner and strength, with what chance alone would give taken off: 1 is perfect, 0 is chance."
            ),
        ),
        (
            _("Fleiss’ kappa"),
            shown.get("fleiss", unknown),
            _("Agreement on the winner alone, with chance taken off."),
        ),
    ]
