"""Datasets: the list, a new freeze, one dataset from its hash to its first rows, and its bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods, require_safe

from labeling.models import Project
from rlhf.contract.errors import CorruptError
from rlhf.domain.datasets.bytes import read_stored
from rlhf.domain.datasets.completions import freeze_demonstrations
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.parquet import write_parquet
from rlhf.domain.datasets.shelf import SPLITS, open_split, sha256_of
from rlhf.domain.errors import LearningError
from rlhf.domain.exporting import record_download
from rlhf.domain.planning import DATASET_KINDS
from rlhf.forms.datasets import FreezeForm, PreferenceFreezeForm
from rlhf.forms.projects import ProjectForm
from rlhf.models import Dataset, Run
from rlhf.permissions import manager_required, of_managed_projects
from rlhf.views.dataset_trust import show_trust, takes_long
from rlhf.views.dataset_words import describe_counts, describe_rule, show_row

PAGE_SIZE = 25
N_PREVIEW_ROWS = 3
BLOCK_BYTES = 2**16
FORMATS = ("jsonl", "parquet")
FORMS = {Dataset.Kind.PREFERENCE.value: PreferenceFreezeForm, Dataset.Kind.DEMONSTRATION.value: FreezeForm}


@require_safe
@manager_required
def list_datasets(request: HttpRequest) -> HttpResponse:
    datasets = of_managed_projects(Dataset.objects.filter(sealed_at__isnull=False), request.user)
    page = Paginator(datasets.select_related("project"), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "rlhf/dataset_list.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@manager_required
def create_dataset(request: HttpRequest) -> HttpResponse:
    projects = Project.objects.managed_by(request.user)
    kinds = [(kind, Dataset.Kind(kind).label) for kind in FORMS]
    choice = ProjectForm(request.GET, projects=projects, kinds=kinds)
    if choice.errors:
        raise Http404
    project, kind = choice.chosen_project, choice.chosen_kind
    context: dict[str, Any] = {"projects": projects, "project": project, "kinds": kinds, "kind": Dataset.Kind(kind)}
    if project is None:
        return render(request, "rlhf/dataset_create.html", context)
    if request.method != "POST":
        initial = {"name": f"{project.slug} {Dataset.Kind(kind).label}", "include": ["own"]}
        form = context["form"] = FORMS[kind](initial=initial, project=project)
        if kind == Dataset.Kind.PREFERENCE:
            context["trust_is_due"] = not request.htmx and takes_long(project)
            context["trust"] = None if context["trust_is_due"] else show_trust(project, form)
        return render(request, "rlhf/dataset_create.html", context)
    form = context["form"] = FORMS[kind](request.POST, project=project)
    if form.is_valid():
        freeze = freeze_preferences if kind == Dataset.Kind.PREFERENCE else freeze_demonstrations
        try:
            return redirect(freeze(project, user=request.user, **form.parts()))
        except (LearningError, CorruptError) as error:
            form.refuse(error)
    context["trust"] = show_trust(project, form) if kind == Dataset.Kind.PREFERENCE else None
    return render(request, "rlhf/dataset_create.html", context, status=422)


@require_safe
@manager_required
def show_dataset(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = get_dataset(request, pk)
    splits = [split for split, n in zip(SPLITS, (dataset.n_train, dataset.n_test), strict=True) if n]
    context: dict[str, Any] = {
        "dataset": dataset,
        "rule": describe_rule(dataset.rule),
        "counts": describe_counts(dataset.counts),
        "runs": dataset.runs.select_related("checkpoint", "project"),
        "n_labelers": dataset.sources.values("judgment__labeler").exclude(judgment=None).distinct().count(),
        "next_runs": [choice for choice in Run.Kind.choices if may_read(choice[0], dataset)],
        "splits": splits,
    }
    try:
        context["rows"] = [show_row(row) for row in islice(open_split(dataset, splits[0]), N_PREVIEW_ROWS)]
    except CorruptError as error:
        context["damage"] = str(error)
    return render(request, "rlhf/dataset_detail.html", context)


@require_safe
@manager_required
def download_dataset(request: HttpRequest, pk: int, split: str, format: str) -> HttpResponseBase:
    """Every download leaves a line in the audit trail; what is fetched changes by nothing."""
    dataset = get_dataset(request, pk)
    if split not in SPLITS or format not in FORMATS or (split == "test" and not dataset.n_test):
        raise Http404
    if request.method == "GET":
        record_download(dataset, request.user, split=split, format=format)  # type: ignore[arg-type]
    filename = f"{slugify(dataset.name) or 'dataset'}-{split}.{format}"
    if format == "parquet":
        return FileResponse(open_parquet(dataset, split), as_attachment=True, filename=filename)
    lines = read_stored(dataset.file_name(split), sha256_of(dataset, split))
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return StreamingHttpResponse(join_lines(lines), content_type="application/jsonl", headers=headers)


def get_dataset(request: HttpRequest, pk: int) -> Dataset:
    datasets = Dataset.objects.select_related("project", "created_by").filter(sealed_at__isnull=False)
    return get_object_or_404(of_managed_projects(datasets, request.user), pk=pk)  # type: ignore[arg-type]


def open_parquet(dataset: Dataset, split: str) -> Any:
    """Return an open file that is gone from the disk once it is closed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        columns = {column for row in open_split(dataset, split) for column in row}
        write_parquet(path, open_split(dataset, split), kind=dataset.kind, columns=columns)
        return path.open("rb")


def join_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines in blocks: a write to the network for every short line is slow."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def may_read(kind: str, dataset: Dataset) -> bool:
    """Say whether a run of this kind can be given the dataset: of a test set, evaluations alone."""
    if dataset.kind == Dataset.Kind.BENCHMARK:
        return kind == Run.Kind.EVALUATE
    return DATASET_KINDS.get(kind) == dataset.kind
