"""Models on disk: where they lie, whether they are whole, and how one becomes a row."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from django.conf import settings
from django.db import transaction

from labeling.domain.audit import record_event
from labeling.models import Project, User
from rlhf.contract import run_dir as seam
from rlhf.contract.errors import ContractError, CorruptError
from rlhf.contract.model_folder import COPIED, check_model_folder, gives_scores
from rlhf.domain.errors import ModelRefused
from rlhf.models import Checkpoint, Run


def newest_policy(project: Project) -> Checkpoint | None:
    """Return the policy the next training starts from: the newest one worth it, else the newest there is."""
    policies = Checkpoint.objects.policies_of(project)
    return policies.worth_starting_from().first() or policies.first()


def find_reward_model(project: Project, name: str) -> Checkpoint:
    """Return the project's reward model of a name. Raises: ModelRefused."""
    found: Checkpoint | None = Checkpoint.objects.reward_models_of(project).filter(name=name).first()
    if found is None:
        raise ModelRefused(f"{project} has no reward model named {name}: take a name from /checkpoints/")
    return found


def run_folder(run: Run) -> Path:
    """Return the run's directory under PREFLOOP_HOME."""
    return Path(settings.PREFLOOP_HOME) / "runs" / str(run.pk)


def checkpoint_folder(checkpoint: Checkpoint) -> Path:
    """Return the checkpoint's folder on this machine. Raises: ModelRefused when it is not there."""
    folder = Path(settings.PREFLOOP_HOME) / checkpoint.path
    if not folder.is_dir():
        raise ModelRefused(
            f"{checkpoint} is not on this machine: {folder} is missing. Share PREFLOOP_HOME between hosts."
        )
    return folder


def open_checkpoint(checkpoint: Checkpoint) -> Path:
    """Return the folder after checking every byte against its manifest. Raises: ModelRefused."""
    folder = checkpoint_folder(checkpoint)
    try:
        manifest_sha256 = seam.verify_sealed(folder)
    except CorruptError as error:
        raise ModelRefused(f"{checkpoint} is damaged: {error}") from error
    if manifest_sha256 != checkpoint.manifest_sha256:
        raise ModelRefused(f"{checkpoint} is not the model that was registered: its manifest has changed")
    return folder


def register_final(run: Run, manifest_sha256: str) -> Checkpoint:
    """Make the row of the model a run has sealed. Call it in the transaction that ends the run."""
    folder = run_folder(run) / seam.CHECKPOINTS / seam.FINAL
    return Checkpoint.objects.create(
        project=run.project,
        run=run,
        attempt=run.attempt,
        name=f"{run.project.slug}-{run.kind}-{run.pk}",
        kind=kind_made_by(run),
        parent=run.base,
        path=str(folder.relative_to(settings.PREFLOOP_HOME)),
        manifest_sha256=manifest_sha256,
    )


def kind_made_by(run: Run) -> str:
    """Return what a run's model is; a mean of two is what they were."""
    if run.kind == Run.Kind.MERGE and run.base is not None:
        return run.base.kind
    return Checkpoint.Kind.REWARD if run.kind == Run.Kind.REWARD else Checkpoint.Kind.POLICY


def require_model(folder: Path) -> None:
    """Refuse a folder that lacks a model, or is not safe to load. Raises: ModelRefused."""
    try:
        check_model_folder(folder, needs_tokenizer=True)
    except ContractError as error:
        raise ModelRefused(str(error)) from error


def register_folder(project: Project, folder: Path, *, kind: str, name: str, user: User | None = None) -> Checkpoint:
    """Copy a Hugging Face model folder of the user's own under PREFLOOP_HOME and register it.

    Raises: ModelRefused for what model_folder.check_model_folder refuses, for a reward model that is to be a policy, and for
    a name that is taken or no name.
    """
    require_model(folder)
    if kind == Checkpoint.Kind.POLICY and gives_scores(folder):
        raise ModelRefused(f"{folder} gives scores and writes nothing: register it as a reward model")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ModelRefused(f"{name!r} cannot name a model: use letters, digits, dot, dash and underscore")
    target = Path(settings.PREFLOOP_HOME) / "models" / name
    if target.exists():
        raise ModelRefused(f"there is a model named {name} already: choose another name")
    with seam.sealed_folder(target) as part:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix in COPIED:
                shutil.copyfile(path, part / path.name, follow_symlinks=False)
        require_model(part)  # what was looked at before may have been exchanged since
    with transaction.atomic():
        checkpoint = Checkpoint.objects.create(
            project=project,
            name=name,
            kind=kind,
            path=str(target.relative_to(settings.PREFLOOP_HOME)),
            manifest_sha256=seam.verify_sealed(target),
        )
        facts = {"kind": kind, "manifest_sha256": checkpoint.manifest_sha256}
        record_event("checkpoint.register", checkpoint, actor=user, project=project, after=facts)
    return checkpoint
