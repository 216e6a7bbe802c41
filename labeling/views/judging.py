"""What a labeler does with a pair: judge it, skip it, or take the skip back; the answer is the next pair."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from labeling.domain.assignment import find_claim
from labeling.domain.errors import (
    AlreadyJudged,
    ClaimLost,
    IdempotencyConflict,
    InvalidContent,
    InvalidJudgment,
)
from labeling.domain.judging import record_judgment
from labeling.domain.skipping import skip_comparison, undo_skip
from labeling.forms import JudgmentForm, SkipForm
from labeling.permissions import get_known_project, login_required
from labeling.views.pair import show_next, show_slot


@login_required
@require_POST
def create_judgment(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    form = JudgmentForm(request.POST)
    if not form.is_valid():
        return show_slot(
            request, project, find_claim(project, request.user), status=422, notice=" ".join(list_errors(form))
        )
    try:
        judgment = record_judgment(
            form.cleaned_data["slot"],
            request.user,
            idempotency_key=form.cleaned_data["idempotency_key"],
            lease_token=form.cleaned_data["lease_token"],
            vote=form.to_vote(),
            shown_at=form.cleaned_data["shown_at"],
        )
        if judgment.is_extra:
            notice = "Saved as an extra vote: its time was up, and others had judged the pair meanwhile."
            return show_next(request, project, announcement="Saved as an extra vote. Next pair.", notice=notice)
        return show_next(request, project, announcement="Saved. Next pair.")
    except (AlreadyJudged, IdempotencyConflict) as error:
        return show_next(request, project, status=409, notice=str(error))
    except ClaimLost as error:
        return show_next(request, project, status=410, notice=str(error))
    except (InvalidContent, InvalidJudgment) as error:
        return show_slot(request, project, find_claim(project, request.user), status=422, notice=str(error))


@login_required
@require_POST
def create_skip(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return show_slot(request, project, find_claim(project, request.user), status=422, notice="Choose why you skip.")
    try:
        skip_comparison(
            form.cleaned_data["slot"],
            request.user,
            lease_token=form.cleaned_data["lease_token"],
            reason=form.cleaned_data["reason"],
        )
        return show_next(request, project, announcement="Skipped. Next pair.")
    except AlreadyJudged as error:
        return show_next(request, project, status=409, notice=str(error))
    except ClaimLost as error:
        return show_next(request, project, status=410, notice=str(error))


@login_required
@require_POST
def undo_last_skip(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    try:
        slot = undo_skip(project, request.user)
    except ClaimLost as error:
        return show_next(request, project, status=410, notice=str(error))
    if slot is None:
        notice = "The skipped pair is with someone else now; here is the next one."
        return show_next(request, project, announcement=notice, notice=notice)
    return show_next(request, project, announcement="Here is the skipped pair again.")


def list_errors(form: JudgmentForm) -> list[str]:
    """Return what is wrong with a form, a sentence each, field names where people need them."""
    general = [str(error) for error in form.non_field_errors()]
    named = [f"{name}: {' '.join(errors)}" for name, errors in form.errors.items() if name != "__all__"]
    return general + named
