"""The pairs votes make, each on its line of train or test, and what both bad completions leave for unpaired training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labeling.domain.content import hash_opening
from labeling.models import Comparison, Project, Prompt
from rlhf.domain.datasets.ai_votes import AILine, collect_ai
from rlhf.domain.datasets.capping import find_over
from rlhf.domain.datasets.consensus import Decision, Outcome, Vote
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.split import TEST, TRAIN, Place, assign_splits, draw_uniform
from rlhf.domain.datasets.test_sets import find_reserved
from rlhf.domain.datasets.votes import CHUNK, Ballot, decide_ballot

A_AND_B = (Outcome.A, Outcome.B)


@dataclass(frozen=True, slots=True)
class Line:
    """One row to be. fix: the vote whose rewritten completion is chosen, over the side named."""

    comparison: int
    place: Place
    fix: Vote | None = None
    over: Outcome | None = None


@dataclass(frozen=True)
class Pairs:
    """The rows of a project in their final order, by the hash of their content; what became of the votes; both bad ones."""

    decisions: dict[int, Decision]
    votes: dict[int, list[Vote]]
    lines: list[Line]
    unpaired: list[Line]
    counts: dict[str, object]
    ai: list[AILine]


def make_pairs(project: Project, ballot: Ballot, rule: FreezeRule) -> Pairs:
    """Decide every comparison, leave held-out prompts out, keep labelers within their share, give each row its place."""
    reserved = find_reserved(project)
    prompts = {
        pk: (group, hash_opening(messages))
        for pk, group, messages, sha in Prompt.objects.filter(project=project, is_held_out=False)
        .values_list("pk", "group", "messages", "content_sha")
        .iterator(CHUNK)
        if sha not in reserved
    }
    comparisons = {
        pk: (sha, prompt)
        for sha, pk, prompt in Comparison.objects.filter(project=project)
        .values_list("content_sha", "pk", "prompt")
        .iterator(CHUNK)
        if pk in ballot.votes or pk in ballot.overridden
    }
    known = {pk for pk, (_, prompt) in comparisons.items() if prompt in prompts}
    ballot, decisions = decide_within_shares(ballot, rule, known)
    held_out = sum(decision.outcome in A_AND_B for pk, decision in decisions.items() if pk not in known)
    kept = {pk: decision for pk, decision in decisions.items() if pk in known}
    fixed = list_fixes(ballot, kept) if rule.use_fixes else {}
    paired = [pk for pk in kept if kept[pk].outcome in A_AND_B or pk in fixed]
    used = {comparisons[pk][1]: prompts[comparisons[pk][1]] for pk in paired}
    places = assign_splits(used, test_share=rule.test_share, seed=rule.seed)
    by_content = sorted(paired, key=lambda pk: comparisons[pk])
    lines = [line for pk in by_content for line in list_lines(pk, kept[pk], fixed, places[comparisons[pk][1]])]
    bad = {pk: comparisons[pk] for pk, decision in kept.items() if decision.outcome == Outcome.BOTH_BAD}
    judged = {*ballot.votes, *ballot.overridden} if rule.learn_from != "ai" else set()
    ai, ai_counts = collect_ai(project, rule, judged=judged, prompts=prompts, places=places)
    unpaired = place_unpaired(bad, prompts, places, rule)
    if rule.learn_from == "ai":
        lines, unpaired = keep_tested(lines), keep_tested(unpaired)
    elif rule.learn_from == "people":
        ai, ai_counts = [], {}
    return Pairs(
        decisions=kept,
        votes=ballot.votes,
        lines=lines,
        unpaired=unpaired,
        counts=count_votes(ballot, decisions, held_out) | count_lines(lines) | ai_counts,
        ai=ai,
    )


def keep_tested(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line.place.split == TEST]


def decide_within_shares(ballot: Ballot, rule: FreezeRule, known: set[int]) -> tuple[Ballot, dict[int, Decision]]:
    """Return the decisions, and the ballot they are of once nobody's share of the votes behind rows is over the cap.

    Votes left out change decisions, and so what share is whose: it goes on until nobody is over. Raises: InvalidRule.
    """
    while True:
        decisions = decide_ballot(ballot, rule)
        if not rule.labeler_share_max:
            return ballot, decisions
        over = find_over(
            list_behind(ballot, {pk: decision for pk, decision in decisions.items() if pk in known}, rule),
            share_max=rule.labeler_share_max,
            seed=rule.seed,
        )
        if not over:
            return ballot, decisions
        ballot = ballot.without(over)


def list_behind(ballot: Ballot, decisions: Mapping[int, Decision], rule: FreezeRule) -> list[Vote]:
    """Return the votes behind the rows: those behind every pair, and the one of a fix for each row it makes."""
    paired = [pk for pk, decision in decisions.items() if decision.outcome in A_AND_B]
    fixed = list_fixes(ballot, decisions) if rule.use_fixes else {}
    voted = [vote for pk in paired for vote in ballot.votes.get(pk, [])]
    return voted + [fix for fixes in fixed.values() for fix in fixes for _ in A_AND_B]


def list_fixes(ballot: Ballot, decisions: Mapping[int, Decision]) -> dict[int, list[Vote]]:
    """Return the votes that came with a rewritten completion, but not of comparisons whose decision denies them."""
    found = {}
    for pk, decision in decisions.items():
        denied = {Outcome.A: 1, Outcome.B: -1}.get(decision.outcome, 0)
        fixes = [vote for vote in ballot.votes.get(pk, []) if vote.fix and vote.strength * denied <= 0]
        if fixes and decision.outcome != Outcome.TOO_FEW:
            found[pk] = fixes
    return found


def list_lines(pk: int, decision: Decision, fixed: Mapping[int, list[Vote]], place: Place) -> list[Line]:
    """Return a comparison's rows: its pair, and every fix over both of its completions."""
    pair = [Line(pk, place)] if decision.outcome in A_AND_B else []
    return pair + [Line(pk, place, fix, side) for fix in fixed.get(pk, []) for side in A_AND_B]


