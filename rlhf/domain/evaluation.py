"""From "how good is this policy" to a queued run: held-out pairs, prompts, texts and tasks, before and after."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from django.db.models import Q

from labeling.models import Project, User
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.records import write_rows
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.datasets.split import TEST
from rlhf.domain.errors import NotReady
from rlhf.domain.runs import create_run
from rlhf.domain.sampling import Tested, find_tested
from rlhf.domain.terms import get_loop, read_terms
from rlhf.models import Checkpoint, Dataset, Round, Run
from rlhf.world.tasks import build_tasks

# What else an evaluation of a policy reads, by the setting that names its dataset and the file it becomes.
MEASURES = {"texts": Dataset.Kind.TEXT, "demonstrations": Dataset.Kind.DEMONSTRATION}


def plan_evaluation(
    candidate: Checkpoint,
    *,
    baseline: Checkpoint,
    reward_model: Checkpoint | None = None,
    dataset: Dataset | None = None,
    round: Round | None = None,
    user: User | None = None,
) -> Run:
    """Queue the evaluation of a policy against the one before it. Raises: NotReady when there is nothing to measure on.

    dataset: held-out pairs; None takes the newest that has some. reward_model: None takes the project's newest, if any.
    round: whose terms say how it is measured; without one the loop's settings do.
    """
    project = candidate.project
    # What was settled when the round began, not what somebody has set since.
    wanted = read_terms(round).settings if round is not None else get_loop(project).settings
    config = EvaluateConfig().replace(**wanted.get(Run.Kind.EVALUATE.value, {}))
    return create_run(
        project,
        with_measures(project, config),
        dataset=dataset if dataset is not None and dataset.n_test else newest_pairs(project),
        base=candidate,
        other=baseline,
        reward_model=reward_model or Checkpoint.objects.reward_models_of(project).first(),
        round=round,
        user=user,
    )


def newest_pairs(project: Project) -> Dataset:
    """Return the newest dataset that has pairs nobody learned from. Raises: NotReady."""
    pairs = Dataset.objects.filter(
        project=project,
        kind__in=[Dataset.Kind.PREFERENCE, Dataset.Kind.BENCHMARK],
        n_test__gt=0,
        sealed_at__isnull=False,
    )
    # Its own judgments before what was measured elsewhere.
    found: Dataset | None = pairs.order_by("-kind", "-id").first()
    if found is None:
        raise NotReady(f"{project} has no held-out pairs to measure on: freeze its judgments at /datasets/")
    return found


def find_measured(project: Project) -> Tested | None:
    """Return the prompts an evaluation of the project's policies is measured on now; None where there are none yet."""
    try:
        return find_tested(newest_pairs(project))
    except NotReady:
        return None


def with_measures(project: Project, config: EvaluateConfig) -> EvaluateConfig:
    """Return the settings with the newest dataset of each kind named where none was, so that the run says what it read."""
    named = {}
    for name, kind in MEASURES.items():
        rows = Dataset.objects.filter(project=project, kind=kind, n_test__gt=0, sealed_at__isnull=False)
        found = rows.order_by("-id").values_list("pk", flat=True).first()
        if not getattr(config, name) and found is not None:
            named[name] = found
    return config.replace(**named)


def find_measure(project: Project, name: str, number: int) -> Dataset:
    """Return the dataset that a setting of MEASURES names by its number. Raises: NotReady when it cannot be measured on."""
    kind = MEASURES[name]
    of_kind = Dataset.objects.filter(project=project, kind=kind, sealed_at__isnull=False)
    dataset = of_kind.filter(pk=number).first()
    if dataset is not None and dataset.n_test:
        return dataset
    fault = f"is no {kind.label} dataset of {project}" if dataset is None else "has no held-out rows"
    known = ", ".join(f"{one.pk} ({one.name})" for one in of_kind.filter(n_test__gt=0).order_by("-pk")[:5])
    advice = f"0 takes the newest, or name one of {known}" if known else "leave it 0 until one is frozen at /datasets/"
    raise NotReady(f"{name}={number} {fault}: {advice}")


def write_measures(run: Run, folder: Path) -> None:
    """Write what the evaluation of a policy reads besides pairs into its data folder. Raises: CorruptError, NotReady."""
    config = run.load_config()
    assert isinstance(config, EvaluateConfig)
    if run.other is None and not config.reference_model:
        return
    for name in MEASURES:
        if wanted := getattr(config, name):
            dataset = find_measure(run.project, name, wanted)
            write_rows(folder / f"{name}.jsonl", islice(open_split(dataset, TEST), config.n_texts))
    write_rows(folder / "tasks.jsonl", build_tasks())


def find_evaluation(candidate: Checkpoint, *, baseline: Checkpoint) -> Run | None:
    """Return the newest evaluation of the candidate against the baseline that succeeded."""
    runs = Run.objects.filter(kind=Run.Kind.EVALUATE, state=Run.State.SUCCEEDED, base=candidate)
    # An evaluation of an older version has its baseline only as a folder, of whichever host planned it.
    is_against = Q(other=baseline) | Q(other=None, config__reference_model__endswith=f"/{baseline.path}")
    found: Run | None = runs.filter(is_against).order_by("-id").first()
    return found
