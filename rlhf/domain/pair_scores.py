"""What a reward model says of pairs that people and annotators are asked about: scored by runs, kept beside the pairs.

Nobody who judges sees it. Scores that a round's strategy asked for are taken over, and a run scores only what is left.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from labeling.domain.overlap import chunks
from labeling.models import Comparison, Project, User
from rlhf.contract.kinds.score import ScoreConfig
from rlhf.contract.records import ScorableRow, read_rows
from rlhf.domain.datasets.rows import read_messages
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.domain.datasets.split import TRAIN
from rlhf.domain.runs import create_run
from rlhf.models import Checkpoint, Dataset, PairScore, Run, Sample

PAIRS = "pairs"  # what the rule of a scoring run's dataset includes, where it is pairs and not samples
MAX_SCORED = 5000  # pairs of one run
CHUNK = 500


def find_judge(project: Project) -> Checkpoint | None:
    """Return the reward model that people and annotators are held against: the project's newest."""
    found: Checkpoint | None = Checkpoint.objects.reward_models_of(project).first()
    return found


def score_pairs(
    reward_model: Checkpoint, comparisons: Collection[int], *, user: User | None = None, **purpose: int
) -> Run | None:
    """Queue a run in which a reward model scores comparisons, by id, as far as it has not; None where it has all.

    While a run for the same purpose is under way there is that one. purpose: kept in the rule of its dataset, such as
    annotator=7.
    """
    adopt_scores(reward_model, comparisons)
    wanted = list_unscored(reward_model, comparisons)[:MAX_SCORED]
    if not wanted:
        return None
    if (active := find_active(reward_model, **purpose)) is not None:
        return active
    dataset = freeze_rows(
        reward_model.project,
        kind=Dataset.Kind.PROMPT,
        name=f"{reward_model.project.slug} pairs for {reward_model}",
        train=read_texts(wanted),
        test=[],
        rule={"include": PAIRS, "reward_model": reward_model.pk, **purpose},
        user=user,
    )
    return create_run(reward_model.project, ScoreConfig(), dataset=dataset, base=reward_model, user=user)


def find_active(reward_model: Checkpoint, **purpose: int) -> Run | None:
    """Return the run under way in which a reward model scores pairs for a purpose."""
    wanted = {f"dataset__rule__{name}": value for name, value in purpose.items()}
    runs = Run.objects.active().filter(kind=Run.Kind.SCORE, base=reward_model, dataset__rule__include=PAIRS, **wanted)
    found: Run | None = runs.order_by("-id").first()
    return found


def list_unscored(reward_model: Checkpoint, comparisons: Collection[int]) -> list[int]:
    """Return the comparisons a reward model has said nothing of yet, in order."""
    known = set(PairScore.objects.filter(reward_model=reward_model).values_list("comparison", flat=True).iterator())
    return sorted(set(comparisons) - known)


def read_texts(comparisons: list[int]) -> Iterator[ScorableRow]:
    """Yield the completions of comparisons as a scoring run reads them: A is number 0, B is number 1."""
    for chunk in chunks(comparisons):
        found = Comparison.objects.with_texts().in_bulk(chunk)
        texts = [side.pk for each in found.values() for side in (each.completion_a, each.completion_b)]
        cut = set(Sample.objects.filter(completion__in=texts, finished=False).values_list("completion", flat=True))
        for pk in chunk:
            for index, side in enumerate((found[pk].completion_a, found[pk].completion_b)):
                yield ScorableRow(
                    prompt_id=str(pk),
                    index=index,
                    prompt=read_messages(found[pk].prompt.messages),
                    text=side.text,
                    finished=side.pk not in cut,
                )


def is_of_pairs(run: Run) -> bool:
    """Say whether a scoring run scores pairs, and not the samples of a run."""
    return run.dataset is not None and run.dataset.rule.get("include") == PAIRS


def read_pairs_of(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run that scores pairs. Raises: CorruptError."""
    assert run.dataset is not None
    return open_split(run.dataset, TRAIN)


def record_pair_scores(run: Run, path: Path) -> int:
    """Keep what a scoring run said of each pair, once, and return how many there are.

    A pair one of whose texts did not fit is kept without a margin, so that nobody asks for it again.
    """
    scores: dict[int, dict[int, float]] = {int(row["prompt_id"]): {} for row in read_pairs_of(run)}
    for row in read_rows(path):
        scores[int(row["prompt_id"])][row["index"]] = fmean(row["scores"])
    return store_margins(
        run, ((pk, said[0] - said[1] if len(said) == len((0, 1)) else None) for pk, said in scores.items())
    )


def store_margins(run: Run, margins: Iterable[tuple[int, float | None]]) -> int:
    """Store margins of comparisons; what the reward model said first stays."""
    rows = [PairScore(run=run, reward_model=run.base, comparison_id=pk, margin=margin) for pk, margin in margins]
    return len(PairScore.objects.bulk_create(rows, batch_size=CHUNK, ignore_conflicts=True))


def adopt_scores(reward_model: Checkpoint, comparisons: Collection[int]) -> int:
    """Take over what a reward model has said of samples that became the completions of comparisons; return how many.

    Samples keep what scored them last, so only runs that nobody scored again since are read.
    """
    runs = Run.objects.filter(project=reward_model.project, kind=Run.Kind.SCORE, state=Run.State.SUCCEEDED)
    last = {run.config.get("samples_of"): run for run in runs.order_by("pk").only("pk", "config", "base")}
    scored = {samples_of: run for samples_of, run in last.items() if samples_of and run.base_id == reward_model.pk}
    if not scored:
        return 0
    n_adopted = 0
    for chunk in chunks(list_unscored(reward_model, comparisons)):
        sides = {
            pk: (a, b)
            for pk, a, b in Comparison.objects.filter(pk__in=chunk).values_list("pk", "completion_a", "completion_b")
        }
        texts = {side for pair in sides.values() for side in pair}
        samples = Sample.objects.filter(completion__in=texts, run__in=list(scored)).exclude(scores=[])
        said = {
            completion: (scored[run], fmean(scores))
            for completion, run, scores in samples.order_by("pk").values_list("completion", "run", "scores")
        }
        for pk, (a, b) in sides.items():
            if a in said and b in said:
                n_adopted += store_margins(said[a][0], [(pk, said[a][1] - said[b][1])])
    return n_adopted


def find_temperature(reward_model: Checkpoint) -> float:
    """Return what differences of a reward model's scores are divided by to be log-odds.

    It was fitted on held-out pairs when the model was trained; 1 for a model from outside, or a mean of two.
    """
    return float(reward_model.run.result.get("temperature", 1.0)) if reward_model.run else 1.0


def as_probability(margin: float, *, temperature: float) -> float:
    """Return how likely A is better by Bradley and Terry, given its score less that of B."""
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, margin / temperature))))
