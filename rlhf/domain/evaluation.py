"""From "how good is this policy" to a queued run: held-out pairs, prompts, texts and tasks, before and after."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from labeling.models import User
from rlhf.domain.errors import NotReady
from rlhf.models import Checkpoint, Dataset, Round, Run


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
    """
    raise NotReady(f"{candidate} cannot be evaluated against {baseline} yet")


def find_evaluation(candidate: Checkpoint, *, baseline: Checkpoint) -> Run | None:
    """Return the newest evaluation of the candidate against the baseline that succeeded."""
    runs = Run.objects.filter(kind=Run.Kind.EVALUATE, state=Run.State.SUCCEEDED, base=candidate)
    found: Run | None = runs.filter(config__reference_model=name_folder(baseline)).order_by("-id").first()
    return found


def name_folder(checkpoint: Checkpoint) -> str:
    """Return where the checkpoint lies, whether or not it does on this machine."""
    return str(Path(settings.PREFLOOP_HOME) / checkpoint.path)
