"""One comparison: its texts, and all that was said and done about it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from labeling.domain.dossier import open_dossier
from labeling.domain.showing import show_pair
from labeling.forms.data import BulkForm
from labeling.forms.gold import name_answer
from labeling.forms.scales import name_strength
from labeling.models import Comparison, Judgment
from labeling.permissions import get_reviewed_project, login_required, may_manage


@login_required
@require_safe
def show(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    project = get_reviewed_project(request.user, slug)
    rows = Comparison.objects.with_texts().select_related("project", "prompt__slice").with_standing()
    comparison = get_object_or_404(rows, project=project, pk=comparison_id)
    manages = may_manage(request.user, project)
    dossier = open_dossier(comparison, request.user, manages=manages)
    gold = dossier.gold
    context = {
        "project": project,
        "page": "comparisons",
        "comparison": comparison,
        "pair": show_pair(comparison, a_shown_left=True),
        "whole": reverse("labeling:review-detail", args=[project.slug, comparison.pk]),
        "dossier": dossier,
        "said": [
            (said, name_judgment(said.judgment), [(row, name_judgment(row)) for row in said.earlier])
            for said in dossier.said
        ],
        "answer": name_answer(gold.strength_min, gold.strength_max) if gold else "",
        "may_manage": manages,
        "acts": BulkForm.base_fields["act"].choices if manages else [],  # type: ignore[attr-defined]
        "query": f"number={comparison.pk}",
        "slices": list(project.slices.all()[:200]) if manages else [],
        "bulk": BulkForm(auto_id="bulk-%s"),
    }
    return render(request, "labeling/comparison_detail.html", context)


def name_judgment(judgment: Judgment) -> str:
    return name_strength(judgment.strength, judgment.scale)
