"""Reads the votes a rule includes, and the pairs they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from labeling.domain.content import hash_opening
from labeling.models import Comparison, Import, ImportedJudgment, Judgment, Project, Prompt
from rlhf.contract.records import Message, PreferenceRow
from rlhf.domain.datasets.consensus import Outcome, Vote, compute_margin, decide_majority
from rlhf.domain.datasets.split import TEST, TRAIN, Place, assign_splits

OWN = "own"
IMPORTED = "imported:"
CHUNK = 500


@dataclass(frozen=True)
class Win:
    """A comparison whose votes make a pair."""

    outcome: Outcome
    votes: list[Vote]


@dataclass(frozen=True)
class Pairs:
    """The pairs of a project in their final order: (comparison id, place), by the hash of their content."""

    wins: dict[int, Win]
    order: list[tuple[int, Place]]
    counts: dict[str, object]


def collect_votes(
    project: Project, *, include: tuple[str, ...], use_extra: bool, upto: int = 0, after: int = 0
) -> dict[int, list[Vote]]:
    """Return the current votes of each comparison, those of our labelers in the order they came.

    With `upto`, as they stood at that judgment; with `after`, of comparisons judged since that one only.
    """
    votes: dict[int, list[Vote]] = {}
    if OWN in include:
        judgments = Judgment.objects.as_of(upto).of_project(project).order_by("id")
        if not use_extra:
            judgments = judgments.filter(is_extra=False)
        if after:
            fresh = Judgment.objects.of_project(project).filter(pk__gt=after)
            judgments = judgments.filter(comparison__in=fresh.values("comparison"))
        columns = judgments.values_list("pk", "comparison", "strength", "both_bad", "guideline__version")
        for pk, comparison, strength, both_bad, guideline in columns.iterator(CHUNK):
            votes.setdefault(comparison, []).append(Vote(strength, both_bad, guideline=guideline, judgment_id=pk))
    sources = [name.removeprefix(IMPORTED) for name in include if name.startswith(IMPORTED)]
    imported = ImportedJudgment.objects.filter(
        imported__project=project, imported__state=Import.State.COMMITTED, imported__source__in=sources
    ).order_by("id")
    for pk, comparison, strength, source in imported.values_list(
        "pk", "comparison", "strength", "imported__source"
    ).iterator(CHUNK):
        vote = Vote(strength, source=f"{IMPORTED}{source}", imported_judgment_id=pk)
        votes.setdefault(comparison, []).append(vote)
    return votes


def make_pairs(
    project: Project, votes: dict[int, list[Vote]], *, min_judgments: int, test_share: float, seed: int
) -> Pairs:
    """Decide every comparison, leave held-out prompts out, and give each pair its place."""
    outcomes = {pk: decide_majority(found, min_judgments=min_judgments) for pk, found in votes.items()}
    prompts = {
        pk: (group, hash_opening(messages))
        for pk, group, messages in Prompt.objects.filter(project=project, is_held_out=False)
        .values_list("pk", "group", "messages")
        .iterator(CHUNK)
    }
    wins: dict[int, Win] = {}
    found: list[tuple[str, int, int]] = []
    n_held_out = 0
    comparisons = Comparison.objects.filter(project=project).values_list("content_sha", "pk", "prompt")
    for sha, pk, prompt in comparisons.iterator(CHUNK):
        if outcomes.get(pk) not in (Outcome.A, Outcome.B):
            continue
        if prompt not in prompts:
            n_held_out += 1
            continue
        wins[pk] = Win(outcomes[pk], votes[pk])
        found.append((sha, pk, prompt))
    used = {prompt: prompts[prompt] for _, _, prompt in found}
    places = assign_splits(used, test_share=test_share, seed=seed)
    order = [(pk, places[prompt]) for _, pk, prompt in sorted(found)]
    return Pairs(wins, order, count_votes(votes, outcomes, n_held_out) | count_places(order))


def count_votes(votes: dict[int, list[Vote]], outcomes: dict[int, Outcome], n_held_out: int) -> dict[str, object]:
    """Return what became of the comparisons, and the votes by source and by guideline version."""
    by_outcome = Counter(outcomes.values())
    all_votes = [vote for found in votes.values() for vote in found]
    left_out = (Outcome.TIE, Outcome.BOTH_BAD, Outcome.DISAGREEMENT, Outcome.TOO_FEW)
    guidelines = Counter("none" if vote.guideline is None else f"v{vote.guideline}" for vote in all_votes)
    return {
        **{outcome.value: by_outcome[outcome] for outcome in left_out},
        "held_out": n_held_out,
        "votes": dict(sorted(Counter(vote.source for vote in all_votes).items())),
        "guidelines": dict(sorted(guidelines.items())),
    }


def count_places(order: list[tuple[int, Place]]) -> dict[str, object]:
    groups = {split: len({place.group for _, place in order if place.split == split}) for split in (TRAIN, TEST)}
    return {"pairs": len(order), "groups": groups}


def read_pairs(pairs: Pairs, split: str, *, use_margin: bool) -> Iterator[PreferenceRow]:
    """Yield the rows of one split in their order."""
    order = [(pk, place) for pk, place in pairs.order if place.split == split]
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        comparisons = Comparison.objects.with_texts().in_bulk([pk for pk, _ in chunk])
        for pk, place in chunk:
            yield build_row(comparisons[pk], pairs.wins[pk], place, use_margin=use_margin)


def build_row(comparison: Comparison, win: Win, place: Place, *, use_margin: bool) -> PreferenceRow:
    texts = comparison.completion_a.text, comparison.completion_b.text
    chosen, rejected = texts if win.outcome == Outcome.A else texts[::-1]
    row = PreferenceRow(
        prompt=read_messages(comparison.prompt.messages),
        chosen=[{"role": "assistant", "content": chosen}],
        rejected=[{"role": "assistant", "content": rejected}],
        group=place.group,
        source=" + ".join(sorted({vote.source for vote in win.votes})),
    )
    if use_margin:
        row["margin"] = compute_margin(win.votes, win.outcome)
    return row


def read_messages(messages: list[dict[str, str]]) -> list[Message]:
    """Return stored messages as those of a row."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]