def place_unpaired(
    bad: Mapping[int, tuple[str, int]],
    prompts: Mapping[int, tuple[str, str]],
    places: Mapping[int, Place],
    rule: FreezeRule,
) -> list[Line]:
    """Give each comparison with two bad completions the side its group is on; a group on both sides has no place."""
    wanted = {prompt for _, prompt in bad.values()} | places.keys()
    groups = assign_splits({prompt: prompts[prompt] for prompt in wanted}, test_share=rule.test_share, seed=rule.seed)
    sides: dict[str, set[str]] = defaultdict(set)
    for prompt, place in places.items():
        sides[groups[prompt].group].add(place.split)
    lines = []
    for pk in sorted(bad, key=lambda pk: bad[pk]):
        group = groups[bad[pk][1]].group
        drawn = TEST if draw_uniform(rule.seed, group) < rule.test_share else TRAIN
        if len(sides[group] or {drawn}) == 1:
            lines.append(Line(pk, Place(next(iter(sides[group] or {drawn})), group)))
    return lines


def count_votes(ballot: Ballot, decisions: Mapping[int, Decision], n_held_out: int) -> dict[str, object]:
    """Return what became of the comparisons, the votes by source and by guideline version, and what was left out."""
    by_outcome = Counter(decision.outcome for decision in decisions.values())
    all_votes = [vote for found in ballot.votes.values() for vote in found]
    left_out = (Outcome.TIE, Outcome.BOTH_BAD, Outcome.DISAGREEMENT, Outcome.TOO_FEW)
    guidelines = Counter("none" if vote.guideline is None else f"v{vote.guideline}" for vote in all_votes)
    return {
        **{outcome.value: by_outcome[outcome] for outcome in left_out},
        "held_out": n_held_out,
        "votes": dict(sorted(Counter(vote.source for vote in all_votes).items())),
        "guidelines": dict(sorted(guidelines.items())),
        **({"overridden": len(ballot.overridden)} if ballot.overridden else {}),
        **({"unsafe_left_out": by_outcome[Outcome.UNSAFE]} if by_outcome[Outcome.UNSAFE] else {}),
        **{f"{reason}_left_out": n for reason, n in sorted(ballot.left_out.items())},
    }


def count_lines(lines: Iterable[Line]) -> dict[str, object]:
    found = list(lines)
    groups = {split: len({line.place.group for line in found if line.place.split == split}) for split in (TRAIN, TEST)}
    n_fixes = sum(line.fix is not None for line in found)
    return {"pairs": len(found) - n_fixes, "groups": groups} | ({"fixes": n_fixes} if n_fixes else {})
