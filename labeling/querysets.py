"""Reads of the labeling tables, one word each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.apps import apps
from django.db import models
from django.db.models.functions import Coalesce, Now

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

    def reviewed_by(self, user: User) -> Self:
        """Projects whose disagreements the user decides: reviewers' and managers'; superusers review all."""
        if user.is_superuser:
            return self
        return self.filter(
            memberships__user=user, memberships__is_active=True, memberships__role__in=["reviewer", "manager"]
        )


class ComparisonQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def with_texts(self) -> Self:
        """With prompt and completions, in one query."""
        return self.select_related("prompt", "completion_a", "completion_b")

    def open_to(self, labeler: User) -> Self:
        """Open ones this labeler has neither held, judged, skipped nor written."""
        return self.filter(*is_open_to(labeler, comparison=""))

    def with_standing(self) -> Self:
        """With what has become of each: its state, and of open ones whether they are judged, wait, or are kept back.

        Gold waits like any other while it has fewer judgments than wanted: reviewers read this.
        """
        asked = rows_of("Slot").of_work().filter(comparison=models.OuterRef("pk"), state__in=["free", "held"])
        gold = rows_of("Gold").filter(comparison=models.OuterRef("pk"), is_active=True)
        is_short = models.Exists(gold) & models.Q(n_judgments__lt=models.F("overlap"))
        waits = models.Exists(asked) | models.Q(n_judgments=0) | is_short
        return self.annotate(
            standing=models.Case(
                models.When(~models.Q(state="open"), then=models.F("state")),
                models.When(overlap=0, then=models.Value("unqueued")),
                models.When(prompt__is_held_out=True, then=models.Value("held_out")),
                models.When(waits, then=models.Value("waits")),
                default=models.Value("judged"),
                output_field=models.CharField(),
            )
        )

    def without_gold(self) -> Self:
        """Without those whose right answer measures labelers."""
        gold = rows_of("Gold").filter(comparison=models.OuterRef("pk"), is_active=True)
        return self.filter(~models.Exists(gold))


class SlotQuerySet(models.QuerySet):  # type: ignore[type-arg]
    def free(self) -> Self:
        return self.filter(state="free")

    def held_by(self, labeler: User) -> Self:
        return self.filter(state="held", labeler=labeler)

    def shown(self) -> Self:
        """Held slots that were shown; the others are reserved."""
        return self.filter(shown_at__isnull=False)

    def reserved(self) -> Self:
        return self.filter(shown_at__isnull=True)

    def of_work(self) -> Self:
        """Without the slots of probes, which stand outside the overlap."""
        return self.filter(number__lt=self.model.PROBE_NUMBER)

    def open_to(self, labeler: User) -> Self:
        """Slots of open comparisons this labeler has neither held, judged, skipped nor written."""
        return self.filter(*is_open_to(labeler, comparison="comparison__"))

    def claimable_by(self, labeler: User) -> Self:
        return self.free().open_to(labeler)

    def breadth_first(self) -> Self:
        """First slots of all comparisons before second ones, then by priority, then shuffled."""
        return self.order_by("number", "-priority", "shuffle", "id")

    def expired(self) -> Self:
        """Held slots whose lease has run out by the database's clock; a probe waits for its labeler however long."""
        return self.of_work().filter(state="held", lease_until__lt=Now())

    def free_up(self) -> int:
        """Give held slots back to whoever comes next and return how many there were.

        Why they were given, and the token that says to whom, are kept until they are given again, for a vote that comes
        late. Those of probes were made for their labeler and are deleted; those of comparisons that became gold, or that
        a reviewer keeps from labelers, are shut.
        """
        held = self.filter(state="held")
        n_probes, _ = held.filter(number__gte=self.model.PROBE_NUMBER).delete()
        proposed = rows_of("Comparison").filter(pk=models.OuterRef("comparison_id"))
        gold = rows_of("Gold").filter(comparison=models.OuterRef("comparison_id"), is_active=True)
        is_kept = models.Exists(proposed.exclude(state="open")) | models.Exists(gold)
        return n_probes + held.of_work().update(
            state=models.Case(models.When(is_kept, then=models.Value("shut")), default=models.Value("free")),
            labeler=None,
            lease_until=None,
            shown_at=None,
            opened_at=Now(),
        )

    def put_by(self) -> int:
        """Shut held probes, which their labeler skips, and return how many there were: undo finds them again."""
        probes = self.filter(state="held", number__gte=self.model.PROBE_NUMBER)
        return probes.update(state="shut", labeler=None, lease_token=None, lease_until=None, shown_at=None)

    def close(self, labeler: User) -> bool:
        """End the slot with this labeler's judgment; False means someone was first."""
        return self.update(**closed_by(labeler)) == 1

    def with_texts(self) -> Self:
        """With project, prompt and completions, in one query."""
        return self.select_related(
            "project", "comparison__prompt", "comparison__completion_a", "comparison__completion_b"
        )


def closed_by(labeler: User) -> dict[str, object]:
    """Return what becomes of a slot by this labeler's judgment."""
    return {"state": "done", "labeler": labeler, "lease_token": None, "lease_until": None}


def rows_of(name: str) -> models.QuerySet:  # type: ignore[type-arg]
    return apps.get_model("labeling", name)._default_manager.all()


def is_open_to(labeler: User, *, comparison: str) -> list[models.Q]:
    """Return the conditions under which a comparison may be given to a labeler.

    comparison is the way there from the row asked about, for example "comparison__". What she met before is looked up
    by the comparison, which few have met: the sum keeps the databases from the indexes by labeler, and the subquery
    PostgreSQL from a join, for either would read all she ever judged whenever its statistics are older than that.
    """
    met = [rows_of("Slot"), rows_of("Judgment"), rows_of("Skip")]
    hers = [
        rows.annotate(who=models.F("labeler_id") + 0).filter(
            comparison=models.OuterRef(f"{comparison}pk"), who=labeler.pk
        )
        for rows in met
    ]
    return [
        models.Q(**{f"{comparison}state": "open", f"{comparison}prompt__is_held_out": False}),
        ~models.Q(**{f"{comparison}completion_a__author": labeler}),
        ~models.Q(**{f"{comparison}completion_b__author": labeler}),
        *(~models.Q(Coalesce(models.Subquery(rows.values(is_met=models.Value(True))[:1]), False)) for rows in hers),
    ]


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

    def of_work(self) -> Self:
        """Without probes: gold, repeats and exams measure the labeler and say nothing new of the texts."""
        return self.exclude(reason__in=["gold", "repeat", "exam"])

    def with_texts(self) -> Self:
        """With project, prompt and completions, in one query."""
        return self.select_related(
            "comparison__project", "comparison__prompt", "comparison__completion_a", "comparison__completion_b"
        )
