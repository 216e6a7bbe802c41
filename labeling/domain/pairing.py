"""Prompts and pairs of completions become comparisons with slots: the only way into the queue."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from labeling.domain.content import (
    Message,
    check_group,
    check_label,
    check_messages,
    check_text,
    hash_messages,
    hash_pair,
    hash_text,
)
from labeling.domain.errors import IdenticalCompletions, InvalidContent
from labeling.domain.overlap import MAX_OVERLAP, SHUFFLE_RANGE, make_slot
from labeling.models import Comparison, Completion, Project, Prompt, Reason, Slice, Slot

CHUNK = 500  # rows a transaction: SQLite has one writer, and labelers wait behind it
RETRIES = 3
SLICE_CHARS = Slice._meta.get_field("name").max_length or 0
LANGUAGE_CHARS = Slice._meta.get_field("language").max_length or 0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prompt and two completions to compare.

    overlap None takes the project's, for the share of pairs that gets it. slice_name and language name the slice of a
    new prompt; a prompt already there stays in its own.
    """

    messages: Sequence[Mapping[str, object]]
    text_a: str
    text_b: str
    group: str | None = None
    overlap: int | None = None
    priority: int = 0
    reason: str = Reason.RANDOM
    propensity: float = 1.0
    slice_name: str = ""
    language: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckedPair:
    """A pair whose content may be stored, with the hashes it is found by."""

    said: Pair
    messages: list[Message]
    prompt_sha: str
    group: str
    sha: str
    overlap: int


def add_prompt(project: Project, messages: Sequence[Mapping[str, object]], *, group: str | None = None) -> Prompt:
    """Return the project's prompt of this content, stored if it is new."""
    checked = check_messages(messages)
    sha = hash_messages(checked)
    group = sha[:32] if group is None else check_group(group)
    prompt, _ = Prompt.objects.get_or_create(
        project=project, content_sha=sha, defaults={"messages": checked, "group": group}
    )
    return prompt


def propose_comparison(
    prompt: Prompt,
    text_a: str,
    text_b: str,
    *,
    overlap: int | None = None,
    priority: int = 0,
    reason: str = Reason.RANDOM,
    propensity: float = 1.0,
    rng: random.Random | None = None,
) -> Comparison:
    """Queue two completions of a prompt; the same content proposed again is the stored comparison, unchanged."""
    pair = Pair(
        messages=prompt.messages,
        text_a=text_a,
        text_b=text_b,
        group=prompt.group,
        overlap=overlap,
        priority=priority,
        reason=reason,
        propensity=propensity,
    )
    return propose_comparisons(prompt.project, [pair], rng=rng)[0]


def propose_comparisons(
    project: Project, pairs: Iterable[Pair], *, rng: random.Random | None = None
) -> list[Comparison]:
    """Queue many pairs, a short transaction for each 500; all are checked before the first is stored.

    Returns the comparison of every pair, in the order given; content already there is returned as it is stored.
    rng draws overlaps, the shuffle and the sides, for a queue that can be made again.
    """
    source = rng or random.SystemRandom()
    checked = [
        check_pair(pair, number=number, overlap=draw_overlap(pair, project, rng=source))
        for number, pair in enumerate(pairs, start=1)
    ]
    starts = range(0, len(checked), CHUNK)
    return [row for start in starts for row in store_chunk(project, checked[start : start + CHUNK], rng=source)]


def draw_overlap(pair: Pair, project: Project, *, rng: random.Random) -> int:
    """Return the overlap given, or else the project's for its share of pairs and 1 for the others."""
    if pair.overlap is not None:
        return pair.overlap
    if project.overlap_share < 1 and rng.random() >= project.overlap_share:
        return 1
    return project.overlap


def check_pair(pair: Pair, *, number: int, overlap: int) -> CheckedPair:
    """Return the pair with its hashes, or raise naming its number."""
    try:
        messages = check_messages(pair.messages)
        text_a = check_text(pair.text_a, what="completion A")
        text_b = check_text(pair.text_b, what="completion B")
        group = None if pair.group is None else check_group(pair.group)
        check_label(pair.slice_name, what="the slice", max_chars=SLICE_CHARS)
        check_label(pair.language, what="the language", max_chars=LANGUAGE_CHARS)
    except InvalidContent as error:
        raise InvalidContent(f"pair {number}: {error}") from error
    if text_a == text_b:
        raise IdenticalCompletions(f"pair {number}: both completions are the same text, so there is nothing to compare")
    if not 0 <= overlap <= MAX_OVERLAP:
        raise InvalidContent(f"pair {number}: overlap must be from 0 to {MAX_OVERLAP}, got {overlap}")
    if not 0 < pair.propensity <= 1:
        raise InvalidContent(f"pair {number}: propensity must be over 0 and at most 1, got {pair.propensity}")
    if pair.reason not in Reason.values:
        raise InvalidContent(f"pair {number}: reason must be one of {Reason.values}, got {pair.reason!r}")
    prompt_sha = hash_messages(messages)
    return CheckedPair(
        said=pair,
        messages=messages,
        prompt_sha=prompt_sha,
        group=prompt_sha[:32] if group is None else group,
        sha=hash_pair(prompt_sha, text_a, text_b),
        overlap=overlap,
    )


