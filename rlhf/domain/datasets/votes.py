"""Reads the votes a rule includes, and says how many it left out and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet

from labeling.models import (
    Adjudication,
    Comparison,
    Fix,
    Gold,
    Import,
    ImportedJudgment,
    Judgment,
    Membership,
    Project,
    User,
)
from labeling.models.scales import center
from rlhf.domain.datasets.consensus import Decision, Outcome, Vote, decide_all, decide_mean, prefers_unsafe
from rlhf.domain.datasets.rule import IMPORTED, OWN, FreezeRule, InvalidRule

CHUNK = 500


@dataclass(frozen=True)
class Ballot:
    """The votes a rule includes by comparison, those of our labelers in the order they came, and what is beside them.

    overridden: what reviewers decided instead, by comparison. left_out: how many votes or comparisons, by reason.
    """

    votes: dict[int, list[Vote]]
    overridden: dict[int, Decision] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def without(self, judgments: set[int]) -> Ballot:
        """Return the ballot without these judgments, which are over a labeler's share."""
        votes = {pk: [vote for vote in found if vote.judgment_id not in judgments] for pk, found in self.votes.items()}
        counts = self.left_out + Counter({"over_share": len(judgments)})
        return Ballot({pk: found for pk, found in votes.items() if found}, self.overridden, counts)


@dataclass(frozen=True)
class Reviews:
    """What reviewers decided: the judgment up to which votes were sent back, and their own strengths."""

    sent_back: dict[int, int]
    overridden: dict[int, Decision]


def collect_votes(project: Project, rule: FreezeRule) -> Ballot:
    """Return the current votes of each comparison; with `upto` as they stood at that judgment.

    With `after`, of comparisons judged since that judgment only. Raises: InvalidRule.
    """
    reviews = read_reviews(project, upto=rule.upto)
    ballot = collect_own(project, rule, reviews) if OWN in rule.include else Ballot({})
    for pk, vote in read_imported(project, rule):
        ballot.votes.setdefault(pk, []).append(vote)
    drop_closed(project, ballot)
    if not rule.use_gold:
        drop_all(ballot, Gold.objects.filter(comparison__project=project).values_list("comparison", flat=True), "gold")
    return ballot


def decide_ballot(ballot: Ballot, rule: FreezeRule) -> dict[int, Decision]:
    """Return what the votes on each comparison came to, or what a reviewer decided instead."""
    decided = decide_all(ballot.votes, consensus=rule.consensus, min_judgments=rule.min_judgments)
    decided |= ballot.overridden
    if rule.use_unsafe:
        return decided
    unsafe = {pk for pk, decision in decided.items() if prefers_unsafe(decision, ballot.votes.get(pk, []))}
    return decided | dict.fromkeys(unsafe, Decision(Outcome.UNSAFE))


def collect_own(project: Project, rule: FreezeRule, reviews: Reviews) -> Ballot:
    """Return our labelers' votes that no part of the rule leaves out."""
    excluded = find_labelers(project, rule.exclude_labelers)
    quarantined = Membership.objects.filter(project=project, is_quarantined=True)
    suspects = set() if rule.use_quarantined else set(quarantined.values_list("user", flat=True))
    fixes = dict(Fix.objects.filter(judgment__comparison__project=project).values_list("judgment", "completion"))
    ballot = Ballot({}, {} if rule.after else dict(reviews.overridden))
    columns = ("pk", "comparison", "labeler", "strength", "both_bad", "guideline__version", "is_extra", "is_hasty")
    said = ("unsafe_a", "unsafe_b", "scale")
    rows = select_judgments(project, rule).values_list(*columns, *said)
    for pk, comparison, labeler, strength, both_bad, guideline, is_extra, is_hasty, *more in rows.iterator(CHUNK):
        reasons = {
            "sent_back": pk <= reviews.sent_back.get(comparison, 0),
            "excluded": labeler in excluded,
            "quarantined": labeler in suspects,
            "earlier_guideline": (guideline or 0) < rule.guideline_from,
            "late": is_extra and not rule.use_extra,
            "hasty": is_hasty and not rule.use_hasty,
        }
        if reason := next((reason for reason, applies in reasons.items() if applies), None):
            ballot.left_out[reason] += 1
            continue
        vote = Vote(
            strength,
            both_bad,
            guideline=guideline,
            judgment_id=pk,
            labeler=labeler,
            fix=fixes.get(pk),
            unsafe_a=more[0],
            unsafe_b=more[1],
            scale=more[2],
        )
        ballot.votes.setdefault(comparison, []).append(vote)
        if comparison in reviews.overridden:
            ballot.overridden[comparison] = reviews.overridden[comparison]
    return ballot


