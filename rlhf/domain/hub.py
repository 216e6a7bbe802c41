"""Models of the Hugging Face Hub: those the host allows by name, and nothing is fetched that it does not."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.conf import settings

from labeling.models import Project
from rlhf.contract.model_folder import COPIED
from rlhf.domain.checkpoints import register_folder
from rlhf.domain.errors import ModelRefused
from rlhf.models import Checkpoint


def allowed_revision(repo_id: str) -> str | None:
    """Return the commit a model is allowed at, None for its newest. Raises: ModelRefused for one that is not allowed."""
    allowed = dict(entry.partition("@")[::2] for entry in settings.HUB_MODELS)
    if repo_id not in allowed:
        listed = ", ".join(sorted(allowed)) or "none are"
        raise ModelRefused(
            f"{repo_id} is not among the models that may be fetched ({listed}): the host adds it to HUB_MODELS, "
            "best with its commit, owner/name@COMMIT; or give a folder"
        )
    return allowed[repo_id] or None


def register_hub_model(
    project: Project, repo_id: str, *, kind: str, name: str, endpoint: str | None = None
) -> Checkpoint:
    """Fetch an allowed model and register it as a folder is.

    Args: endpoint: another Hub than the public one. Raises: ModelRefused.
    """
    revision = allowed_revision(repo_id)
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- half a second that only this command pays
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415 -- as above

    with tempfile.TemporaryDirectory(dir=settings.PREFLOOP_HOME, prefix="hub-") as folder:
        try:
            fetched = snapshot_download(
                repo_id,
                revision=revision,
                local_dir=folder,
                allow_patterns=[f"*{suffix}" for suffix in COPIED],
                endpoint=endpoint,
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise ModelRefused(f"{repo_id} could not be fetched: {error}") from error
        return register_folder(project, Path(str(fetched)), kind=kind, name=name)
