"""Projects: how they are made, changed, closed and counted; and their guidelines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Sum
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.content import check_text, hash_text
from labeling.domain.days import count_days
from labeling.domain.errors import LabelingError
from labeling.models import Comparison, Gold, Guideline, Judgment, Membership, Project, Reason, Slot, User

RETRIES = 5
# Counts are at most 10 s old, and older where counting takes long: it never takes more than a twentieth of the time.
FRESH_S = 10
COST = 20
# What a manager may change; the address stays, for people keep links to it.
SETTINGS = (
    "name", "description", "scale", "axes", "axes_first", "reasons", "asks_flags", "asks_fixes", "content_warning",
    "overlap", "overlap_share", "overlap_max", "spread_limit", "triage_after", "lease_s", "strategy", "random_share",
    "gold_share", "repeat_share", "repeat_after_h", "exam_size", "exam_pass_share", "daily_cap", "labeler_cap",
    "break_after_min",
)  # fmt: skip


class StaleEdit(LabelingError):
    """Someone else changed the settings since the manager looked."""


@dataclass(frozen=True, kw_only=True)
class ProjectCounts:
    """What a manager wants to know at a glance. Probes are left out; n_open: slots free or held."""

    n_comparisons: int
    n_judgments: int
    n_open: int
    n_held: int
    n_labelers: int


@dataclass(frozen=True, kw_only=True)
class ProjectFigures:
    """What the project's page shows of all labelers: its numbers, and judgments by day."""

    counts: ProjectCounts
    days: dict[date, int]


@transaction.atomic
def create_project(manager: User, *, guideline: str = "", **settings: Any) -> Project:
    """Make a project with its first guideline; whoever makes it manages it."""
    project = Project.objects.create(**settings)
    record_event("project.create", project, actor=manager, project=project, after=settings)
    Membership.objects.create(project=project, user=manager, role=Membership.Role.MANAGER)
    record_event("member.add", manager, actor=manager, project=project, after={"role": Membership.Role.MANAGER.value})
    if guideline.strip():
        publish_guideline(project, guideline, actor=manager)
    return project


@transaction.atomic
def edit_project(project: Project, actor: User, settings: dict[str, Any], *, seen: str = "") -> Project:
    """Store what differs from the project as it is, with an audit event; where nothing does, nothing is recorded.

    seen: what name_settings said when the manager began; StaleEdit tells her that someone else was faster.
    """
    stored = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if seen and seen != name_settings(stored):
        raise StaleEdit(
            _("Someone else changed these settings meanwhile. Below is what you entered: save again to keep it.")
        )
    after = {name: value for name, value in settings.items() if name in SETTINGS and value != getattr(stored, name)}
    if not after:
        return stored
    before = {name: getattr(stored, name) for name in after}
    for name, value in after.items():
        setattr(stored, name, value)
    stored.save(update_fields=list(after))
    if not stored.exam_size:
        Slot.objects.filter(project=stored, reason=Reason.EXAM).free_up()
    record_event("project.edit", stored, actor=actor, project=stored, before=before, after=after)
    return stored


def name_settings(project: Project) -> str:
    """Return a short name of the settings as they are: another one as soon as any of them changes."""
    return hash_text(repr([getattr(project, name) for name in SETTINGS]))[:16]


@transaction.atomic
def close_project(project: Project, actor: User) -> bool:
    """Hand out nothing any more; votes on what is held still count. False when it was closed before."""
    return switch(project, actor, "project.archive", is_archived=True)


@transaction.atomic
def reopen_project(project: Project, actor: User) -> bool:
    """Hand out comparisons again; False when it was open."""
    return switch(project, actor, "project.reopen", is_archived=False)


def switch(project: Project, actor: User, verb: str, *, is_archived: bool) -> bool:
    changed = Project.objects.filter(pk=project.pk, is_archived=not is_archived).update(is_archived=is_archived)
    if changed:
        before, after = {"is_archived": not is_archived}, {"is_archived": is_archived}
        record_event(verb, project, actor=actor, project=project, before=before, after=after)
    return bool(changed)


def publish_guideline(
    project: Project, text: str, *, actor: User | None = None, is_breaking: bool = False
) -> Guideline:
    """Store the next version of the guideline, which judgments name from now on; the same text again is no new one."""
    check_text(text, what=_("the guideline"))
    for _attempt in range(RETRIES):
        last = project.guidelines.order_by("-version").first()
        if last is not None and last.text == text:
            return last
        try:
            with transaction.atomic():
                return store_guideline(project, text, actor=actor, is_breaking=is_breaking, last=last)
        except IntegrityError as error:
            refused = error
    raise refused


def store_guideline(
    project: Project, text: str, *, actor: User | None, is_breaking: bool, last: Guideline | None
) -> Guideline:
    number = last.version if last else 0
    made = Guideline.objects.create(project=project, version=number + 1, text=text, is_breaking=is_breaking)
    after = {"version": made.version, "is_breaking": is_breaking, "n_chars": len(text)}
    before = {"version": number} if number else {}
    record_event(
        "guideline.publish", f"guideline v{made.version}", actor=actor, project=project, before=before, after=after
    )
    return made


def count_exam(project: Project) -> int:
    """Return how many questions there are for an exam."""
    return Gold.objects.filter(comparison__project=project, is_exam=True, is_active=True).count()


def load_figures(project: Project) -> ProjectFigures:
    """Return the project's numbers and days, counted again once they are old."""
    key = f"figures:{project.pk}"
    kept: ProjectFigures | None = cache.get(key)
    if kept is not None:
        return kept
    started = time.monotonic()
    figures = ProjectFigures(counts=count_project(project), days=count_days(project))
    cache.set(key, figures, max(FRESH_S, COST * (time.monotonic() - started)))
    return figures


def count_project(project: Project) -> ProjectCounts:
    """Return the project's numbers, of all labelers together."""
    compared = Comparison.objects.filter(project=project).aggregate(n=Count("id"), n_judgments=Sum("n_judgments"))
    n_free = Slot.objects.free().filter(project=project).count()
    n_held = Slot.objects.filter(project=project, state=Slot.State.HELD).count()
    judged = Judgment.objects.of_project(project).of_work().filter(labeler=OuterRef("user"))
    return ProjectCounts(
        n_comparisons=compared["n"],
        n_judgments=compared["n_judgments"] or 0,
        n_open=n_free + n_held,
        n_held=n_held,
        n_labelers=Membership.objects.filter(Exists(judged), project=project).count(),
    )
