"""The rows of pairs and of single bad completions, read from the database so many at a time."""

from __future__ import annotations

from collections.abc import Iterator

from labeling.models import Comparison, Completion
from labeling.models.scales import MARGINS, Scale
from rlhf.contract.records import Message, PreferenceRow, UnpairedRow
from rlhf.domain.datasets.consensus import Decision, Outcome, Vote
from rlhf.domain.datasets.pairs import Line, Pairs
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.split import Place
from rlhf.domain.datasets.votes import CHUNK

FIXES = "fixes"
LEAST_MARGIN = 1 / 3


def read_pairs(pairs: Pairs, split: str, rule: FreezeRule) -> Iterator[PreferenceRow]:
    """Yield the rows of one split in their order."""
    for chunk in read_chunks([line for line in pairs.lines if line.place.split == split]):
        for line, comparison, fixed in chunk:
            decision = pairs.decisions[line.comparison]
            if line.fix:
                yield build_fix_row(comparison, line, fixed, rule)
            else:
                yield build_row(comparison, decision, line.place, rule, votes=pairs.votes.get(line.comparison, []))


def read_unpaired(pairs: Pairs) -> Iterator[UnpairedRow]:
    """Yield two rows for every comparison both of whose completions are bad."""
    for chunk in read_chunks(pairs.unpaired):
        for line, comparison, _ in chunk:
            for completion in (comparison.completion_a, comparison.completion_b):
                yield UnpairedRow(
                    prompt=read_messages(comparison.prompt.messages),
                    completion=[{"role": "assistant", "content": completion.text}],
                    label=False,
                    group=line.place.group,
                    split=line.place.split,
                )


def read_chunks(lines: list[Line]) -> Iterator[list[tuple[Line, Comparison, str]]]:
    """Yield lines with their comparison and the text of their fix, so many at a time."""
    for start in range(0, len(lines), CHUNK):
        chunk = lines[start : start + CHUNK]
        comparisons = Comparison.objects.with_texts().select_related("prompt__slice")
        found = comparisons.in_bulk([line.comparison for line in chunk])
        fixes = Completion.objects.in_bulk([line.fix.fix for line in chunk if line.fix])
        yield [
            (line, found[line.comparison], fixes[line.fix.fix].text if line.fix and line.fix.fix else "")
            for line in chunk
        ]


def build_row(
    comparison: Comparison, decision: Decision, place: Place, rule: FreezeRule, *, votes: list[Vote]
) -> PreferenceRow:
    texts = comparison.completion_a.text, comparison.completion_b.text
    chosen, rejected = texts if decision.outcome == Outcome.A else texts[::-1]
    source = " + ".join(sorted({vote.source for vote in votes})) or "own"
    row = start_row(comparison, chosen, rejected, place, source=source)
    if rule.use_margin:
        row["margin"] = decision.margin
    if rule.is_soft:
        row["target"] = decision.target
    return row


def build_fix_row(comparison: Comparison, line: Line, fixed: str, rule: FreezeRule) -> PreferenceRow:
    """Return the row of a rewritten completion over one it was made from: better by a step than the one she preferred."""
    assert line.fix
    is_a = line.over == Outcome.A
    rejected = comparison.completion_a.text if is_a else comparison.completion_b.text
    row = start_row(comparison, fixed, rejected, line.place, source=FIXES)
    if rule.use_margin:
        lost = line.fix.strength if is_a else -line.fix.strength
        margin = MARGINS[Scale(line.fix.scale)][abs(lost)]
        row["margin"] = max(LEAST_MARGIN, margin if lost > 0 else 0)
    if rule.is_soft:
        row["target"] = 1.0
    return row


def start_row(comparison: Comparison, chosen: str, rejected: str, place: Place, *, source: str) -> PreferenceRow:
    """Return a row without what its votes add; the slice of its prompt tells accuracy apart."""
    row = PreferenceRow(
        prompt=read_messages(comparison.prompt.messages),
        chosen=[{"role": "assistant", "content": chosen}],
        rejected=[{"role": "assistant", "content": rejected}],
        group=place.group,
        source=source,
    )
    if comparison.prompt.slice is not None:
        row["slice"] = str(comparison.prompt.slice)
    return row


def read_messages(messages: list[dict[str, str]]) -> list[Message]:
    """Return stored messages as those of a row."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]
