"""The exam before work: what it is, how far she is, and what came of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling.domain.assignment import require_member
from labeling.domain.exams import Answer, find_answers, list_answers
from labeling.domain.showing import ShownPair, show_pair
from labeling.forms.scales import name_strength
from labeling.models import Membership
from labeling.permissions import get_known_project, login_required


class ShownAnswer(NamedTuple):
    """One answer in the words of the page she gave it on. right: the least and the greatest step that are right."""

    pair: ShownPair
    said: str
    right: tuple[str, str]
    is_right: bool
    explanation: str


@login_required
@require_safe
def show_exam(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    membership = require_member(project, request.user)
    answers = [show_answer(answer) for answer in list_answers(membership)]
    context: dict[str, Any] = {
        "project": project,
        "membership": membership,
        "pass_percent": round(100 * project.exam_pass_share),
        "n_answered": find_answers(membership).count() if membership.exam == Membership.Exam.OPEN else 0,
        "answers": answers,
        "n_right": sum(answer.is_right for answer in answers),
    }
    return render(request, "labeling/exam_detail.html", context)


def show_answer(answer: Answer) -> ShownAnswer:
    judgment = answer.judgment
    said, low, high = judgment.strength, answer.strength_min, answer.strength_max
    if not judgment.a_shown_left:
        said, low, high = -said, -high, -low
    return ShownAnswer(
        pair=show_pair(judgment.comparison, a_shown_left=judgment.a_shown_left),
        said=name_strength(said, judgment.scale),
        right=(name_strength(low), name_strength(high)),
        is_right=answer.is_right,
        explanation=answer.explanation,
    )