def select_judgments(project: Project, rule: FreezeRule) -> QuerySet[Judgment]:
    """Return the labelers' last words of work that the rule speaks of, in the order they came."""
    judgments: QuerySet[Judgment] = Judgment.objects.as_of(rule.upto).of_work().of_project(project).order_by("id")
    if not rule.after:
        return judgments
    fresh = Judgment.objects.of_work().of_project(project).filter(pk__gt=rule.after)
    return judgments.filter(comparison__in=fresh.values("comparison"))


def find_labelers(project: Project, names: tuple[str, ...]) -> set[int]:
    """Return the ids of labelers named by username or id. Raises: InvalidRule for a name nobody has."""
    ids = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 19]
    found = dict(User.objects.filter(Q(username__in=names) | Q(pk__in=ids)).values_list("pk", "username"))
    unknown = [name for name in names if name not in found.values() and name not in {str(pk) for pk in found}]
    if unknown:
        raise InvalidRule(f"exclude_labelers names nobody of {project}: {', '.join(unknown)}")
    return set(found)


def read_reviews(project: Project, *, upto: int) -> Reviews:
    """Return what reviewers decided of the project's comparisons; with `upto`, of judgments up to that one."""
    decided = Adjudication.objects.filter(comparison__project=project).order_by("id")
    if upto:
        decided = decided.filter(upto__lte=upto)
    reviews = Reviews({}, {})
    for comparison, act, strength, scale, both_bad, seen in decided.values_list(
        "comparison", "act", "strength", "scale", "both_bad", "upto"
    ).iterator(CHUNK):
        reviews.overridden.pop(comparison, None)
        if act == Adjudication.Act.SEND_BACK:
            reviews.sent_back[comparison] = seen
        elif act == Adjudication.Act.OVERRIDE:
            reviews.overridden[comparison] = decide_override(strength, scale, both_bad=both_bad)
    return reviews


def decide_override(strength: int | None, scale: str, *, both_bad: bool) -> Decision:
    """Return what a reviewer decided, on the scale she did so."""
    return Decision(Outcome.BOTH_BAD) if both_bad else decide_mean(center(strength or 0, scale), scale)


def read_imported(project: Project, rule: FreezeRule) -> list[tuple[int, Vote]]:
    """Return the recorded votes of the sources the rule includes, by comparison."""
    sources = [name.removeprefix(IMPORTED) for name in rule.include if name.startswith(IMPORTED)]
    imported = ImportedJudgment.objects.filter(
        imported__project=project, imported__state=Import.State.COMMITTED, imported__source__in=sources
    ).order_by("id")
    columns = imported.values_list("pk", "comparison", "strength", "both_bad", "imported__source")
    return [
        (comparison, Vote(strength, both_bad=both_bad, source=f"{IMPORTED}{source}", imported_judgment_id=pk))
        for pk, comparison, strength, both_bad, source in columns.iterator(CHUNK)
    ]


def drop_closed(project: Project, ballot: Ballot) -> None:
    """Leave out comparisons that were retired, and those that wait for a reviewer."""
    for state in (Comparison.State.RETIRED, Comparison.State.TRIAGE):
        closed = Comparison.objects.filter(project=project, state=state)
        drop_all(ballot, closed.values_list("pk", flat=True), str(state))


def drop_all(ballot: Ballot, comparisons: QuerySet[Any, int], reason: str) -> None:
    """Leave out everything that was said of comparisons, by labelers, by reviewers and by imports."""
    for pk in comparisons.iterator(CHUNK):
        overridden = ballot.overridden.pop(pk, None)
        if ballot.votes.pop(pk, None) or overridden:
            ballot.left_out[reason] += 1
