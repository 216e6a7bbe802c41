"""Reads of the labeling tables, one word each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.apps import apps
from django.db import models
from django.db.models.functions import Now

if TYPE_CHECKING:  # models.py imports this file
    from labeling.models import User


class ProjectQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def visible_to(self, user: User) -> Self:
        """Projects the user is an active member of; superusers see all."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user=user, memberships__is_active=True)

    def known_to(self, user: User) -> Self:
        """Projects the user has a membership of, suspended ones too; superusers know all."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user=user)

    def managed_by(self, user: User) -> Self:
        """Projects the user manages; superusers manage all."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user=user, memberships__is_active=True, memberships__role="manager")


class ComparisonQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def with_texts(self) -> Self:
        """With prompt and completions, in one query."""
        return self.select_related("prompt", "completion_a", "completion_b")


class SlotQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def free(self) -> Self:
        return self.filter(state="free")

    def held_by(self, labeler: User) -> Self:
        return self.filter(state="held", labeler=labeler)

    def claimable_by(self, labeler: User) -> Self:
        """Free slots of comparisons this labeler has neither held, judged, skipped nor written."""
        of_same_comparison = {"comparison": models.OuterRef("comparison"), "labeler": labeler}
        # Everyone's first judgment of a comparison revises none, and that is what the index is of.
        judged = self._rows("Judgment").filter(**of_same_comparison, revises__isnull=True)
        comparisons = self._rows("Comparison")
        return (
            self.free()
            .exclude(models.Exists(self.model.objects.filter(**of_same_comparison)))
            .exclude(models.Exists(judged))
            .exclude(models.Exists(self._rows("Skip").filter(**of_same_comparison)))
            .exclude(comparison__in=comparisons.filter(completion_a__author=labeler).values("pk"))
            .exclude(comparison__in=comparisons.filter(completion_b__author=labeler).values("pk"))
        )

    def _rows(self, name: str) -> models.QuerySet:  # type: ignore[type-arg]
        return apps.get_model("labeling", name)._default_manager.all()

    def breadth_first(self) -> Self:
        """First slots of all comparisons before second ones, then by priority, then shuffled."""
        return self.order_by("number", "-priority", "shuffle", "id")

    def expired(self) -> Self:
        """Held slots whose lease has run out by the database's clock."""
        return self.filter(state="held", lease_until__lt=Now())

    def free_up(self) -> int:
        """Give held slots back to whoever comes next, and return how many there were."""
        return self.filter(state="held").update(state="free", labeler=None, lease_token=None, lease_until=None)

    def close(self, labeler: User) -> bool:
        """End the slot with this labeler's judgment; False means someone was first."""
        return self.update(state="done", labeler=labeler, lease_token=None, lease_until=None) == 1

    def with_texts(self) -> Self:
        """With project, prompt and completions, in one query."""
        return self.select_related(
            "project", "comparison__prompt", "comparison__completion_a", "comparison__completion_b"
        )


class JudgmentQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def current(self) -> Self:
        """The last word of each labeler: rows no other row revises."""
        return self.filter(revision__isnull=True)

    def as_of(self, pk: int) -> Self:
        """The last word of each labeler when the judgment of this id was stored; 0 means now."""
        if not pk:
            return self.current()
        return self.filter(pk__lte=pk).exclude(revision__pk__lte=pk)

    def of_project(self, project: models.Model) -> Self:
        return self.filter(comparison__project=project)

    def with_texts(self) -> Self:
        """With project, prompt and completions, in one query."""
        return self.select_related(
            "comparison__project", "comparison__prompt", "comparison__completion_a", "comparison__completion_b"
        )
