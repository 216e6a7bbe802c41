"""Checkpoints: the models there are, where each came from, and what it says."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from labeling.models import Project
from rlhf.domain.checkpoints import register_folder
from rlhf.domain.errors import ModelRefused
from rlhf.domain.model_archive import open_archive
from rlhf.domain.model_card import list_changes, list_measures, make_card, trace_parents
from rlhf.forms.checkpoints import CheckpointForm
from rlhf.models import Checkpoint, Run
from rlhf.permissions import manager_required, of_managed_projects

PAGE_SIZE = 25
N_SAMPLES = 6
# What can be started from a checkpoint, and which input of the run it becomes.
NEXT_RUNS = {
    Checkpoint.Kind.POLICY: [
        *((kind, "base") for kind in ("sft", "reward", "dpo", "kto", "ppo", "grpo", "sample", "evaluate")),
        ("merge", "other"),
    ],
    Checkpoint.Kind.REWARD: [
        ("ppo", "reward_model"),
        ("grpo", "reward_model"),
        ("evaluate", "base"),
        ("merge", "other"),
    ],
}


@require_safe
@manager_required
def list_checkpoints(request: HttpRequest) -> HttpResponse:
    checkpoints = of_managed_projects(Checkpoint.objects.select_related("project", "run", "parent"), request.user)
    page = Paginator(checkpoints, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "rlhf/checkpoint_list.html", {"page": page, "may_register": request.user.is_superuser})


@require_safe
@manager_required
def show_checkpoint(request: HttpRequest, pk: int) -> HttpResponse:
    checkpoints = Checkpoint.objects.select_related("project", "run__dataset")
    checkpoint = get_object_or_404(of_managed_projects(checkpoints, request.user), pk=pk)
    return render_checkpoint(request, checkpoint)


@require_safe
@manager_required
def download_checkpoint(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Every download leaves a line in the audit trail; what is fetched changes by nothing."""
    checkpoints = Checkpoint.objects.select_related("project", "run__dataset")
    checkpoint = get_object_or_404(of_managed_projects(checkpoints, request.user), pk=pk)
    if request.method == "HEAD":
        return HttpResponse(content_type="application/x-tar")
    try:
        archive = open_archive(checkpoint, request.user)  # type: ignore[arg-type]
    except ModelRefused as error:
        return render_checkpoint(request, checkpoint, refusal=str(error), status=410)
    headers = {"Content-Disposition": f'attachment; filename="{archive.name}"', "Content-Length": str(archive.size)}
    return StreamingHttpResponse(archive.blocks, content_type="application/x-tar", headers=headers)


def render_checkpoint(
    request: HttpRequest, checkpoint: Checkpoint, *, refusal: str = "", status: int = 200
) -> HttpResponse:
    chain = trace_parents(checkpoint)
    context = {
        "checkpoint": checkpoint,
        "refusal": refusal,
        "chain": chain,
        "card": make_card(checkpoint, chain),
        "changes": list_changes(checkpoint.run) if checkpoint.run else {},
        "measures": list_measures(checkpoint.run) if checkpoint.run else [],
        "children": checkpoint.children.select_related("run"),
        "samples": checkpoint.samples.select_related("prompt").order_by("-run", "prompt", "index")[:N_SAMPLES],
        "next_runs": [(Run.Kind(kind), name) for kind, name in NEXT_RUNS[Checkpoint.Kind(checkpoint.kind)]],
    }
    return render(request, "rlhf/checkpoint_detail.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@manager_required
def register_checkpoint(request: HttpRequest) -> HttpResponse:
    if not request.user.is_superuser:
        raise Http404  # it reads a path of the server
    form = CheckpointForm(request.POST or None, projects=Project.objects.all())
    if request.method != "POST":
        return render(request, "rlhf/checkpoint_create.html", {"form": form})
    if form.is_valid():
        values = form.cleaned_data
        try:
            return redirect(
                register_folder(
                    values["project"],
                    values["folder"],
                    kind=values["kind"],
                    name=values["name"],
                    user=request.user,
                )
            )
        except ModelRefused as error:
            form.add_error(None, str(error))
    return render(request, "rlhf/checkpoint_create.html", {"form": form}, status=422)
