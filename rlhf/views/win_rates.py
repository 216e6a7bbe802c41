"""All checkpoints that people compared, against one of them: the page of win rates."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling.models import Project
from rlhf.domain.bradley_terry import Estimate
from rlhf.domain.win_rate import Rating, Standings, rank_checkpoints
from rlhf.models import Checkpoint
from rlhf.permissions import manager_required

FEW_VOTES = 20


@dataclass(frozen=True)
class Bar:
    """A win rate and its interval on a scale 100 units wide."""

    value: float
    low: float
    width: float
    summary: str


@dataclass(frozen=True)
class Row:
    """One checkpoint of the table. controlled, models: shares in words, empty where nothing is known."""

    rating: Rating
    rate: str
    interval: str
    bar: Bar | None
    controlled: str
    models: str
    has_few: bool


class StandingsForm(forms.Form):
    """Which project, and against which of its policies."""

    project = forms.ModelChoiceField(Project.objects.none(), to_field_name="slug", empty_label=None, required=False)
    against = forms.ModelChoiceField(
        Checkpoint.objects.none(), empty_label="the oldest compared", required=False, label="Against"
    )

    def __init__(self, data: object, *, projects: QuerySet[Project]) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]
        chosen = projects.filter(slug=self.data.get("project") or "").first() or projects.first()
        self.project = chosen
        if chosen is not None:
            self.fields["against"].queryset = Checkpoint.objects.policies_of(chosen)  # type: ignore[attr-defined]
            self.initial["project"] = chosen.slug


@require_safe
@manager_required
def show_standings(request: HttpRequest) -> HttpResponse:
    form = StandingsForm(request.GET, projects=Project.objects.managed_by(request.user).order_by("name"))
    if not form.is_valid():
        raise Http404
    project, against = form.project, form.cleaned_data["against"]
    standings = rank_checkpoints(project, baseline=against) if project else None
    context = {
        "form": form,
        "project": project,
        "against": against,
        "standings": standings,
        "rows": [build_row(rating) for rating in standings.ratings] if standings else [],
        "has_models": standings is not None and any(rating.models for rating in standings.ratings),
        "style": describe_style(standings) if standings else "",
    }
    return render(request, "rlhf/checkpoint_standings.html", context)


def build_row(rating: Rating) -> Row:
    people = None if rating.is_baseline else rating.people
    return Row(
        rating=rating,
        rate="" if people is None else f"{people.rate:.0%}",
        interval="" if people is None else f"{people.low:.0%} to {people.high:.0%}",
        bar=None if people is None else draw_bar(people),
        controlled=tell(rating.controlled, rating),
        models=tell(rating.models, rating),
        has_few=rating.n_votes < FEW_VOTES,
    )


def tell(estimate: Estimate | None, rating: Rating) -> str:
    """Return an estimate with its interval; nothing of the baseline, which is half by definition."""
    if estimate is None or rating.is_baseline:
        return ""
    return f"{estimate.rate:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def draw_bar(estimate: Estimate) -> Bar:
    low, high = 100 * estimate.low, 100 * estimate.high
    return Bar(
        value=100 * estimate.rate,
        low=low,
        width=high - low,
        summary=f"{estimate.rate:.0%}, 95% interval {estimate.low:.0%} to {estimate.high:.0%}",
    )


def describe_style(standings: Standings) -> str:
    """Say what length and markdown do to a vote, whoever wrote the text."""
    length, markdown = standings.effects["length"], standings.effects["markdown"]
    return (
        f"Whoever wrote them, the odds of the text that is twice as long are {length:.2f} to 1, and of the one that has "
        f"all the markdown {markdown:.2f} to 1."
    )
