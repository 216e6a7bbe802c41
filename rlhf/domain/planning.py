"""From "train dpo on this project" to a queued run: what is not named is the newest of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.models import Project, User
from rlhf.contract.config import CONFIGS, TRAINING_KINDS
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import PTX
from rlhf.contract.settings import RunConfig
from rlhf.domain.checkpoints import newest_policy
from rlhf.domain.datasets.bytes import copy_stored
from rlhf.domain.datasets.completions import freeze_demonstrations, freeze_texts
from rlhf.domain.datasets.freezing import default_rule, freeze_preferences
from rlhf.domain.datasets.test_sets import require_apart
from rlhf.domain.errors import NotReady
from rlhf.domain.estimating import Estimate
from rlhf.domain.evaluation import find_measured, with_measures
from rlhf.domain.forecasting import estimate_new_run
from rlhf.domain.runs import create_run
from rlhf.domain.sampling import N_REWARDED_PROMPTS, draw_prompts, find_learned, find_rewarded, freeze_prompts
from rlhf.domain.terms import get_loop
from rlhf.models import Checkpoint, Dataset, Run

# Kinds that sample from a policy and have a reward model score what it says.
REWARDED_KINDS = ("ppo", "grpo")
# Folders of models: people name registered checkpoints instead, never a path.
FOLDERS = ("base_model", "reward_model", "reference_model", "other_model")
DATASET_KINDS = {
    "pretrain": Dataset.Kind.TEXT,
    "sft": Dataset.Kind.DEMONSTRATION,
    "reward": Dataset.Kind.PREFERENCE,
    "dpo": Dataset.Kind.PREFERENCE,
    "kto": Dataset.Kind.PREFERENCE,
    "evaluate": Dataset.Kind.PREFERENCE,
    "ppo": Dataset.Kind.PROMPT,
    "grpo": Dataset.Kind.PROMPT,
    "sample": Dataset.Kind.PROMPT,
    "score": Dataset.Kind.PROMPT,
}
# What annotators are asked is planned in domain/feedback, and by whoever asks.
PLANNED = [choice for choice in Run.Kind.choices if choice[0] != Run.Kind.FEEDBACK]


def plan_run(
    project: Project,
    config: RunConfig,
    *,
    dataset: Dataset | None = None,
    base: Checkpoint | None = None,
    reward_model: Checkpoint | None = None,
    other: Checkpoint | None = None,
    user: User | None = None,
    force: bool = False,
) -> Run:
    """Queue a run, choosing what was not named. Raises: LearningError when there is nothing to choose from.

    force: also a run that will not fit.
    """
    kind = config.kind
    wanted = DATASET_KINDS.get(kind)
    is_test_set = dataset is not None and kind == "evaluate" and dataset.kind == Dataset.Kind.BENCHMARK
    if dataset is not None and dataset.kind != wanted and not is_test_set:
        needs = f"a {wanted.label} dataset" if wanted else "no dataset"
        raise NotReady(f"a {kind} run needs {needs}, {dataset} holds {dataset.get_kind_display()}")
    if dataset is not None and kind in TRAINING_KINDS and dataset.kind != Dataset.Kind.TEXT:
        require_apart(dataset)
    if kind == "merge":
        base, other = choose_pair(project, base, other)
    elif kind != "pretrain":
        base = base or newest_base(project, kind)
    if kind in REWARDED_KINDS:
        reward_model = reward_model or newest_reward_model(project)
    if isinstance(config, PPOConfig) and config.ptx_coef:
        config = config.replace(ptx_dataset=find_ptx(project, config.ptx_dataset).pk)
    if isinstance(config, EvaluateConfig) and base is not None and base.kind == Checkpoint.Kind.POLICY:
        config, other = with_measures(project, config), other or find_reference(base)
        reward_model = reward_model or Checkpoint.objects.reward_models_of(project).first()
    return create_run(
        project,
        config,
        dataset=dataset or (make_dataset(project, kind, base=base, user=user) if wanted else None),
        base=base,
        reward_model=reward_model,
        other=other,
        user=user,
        force=force,
    )


def preview_run(
    project: Project,
    config: RunConfig,
    *,
    dataset: Dataset | None = None,
    base: Checkpoint | None = None,
    **others: Any,
) -> Estimate | None:
    """Return what a planned run would cost, by the dataset and the model it would take now; None when none is there."""
    if dataset is None and config.kind in DATASET_KINDS:
        dataset = newest(project, DATASET_KINDS[config.kind])
    if base is None and config.kind != "pretrain":
        try:
            base = newest_base(project, config.kind)
        except NotReady:
            return None
    return estimate_new_run(config, dataset=dataset, base=base)


def default_config(project: Project, kind: str) -> RunConfig:
    """Return the kind's defaults with what the project's loop sets over them."""
    return CONFIGS[kind]().replace(**get_loop(project).settings.get(kind, {}))


def newest_base(project: Project, kind: str) -> Checkpoint:
    """Return the newest policy, or for an evaluation the newest reward model. Raises: NotReady."""
    if kind in ("evaluate", "score"):
        return newest_reward_model(project)
    policy = newest_policy(project)
    if policy is None:
        raise NotReady(
            f"{project} has no policy to start from: name one with --base CHECKPOINT or --base-model FOLDER, or make one "
            f"with manage.py train pretrain --project {project.slug}"
        )
    return policy


def choose_pair(project: Project, base: Checkpoint | None, other: Checkpoint | None) -> tuple[Checkpoint, Checkpoint]:
    """Return two models to merge: what is not named is the newest policy, and what that was trained from.

    Raises: NotReady.
    """
    other = other or newest_base(project, "merge")
    base = base or other.parent
    if base is None:
        raise NotReady(f"{other} was not trained from another model here: name the one to merge it with")
    if base == other or base.kind != other.kind:
        raise NotReady(f"{base} and {other} cannot be merged: choose two policies or two reward models")
    return base, other


def newest_reward_model(project: Project) -> Checkpoint:
    """Return the newest reward model. Raises: NotReady."""
    reward_model = Checkpoint.objects.reward_models_of(project).first()
    if reward_model is None:
        raise NotReady(f"{project} has no reward model: manage.py train reward --project {project.slug}")
    return reward_model


def find_reference(base: Checkpoint) -> Checkpoint:
    """Return what a policy is measured against, the model it was trained from. Raises: NotReady where it is not known."""
    if base.parent is None:
        raise NotReady(f"{base} was not trained from another model here, so there is nothing to measure it against")
    return base.parent


def find_ptx(project: Project, number: int) -> Dataset:
    """Return what a PPO run learns to write besides: the dataset named, or the newest demonstrations. Raises: NotReady."""
    if not number:
        found = newest(project, Dataset.Kind.DEMONSTRATION)
        if found is None:
            raise NotReady(
                f"ptx_coef needs demonstrations, and {project} has none frozen; set ptx_coef=0 or freeze some"
            )
        return found
    written = (Dataset.Kind.DEMONSTRATION, Dataset.Kind.TEXT)
    named = Dataset.objects.filter(project=project, pk=number, kind__in=written, sealed_at__isnull=False).first()
    if named is None:
        raise NotReady(f"ptx_dataset={number} is no frozen dataset of demonstrations or texts of {project}")
    return named


def make_dataset(project: Project, kind: str, *, base: Checkpoint | None = None, user: User | None = None) -> Dataset:
    """Freeze what the project has now; the same content again is the dataset there is. Raises: LearningError.

    As in a round no policy learns on a prompt it is measured on, and what people are to judge is drawn first from prompts
    that the policy which samples, base, was not rewarded on.
    """
    wanted = DATASET_KINDS[kind]
    if wanted == Dataset.Kind.TEXT:
        return newest(project, wanted) or freeze_texts(project, name=f"{project.slug} texts", user=user)
    if wanted == Dataset.Kind.DEMONSTRATION:
        return newest(project, wanted) or freeze_demonstrations(
            project, name=f"{project.slug} demonstrations", user=user
        )
    if wanted == Dataset.Kind.PREFERENCE:
        return freeze_preferences(project, rule=default_rule(project), name=f"{project.slug} preferences", user=user)
    seed = Run.objects.filter(project=project, kind=kind).count()
    if kind in REWARDED_KINDS:
        tested, used = find_measured(project), find_rewarded(project)
        prompts = draw_prompts(project, N_REWARDED_PROMPTS, seed=seed, tested=tested, last=used)
    else:
        learned = find_learned(base) if base is not None else ()
        prompts = draw_prompts(project, get_loop(project).n_pairs, seed=seed, last=learned)
    return freeze_prompts(prompts, name=f"{project.slug} prompts", user=user)


def newest(project: Project, kind: str) -> Dataset | None:
    """Return the project's last frozen dataset of a kind."""
    return Dataset.objects.filter(project=project, kind=kind, sealed_at__isnull=False).order_by("-id").first()


def write_ptx(run: Run, data_dir: Path) -> None:
    """Lay what a PPO run learns to write besides into its data, where it does. Raises: NotReady, CorruptError."""
    if number := run.config.get("ptx_dataset"):
        dataset = find_ptx(run.project, number)
        copy_stored(dataset.file_name("train"), dataset.train_sha256, data_dir / PTX)
