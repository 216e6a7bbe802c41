"""The piece all judging pages share: the pair in front of the labeler, or why there is none."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.assignment import claim_slot, explain_empty, reserve_slot, show_reserved
from labeling.domain.diff import compare_texts
from labeling.domain.judging import current_guideline, show_vote
from labeling.domain.progress import measure_progress
from labeling.domain.showing import ShownPair, ShownText, show_pair
from labeling.forms.judging import DiffForm, ReadySlot
from labeling.forms.scales import LEGENDS, is_forced
from labeling.models import Judgment, Project, Skip, Slot
from labeling.views.desktop import list_axes, list_reasons, list_steps, show_desk

TEMPLATE = "labeling/comparison_judge.html"


def show_next(request: HttpRequest, project: Project, *, status: int = 200, **said: Any) -> HttpResponse:
    """Claim what comes next and show it: to the page in the same trip, to a plain form by way of the page."""
    slot = claim_slot(project, request.user)
    if not request.htmx and status == 200:
        return redirect("labeling:judge", project.slug)
    return show_slot(request, project, slot, status=status, has_asked=True, **said)


def go_on(
    request: HttpRequest, project: Project, ready: ReadySlot | None, *, status: int = 200, **said: Any
) -> HttpResponse:
    """Answer an act on a pair: with the one after the pair she looks at already, or with the next one to look at."""
    if ready is None:
        return show_next(request, project, status=status, **said)
    if ready.is_followed:
        return show_slot(request, project, None, status=status, standing="none", **said)
    shown = show_reserved(ready.slot_id, request.user, lease_token=ready.lease_token, shown_at=ready.shown_at)
    if shown is None or shown.pk != ready.slot_id:
        said.setdefault("notice", _("The pair you had before you went to someone else: here is another one."))
        return show_next(request, project, status=status, **said)
    return show_reserve(request, project, status=status, **said)


def show_reserve(request: HttpRequest, project: Project, *, status: int = 200, **said: Any) -> HttpResponse:
    """Reserve a pair and send it for later: its lease starts when it is shown."""
    slot = reserve_slot(project, request.user)
    return show_slot(request, project, slot, status=status, standing="next" if slot else "none", **said)


def show_slot(
    request: HttpRequest, project: Project, slot: Slot | None, *, status: int = 200, draft: Any = None, **said: Any
) -> HttpResponse:
    """Show a claim, or the way to one. said: announcement for the ear, notice for the eye, standing: current or next.

    draft: what she had put in the form of this pair when it was refused.
    """
    context = {"standing": "current", "progress": measure_progress(project, request.user)} | said
    if slot is not None:
        pair = show_pair(slot.comparison, a_shown_left=slot.a_shown_left)
        context |= {
            "slot": slot,
            "action": reverse("labeling:judgment-create", args=[project.slug]),
            "whole": f"{reverse('labeling:claim-create', args=[project.slug])}{slot.pk}/",
            "shown_at": slot.shown_at or timezone.now(),
            "slice": slot.slice and slot.slice.name,
            "is_refused": draft is not None,
            **describe_pair(request, project, pair, vote=draft),
        }
    elif context["standing"] == "current" and (context.get("has_asked") or context["progress"].is_done):
        context["empty"] = explain_empty(project, request.user)
    return show_page(request, project, context, status=status)


def show_judgment(
    request: HttpRequest, project: Project, judgment: Judgment, *, status: int = 200, draft: Any = None, **said: Any
) -> HttpResponse:
    """Show a pair that was judged, with what was said of it, or refused of it, to be said anew."""
    vote = draft or show_vote(judgment)
    pair = show_pair(judgment.comparison, a_shown_left=judgment.a_shown_left)
    address = reverse("labeling:judgment-revise", args=[project.slug, judgment.pk])
    context = {
        "standing": "current",
        "progress": measure_progress(project, request.user),
        "judgment": judgment,
        "action": address,
        "whole": address,
        "shown_at": timezone.now(),
        "is_refused": draft is not None,
        **describe_pair(request, project, pair, vote=vote, scale=judgment.scale),
    }
    return show_page(request, project, context | said, status=status)


def describe_pair(
    request: HttpRequest, project: Project, pair: ShownPair, *, vote: Any = None, scale: str = ""
) -> dict[str, Any]:
    """Return the pair and what is asked of it."""
    form = DiffForm(request.POST if request.method == "POST" else request.GET)
    wants_diff = form.is_valid() and form.cleaned_data["diff"]
    scale = scale or read_scale(request, project)
    return {
        "pair": pair,
        "diff": compare_texts(pair.left.text, pair.right.text) if wants_diff else None,
        "is_diffed": wants_diff,
        "vote": vote,
        "vote_choice": vote and name_choice(vote.preference, both_bad=vote.both_bad),
        "scale": scale,
        "legend": LEGENDS[scale],
        "axes": list_axes(project, vote),
        "reasons": list_reasons(project, vote),
        "skip_reasons": Skip.Reason.choices,
        "idempotency_key": uuid.uuid4(),
    }


def show_page(request: HttpRequest, project: Project, context: dict[str, Any], *, status: int) -> HttpResponse:
    """Show the piece to the page's own script, and the whole page to everyone else."""
    context.setdefault("scale", read_scale(request, project))
    context |= {"project": project, "is_veiled": is_veiled(request, project), "is_forced": is_forced(project.scale)}
    context |= show_desk(request.user, context["scale"])
    context["steps"] = list_steps(context["desk"], context["scale"], context.get("vote"))
    guideline = context["guideline"] = current_guideline(project)
    if request.htmx:
        return render(request, f"{TEMPLATE}#comparison", context, status=status)
    context["guideline_text"] = ShownText(guideline.text) if guideline else None
    return render(request, TEMPLATE, context, status=status)


def name_choice(preference: int | None, *, both_bad: bool) -> str:
    """Return the button of quick mode that says this, "" for none."""
    if preference is None:
        return ""
    if preference == 0:
        return "both_bad" if both_bad else "tie"
    return "left" if preference < 0 else "right"


def read_scale(request: HttpRequest, project: Project) -> str:
    """Return the scale this labeler chose in this session, or the project's, if that leaves her no choice."""
    if is_forced(project.scale):
        return project.scale
    return str(request.session.get(f"scale:{project.pk}", project.scale))


def is_veiled(request: HttpRequest, project: Project) -> bool:
    """Tell whether texts are behind the project's warning: until she asked for them in this session."""
    return bool(project.content_warning) and not request.session.get(f"unveiled:{project.pk}", False)
