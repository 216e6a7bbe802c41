"""The estimate of a run that is about to be queued, from its model, its rows and what earlier runs took."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import fields
from itertools import islice
from typing import Any

from django.core.files.storage import default_storage

from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.run_dir import USAGE
from rlhf.contract.settings import RunConfig
from rlhf.domain.checkpoints import checkpoint_folder
from rlhf.domain.errors import DoesNotFit, ModelRefused
from rlhf.domain.estimating import REFUSED_ABOVE, Estimate, describe_bytes, describe_seconds, estimate_run
from rlhf.domain.loads import CPU, GPU, ModelShape, RowShape, pretrained_shape
from rlhf.domain.sizing import read_shape, shape_rows
from rlhf.models import Checkpoint, Dataset, Run

logger = logging.getLogger(__name__)

# What a configuration of another shape, a lost file or a strange row raise: a run may still know better.
UNKNOWABLE = (ModelRefused, OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
N_ROWS_READ = 1000
N_RUNS_READ = 5
N_RUNS_LOOKED_THROUGH = 100


def estimate_new_run(config: RunConfig, *, dataset: Dataset | None, base: Checkpoint | None) -> Estimate | None:
    """Return what a run would cost where runs are done; None when that cannot be known: no such kind, a model that is
    not on this machine or of an unknown shape, or rows that cannot be read."""
    if dataset is None:
        return None
    usage = newest_usage()
    machine = GPU if "device" in usage else CPU
    try:
        shape = find_shape(config, base)
        rows = measure_rows(dataset)
        took = list(past_ratios(config, usage))
        return estimate_run(config, shape, rows, total_bytes=memory_there(usage), took=took, machine=machine)
    except UNKNOWABLE as error:
        logger.info("a %s run on %s is not estimated: %r", config.kind, dataset, error)
        return None


def require_fit(estimate: Estimate) -> None:
    """Refuse a run that cannot fit whatever the estimate's error. Raises: DoesNotFit."""
    if estimate.is_refused:
        raise DoesNotFit(
            f"the run {estimate}: over {REFUSED_ABOVE:g} times what there is. Lower batch_size or max_length, "
            "learn in parts (micro_batch_tokens=4096), set gradient_checkpointing=on, or take a smaller model; "
            "manage.py train --force starts it all the same"
        )


def memory_there(usage: dict[str, Any]) -> int:
    """Return the bytes there are to learn in: what others leave of the GPU that the last run was on, else the host's."""
    for name in ("free_device_bytes", "total_device_bytes", "total_memory_bytes"):
        if usage.get(name):
            return int(usage[name])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def newest_usage() -> dict[str, Any]:
    """Return what the last run took that says so: its host is where the next one will be done."""
    run = Run.objects.filter(state=Run.State.SUCCEEDED, result__has_key=USAGE).order_by("-pk").first()
    usage: dict[str, Any] = run.result[USAGE] if run else {}
    return usage


def find_shape(config: RunConfig, base: Checkpoint | None) -> ModelShape:
    """Return the shape of the model a run makes or starts from. Raises: one of UNKNOWABLE."""
    if isinstance(config, PretrainConfig):
        return pretrained_shape(config)
    if base is None:
        raise KeyError("no model")
    return read_shape(checkpoint_folder(base))


def measure_rows(dataset: Dataset) -> RowShape:
    """Return the lengths of a dataset's rows, by its first thousand."""
    with default_storage.open(dataset.file_name("train")) as file:
        rows = [json.loads(line) for line in islice(file, N_ROWS_READ)]
    return shape_rows(rows, n_rows=dataset.n_train, n_test=dataset.n_test)


def past_ratios(config: RunConfig, usage: dict[str, Any]) -> Iterator[float]:
    """Yield how the last runs of this way on that host compare with what the arithmetic alone had said of them."""
    done = Run.objects.filter(kind=config.kind, state=Run.State.SUCCEEDED, attempt=1, estimate__has_key="uncorrected_s")
    looked_through = done.order_by("-pk").only("config", "result", "estimate")[:N_RUNS_LOOKED_THROUGH]
    ratios = (compare_past(run, config, usage) for run in looked_through)
    return islice((ratio for ratio in ratios if ratio is not None), N_RUNS_READ)


def compare_past(run: Run, config: RunConfig, usage: dict[str, Any]) -> float | None:
    """Return how long a run took against what was said of it, None where it tells nothing of this configuration there."""
    took = run.result.get(USAGE, {})
    is_there = all(took.get(name) == usage.get(name) for name in ("host", "device"))
    is_known = "seconds" in took and run.estimate["uncorrected_s"]
    if not (is_there and is_known and goes_the_same_way(run.config, config)):
        return None
    return float(took["seconds"] / run.estimate["uncorrected_s"])


def goes_the_same_way(past: dict[str, Any], config: RunConfig) -> bool:
    """Say whether a past run's settings differ in numbers and names alone.

    A setting with a few words to choose from makes another run of it, and so do adapters: a reward model of words takes a
    hundredth of the time of one with a trunk, and the arithmetic is not wrong about both by the same factor.
    """
    ways = [item for item in fields(config) if item.metadata.get("choices")]
    same_words = all(past.get(item.name, item.default) == getattr(config, item.name) for item in ways)
    return same_words and bool(past.get("lora_rank")) == bool(getattr(config, "lora_rank", 0))


def describe_estimate(run: Run) -> str:
    """Return what the run was thought to cost, in words; nothing for a run without an estimate."""
    return str(Estimate(**run.estimate)) if run.estimate else ""


def describe_usage(run: Run) -> str:
    """Return what the run took, in words; nothing while it is not known."""
    usage = run.result.get(USAGE, {})
    if "peak_memory_bytes" not in usage:
        return ""
    peak = usage.get("peak_device_bytes") or usage["peak_memory_bytes"]
    return f"took {describe_bytes(peak)} and {describe_seconds(usage['seconds'])}"
