"""The piece all judging pages share: the pair in front of the labeler, or why there is none."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from labeling.domain.assignment import claim_slot, explain_empty
from labeling.domain.judging import current_guideline, show_vote
from labeling.domain.progress import find_last_act, measure_progress
from labeling.domain.showing import ShownText, show_pair
from labeling.forms import SHORT_STEPS, STEPS
from labeling.models import Judgment, Project, Skip, Slot

TEMPLATE = "labeling/comparison_judge.html"


def show_next(request: HttpRequest, project: Project, *, status: int = 200, **said: Any) -> HttpResponse:
    """Claim what comes next and show it: to htmx in the same trip, to a plain form by way of the page."""
    slot = claim_slot(project, request.user)
    if not request.htmx and status == 200:
        return redirect("labeling:judge", project.slug)
    return show_slot(request, project, slot, status=status, **said)


def show_slot(
    request: HttpRequest, project: Project, slot: Slot | None, *, status: int = 200, **said: Any
) -> HttpResponse:
    """Show a claim, or the way to one. said: announcement for the ear, notice for the eye."""
    context = describe_desk(request, project) | said
    if slot is None:
        if context["progress"].left == 0:
            context["empty"] = explain_empty(project, request.user)
    else:
        context |= {
            "slot": slot,
            "pair": show_pair(slot.comparison, a_shown_left=slot.a_shown_left),
            "action": reverse("labeling:judgment-create", args=[project.slug]),
            "shown_at": slot.shown_at,
            "vote": None,
        }
    return show_desk(request, context, status=status)


def show_judgment(
    request: HttpRequest, project: Project, judgment: Judgment, *, status: int = 200, **said: Any
) -> HttpResponse:
    """Show a pair that was judged, with what was said of it, to be said anew."""
    vote = show_vote(judgment)
    context = describe_desk(request, project) | {
        "judgment": judgment,
        "pair": show_pair(judgment.comparison, a_shown_left=judgment.a_shown_left),
        "action": reverse("labeling:judgment-revise", args=[project.slug, judgment.pk]),
        "shown_at": timezone.now(),
        "vote": vote,
        "vote_choice": name_choice(vote.preference, both_bad=vote.both_bad),
        "vote_label": "Both bad" if vote.both_bad and vote.preference == 0 else dict(STEPS)[vote.preference],
        "scale": judgment.scale,
    }
    return show_desk(request, context | said, status=status)


def show_desk(request: HttpRequest, context: dict[str, Any], *, status: int) -> HttpResponse:
    piece = f"{TEMPLATE}#comparison" if request.htmx else TEMPLATE
    return render(request, piece, context, status=status)


def name_choice(preference: int, *, both_bad: bool) -> str:
    """Return the button of quick mode that says this."""
    if preference == 0:
        return "both_bad" if both_bad else "tie"
    return "left" if preference < 0 else "right"


def describe_desk(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return what surrounds every pair: progress, scale, guideline, skip reasons, what undo would undo."""
    guideline = current_guideline(project)
    act = find_last_act(project, request.user)
    return {
        "project": project,
        "progress": measure_progress(project, request.user),
        "scale": read_scale(request, project),
        "steps": [(*step, short) for step, short in zip(STEPS, SHORT_STEPS, strict=True)],
        "skip_reasons": Skip.Reason.choices,
        "guideline": guideline,
        "guideline_text": ShownText(guideline.text) if guideline else None,
        "last_judgment": act if isinstance(act, Judgment) else None,
        "last_skip": act if isinstance(act, Skip) else None,
        "idempotency_key": uuid.uuid4(),
    }


def read_scale(request: HttpRequest, project: Project) -> str:
    """Return the scale this labeler chose in this session, or the project's."""
    return str(request.session.get(f"scale:{project.pk}", project.scale))
