"""What a labeler judged and skipped, to find again, change or take back; and how she gets on."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from labeling.domain.assignment import require_member
from labeling.domain.history import Entry, forget_skip, list_judgments, list_skips
from labeling.domain.pace import measure_known, measure_own, measure_pace
from labeling.forms.history import KINDS, SearchForm
from labeling.forms.scales import name_strength
from labeling.permissions import get_known_project, login_required


@login_required
@require_safe
def list_history(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    require_member(project, request.user)
    form = SearchForm(request.GET, project=project)
    form.is_valid()
    find = list_skips if form.chosen_kind == "skipped" else list_judgments
    page = find(project, request.user, form.to_search(), before=form.cleaned_data.get("before"))
    context = {
        "project": project,
        "form": form,
        "kind": form.chosen_kind,
        "tabs": [(label, form.write_query(kind=kind), kind == form.chosen_kind) for kind, label in KINDS],
        "rows": [(entry, name_verdict(entry)) for entry in page.entries],
        "page": page,
        "older": form.write_query(before=page.before) if page.before else "",
        "newest": form.write_query() if form.cleaned_data.get("before") else "",
        "pace": measure_pace(project, request.user),
        "known": measure_known(project, request.user),
        "own": measure_own(project, request.user),
    }
    return render(request, "labeling/history_list.html", context)


@login_required
@require_POST
def undo_skip(request: HttpRequest, slug: str, skip_id: int) -> HttpResponse:
    project = get_known_project(request.user, slug)
    if forget_skip(skip_id, project, request.user):
        messages.success(request, _("The pair may come to you again, while it waits for a judgment."))
    else:
        messages.warning(request, _("This skip was taken back already."))
    return redirect(reverse("labeling:history-list", args=[project.slug]) + "?kind=skipped")


def name_verdict(entry: Entry) -> str:
    """Return a judgment in the words of the page she saw."""
    if entry.judgment is None:
        return ""
    if entry.preference == 0 and entry.judgment.both_bad:
        return _("Both bad")
    return name_strength(entry.preference, entry.judgment.scale)
