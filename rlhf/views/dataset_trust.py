"""Who would stand behind a dataset and who of them is flagged, for the page that freezes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache

from labeling.domain.quality import LabelerQuality
from labeling.domain.quality_report import find_newest, load_report
from labeling.models import Judgment, Project, User
from rlhf.contract.errors import CorruptError
from rlhf.domain.datasets.behind import SHARE_WATCHED, Behind, count_behind
from rlhf.domain.datasets.rule import FreezeRule

KEPT_S = 600
AT_ONCE = 20_000  # votes that are weighed in a second or two: with more, the page comes first


@dataclass(frozen=True)
class Suspect:
    """A flagged labeler with her part of the votes. is_excluded: the rule names her already."""

    quality: LabelerQuality
    n: int
    share: float
    is_ticked: bool
    is_excluded: bool


@dataclass(frozen=True)
class Trust:
    """What is known of the labelers whose votes would be learned from. at: when flags were measured, None before."""

    behind: Behind
    largest: User
    suspects: Sequence[Suspect]
    n_set_aside: int  # flagged, and in quarantine
    at: datetime | None
    is_capped: bool

    @property
    def share(self) -> float:
        return self.behind.share(self.largest.pk)

    @property
    def is_lopsided(self) -> bool:
        return self.share > SHARE_WATCHED and not self.is_capped

    @property
    def can_cap(self) -> bool:
        return self.behind.can_keep(SHARE_WATCHED)


def weigh_trust(project: Project, rule: FreezeRule, *, ticked: Sequence[str] = ()) -> Trust | None:
    """Return who would stand behind the rows of a rule; None where nobody of ours does. ticked: usernames to leave out."""
    behind = recall_behind(project, rule)
    if behind.largest is None:
        return None
    report = load_report(project)
    flagged = [row for row in (report.labelers if report else []) if row.flags]
    suspects = [list_suspect(row, behind, rule, ticked) for row in flagged if row.labeler.pk in behind.counts]
    return Trust(
        behind=behind,
        largest=User.objects.only("username").get(pk=behind.largest),
        suspects=sorted(suspects, key=lambda suspect: -suspect.n),
        n_set_aside=0 if rule.use_quarantined else sum(row.is_quarantined for row in flagged),
        at=report.at if report else None,
        is_capped=rule.labeler_share_max > 0,
    )


def recall_behind(project: Project, rule: FreezeRule) -> Behind:
    """Return who stands behind the rows, counted once while nothing is judged or changed: it is most of a freeze's work."""
    behind: Behind = cache.get_or_set(name_behind(project, rule), lambda: count_behind(project, rule), KEPT_S)
    return behind


def name_behind(project: Project, rule: FreezeRule) -> str:
    """Return the name under which it is kept who stands behind the rows, as things are."""
    seen = "-".join(map(str, find_newest(project)))
    asked = hashlib.sha256(json.dumps(rule.to_json(), sort_keys=True, default=str).encode()).hexdigest()
    return f"behind:{project.pk}:{seen}:{asked}"


def takes_long(project: Project) -> bool:
    """Say whether it takes seconds to weigh who stands behind the rows of the usual rule."""
    votes = Judgment.objects.of_project(project).order_by()
    return votes[: AT_ONCE + 1].count() > AT_ONCE and name_behind(project, FreezeRule()) not in cache


def list_suspect(quality: LabelerQuality, behind: Behind, rule: FreezeRule, ticked: Sequence[str]) -> Suspect:
    pk, name = quality.labeler.pk, quality.labeler.username
    is_ticked = name in ticked
    is_excluded = not is_ticked and not {name, str(pk)}.isdisjoint(rule.exclude_labelers)
    return Suspect(quality, behind.counts[pk], behind.share(pk), is_ticked=is_ticked, is_excluded=is_excluded)


def show_trust(project: Project, form: Any) -> Trust | None:
    """Return what the page shows beside its form: by the rule it asks for, or the usual one where it asks for none."""
    rule = form.cleaned_data.get("rule") if form.is_bound else None
    try:
        return weigh_trust(project, rule or FreezeRule(), ticked=form["without"].value() or [])
    except CorruptError:  # a test set's file is damaged: the freeze itself says so
        return None
