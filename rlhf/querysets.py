"""Reads of the learning tables, one word each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

if TYPE_CHECKING:  # models.py imports this file
    from labeling.models import Project


REPORT = "report"  # the part of a run that only tells what labels are worth


class RunQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def active(self) -> Self:
        """Queued or running."""
        return self.filter(state__in=["queued", "running"])

    def claimable(self) -> Self:
        """Nobody works on it: queued, or running under a lease that ran out by the database's clock."""
        return self.filter(Q(state="queued") | Q(state="running", lease_until__lt=Now()))

    def held(self, attempt: int) -> Self:
        """Still the run of the worker that claimed it as this attempt."""
        return self.filter(state="running", attempt=attempt)


class ExportQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def claimable(self) -> Self:
        """Nobody works on it: queued, or running under a lease that ran out by the database's clock."""
        return self.filter(Q(state="queued") | Q(state="running", lease_until__lt=Now()))

    def held(self, attempt: int) -> Self:
        """Still the export of the worker that claimed it as this attempt."""
        return self.filter(state="running", attempt=attempt)


class CheckpointQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def policies_of(self, project: Project) -> Self:
        """The project's policies, newest first."""
        return self.filter(project=project, kind="policy").order_by("-id")

    def worth_starting_from(self) -> Self:
        """Neither merely pre-trained nor left behind by a round that failed."""
        return self.exclude(run__kind="pretrain").exclude(run__round__state="failed")

    def reward_models_of(self, project: Project) -> Self:
        """The project's reward models, newest first; none that was trained only to tell what labels are worth."""
        return self.filter(project=project, kind="reward").exclude(run__part=REPORT).order_by("-id")
