"""A vote reopened: the old choice in sight, a new one stored beside it."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods
from django_htmx.http import replace_url

from labeling.domain.assignment import require_member
from labeling.domain.errors import (
    AlreadyFrozen,
    AlreadyGraded,
    AlreadyRevised,
    InvalidContent,
    InvalidJudgment,
    NotAMember,
)
from labeling.domain.flood import refuse_flood_of_votes
from labeling.domain.revising import refuse_sealed, revise_judgment
from labeling.forms.judging import VoteForm
from labeling.models import Judgment, Project
from labeling.permissions import View, get_known_project, login_required
from labeling.querysets import JudgmentQuerySet
from labeling.views.flood import put_off_flood
from labeling.views.pair import show_judgment, show_next


def tell_stranger(view: View) -> View:
    """Answer the page's script in plain words who is no member any more: other refusals (403) are of the login."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except NotAMember as error:
            if not request.htmx:
                raise
            return HttpResponse(str(error), status=403, content_type="text/plain; charset=utf-8")

    return guarded


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@put_off_flood(refuse_flood_of_votes)
@tell_stranger
def revise(request: HttpRequest, slug: str, judgment_id: int) -> HttpResponse:
    project = get_known_project(request.user, slug)
    own = list_own(request, project)
    judgment = get_object_or_404(own, pk=judgment_id)
    if request.method == "POST":
        return store_revision(request, judgment)
    last = own.current().filter(comparison=judgment.comparison_id).get()
    if last != judgment:
        return redirect("labeling:judgment-revise", project.slug, last.pk)
    return show_judgment(request, project, judgment, **find_seal(judgment, project))


def reopen(request: HttpRequest, project: Project, judgment: Judgment, *, said: str) -> HttpResponse:
    """Show a judgment in place of the pair she was at, or lead a plain form to its page."""
    address = reverse("labeling:judgment-revise", args=[project.slug, judgment.pk])
    require_member(project, request.user)
    if not request.htmx:
        return redirect(address)
    seal = find_seal(judgment, project)
    if seal:
        return show_next(request, project, announcement=seal["sealed"], notice=seal["sealed"])
    judgment = list_own(request, project).get(pk=judgment.pk)
    return replace_url(show_judgment(request, project, judgment, announcement=said), address)


def list_own(request: HttpRequest, project: Project) -> JudgmentQuerySet:
    """Return her own judgments in the project."""
    own: JudgmentQuerySet = Judgment.objects.of_project(project).filter(labeler=request.user).with_texts()
    return own


def find_seal(judgment: Judgment, project: Project) -> dict[str, str]:
    """Return why this judgment cannot be changed any more; nothing when it can."""
    try:
        refuse_sealed(judgment, project)
    except (AlreadyFrozen, AlreadyGraded) as error:
        return {"sealed": str(error)}
    return {}


def store_revision(request: HttpRequest, judgment: Judgment) -> HttpResponse:
    """Store the new vote and go on with the next pair."""
    project = judgment.comparison.project
    form = VoteForm(request.POST, project=project)
    if not form.is_valid():
        return show_judgment(
            request, project, judgment, status=422, notice=" ".join(form.list_faults()), draft=form.to_draft()
        )
    try:
        revise_judgment(
            judgment,
            request.user,
            idempotency_key=form.cleaned_data["idempotency_key"],
            vote=form.to_vote(),
            shown_at=form.cleaned_data["shown_at"],
            guideline_id=form.cleaned_data["guideline"],
        )
        response = show_next(request, project, announcement=_("Changed. Next pair."))
    except (AlreadyRevised, AlreadyFrozen, AlreadyGraded) as error:
        response = show_next(request, project, status=409, notice=str(error))
    except (InvalidContent, InvalidJudgment) as error:
        return show_judgment(request, project, judgment, status=422, notice=str(error), draft=form.to_draft())
    return replace_url(response, reverse("labeling:judge", args=[project.slug]))
