"""The gold page: comparisons whose right answer is known, how labelers fare on them, and what could become gold."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from labeling.domain.charts import say_percent
from labeling.domain.errors import LabelingError
from labeling.domain.gold import drop_gold, make_gold
from labeling.domain.gold_items import GoldItem, list_gold, suggest_gold
from labeling.forms.gold import GoldForm, PlaceForm, choose_answer, find_answer, name_answer
from labeling.models import Comparison, Gold, Project
from labeling.permissions import get_managed_project, login_required

PAGE = 50


@dataclass(frozen=True)
class GoldRow:
    """An item as the page tells it, with the form that says anew what is right."""

    item: GoldItem

    @property
    def answer(self) -> str:
        return name_answer(self.item.gold.strength_min, self.item.gold.strength_max)

    @property
    def share(self) -> str:
        return "" if self.item.share is None else say_percent(self.item.share)

    @property
    def form(self) -> GoldForm:
        return edit_form(self.item.gold)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def gold(request: HttpRequest, slug: str) -> HttpResponse:
    """Whoever knows the answers cannot be measured by them: gold is the managers'."""
    project = get_managed_project(request.user, slug)
    if request.method == "POST":
        return create_gold(request, project)
    return show_gold(request, project)


def create_gold(request: HttpRequest, project: Project) -> HttpResponse:
    form = GoldForm(request.POST)
    if not form.is_valid():
        return show_gold(request, project, form=form, status=422)
    comparison = get_object_or_404(Comparison, project=project, pk=form.cleaned_data["comparison"])
    try:
        made = make_gold(comparison, request.user, **form.to_facts())
    except LabelingError as error:
        form.add_error(None, str(error))
        return show_gold(request, project, form=form, status=422)
    words = name_answer(made.strength_min, made.strength_max)
    messages.success(request, _("Comparison %(id)s is gold: %(answer)s.") % {"id": comparison.pk, "answer": words})
    return redirect("labeling:gold-list", project.slug)


@login_required
@require_POST
def withdraw_gold(request: HttpRequest, slug: str, gold_id: int) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    dropped = drop_gold(get_object_or_404(Gold, comparison__project=project, pk=gold_id), request.user)
    messages.success(request, _("Comparison %s is slipped in no more.") % dropped.comparison_id)
    return redirect("labeling:gold-list", project.slug)


def show_gold(
    request: HttpRequest, project: Project, *, form: GoldForm | None = None, status: int = 200
) -> HttpResponse:
    place = PlaceForm(request.GET)
    before = place.cleaned_data["before"] if place.is_valid() else None
    items = list_gold(project, before=before, n=PAGE + 1)
    rows = [GoldRow(item) for item in items[:PAGE]]
    context = {
        "project": project,
        "share": say_percent(project.gold_share),
        "rows": rows,
        "has_doubtful": any(row.item.is_doubtful for row in rows),
        "older": rows[-1].item.gold.pk if len(items) > PAGE else None,
        "is_first": before is None,
        "suggestions": [(row, suggest_form(row.comparison, row.strength)) for row in suggest_gold(project)],
        "form": form,
    }
    return render(request, "labeling/gold_list.html", context, status=status)


def edit_form(gold: Gold) -> GoldForm:
    """Return the form that says anew what is right."""
    return GoldForm(
        initial={
            "comparison": gold.comparison_id,
            "answer": find_answer(gold.strength_min, gold.strength_max),
            "explanation": gold.explanation,
            "is_exam": gold.is_exam,
        },
        auto_id=f"gold-{gold.comparison_id}-%s",
    )


def suggest_form(comparison: Comparison, strength: int) -> GoldForm:
    initial = {"comparison": comparison.pk, "answer": choose_answer(strength)}
    return GoldForm(initial=initial, auto_id=f"suggestion-{comparison.pk}-%s")
