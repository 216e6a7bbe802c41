"""From prompts to samples and their scores; what becomes pairs of them is queueing.py's."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from django.db.models import Count

from labeling.domain.content import check_text
from labeling.domain.errors import InvalidContent
from labeling.models import Project, Prompt, Slice, User
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.kinds.score import ScoreConfig
from rlhf.contract.records import DemonstrationRow, PromptRow, ScorableRow, read_rows
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.datasets.test_sets import find_reserved
from rlhf.domain.errors import NotReady
from rlhf.models import Dataset, Run, Sample

logger = logging.getLogger(__name__)


def draw_prompts(project: Project, n: int, *, seed: int, slice_id: int | None = None) -> list[Prompt]:
    """Return n prompts in random order, those no policy has answered yet first. Raises: NotReady when there are none.

    slice_id: of this slice alone.
    """
    n_samples = dict(Sample.objects.filter(prompt__project=project).values_list("prompt").annotate(Count("id")))
    of_slice = {"slice": slice_id} if slice_id else {}
    reserved = find_reserved(project)
    prompts = list(project.prompts.filter(is_held_out=False, **of_slice).order_by("id"))
    prompts = [prompt for prompt in prompts if prompt.content_sha not in reserved]
    if not prompts:
        where = f" in its slice {Slice.objects.get(pk=slice_id)}" if slice_id else ""
        raise NotReady(
            f"{project} has no prompts{where}: import some with manage.py import_prompts FILE --project {project.slug}"
        )
    random.Random(seed).shuffle(prompts)
    prompts.sort(key=lambda prompt: n_samples.get(prompt.pk, 0))
    return prompts[:n]


def freeze_prompts(prompts: list[Prompt], *, name: str, user: User | None = None) -> Dataset:
    """Freeze prompts into a dataset that sampling and PPO runs read."""
    rows: list[PromptRow] = [{"prompt_id": str(prompt.pk), "prompt": prompt.messages} for prompt in prompts]
    return freeze_rows(
        prompts[0].project,
        kind=Dataset.Kind.PROMPT,
        name=name,
        train=rows,
        test=[],
        rule={"include": "prompts"},
        user=user,
    )


def record_samples(run: Run, path: Path) -> int:
    """Store what a sampling run drew, once. Returns the number of samples."""
    config = run.load_config()
    assert isinstance(config, SampleConfig)
    decoding = {"temperature": config.temperature, "top_p": config.top_p, "max_new_tokens": config.max_new_tokens}
    samples = [
        Sample(
            run=run,
            checkpoint=run.base,
            prompt_id=int(row["prompt_id"]),
            index=row["index"],
            text=row["text"],
            n_tokens=row["n_tokens"],
            finished=row["finished"],
            decoding=decoding,
            seed=row["seed"],
        )
        for row in read_rows(path)
        if is_storable(row["text"])
    ]
    return len(Sample.objects.bulk_create(samples, batch_size=500, ignore_conflicts=True))


def is_storable(text: str) -> bool:
    """Say whether both databases can keep a text: a young policy may well emit a NUL byte."""
    try:
        check_text(text, what="a sample")
    except InvalidContent as error:
        logger.warning("a sample is left out: %s", error)
        return False
    return True


def list_scorable(project: Project, run_id: int) -> Iterator[ScorableRow]:
    """Yield the samples of a run as a scoring run reads them. Raises: NotReady when the project has no such run."""
    samples = Sample.objects.filter(run=run_id, run__project=project).select_related("prompt")
    if not samples.exists():
        raise NotReady(f"samples_of={run_id} is no sampling run of {project} with samples: name one, see /runs/")
    for sample in samples.order_by("prompt_id", "index").iterator(chunk_size=500):
        yield ScorableRow(
            prompt_id=str(sample.prompt_id),
            index=sample.index,
            prompt=sample.prompt.messages,
            text=sample.text,
            finished=sample.finished,
        )


def record_scores(run: Run, path: Path) -> int:
    """Keep what a scoring run said beside the samples it scored. Returns the number of samples."""
    config = run.load_config()
    assert isinstance(config, ScoreConfig)
    samples = {(str(row.prompt_id), row.index): row for row in Sample.objects.filter(run=config.samples_of)}
    scored = []
    for row in read_rows(path):
        sample = samples.get((row["prompt_id"], row["index"]))
        if sample is not None:
            sample.scores = row["scores"]
            scored.append(sample)
    return Sample.objects.bulk_update(scored, ["scores"], batch_size=200)


def freeze_best(project: Project, run_id: int, *, name: str) -> Dataset:
    """Freeze of every prompt of a sampling run the finished sample its reward model scores highest, to be imitated.

    Raises: NotReady when none was scored.
    """
    best: dict[int, Sample] = {}
    for sample in (
        Sample.objects.filter(run=run_id, finished=True).select_related("prompt").order_by("prompt_id", "index")
    ):
        if sample.scores and sample.text.strip():
            held = best.get(sample.prompt_id)
            if held is None or fmean(sample.scores) > fmean(held.scores):
                best[sample.prompt_id] = sample
    if not best:
        raise NotReady(f"no finished sample of run {run_id} has a score: there is nothing to imitate")
    rows: list[DemonstrationRow] = [
        {"messages": [*sample.prompt.messages, {"role": "assistant", "content": sample.text}]}
        for sample in best.values()
    ]
    rule = {"include": "best of n", "samples_of": run_id}
    return freeze_rows(project, kind=Dataset.Kind.DEMONSTRATION, name=name, train=rows, test=[], rule=rule)
