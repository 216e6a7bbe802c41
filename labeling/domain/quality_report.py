"""The figures of a project's quality page: measured once a minute at most, and where there is much beside the request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db import connection
from django.utils import timezone, translation

from labeling.domain.agreement import Agreement
from labeling.domain.parts import PARTS, choose_votes
from labeling.domain.quality import LabelerQuality, assess_labelers
from labeling.domain.votes import read_votes
from labeling.domain.weeks import Week, count_project
from labeling.models import AuditEvent, Judgment, Project

SCHEMA = 4  # one more with every change of what a report holds: an older one, still kept, is no longer found
FRESH = timedelta(seconds=60)
KEPT_S = 7 * 24 * 3600
GIVEN_UP_S = 120  # whoever measures longer is taken for dead
AT_ONCE = 5000  # judgments measured within the request; measured: 0.5 s


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured, and when. seen: the newest judgment and event there were."""

    seen: tuple[int, int]
    at: datetime
    whole: Agreement
    n_quarantined: int  # judgments left out because their labeler is in quarantine
    n_sent_back: int  # judgments left out because the comparison was sent back after them
    n_contested: int  # judgments left out of agreement because they were asked for where others disagreed
    slices: Sequence[Agreement]
    weeks: Sequence[Agreement]
    pairs: Sequence[Agreement]  # of the labelers who share most
    labelers: Sequence[LabelerQuality]
    decay: Sequence[Week]


def load_report(project: Project) -> Report | None:
    """Return the project's report: the kept one while nothing was judged or changed since, or it is fresh enough.

    Few judgments are measured at once. More are measured in a thread, by one at a time, while everybody is given the
    last report; None when there is none yet.
    """
    key = f"quality:{SCHEMA}:{project.pk}:{translation.get_language()}"  # figures say in words why they are unknown
    kept: Report | None = cache.get(key)
    seen = find_newest(project)
    if kept and (kept.seen == seen or timezone.now() - kept.at < FRESH):
        return kept
    if Judgment.objects.of_project(project).order_by()[: AT_ONCE + 1].count() <= AT_ONCE:
        return keep_report(project, key, seen)
    if cache.add(f"{key}:measuring", True, GIVEN_UP_S):
        facts = (project, key, seen, translation.get_language())
        threading.Thread(target=measure_aside, args=facts, name=f"measure {key}", daemon=True).start()
    return kept


def measure_aside(project: Project, key: str, seen: tuple[int, int], language: str) -> None:
    """Measure in a thread of its own, in the language of whoever asked, and let the next one measure after it."""
    try:
        with translation.override(language):
            keep_report(project, key, seen)
    finally:
        cache.delete(f"{key}:measuring")
        connection.close()


def keep_report(project: Project, key: str, seen: tuple[int, int]) -> Report:
    """Measure the report and keep it for whoever asks next."""
    report = measure_report(project, seen=seen)
    cache.set(key, report, KEPT_S)
    return report


def find_newest(project: Project) -> tuple[int, int]:
    """Return the ids of the newest judgment and of the newest event of the project; 0 for none."""
    judgment = Judgment.objects.of_project(project).order_by("-id").values_list("pk", flat=True).first()
    event = AuditEvent.objects.filter(project=project).order_by("-id").values_list("pk", flat=True).first()
    return judgment or 0, event or 0


def measure_report(project: Project, *, seen: tuple[int, int]) -> Report:
    """Measure everything the page shows, now."""
    found = list(read_votes(project, with_words=False))  # read once, for reading is a third of the work
    votes, n_contested = choose_votes(found)
    return Report(
        seen=seen,
        at=timezone.now(),
        whole=PARTS[None](votes)[0],
        n_quarantined=sum(vote.is_quarantined for vote in found),
        n_sent_back=sum(vote.is_sent_back and not vote.is_quarantined for vote in found),
        n_contested=n_contested,
        slices=PARTS["slice"](votes),
        weeks=PARTS["week"](votes),
        pairs=PARTS["pair"](votes),
        labelers=assess_labelers(project),
        decay=count_project(project),
    )
