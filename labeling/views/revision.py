"""A vote reopened: the old choice in sight, a new one stored beside it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from django_htmx.http import replace_url

from labeling.domain.errors import AlreadyRevised, InvalidContent, InvalidJudgment
from labeling.domain.judging import revise_judgment
from labeling.forms import VoteForm
from labeling.models import Judgment
from labeling.permissions import get_known_project, login_required
from labeling.views.judging import list_errors
from labeling.views.pair import show_judgment, show_next


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def revise(request: HttpRequest, slug: str, judgment_id: int) -> HttpResponse:
    project = get_known_project(request.user, slug)
    own = Judgment.objects.of_project(project).filter(labeler=request.user).with_texts()
    judgment = get_object_or_404(own, pk=judgment_id)
    if request.method == "POST":
        return store_revision(request, judgment)
    last = own.current().filter(comparison=judgment.comparison_id).get()
    if last != judgment:
        return redirect("labeling:judgment-revise", project.slug, last.pk)
    return show_judgment(request, project, judgment)


def store_revision(request: HttpRequest, judgment: Judgment) -> HttpResponse:
    """Store the new vote and go on with the next pair."""
    project = judgment.comparison.project
    form = VoteForm(request.POST)
    if not form.is_valid():
        return show_judgment(request, project, judgment, status=422, notice=" ".join(list_errors(form)))
    try:
        revise_judgment(
            judgment,
            request.user,
            idempotency_key=form.cleaned_data["idempotency_key"],
            vote=form.to_vote(),
            shown_at=form.cleaned_data["shown_at"],
        )
        response = show_next(request, project, announcement="Changed. Next pair.")
    except AlreadyRevised as error:
        response = show_next(request, project, status=409, notice=str(error))
    except (InvalidContent, InvalidJudgment) as error:
        return show_judgment(request, project, judgment, status=422, notice=str(error))
    return replace_url(response, reverse("labeling:judge", args=[project.slug]))
