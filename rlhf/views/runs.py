"""Runs: the list, a new one, and one as it goes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F, Window
from django.db.models.functions import Mod, RowNumber
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from labeling.models import Project
from rlhf.contract import run_dir as seam
from rlhf.contract.config import CONFIGS
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.errors import LearningError
from rlhf.domain.forecasting import describe_estimate, describe_usage
from rlhf.domain.labeler_hits import list_labeler_slices
from rlhf.domain.planning import PLANNED, plan_run, preview_run
from rlhf.domain.runs import cancel_run
from rlhf.forms.projects import ProjectForm
from rlhf.forms.runs import RunFilterForm, RunForm
from rlhf.models import Loop, Metric, Run
from rlhf.permissions import manager_required, of_managed_projects
from rlhf.views.charts import draw_charts
from rlhf.views.evaluations import build_report, strip_report
from rlhf.views.results import SLICES, list_figures, weigh_result

PAGE_SIZE = 25
MAX_METRIC_ROWS = 2000
N_TABLE_ROWS = 50
N_LOG_LINES = 100
LOG_BLOCK_BYTES = 2**16


@dataclass(frozen=True)
class Setting:
    """One line of a run's configuration."""

    name: str
    value: Any
    default: Any
    help: str

    @property
    def is_changed(self) -> bool:
        return bool(self.value != self.default)


@require_safe
@manager_required
def list_runs(request: HttpRequest) -> HttpResponse:
    form = RunFilterForm(request.GET, projects=Project.objects.managed_by(request.user))
    runs = of_managed_projects(Run.objects.filter(**form.filters()), request.user)
    page = Paginator(runs.select_related("project", "round"), PAGE_SIZE).get_page(request.GET.get("page"))
    is_live = any(not run.is_over for run in page)
    query = urlencode({name: request.GET[name] for name in form.fields if request.GET.get(name)})
    context = {"form": form, "page": page, "is_live": is_live, "query": f"{query}&" if query else ""}
    if request.htmx:
        return render(request, "rlhf/run_list.html#runs", context, status=200 if is_live else HTMX_STOP_POLLING)
    return render(request, "rlhf/run_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@manager_required
def create_run(request: HttpRequest) -> HttpResponse:
    projects = Project.objects.managed_by(request.user)
    choice = ProjectForm(request.GET, projects=projects, kinds=PLANNED)
    if choice.errors:
        raise Http404
    project, kind = choice.chosen_project, choice.chosen_kind
    context: dict[str, Any] = {
        "projects": projects,
        "project": project,
        "kinds": PLANNED,
        "kind": Run.Kind(kind),
        "about": CONFIGS[kind].__doc__,
    }
    if project is None:
        return render(request, "rlhf/run_create.html", context)
    if request.method != "POST":
        context["form"] = RunForm(
            initial=initial_settings(project, kind) | request.GET.dict(), project=project, kind=kind
        )
        context["estimate"] = preview_run(project, CONFIGS[kind]().replace(**initial_settings(project, kind)))
        return render(request, "rlhf/run_create.html", context)
    form = context["form"] = RunForm(request.POST, project=project, kind=kind)
    if form.is_valid():
        try:
            return redirect(plan_run(project, user=request.user, **form.plan()))
        except LearningError as error:
            form.add_error(None, str(error))
    return render(request, "rlhf/run_create.html", context, status=422)


@require_POST
@manager_required
def estimate_run(request: HttpRequest) -> HttpResponse:
    choice = ProjectForm(request.GET, projects=Project.objects.managed_by(request.user), kinds=PLANNED)
    if choice.errors or choice.chosen_project is None:
        raise Http404
    form = RunForm(request.POST, project=choice.chosen_project, kind=choice.chosen_kind)
    estimate = preview_run(choice.chosen_project, **form.plan()) if form.is_valid() else None
    return render(request, "rlhf/run_create.html#estimate", {"estimate": estimate})


def initial_settings(project: Project, kind: str) -> dict[str, Any]:
    """Return what the project's loop sets over the kind's defaults."""
    loop = Loop.objects.filter(project=project).first()
    return dict(loop.settings.get(kind, {})) if loop else {}


@require_safe
@manager_required
def show_run(request: HttpRequest, pk: int) -> HttpResponse:
    related = ("project", "round", "dataset", "base", "reward_model", "other", "checkpoint", "created_by")
    run = get_object_or_404(of_managed_projects(Run.objects.select_related(*related), request.user), pk=pk)
    rows = read_metrics(run)
    last = rows[-N_TABLE_ROWS:]
    keys = sorted({key for _, values in last for key in values})
    report = build_report(run.result) if run.kind == Run.Kind.EVALUATE else None
    figures = list_figures(strip_report(run.result) if report else run.result)
    context = {
        "run": run,
        "figures": figures,
        "report": report,
        "slices": [*run.result.get(SLICES, []), *list_labeler_slices(run)],
        "has_shares": any(figure.is_share for figure in figures),
        "weighing": weigh_result(run.result),
        "estimate": describe_estimate(run),
        "usage": describe_usage(run),
        "charts": draw_charts(rows),
        "keys": keys,
        "rows": [(step, [values.get(key) for key in keys]) for step, values in last],
        "log": read_log_tail(run),
    }
    if request.htmx:
        status = HTMX_STOP_POLLING if run.is_over else 200
        return render(request, "rlhf/run_detail.html#live", context, status=status)
    context |= {"settings": list_settings(run), "preview": seam.read_preview(run_folder(run))}
    return render(request, "rlhf/run_detail.html", context)


@require_POST
@manager_required
def request_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    run = cancel_run(get_object_or_404(of_managed_projects(Run.objects.all(), request.user), pk=pk), user=request.user)
    if run.state == Run.State.CANCELLED:
        messages.success(request, "The run is cancelled.")
    elif not run.is_over:
        messages.info(request, "The run has been asked to stop; it will within ten seconds.")
    else:
        messages.warning(request, f"The run had already {run.state}.")
    return redirect(run)


def read_metrics(run: Run) -> list[tuple[int, dict[str, float]]]:
    """Return (step, values) by step; of a very long run every n-th row, and always the last."""
    metrics = Metric.objects.filter(run=run).order_by("step")
    n_rows = metrics.count()
    if n_rows > MAX_METRIC_ROWS:
        place = Window(RowNumber(), order_by="-step")
        stride = -(-n_rows // MAX_METRIC_ROWS)
        metrics = metrics.annotate(place=place, rest=Mod(F("place"), stride)).filter(rest=1)
    return list(metrics.values_list("step", "values"))


def list_settings(run: Run) -> list[Setting]:
    """Return the run's configuration, the folders of its models left out: those are named by their checkpoints."""
    return [
        Setting(item.name, run.config[item.name], item.default, item.metadata["help"])
        for item in fields(CONFIGS[run.kind])
        if item.name in run.config and not item.name.endswith("_model")
    ]


def read_log_tail(run: Run) -> str:
    """Return the last lines of the run's log, or nothing when the log is on another machine."""
    path = run_folder(run) / seam.LOG
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_BLOCK_BYTES))
            block = file.read()
    except FileNotFoundError:
        return ""
    return "\n".join(block.decode("utf-8", errors="replace").splitlines()[-N_LOG_LINES:])