def store_chunk(project: Project, pairs: list[CheckedPair], *, rng: random.Random) -> list[Comparison]:
    """Store a chunk at once; where another writer stored some of it first, start over and find it."""
    for _ in range(RETRIES):
        try:
            with transaction.atomic():
                return insert_missing(project, pairs, rng=rng)
        except IntegrityError as error:
            refused = error
    raise refused


def insert_missing(project: Project, pairs: list[CheckedPair], *, rng: random.Random) -> list[Comparison]:
    """Insert what the project does not have yet: prompts, completions, comparisons, slots."""
    stored = find_comparisons(project, [pair.sha for pair in pairs])
    missing = {pair.sha: pair for pair in pairs if pair.sha not in stored}
    if missing:
        prompts = insert_prompts(project, list(missing.values()))
        completions = insert_completions(prompts, list(missing.values()))
        rows = [
            Comparison(
                project=project,
                prompt=prompts[pair.prompt_sha],
                completion_a=completions[pair.prompt_sha, pair.said.text_a],
                completion_b=completions[pair.prompt_sha, pair.said.text_b],
                content_sha=sha,
                overlap=pair.overlap,
                priority=pair.said.priority,
                reason=pair.said.reason,
                propensity=pair.said.propensity,
            )
            for sha, pair in missing.items()
        ]
        for comparison in Comparison.objects.bulk_create(rows):
            stored[comparison.content_sha] = comparison
        Slot.objects.bulk_create(slot for sha in missing for slot in make_slots(stored[sha], rng=rng))
    return [stored[pair.sha] for pair in pairs]


def find_comparisons(project: Project, shas: list[str]) -> dict[str, Comparison]:
    rows = Comparison.objects.with_texts().filter(project=project, content_sha__in=shas)
    return {comparison.content_sha: comparison for comparison in rows}


def insert_prompts(project: Project, pairs: list[CheckedPair]) -> dict[str, Prompt]:
    """Return the prompts of the pairs by hash, the missing ones stored."""
    wanted = {pair.prompt_sha: pair for pair in pairs}
    prompts = {row.content_sha: row for row in Prompt.objects.filter(project=project, content_sha__in=list(wanted))}
    missing = [pair for sha, pair in wanted.items() if sha not in prompts]
    slices = insert_slices(project, {(pair.said.slice_name, pair.said.language) for pair in missing})
    new = [
        Prompt(
            project=project,
            messages=pair.messages,
            content_sha=pair.prompt_sha,
            group=pair.group,
            slice=slices.get((pair.said.slice_name, pair.said.language)),
        )
        for pair in missing
    ]
    return prompts | {row.content_sha: row for row in Prompt.objects.bulk_create(new)}


def insert_slices(project: Project, names: set[tuple[str, str]]) -> dict[tuple[str, str], Slice]:
    """Return the slices of these names and languages, the missing ones stored; a nameless one is none."""
    if not (wanted := names - {("", "")}):
        return {}
    found = {(row.name, row.language): row for row in Slice.objects.filter(project=project)}
    new = [Slice(project=project, name=name, language=language) for name, language in sorted(wanted - found.keys())]
    return found | {(row.name, row.language): row for row in Slice.objects.bulk_create(new)}


def insert_completions(prompts: dict[str, Prompt], pairs: list[CheckedPair]) -> dict[tuple[str, str], Completion]:
    """Return the completions of the pairs by prompt hash and text, the missing ones stored."""
    wanted = {(pair.prompt_sha, text) for pair in pairs for text in (pair.said.text_a, pair.said.text_b)}
    ids = {prompt.pk: sha for sha, prompt in prompts.items()}
    shas = {hash_text(text) for _, text in wanted}
    rows = Completion.objects.filter(prompt__in=list(ids), content_sha__in=list(shas))
    found = {(ids[row.prompt_id], row.text): row for row in rows}
    new = [
        Completion(prompt=prompts[prompt_sha], text=text, content_sha=hash_text(text))
        for prompt_sha, text in sorted(wanted - found.keys())
    ]
    stored = Completion.objects.bulk_create(new)
    return found | {(ids[row.prompt_id], row.text): row for row in stored}


def make_slots(comparison: Comparison, *, rng: random.Random) -> list[Slot]:
    """Return the slots of a new comparison; A is shown left in every other one, from a random start."""
    starts_left = rng.random() < 0.5
    return [
        make_slot(
            comparison, number, a_shown_left=starts_left == (number % 2 == 0), shuffle=rng.randrange(SHUFFLE_RANGE)
        )
        for number in range(comparison.overlap)
    ]
