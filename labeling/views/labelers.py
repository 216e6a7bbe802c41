"""One labeler's page: her figures and trend for reviewers; for managers her answers, her standing and her exam too."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from labeling.domain.errors import LabelingError
from labeling.domain.exams import retake_exam, waive_exam
from labeling.domain.labeler_record import count_kept, list_events, list_gold_answers, list_judgments
from labeling.domain.people import pause_member, quarantine_member, reinstate_member
from labeling.domain.quality import LabelerQuality
from labeling.domain.quality_report import load_report
from labeling.domain.trail import write_lines
from labeling.domain.weeks import count_labeler
from labeling.forms.gold import name_answer
from labeling.forms.scales import name_strength
from labeling.forms.standing import Act, ExamForm, StandingForm, list_acts, name_standing
from labeling.models import Judgment, Membership, Project, User
from labeling.permissions import get_managed_project, get_reviewed_project, login_required, may_manage
from labeling.views.figures import ShownFigure, draw_labeler


@login_required
@require_safe
def show_labeler(request: HttpRequest, slug: str, labeler_id: int) -> HttpResponse:
    project = get_reviewed_project(request.user, slug)
    report = load_report(project)
    quality = next((row for row in (report.labelers if report else []) if row.labeler.pk == labeler_id), None)
    membership = find_membership(project, labeler_id)
    labeler = membership.user if membership else find_judge(project, labeler_id)
    manages = may_manage(request.user, project)
    context = {
        "project": project,
        "labeler": labeler,
        "membership": membership,
        "standing": name_standing(membership),
        "acts": list_acts(membership) if manages else [],
        "n_kept": count_kept(project, labeler),
        "may_manage": manages,
        "quality": quality,
        "headlines": list_headlines(quality) if quality else [],
        "at": report.at if report else None,
        "is_measuring": report is None,
        "curves": draw_labeler(count_labeler(project, labeler)),
    }
    if manages:
        context |= show_record(project, labeler, membership)
    return render(request, "labeling/labeler_detail.html", context)


@login_required
@require_POST
def create_standing(request: HttpRequest, slug: str, labeler_id: int) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    membership = get_object_or_404(Membership, project=project, user=labeler_id)
    form = StandingForm(request.POST)
    if form.is_valid():
        try:
            change_standing(membership, request.user, **form.cleaned_data)
            messages.success(request, form.say_done(membership.user))
        except LabelingError as error:
            messages.error(request, str(error))
    else:
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
    return redirect("labeling:labeler-detail", project.slug, labeler_id)


@login_required
@require_POST
def change_exam(request: HttpRequest, slug: str, labeler_id: int) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    membership = get_object_or_404(
        Membership.objects.select_related("project", "user"), project=project, user=labeler_id
    )
    form = ExamForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose whether she takes the exam again or works without it."))
    elif form.cleaned_data["act"] == "retake":
        retake_exam(membership, request.user)
        messages.success(
            request, _("%s is asked for the exam again; only judgments from now on count for it.") % membership.user
        )
    else:
        waive_exam(membership, request.user)
        messages.success(request, _("%s works without an exam.") % membership.user)
    return redirect("labeling:labeler-detail", project.slug, labeler_id)


def change_standing(membership: Membership, actor: User, *, act: str, reason: str, requeue: bool) -> None:
    """Carry out what the form asks; only in quarantine are others asked for what she judged."""
    if act == Act.PAUSE:
        pause_member(membership, actor, reason=reason)
    elif act == Act.QUARANTINE:
        quarantine_member(membership, actor, reason=reason, requeue=requeue)
    else:
        reinstate_member(membership, actor, reason=reason)


def find_membership(project: Project, labeler_id: int) -> Membership | None:
    return Membership.objects.filter(project=project, user=labeler_id).select_related("project", "user").first()


def find_judge(project: Project, labeler_id: int) -> User:
    """Return someone who judged here and is no member any more."""
    judgment = Judgment.objects.of_project(project).filter(labeler=labeler_id).select_related("labeler").first()
    if judgment is None:
        raise Http404
    return judgment.labeler


def show_record(project: Project, labeler: User, membership: Membership | None) -> dict[str, Any]:
    """Return what only managers see: who said what, which gold she met, what was done about her."""
    return {
        "answers": [
            (answer, name_judgment(answer.judgment), name_answer(gold.strength_min, gold.strength_max))
            for answer in list_gold_answers(project, labeler)
            for gold in [answer.judgment.comparison.gold]
        ],
        "judgments": [(judgment, name_judgment(judgment)) for judgment in list_judgments(project, labeler)],
        "lines": write_lines(list_events(membership)) if membership else [],
    }


def name_judgment(judgment: Judgment) -> str:
    """Return what was said of the contents A and B, in the words of the scale."""
    if judgment.scale == Project.Scale.QUICK and judgment.both_bad and judgment.strength == 0:
        return _("Both bad")
    return name_strength(judgment.strength, judgment.scale)


def list_headlines(quality: LabelerQuality) -> list[tuple[str, ShownFigure, str]]:
    """Return her figures with their names and what each is a share of."""
    half = 0.5
    return [
        (_("Gold right"), ShownFigure(quality.gold), _("Comparisons slipped in whose answer is known.")),
        (
            _("Repeats alike"),
            ShownFigure(quality.consistency),
            _("Comparisons she met twice, sides swapped, and judged alike."),
        ),
        (
            _("Agrees with the others"),
            ShownFigure(quality.agreement),
            _("Comparisons others judged too, where she names the winner most of them name."),
        ),
        (
            _("Likely right"),
            ShownFigure(quality.reliability),
            _("Votes that a model of the whole crowd expects to be right."),
        ),
        (
            _("Prefers left"),
            ShownFigure(quality.left, mark=half),
            _("Sides are drawn at random: far from half means she sees sides rather than texts."),
        ),
        (
            _("Prefers longer"),
            ShownFigure(quality.longer, mark=half),
            _("Longer is often better; far above the others it is a habit."),
        ),
        (_("Ties"), ShownFigure(quality.ties), _("Judgments that see no difference.")),
        (_("Hasty"), ShownFigure(quality.hasty), _("Judgments sooner than the texts can be read.")),
    ]
