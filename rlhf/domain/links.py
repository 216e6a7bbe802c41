"""What every run of a project read and made, by id; and which models had their say in what it learned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rlhf.domain.datasets.rule import AI
from rlhf.models import Checkpoint, Dataset, DatasetSource, Dispute, Run

RUN_INPUTS = ("base", "reward_model", "other")


@dataclass(frozen=True)
class Link:
    """What one run made of what, by id; run is 0 where a checkpoint came from outside.

    inputs: the models it read, and those that had their say in its datasets.
    """

    run: int
    datasets: tuple[int, ...]
    inputs: tuple[int, ...]
    checkpoint: int | None


@dataclass(frozen=True)
class Voice:
    """A model that had its say in a dataset: in a run that drew, scored or doubted its lines, or as an annotator."""

    dataset: int
    checkpoint: int
    run: int = 0
    annotator: str = ""


def list_voices(project: int) -> list[Voice]:
    """Return which models had their say in a project's datasets.

    A dataset that is frozen again alike is the one there is: what was scored after its first reader began is not in it.
    """
    readers: dict[int, int] = {}
    for run, _, *datasets in list_readings(project):
        for each in datasets[:2]:
            readers.setdefault(each or 0, run or 0)
    found = [*list_rankers(project), *list_annotators(project), *list_doubters(project)]
    return [voice for voice in dict.fromkeys(found) if voice.run < readers.get(voice.dataset, voice.run + 1)]


def list_links(project: int, voices: Iterable[Voice]) -> list[Link]:
    """Return what every run of a project read and made, oldest first: nobody reads what is not made yet."""
    heard = defaultdict(list)
    for voice in voices:
        heard[voice.dataset].append(voice.checkpoint)
    links = []
    for run, checkpoint, dataset, ptx, *models in list_readings(project):
        datasets = tuple(each for each in (dataset, ptx) if each)
        inputs = [*models, *(model for each in datasets for model in heard[each])]
        links.append(Link(run, datasets, tuple(dict.fromkeys(each for each in inputs if each)), checkpoint))
    return links


def list_makers(project: int, voices: Iterable[Voice]) -> dict[int, Link]:
    """Return how each checkpoint of a project was made."""
    outside = Checkpoint.objects.filter(project=project, run=None).values_list("pk", "parent")
    makers = {each: Link(0, (), (parent,) if parent else (), each) for each, parent in outside}
    return makers | {link.checkpoint: link for link in list_links(project, voices) if link.checkpoint}


def list_readings(project: int) -> Iterator[tuple[Any, ...]]:
    """Yield of every run its id, its checkpoint, what it learned from, what it learned to write besides, and its models."""
    columns = ("pk", "checkpoint", "dataset", "config__ptx_dataset", *RUN_INPUTS)
    yield from Run.objects.filter(project=project).order_by("pk").values_list(*columns)


def list_rankers(project: int) -> Iterator[Voice]:
    """Yield who drew the samples that a dataset holds, and who scored them."""
    ranked = Dataset.objects.filter(project=project, rule__has_key="samples_of")
    by_samples = defaultdict(list)
    for dataset, samples in ranked.values_list("pk", "rule__samples_of"):
        by_samples[samples].append(dataset)
    runs = Run.objects.filter(project=project, kind__in=[Run.Kind.SAMPLE, Run.Kind.SCORE], state=Run.State.SUCCEEDED)
    runs = runs.filter(base__isnull=False)
    for run, base, scored in runs.order_by("pk").values_list("pk", "base", "config__samples_of"):
        for dataset in by_samples.get(scored or run, ()):
            yield Voice(dataset, base, run=run)


def list_annotators(project: int) -> Iterator[Voice]:
    """Yield the checkpoints that as annotators compared or rewrote what a dataset holds."""
    said = DatasetSource.objects.filter(dataset__project=project, ai_judgment__annotator__checkpoint__isnull=False)
    columns = ("dataset", "ai_judgment__annotator__checkpoint", "ai_judgment__annotator__name")
    for dataset, checkpoint, name in said.order_by().values_list(*columns).distinct():
        yield Voice(dataset, checkpoint, annotator=name)


def list_doubters(project: int) -> Iterator[Voice]:
    """Yield the reward models that kept out of a dataset what an annotator had said."""
    doubted = Dataset.objects.filter(project=project, counts__ai_disputed_left_out__gt=0).values_list(
        "pk", "rule__include"
    )
    disputes = Dispute.objects.filter(score__reward_model__project=project).order_by()
    columns = ("judgment__annotator__name", "score__reward_model", "score__run")
    known = list(disputes.values_list(*columns).distinct())
    for dataset, include in doubted:
        for name, reward_model, run in known:
            if f"{AI}{name}" in include:
                yield Voice(dataset, reward_model, run=run)
