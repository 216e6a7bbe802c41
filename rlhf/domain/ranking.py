"""What a policy learns from samples that a reward model has ranked: the best of each prompt, or the best over the worst."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from labeling.models import Project
from rlhf.contract.records import DemonstrationRow, PreferenceRow
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.domain.datasets.split import TEST, TRAIN
from rlhf.domain.errors import NotReady
from rlhf.models import Dataset, DatasetSource, Sample

SOURCE = "ranked"  # of a pair that no person has seen


def rank_samples(run_id: int) -> list[list[Sample]]:
    """Return the finished samples of each prompt of a sampling run from the highest score to the lowest.

    Raises: NotReady when none was scored.
    """
    by_prompt: defaultdict[int, list[Sample]] = defaultdict(list)
    samples = Sample.objects.filter(run=run_id, finished=True).select_related("prompt__slice")
    for sample in samples.order_by("prompt_id", "index"):
        if sample.scores and sample.text.strip():
            by_prompt[sample.prompt_id].append(sample)
    if not by_prompt:
        raise NotReady(f"no finished sample of run {run_id} has a score: there is nothing to learn from")
    return [sorted(found, key=lambda sample: -fmean(sample.scores)) for found in by_prompt.values()]


def freeze_best(project: Project, run_id: int, *, name: str) -> Dataset:
    """Freeze of every prompt of a sampling run the sample its reward model scores highest, to be imitated.

    Raises: NotReady when none was scored.
    """
    rows: list[DemonstrationRow] = [
        {"messages": [*best.prompt.messages, {"role": "assistant", "content": best.text}]}
        for best, *_ in rank_samples(run_id)
    ]
    rule = {"include": "best of n", "samples_of": run_id}
    return freeze_rows(project, kind=Dataset.Kind.DEMONSTRATION, name=name, train=rows, test=[], rule=rule)


def freeze_ranked(judged: Dataset, run_id: int) -> Dataset:
    """Freeze a dataset of judgments again with pairs nobody has seen behind it: of each prompt the best over the worst.

    What people judged comes first, its lines have the sources they had, and the test split stays theirs alone.

    Raises: NotReady when no sample was scored, CorruptError.
    """
    pairs = [pair_up(found[0], found[-1]) for found in rank_samples(run_id) if found[0].text != found[-1].text]
    fields = ("split", "line", "comparison_id", "judgment_id", "imported_judgment_id", "ai_judgment_id")
    return freeze_rows(
        judged.project,
        kind=judged.kind,
        name=f"{judged.name}, and ranked samples",
        train=[*open_split(judged, TRAIN), *pairs],
        test=open_split(judged, TEST),
        rule=judged.rule | {"samples_of": run_id},
        counts=judged.counts | {"ranked": len(pairs)},
        sources=[DatasetSource(**values) for values in judged.sources.order_by("pk").values(*fields)],
    )


def pair_up(better: Sample, worse: Sample) -> PreferenceRow:
    """Return the row of two samples of one prompt."""
    row = PreferenceRow(
        prompt=better.prompt.messages,
        chosen=[{"role": "assistant", "content": better.text}],
        rejected=[{"role": "assistant", "content": worse.text}],
        group=better.prompt.group,
        source=SOURCE,
    )
    if better.prompt.slice is not None:
        row["slice"] = str(better.prompt.slice)
    return row
