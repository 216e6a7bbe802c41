"""The folder a run learns in: its configuration, with the folders of its models on this machine, and its data."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from rlhf.contract import run_dir as seam
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.records import write_rows
from rlhf.contract.settings import RunConfig
from rlhf.domain.checkpoints import find_reward_model, open_checkpoint
from rlhf.domain.datasets.export import materialize_unpaired
from rlhf.domain.datasets.shelf import materialize_dataset
from rlhf.domain.evaluation import write_measures
from rlhf.domain.pair_scores import is_of_pairs, read_pairs_of
from rlhf.domain.planning import write_ptx
from rlhf.domain.propensities import write_propensities
from rlhf.domain.sampling import list_scorable
from rlhf.models import Dataset, Run


def prepare_folder(run: Run, folder: Path) -> None:
    """Write config.json and data/; checkpoints of an earlier attempt stay, so that it resumes."""
    seam.prepare_run_dir(folder, resolve_config(run))
    if run.dataset is not None:
        if run.kind == KTOConfig.kind:
            materialize_unpaired(run.dataset, folder / seam.DATA)
        else:
            materialize_dataset(run.dataset, folder / seam.DATA)
        if run.dataset.kind == Dataset.Kind.PROMPT:
            shutil.move(folder / seam.DATA / "train.jsonl", folder / seam.DATA / "prompts.jsonl")
    write_propensities(run, folder / seam.DATA)
    write_ptx(run, folder / seam.DATA)
    if run.kind == Run.Kind.SCORE:
        scored = read_pairs_of(run) if is_of_pairs(run) else list_scorable(run.project, run.config["samples_of"])
        write_rows(folder / seam.DATA / seam.SAMPLES, scored)
    if run.kind == Run.Kind.EVALUATE:
        write_measures(run, folder / seam.DATA)
    # Which functions of its own may reward a policy is the host's to say, never a run's.
    allowed = Path(settings.PREFLOOP_HOME) / seam.ALLOWED_REWARDS
    if allowed.exists():
        shutil.copy(allowed, folder / seam.DATA / seam.ALLOWED_REWARDS)
    for name in (seam.METRICS, seam.PROGRESS):
        (folder / name).unlink(missing_ok=True)


def resolve_config(run: Run) -> RunConfig:
    """Return the configuration with the folders of its models on this machine. Raises: ModelRefused."""
    config = run.load_config()
    folders = {}
    if run.base is not None:
        folders["base_model"] = str(open_checkpoint(run.base))
    if run.reward_model is not None:
        folders["reward_model"] = str(open_checkpoint(run.reward_model))
    if run.other is not None:
        # An evaluation's other model is what its policy is measured against.
        name = "reference_model" if run.kind == Run.Kind.EVALUATE else "other_model"
        folders[name] = str(open_checkpoint(run.other))
    if heldout := run.config.get("heldout_model"):
        folders["heldout_model"] = str(open_checkpoint(find_reward_model(run.project, heldout)))
    return config.replace(**folders)
