"""From prompts to samples and their scores; what becomes pairs of them is queueing.py's."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import MD5, Cast, Coalesce, Concat

from labeling.domain.content import check_text, hash_messages, hash_opening
from labeling.domain.errors import InvalidContent
from labeling.models import Project, Prompt, Slice, User
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.kinds.score import ScoreConfig
from rlhf.contract.records import PromptRow, ScorableRow, read_rows
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.domain.datasets.split import TEST, TRAIN
from rlhf.domain.datasets.test_sets import find_reserved
from rlhf.domain.errors import NotReady
from rlhf.models import Checkpoint, Dataset, Round, Run, Sample

logger = logging.getLogger(__name__)
CHUNK = 500
# Parts of runs that draw samples for a policy to learn from: the best of each prompt, or the best over the worst.
BEST, RANKED = "best", "ranked"
N_REWARDED_PROMPTS = 1000  # that a policy learns on from scores, by PPO
N_RANKED_PROMPTS = 500  # of which the best of its samples is to be learned over the worst


@dataclass(frozen=True)
class Tested:
    """What an evaluation is measured on: no policy may learn from a prompt of these groups, or that opens alike."""

    groups: frozenset[str]
    openings: frozenset[str]

    def covers(self, prompt: Prompt) -> bool:
        """Say whether the prompt belongs to the test split, or would if it were judged."""
        return prompt.group in self.groups or hash_opening(prompt.messages) in self.openings


def find_tested(dataset: Dataset) -> Tested:
    """Return what the test split of a dataset covers. Raises: CorruptError."""
    rows = list(open_split(dataset, TEST))
    shas = sorted({hash_messages(row["prompt"]) for row in rows})
    groups = {row["group"] for row in rows if "group" in row}
    # Groups that were joined have one name in the dataset, and keep their own with their prompts.
    for start in range(0, len(shas), CHUNK):
        known = Prompt.objects.filter(project=dataset.project, content_sha__in=shas[start : start + CHUNK])
        groups |= set(known.values_list("group", flat=True))
    return Tested(frozenset(groups), frozenset(hash_opening(row["prompt"]) for row in rows))


def list_prompts(dataset: Dataset) -> set[int]:
    """Return the ids of the prompts that a dataset of prompts holds. Raises: CorruptError."""
    return {int(row["prompt_id"]) for row in open_split(dataset, TRAIN)}


def find_learned(policy: Checkpoint | None, *, round: Round | None = None) -> set[int]:
    """Return the prompts a policy was rewarded on: what it says to them tells little of what it can. Raises: CorruptError.

    round: one that is making it, where it has no policy to show for it yet.
    """
    is_its = Q(round=round) if round is not None else Q(pk__in=[])
    if policy is not None:
        is_its |= Q(round__candidate=policy) | Q(checkpoint=policy)
    return list_prompts_of(Run.objects.filter(is_its))


def find_rewarded(project: Project) -> set[int]:
    """Return the prompts that any policy of a project was rewarded on, or is about to be. Raises: CorruptError."""
    return list_prompts_of(
        Run.objects.filter(project=project).exclude(state__in=[Run.State.FAILED, Run.State.CANCELLED])
    )


def list_prompts_of(runs: QuerySet[Run]) -> set[int]:
    """Return the prompts of those of some runs that reward a policy. Raises: CorruptError."""
    is_rewarded = Q(kind__in=[Run.Kind.PPO, Run.Kind.GRPO]) | Q(kind=Run.Kind.SAMPLE, part__in=[BEST, RANKED])
    datasets = {run.dataset for run in runs.filter(is_rewarded).select_related("dataset") if run.dataset}
    return {prompt for dataset in datasets for prompt in list_prompts(dataset)}


def draw_prompts(
    project: Project,
    n: int,
    *,
    seed: int,
    slice_id: int | None = None,
    tested: Tested | None = None,
    last: Collection[int] = (),
) -> list[Prompt]:
    """Return n prompts in random order, those no policy has answered yet first. Raises: NotReady when there are none.

    Args:
        slice_id: of this slice alone.
        tested: what may not be drawn, for it measures what is learned from the others.
        last: ids of prompts that are drawn only when there are no others, such as those a policy has learned on.
    """
    reserved = find_reserved(project)
    drawn: dict[int, Prompt] = {}
    spare: dict[int, Prompt] = {}
    for prompt in order_prompts(project, seed=seed, slice_id=slice_id, size=max(n, CHUNK)):
        if len(drawn) == n:
            break
        if prompt.content_sha not in reserved and not (tested is not None and tested.covers(prompt)):
            (spare if prompt.pk in last else drawn)[prompt.pk] = prompt
    found = [*drawn.values(), *spare.values()][:n]
    if not found:
        where = f" in its slice {Slice.objects.get(pk=slice_id)}" if slice_id else ""
        besides = " besides those its evaluations are measured on" if tested is not None else ""
        raise NotReady(
            f"{project} has no prompts{where}{besides}: import some with manage.py import_prompts FILE "
            f"--project {project.slug}"
        )
    return found


def order_prompts(project: Project, *, seed: int, slice_id: int | None, size: int) -> Iterator[Prompt]:
    """Yield the project's prompts, the least sampled first and else in an order only the seed decides.

    The database sorts, by a hash that is the same in all of them, and hands over pages of `size`: a project may have more
    prompts than fit into memory.
    """
    samples = Sample.objects.filter(prompt=OuterRef("pk")).order_by().values("prompt").annotate(n=Count("pk"))
    of_slice = {"slice": slice_id} if slice_id else {}
    prompts = (
        project.prompts.filter(is_held_out=False, **of_slice)
        .annotate(
            n_samples=Coalesce(Subquery(samples.values("n")), 0),
            draw=MD5(Concat(Value(f"{seed}:"), Cast("pk", TextField()), output_field=TextField())),
        )
        .order_by("n_samples", "draw", "pk")
    )
    for start in count(0, size):
        page = list(prompts[start : start + size])
        yield from page
        if len(page) < size:
            return


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
