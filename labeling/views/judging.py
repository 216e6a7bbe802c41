"""What a labeler does with a pair: judge it, skip it, decline its kind, or undo; the answer is the next pair."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from django_htmx.http import replace_url

from labeling.domain.assignment import check_lease_token, find_claim, release_slot
from labeling.domain.errors import (
    AlreadyJudged,
    ClaimLost,
    IdempotencyConflict,
    InvalidContent,
    InvalidJudgment,
)
from labeling.domain.flood import refuse_flood_of_skips, refuse_flood_of_votes
from labeling.domain.judging import record_judgment
from labeling.domain.pace import is_hurrying
from labeling.domain.progress import find_last_act
from labeling.domain.skipping import decline_slice, skip_comparison, undo_skip
from labeling.forms.judging import NO_TOKEN, ClaimForm, JudgmentForm, SkipForm, UndoForm
from labeling.models import Judgment, Project, Slot
from labeling.permissions import get_known_project, login_required
from labeling.views.flood import put_off_flood
from labeling.views.pair import go_on, show_next, show_slot
from labeling.views.revision import list_own, reopen, tell_stranger


@login_required
@require_POST
@put_off_flood(refuse_flood_of_votes)
@tell_stranger
def create_judgment(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    form = JudgmentForm(request.POST, project=project)
    if not form.is_valid():
        return refuse(request, project, form, notice=" ".join(form.list_faults()))
    ready = form.to_ready()
    try:
        check_project(form.cleaned_data["slot"], project)
        judgment = record_judgment(
            form.cleaned_data["slot"],
            request.user,
            idempotency_key=form.cleaned_data["idempotency_key"],
            lease_token=form.cleaned_data["lease_token"],
            vote=form.to_vote(),
            shown_at=form.cleaned_data["shown_at"],
            guideline_id=form.cleaned_data["guideline"],
        )
    except (AlreadyJudged, IdempotencyConflict) as error:
        return go_on(request, project, ready, status=409, notice=str(error))
    except ClaimLost as error:
        return go_on(request, project, ready, status=410, notice=str(error))
    except (InvalidContent, InvalidJudgment) as error:
        return refuse(request, project, form, notice=str(error))
    if judgment.is_extra:
        notice = _("Saved as an extra vote: its time was up, and others had judged the pair meanwhile.")
        return go_on(request, project, ready, announcement=_("Saved as an extra vote. Next pair."), notice=notice)
    if is_hurrying(judgment):
        notice = _(
            "Some of your last votes came sooner than the texts can be read. They are saved, and marked as hasty."
        )
        return go_on(request, project, ready, announcement=_("Saved. Next pair."), notice=notice)
    return go_on(request, project, ready, announcement=_("Saved. Next pair."))


@login_required
@require_POST
@put_off_flood(refuse_flood_of_skips)
@tell_stranger
def create_skip(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    form = SkipForm(request.POST)
    if not form.is_valid():
        slot = find_claim(project, request.user)
        return show_slot(request, project, slot, status=422, notice=_("Choose why you skip."))
    ready = form.to_ready()
    try:
        check_project(form.cleaned_data["slot"], project)
        skip_comparison(
            form.cleaned_data["slot"],
            request.user,
            lease_token=form.cleaned_data["lease_token"],
            reason=form.cleaned_data["reason"],
        )
    except AlreadyJudged as error:
        return go_on(request, project, ready, status=409, notice=str(error))
    except ClaimLost as error:
        return go_on(request, project, ready, status=410, notice=str(error))
    except InvalidJudgment as error:
        return show_slot(request, project, find_claim(project, request.user), status=422, notice=str(error))
    return go_on(request, project, ready, announcement=_("Skipped. Next pair."))


@login_required
@require_POST
def create_decline(request: HttpRequest, slug: str) -> HttpResponse:
    """She would rather not see pairs of this kind: none of them comes again, and it counts against nobody."""
    project = get_known_project(request.user, slug)
    form = ClaimForm(request.POST)
    if not form.is_valid():
        raise Http404
    slot = Slot.objects.filter(project=project, pk=form.cleaned_data["slot"], slice__isnull=False).first()
    try:
        check_lease_token(form.cleaned_data["slot"], request.user, form.cleaned_data["lease_token"])
    except ClaimLost as error:
        return show_next(request, project, status=410, notice=str(error))
    if slot is None:
        raise Http404
    decline_slice(project, request.user, slot.slice.name)
    notice = _("You will not be given “%s” again. It counts against nobody; your desk has the list.") % slot.slice.name
    return show_next(request, project, announcement=notice, notice=notice)


@login_required
@require_POST
def undo_last(request: HttpRequest, slug: str) -> HttpResponse:
    """Reopen the last judgment, or bring the skipped pair back if that came later; once more goes back one more."""
    project = get_known_project(request.user, slug)
    before = find_in_sight(request, project)
    act = find_last_act(project, request.user, before=before)
    if act is None and before:
        return reopen(request, project, before, said=_("This is your first vote here: there is none before it."))
    if act is None:
        return show_next(request, project, notice=_("There is nothing to undo."))
    if isinstance(act, Judgment):
        said = _("Here is the vote before it.") if before else _("Here is your last vote again.")
        return reopen(request, project, act, said=said)
    return bring_skipped(request, project, before=before)


def find_in_sight(request: HttpRequest, project: Project) -> Judgment | None:
    """Return the judgment she is at, if she is at one of her own."""
    form = UndoForm(request.POST)
    pk = form.cleaned_data["before"] if form.is_valid() else None
    return list_own(request, project).filter(pk=pk).first() if pk else None


def bring_skipped(request: HttpRequest, project: Project, *, before: Judgment | None) -> HttpResponse:
    """Show the pair she skipped last, or last before a judgment, if it is free."""
    try:
        slot = undo_skip(project, request.user, before=before.submitted_at if before else None)
    except ClaimLost as error:
        return show_next(request, project, status=410, notice=str(error))
    if slot is None:
        notice = _("The skipped pair is with someone else now; here is the next one.")
        return show_next(request, project, announcement=notice, notice=notice)
    if not request.htmx:
        return redirect("labeling:judge", project.slug)
    said = _("Here is the skipped pair again.")
    return replace_url(
        show_slot(request, project, slot, announcement=said, notice=said), slot.project.get_absolute_url()
    )


def check_project(slot_id: int, project: Project) -> None:
    """Raise ClaimLost where the slot is of another project than the page."""
    if not Slot.objects.filter(pk=slot_id, project=project).exists():
        raise ClaimLost(_("This comparison is not of this project: take the next one."))


def refuse(request: HttpRequest, project: Project, form: JudgmentForm, *, notice: str) -> HttpResponse:
    """Say what is wrong with a vote, and show its pair with all she put in; not to one who looks at another by now."""
    slot = find_refused(request, project, form)
    if slot is None:
        return show_slot(request, project, find_claim(project, request.user), status=422, notice=notice)
    if ready := form.to_ready():
        release_slot(slot, request.user)
        return go_on(request, project, ready, status=422, notice=notice)
    if slot.labeler_id != request.user.pk:
        slot.shown_at = form.cleaned_data.get("shown_at")
    slot.lease_token = form.cleaned_data["lease_token"]
    return show_slot(request, project, slot, status=422, notice=notice, draft=form.to_draft())


def find_refused(request: HttpRequest, project: Project, form: JudgmentForm) -> Slot | None:
    """Return the slot a refused vote was of, if it was given to her in this project."""
    slot_id, token = form.cleaned_data.get("slot"), form.cleaned_data.get("lease_token")
    try:
        check_lease_token(slot_id or 0, request.user, token or NO_TOKEN)
    except ClaimLost:
        return None
    return Slot.objects.with_texts().filter(project=project, pk=slot_id).first()
