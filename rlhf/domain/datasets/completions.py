"""Freezes completions - demonstrations to imitate, texts to read - into datasets that never change, one row each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Exists, OuterRef, Q, QuerySet

from labeling.domain.content import hash_opening
from labeling.models import Completion, Demonstration, Fix, Import, Project
from rlhf.contract.records import DemonstrationRow, TextRow
from rlhf.domain.datasets.ai_votes import Revised, find_revised
from rlhf.domain.datasets.freezing import seal_counted
from rlhf.domain.datasets.pairs import list_fixes
from rlhf.domain.datasets.rows import read_messages
from rlhf.domain.datasets.rule import AI, FreezeRule
from rlhf.domain.datasets.shelf import SPLITS, EmptyDataset, freeze_rows
from rlhf.domain.datasets.split import TEST, TRAIN, assign_splits
from rlhf.domain.datasets.test_sets import find_reserved
from rlhf.domain.datasets.votes import CHUNK, collect_votes, decide_ballot
from rlhf.models import Dataset, DatasetSource, Revision


def freeze_demonstrations(
    project: Project,
    *,
    name: str,
    test_share: float = 0.1,
    seed: int = 42,
    use_fixes: bool = True,
    exclude_labelers: tuple[str, ...] = (),
    annotators: tuple[str, ...] = (),
    user: AbstractBaseUser | None = None,
) -> Dataset:
    """Freeze the project's imported demonstrations, and what its labelers rewrote, into conversations to imitate.

    What pairs would not count of what was rewritten is left out here too. annotators: whose revisions are imitated as
    well (SL-CAI, arXiv 2212.08073 section 3); they have passed their exam. Raises: EmptyDataset, InvalidRule.
    """
    committed = Demonstration.objects.filter(imported__project=project, imported__state=Import.State.COMMITTED)
    rule: dict[str, Any] = {"include": "demonstrations", "test_share": test_share, "seed": seed, "use_fixes": use_fixes}
    if exclude_labelers:
        rule["exclude_labelers"] = list(exclude_labelers)
    fixes: dict[int, tuple[int, int]] = {}
    while use_fixes:
        fixes = find_fixes(project, FreezeRule(exclude_labelers=exclude_labelers))
        if seal_counted(project, {judgment for _, judgment in fixes.values()}):
            break
    revised = find_revised(project, annotators)
    if annotators:
        rule["annotators"] = list(annotators)
    imitated = Q(pk__in=committed.values("completion")) | Q(pk__in=list(fixes)) | Q(pk__in=list(revised))
    return freeze_completions(
        Completion.objects.filter(imitated),
        partial(build_demonstration, revised=revised),
        kind=Dataset.Kind.DEMONSTRATION,
        project=project,
        name=name,
        rule=rule,
        fixes=fixes,
        revised=revised,
        user=user,
    )


def find_fixes(project: Project, rule: FreezeRule) -> dict[int, tuple[int, int]]:
    """Return the completions that our labelers rewrote and the rule counts, each with its comparison and first judgment."""
    ballot = collect_votes(project, rule)
    found = [
        (vote.judgment_id or 0, vote.fix or 0, pk)
        for pk, fixes in list_fixes(ballot, decide_ballot(ballot, rule)).items()
        for vote in fixes
    ]
    return {completion: (pk, judgment) for judgment, completion, pk in sorted(found, reverse=True)}


def freeze_texts(
    project: Project, *, name: str, test_share: float = 0.1, seed: int = 42, user: AbstractBaseUser | None = None
) -> Dataset:
    """Freeze every conversation of the project into plain texts to pre-train on. Raises: EmptyDataset.

    What labelers or annotators rewrote is left out: a text has no place for whose it is.
    """
    rewritten = Q(Exists(Fix.objects.filter(completion=OuterRef("pk")))) | Q(
        Exists(Revision.objects.filter(revised=OuterRef("pk")))
    )
    completions = Completion.objects.filter(prompt__project=project).exclude(rewritten)
    rule = {"include": "completions", "test_share": test_share, "seed": seed}
    kind = Dataset.Kind.TEXT
    return freeze_completions(completions, build_text, kind=kind, project=project, name=name, rule=rule, user=user)


def freeze_completions(
    completions: QuerySet[Completion],
    build: Callable[[Completion], DemonstrationRow | TextRow],
    *,
    kind: str,
    project: Project,
    name: str,
    rule: dict[str, Any],
    user: AbstractBaseUser | None,
    fixes: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    revised: Mapping[int, Revised] = MappingProxyType({}),
) -> Dataset:
    """Freeze one row a completion, split by prompt group, held-out prompts left out.

    fixes and revised keep the way to their comparison and judgment; what was revised is never tested on.
    Raises: EmptyDataset.
    """
    kept = completions.filter(prompt__is_held_out=False).order_by("prompt__content_sha", "content_sha")
    reserved = find_reserved(project)
    columns = ("pk", "prompt", "prompt__group", "prompt__messages", "prompt__content_sha")
    found = [
        (pk, prompt, group, hash_opening(messages))
        for pk, prompt, group, messages, sha in kept.values_list(*columns)
        if sha not in reserved
    ]
    if not found:
        raise EmptyDataset(
            f"{project} has no {kind} to freeze: import some with "
            f"manage.py import_preferences FILE --project {project.slug}"
        )
    prompts = {prompt: (group, opening) for _, prompt, group, opening in found}
    places = assign_splits(prompts, test_share=rule["test_share"], seed=rule["seed"])

    orders = {
        split: [
            pk for pk, prompt, _, _ in found if places[prompt].split == split and (split == TRAIN or pk not in revised)
        ]
        for split in SPLITS
    }

    groups = {split: len({place.group for place in places.values() if place.split == split}) for split in SPLITS}
    sources = list_rewritten_sources(orders, fixes, revised)
    return freeze_rows(
        project,
        kind=kind,
        name=name,
        train=read_completions(orders[TRAIN], build),
        test=read_completions(orders[TEST], build),
        rule=rule,
        user=user,
        counts={"rows": sum(map(len, orders.values())), "groups": groups} | count_rewritten(orders, fixes, revised),
        sources=sources,
    )


def read_completions(
    order: list[int], build: Callable[[Completion], DemonstrationRow | TextRow]
) -> Iterator[DemonstrationRow | TextRow]:
    """Yield the rows of completions in their order, so many read at a time."""
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        rows = Completion.objects.select_related("prompt").in_bulk(chunk)
        yield from (build(rows[pk]) for pk in chunk)


def list_rewritten_sources(
    orders: Mapping[str, list[int]], fixes: Mapping[int, tuple[int, int]], revised: Mapping[int, Revised]
) -> list[DatasetSource]:
    """Return who stands behind the lines that were rewritten: the labeler, or else the annotator, who did."""
    sources = []
    for split in SPLITS:
        for line, pk in enumerate(orders[split], 1):
            if pk in fixes:
                comparison, judgment = fixes[pk]
                sources.append(DatasetSource(split=split, line=line, comparison_id=comparison, judgment_id=judgment))
            elif pk in revised:
                said = revised[pk]
                sources.append(
                    DatasetSource(split=split, line=line, comparison_id=said.comparison, ai_judgment_id=said.judgment)
                )
    return sources


def count_rewritten(
    orders: Mapping[str, list[int]], fixes: Mapping[int, tuple[int, int]], revised: Mapping[int, Revised]
) -> dict[str, Any]:
    """Return how many rows labelers rewrote, and how many each annotator."""
    taken = [pk for order in orders.values() for pk in order]
    n_fixes = sum(pk in fixes for pk in taken)
    by_annotator = Counter(revised[pk].annotator for pk in taken if pk in revised)
    return ({"fixes": n_fixes} if n_fixes else {}) | ({"ai": dict(by_annotator)} if revised else {})


def build_demonstration(completion: Completion, *, revised: Mapping[int, Revised]) -> DemonstrationRow:
    messages = read_messages(completion.prompt.messages)
    row = DemonstrationRow(messages=[*messages, {"role": "assistant", "content": completion.text}])
    if completion.pk in revised:
        row |= {"source": f"{AI}{revised[completion.pk].annotator}", "annotator_kind": "ai"}
    return row


def build_text(completion: Completion) -> TextRow:
    contents = [message["content"] for message in completion.prompt.messages]
    return TextRow(text="\n\n".join([*contents, completion.text]))
