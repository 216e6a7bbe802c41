"""From prompts to samples to the labeling queue."""

from __future__ import annotations

import logging
import random
from pathlib import Path

from django.db.models import Count

from labeling.domain.content import check_text
from labeling.domain.errors import InvalidContent
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Project, Prompt, User
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.records import PromptRow, read_rows
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.errors import NotReady
from rlhf.models import Dataset, Run, Sample

logger = logging.getLogger(__name__)


def draw_prompts(project: Project, n: int, *, seed: int) -> list[Prompt]:
    """Return n prompts in random order, those no policy has answered yet first. Raises: NotReady when there are none."""
    n_samples = dict(Sample.objects.filter(prompt__project=project).values_list("prompt").annotate(Count("id")))
    prompts = list(project.prompts.filter(is_held_out=False).order_by("id"))
    if not prompts:
        raise NotReady(
            f"{project} has no prompts: import some with manage.py import_prompts FILE --project {project.slug}"
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


def queue_samples(run: Run, *, priority: int, limit: int | None = None) -> int:
    """Turn a run's samples into comparisons, one per prompt, and return how many are in the queue because of it.

    Empty completions are dropped, and of equal ones all but the first. Doing it twice changes nothing.
    """
    by_prompt: dict[Prompt, dict[str, Sample]] = {}
    for sample in run.samples.select_related("prompt", "prompt__project").order_by("prompt_id", "index"):
        if sample.text.strip():
            by_prompt.setdefault(sample.prompt, {}).setdefault(sample.text, sample)
    pairs = []
    for prompt, texts in by_prompt.items():
        if len(texts) > 1:
            text_a, text_b = list(texts)[:2]
            pairs.append(
                Pair(messages=prompt.messages, group=prompt.group, text_a=text_a, text_b=text_b, priority=priority)
            )
    comparisons = propose_comparisons(run.project, pairs[:limit])
    for comparison in comparisons:
        for completion in (comparison.completion_a, comparison.completion_b):
            drawn = by_prompt[comparison.prompt].get(completion.text)
            if drawn is not None:
                drawn.completion = completion
    linked = [sample for texts in by_prompt.values() for sample in texts.values() if sample.completion_id]
    Sample.objects.bulk_update(linked, ["completion"], batch_size=200)
    return len(comparisons)
