"""What of a pair the page asks for apart: one of its texts whole, or the words in which the two differ."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from labeling.domain.assignment import require_member
from labeling.domain.diff import compare_texts
from labeling.domain.showing import show_pair
from labeling.models import Comparison, Slot
from labeling.permissions import get_known_project, login_required
from labeling.views.pair import TEMPLATE
from labeling.views.revision import list_own

PARTS = ("left", "right", "prompt", "diff")


@login_required
@require_safe
def show_claim_part(request: HttpRequest, slug: str, slot_id: int, part: str) -> HttpResponse:
    """For whoever was given the slot."""
    project = get_known_project(request.user, slug)
    require_member(project, request.user)
    given = Slot.objects.with_texts().filter(project=project, labeler=request.user)
    slot = get_object_or_404(given, pk=slot_id)
    return answer_part(request, slot.comparison, part, a_shown_left=slot.a_shown_left)


@login_required
@require_safe
def show_judgment_part(request: HttpRequest, slug: str, judgment_id: int, part: str) -> HttpResponse:
    """For whoever made the judgment."""
    project = get_known_project(request.user, slug)
    require_member(project, request.user)
    judgment = get_object_or_404(list_own(request, project), pk=judgment_id)
    return answer_part(request, judgment.comparison, part, a_shown_left=judgment.a_shown_left)


def answer_part(request: HttpRequest, comparison: Comparison, part: str, *, a_shown_left: bool) -> HttpResponse:
    """Answer a text as it is stored, or the piece of the page that marks the words that differ."""
    if part not in PARTS:
        raise Http404
    pair = show_pair(comparison, a_shown_left=a_shown_left)
    if part == "diff":
        context = {"diff": compare_texts(pair.left.text, pair.right.text), "is_diffed": True}
        return render(request, f"{TEMPLATE}#diff", context)
    turns = "\n\n".join(f"{turn.role}:\n{turn.body.text}" for turn in [*pair.earlier, pair.last])
    text = {"left": pair.left.text, "right": pair.right.text, "prompt": turns}[part]
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
