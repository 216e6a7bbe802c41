"""Annotators: which model judges, by which words, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from labeling.domain.audit import record_event
from labeling.models import Project, User
from rlhf.contract.errors import ConfigError
from rlhf.contract.feedback_texts import hash_texts
from rlhf.contract.kinds.feedback import FeedbackConfig, check_endpoint
from rlhf.domain.checkpoints import newest_policy
from rlhf.domain.errors import LearningError
from rlhf.domain.feedback.constitutions import find_newest
from rlhf.models import Annotator, Checkpoint

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DECODING = ("orders", "reasoning", "temperature", "max_new_tokens", "max_prompt_tokens", "batch_size", "timeout_s")


class InvalidAnnotator(LearningError):
    """An annotator that cannot be asked."""


def add_annotator(
    project: Project,
    name: str,
    *,
    checkpoint: Checkpoint | None = None,
    endpoint: str = "",
    model: str = "",
    key_name: str = "",
    decoding: dict[str, Any] | None = None,
    weight: float = 0.5,
    user: User | None = None,
) -> Annotator:
    """Store an annotator under the project's newest constitution, with an audit event; its exam is still to come.

    Raises: InvalidAnnotator, ConfigError.
    """
    constitution = find_newest(project)
    if constitution is None:
        raise InvalidAnnotator(
            f"{project} has no constitution: write one at /feedback/, or with manage.py ai_feedback constitution"
        )
    if (checkpoint is None) == (endpoint == ""):
        raise InvalidAnnotator("name either a checkpoint or an endpoint")
    if checkpoint is not None and (checkpoint.kind != Checkpoint.Kind.POLICY or checkpoint.project_id != project.pk):
        raise InvalidAnnotator(f"the checkpoint is no policy of {project}: choose one that writes")
    if endpoint:
        require_allowed(endpoint)
    if not 0 < weight <= 1:
        raise InvalidAnnotator(f"weight must be over 0 and at most 1, got {weight}")
    config = read_decoding(decoding or {}).replace(endpoint=endpoint, model=model, key_name=key_name)
    try:
        with transaction.atomic():
            annotator = Annotator.objects.create(
                project=project,
                name=name,
                source=Annotator.Source.ENDPOINT if endpoint else Annotator.Source.CHECKPOINT,
                checkpoint=checkpoint,
                endpoint=endpoint,
                model=model,
                key_name=key_name,
                decoding={setting: getattr(config, setting) for setting in DECODING},
                template_sha256=hash_texts(),
                constitution=constitution,
                both_orders=config.orders == "both",
                weight=weight,
                created_by=user,
            )
            record_event("annotator.add", annotator, actor=user, project=project, after={"source": annotator.source})
    except IntegrityError as error:
        raise InvalidAnnotator(f"{project} has an annotator {name!r} already: choose another name") from error
    return annotator


def read_decoding(decoding: dict[str, Any]) -> FeedbackConfig:
    """Return how an annotator is asked. Raises: InvalidAnnotator, ConfigError."""
    if unknown := sorted(set(decoding) - set(DECODING)):
        names = ", ".join(unknown).encode("utf-8", "backslashreplace").decode()
        raise InvalidAnnotator(f"unknown {names}: an annotator knows {', '.join(DECODING)}")
    return FeedbackConfig().replace(**decoding)


def require_allowed(endpoint: str) -> None:
    """Raise InvalidAnnotator unless the endpoint is on this machine or the installation allows its address."""
    try:
        host = check_endpoint(endpoint)
    except ConfigError as error:
        raise InvalidAnnotator(str(error)) from error
    allowed = [prefix.rstrip("/") for prefix in settings.AI_ENDPOINTS]
    is_listed = any(endpoint.rstrip("/") == prefix or endpoint.startswith(f"{prefix}/") for prefix in allowed)
    if host not in LOOPBACK and not is_listed:
        raise InvalidAnnotator(
            f"{endpoint} is not allowed: texts would leave this machine; add it to AI_ENDPOINTS, then start again"
        )


def retire_annotator(annotator: Annotator, *, user: User | None = None) -> Annotator:
    """Ask it no more; what it said stays. Writes an audit event."""
    with transaction.atomic():
        if Annotator.objects.filter(pk=annotator.pk, is_active=True).update(is_active=False):
            record_event("annotator.retire", annotator, actor=user, project=annotator.project)
    annotator.refresh_from_db()
    return annotator


@dataclass(frozen=True)
class Family:
    """A project's newest policy, and what each checkpoint was trained from, by id."""

    policy: Checkpoint | None
    parents: Mapping[int, int | None]


def read_family(project: Project) -> Family:
    """Return who descends from whom in a project, in a number of queries that does not grow with it."""
    return Family(newest_policy(project), dict(Checkpoint.objects.filter(project=project).values_list("pk", "parent")))


def warn_of_kin(annotator: Annotator, family: Family | None = None) -> str:
    """Say so where it would judge its own kin: models prefer what they would have written; "" where it is a stranger."""
    if annotator.checkpoint_id is None:
        return ""
    family = family or read_family(annotator.project)
    policy, parents = family.policy, family.parents
    if policy is None or not (list_line(annotator.checkpoint_id, parents) & list_line(policy.pk, parents)):
        return ""
    return f"{annotator.name} is of the same family as {policy}: it may prefer what it would have written itself"


def list_line(checkpoint: int, parents: Mapping[int, int | None]) -> set[int]:
    """Return the ids of a checkpoint and all it was trained from."""
    line: set[int] = set()
    found: int | None = checkpoint
    while found is not None and found not in line:
        line.add(found)
        found = parents.get(found)
    return line
