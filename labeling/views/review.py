"""The review page: what labelers disagree on or passed on, one at a time, and what a reviewer decides."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url

from labeling.domain.errors import InvalidContent, InvalidReview, OwnWork, StaleReview
from labeling.domain.judging import current_guideline
from labeling.domain.review import ShownVote, adjudicate, count_open, show_dispute
from labeling.domain.review_queue import find_next, list_decided, list_disputed, list_passed_on
from labeling.domain.showing import ShownText, show_pair
from labeling.forms.gold import GoldForm, choose_answer
from labeling.forms.review import ReviewForm
from labeling.forms.scales import STEPS, name_strength
from labeling.models import Comparison, Project
from labeling.permissions import get_reviewed_project, login_required, may_manage
from labeling.views.part import answer_part

TEMPLATE = "labeling/review_detail.html"


@login_required
@require_safe
def list_reviews(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_reviewed_project(request.user, slug)
    context = {
        "project": project,
        "disputed": list_disputed(project, request.user),
        "passed_on": list_passed_on(project, request.user),
        "decided": list_decided(project, request.user),
        "n_open": count_open(project),
    }
    return render(request, "labeling/review_list.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest, slug: str, comparison_id: int) -> HttpResponse:
    project = get_reviewed_project(request.user, slug)
    comparison = get_object_or_404(Comparison.objects.with_texts(), project=project, pk=comparison_id)
    comparison.project = project
    if request.method == "POST":
        return store_decision(request, comparison)
    return show_comparison(request, comparison)


@login_required
@require_safe
def show_part(request: HttpRequest, slug: str, comparison_id: int, part: str) -> HttpResponse:
    project = get_reviewed_project(request.user, slug)
    comparison = get_object_or_404(Comparison.objects.with_texts(), project=project, pk=comparison_id)
    return answer_part(request, comparison, part, a_shown_left=True)


def store_decision(request: HttpRequest, comparison: Comparison) -> HttpResponse:
    """Store what she decided and go on with what waits next."""
    form = ReviewForm(request.POST)
    if not form.is_valid():
        notice = " ".join(str(error) for errors in form.errors.values() for error in errors)
        return show_comparison(request, comparison, status=422, notice=notice, note=form.cleaned_data.get("note", ""))
    decision = form.to_decision()
    try:
        adjudicate(comparison, request.user, **decision)
    except StaleReview as error:
        comparison.refresh_from_db()
        return show_comparison(request, comparison, status=409, notice=str(error), note=decision["note"])
    except OwnWork as error:
        return show_comparison(request, comparison, status=409, notice=str(error))
    except (InvalidContent, InvalidReview) as error:
        return show_comparison(request, comparison, status=422, notice=str(error), note=decision["note"])
    return show_following(request, comparison)


def show_following(request: HttpRequest, decided: Comparison) -> HttpResponse:
    """Show what waits next: to htmx in the same trip, to a plain form by way of its page."""
    project = decided.project
    following = find_next(project, request.user, after=decided.pk)
    if following is None:
        address = reverse("labeling:review-list", args=[project.slug])
        return HttpResponseClientRedirect(address) if request.htmx else redirect(address)
    address = reverse("labeling:review-detail", args=[project.slug, following])
    if not request.htmx:
        return redirect(address)
    comparison = Comparison.objects.with_texts().get(pk=following)
    comparison.project = project
    return push_url(show_comparison(request, comparison, announcement=_("Decided. Here is the next one.")), address)


def show_comparison(request: HttpRequest, comparison: Comparison, *, status: int = 200, **said: Any) -> HttpResponse:
    """Show a comparison to decide. said: announcement for the ear, notice for the eye, the note she was writing."""
    project = comparison.project
    dispute = show_dispute(comparison, request.user)
    decided = list_decided(project, request.user, n=1)
    context = describe_project(request, project) | {
        "comparison": comparison,
        "dispute": dispute,
        "pair": show_pair(comparison, a_shown_left=True),
        "whole": reverse("labeling:review-detail", args=[project.slug, comparison.pk]),
        "votes": [(vote, name_vote(vote)) for vote in dispute.votes],
        "following": find_next(project, request.user, after=comparison.pk),
        "last_decided": decided[0].comparison_id if decided and decided[0].comparison_id != comparison.pk else None,
        "gold_form": GoldForm(initial={"comparison": comparison.pk, "answer": propose_answer(dispute.votes)}),
    }
    piece = f"{TEMPLATE}#dispute" if request.htmx else TEMPLATE
    return render(request, piece, context | said, status=status)


def describe_project(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return what surrounds every dispute: its scale, its guideline, how many wait."""
    guideline = current_guideline(project)
    return {
        "project": project,
        "steps": [(step.value, step.label, step.short) for step in STEPS[project.scale]],
        "guideline": guideline,
        "guideline_text": ShownText(guideline.text) if guideline else None,
        "n_open": count_open(project),
        "may_manage": may_manage(request.user, project),
    }


def name_vote(vote: ShownVote) -> str:
    """Return what a labeler chose in the words of her page, with A and B as they stand here."""
    if vote.scale == Project.Scale.QUICK and vote.both_bad and vote.strength == 0:
        return _("Both bad")
    return name_strength(vote.strength, vote.scale)


def propose_answer(votes: Any) -> str:
    """Return the right answer to propose for gold: what the votes that count come to."""
    return choose_answer(sum(vote.strength for vote in votes if vote.counts))
