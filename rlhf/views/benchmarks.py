"""Test sets made elsewhere, sent by the browser: sealed, measured on, and out of everything that trains."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from labeling.domain.errors import LabelingError
from labeling.domain.intake.reading import Limits
from labeling.forms.imports import BoundedUpload
from labeling.models import Project
from rlhf.domain.datasets.test_sets import import_benchmark, list_known
from rlhf.forms.benchmarks import UNPACKED_BYTES, UPLOAD_BYTES, BenchmarkForm
from rlhf.models import Dataset
from rlhf.permissions import manager_required


# The token is checked by receive_file, once a bound is set: before that nothing may read what is sent.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@manager_required
def create_benchmark(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        form = BenchmarkForm(projects=Project.objects.managed_by(request.user), initial=request.GET.dict())
        return render(request, "rlhf/benchmark_create.html", {"form": form})
    request.upload_handlers.insert(0, BoundedUpload(request, UPLOAD_BYTES))
    return receive_file(request)


@csrf_protect
def receive_file(request: HttpRequest) -> HttpResponse:
    form = BenchmarkForm(
        request.POST,
        request.FILES,
        projects=Project.objects.managed_by(request.user),
        upload=request.upload_handlers[0],
    )
    if form.is_valid():
        try:
            dataset = store_file(request, **form.cleaned_data)
        except (LabelingError, OSError) as error:
            form.add_error("file", str(error))
        else:
            return redirect(dataset)
    return render(request, "rlhf/benchmark_create.html", {"form": form}, status=422)


def store_file(request: HttpRequest, *, project: Project, file: UploadedFile, format: str, name: str) -> Dataset:
    """Seal an uploaded file, and warn where models may have seen its prompts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(str(file.name)).name
        with path.open("wb") as copy:
            copy.writelines(file.chunks())
        limits = Limits(file_bytes=UNPACKED_BYTES)
        dataset = import_benchmark(project, path, format=format, name=name, user=request.user, limits=limits)  # type: ignore[arg-type]
    if n_known := sum(1 for _ in list_known(project, dataset)):
        messages.warning(
            request,
            f"{n_known} of its prompts are in the project: models trained before may have seen them, and no freeze takes "
            "them from now on.",
        )
    return dataset
