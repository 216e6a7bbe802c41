"""Freezes what people said - votes, demonstrations, texts - into datasets that never change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet

from labeling.domain.content import hash_opening
from labeling.models import Completion, Demonstration, Import, Judgment, Project
from rlhf.contract.records import DemonstrationRow, TextRow
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import SPLITS, EmptyDataset, freeze_rows
from rlhf.domain.datasets.split import TEST, TRAIN, assign_splits
from rlhf.domain.datasets.votes import CHUNK, IMPORTED, Pairs, collect_votes, make_pairs, read_messages, read_pairs
from rlhf.models import Dataset, DatasetSource


def default_rule(project: Project) -> FreezeRule:
    """Return the rule that takes our own judgments where there are any, and otherwise every imported source."""
    if Judgment.objects.of_project(project).exists():
        return FreezeRule()
    sources = list_imported_sources(project)
    return FreezeRule(include=tuple(f"{IMPORTED}{source}" for source in sources)) if sources else FreezeRule()


def list_imported_sources(project: Project) -> list[str]:
    """Return the names of the sources whose votes the project has imported."""
    imports = Import.objects.filter(project=project, state=Import.State.COMMITTED, judgments__isnull=False)
    return sorted(set(imports.values_list("source", flat=True)))


def freeze_preferences(
    project: Project, *, rule: FreezeRule, name: str, user: AbstractBaseUser | None = None
) -> Dataset:
    """Freeze the project's votes into pairs; the same content again is the dataset there is. Raises: EmptyDataset."""
    votes = collect_votes(project, include=rule.include, use_extra=rule.use_extra, upto=rule.upto, after=rule.after)
    pairs = make_pairs(project, votes, min_judgments=rule.min_judgments, test_share=rule.test_share, seed=rule.seed)
    if not pairs.order:
        raise EmptyDataset(explain_no_pairs(project, rule, n_judged=len(votes)))
    return freeze_rows(
        project,
        kind=Dataset.Kind.PREFERENCE,
        name=name,
        train=read_pairs(pairs, TRAIN, use_margin=rule.use_margin),
        test=read_pairs(pairs, TEST, use_margin=rule.use_margin),
        rule=rule.to_json(),
        user=user,
        counts=pairs.counts,
        sources=list_sources(pairs),
    )


def explain_no_pairs(project: Project, rule: FreezeRule, *, n_judged: int) -> str:
    """Say what to do about a project without pairs."""
    if n_judged:
        return (
            f"none of the {n_judged} judged comparisons of {project} makes a pair ({' + '.join(rule.include)}, "
            f"at least {rule.min_judgments} judgments, more than half for one side): judge more of them"
        )
    return (
        f"{project} has no judgments ({' + '.join(rule.include)}): judge some at {project.get_absolute_url()}, "
        f"or import some with manage.py import_preferences FILE --project {project.slug}"
    )


def list_sources(pairs: Pairs) -> list[DatasetSource]:
    """Return which votes stand behind which line, the outvoted ones too: they were counted."""
    return [
        DatasetSource(
            split=split,
            line=line,
            comparison_id=comparison,
            judgment_id=vote.judgment_id,
            imported_judgment_id=vote.imported_judgment_id,
        )
        for split in SPLITS
        for line, comparison in enumerate((pk for pk, place in pairs.order if place.split == split), 1)
        for vote in pairs.wins[comparison].votes
    ]


def freeze_demonstrations(
    project: Project, *, name: str, test_share: float = 0.1, seed: int = 42, user: AbstractBaseUser | None = None
) -> Dataset:
    """Freeze the project's imported demonstrations into conversations to imitate. Raises: EmptyDataset."""
    committed = Demonstration.objects.filter(imported__project=project, imported__state=Import.State.COMMITTED)
    completions = Completion.objects.filter(pk__in=committed.values("completion"))
    rule = {"include": "demonstrations", "test_share": test_share, "seed": seed}
    kind = Dataset.Kind.DEMONSTRATION
    return freeze_completions(
        completions, build_demonstration, kind=kind, project=project, name=name, rule=rule, user=user
    )


def freeze_texts(
    project: Project, *, name: str, test_share: float = 0.1, seed: int = 42, user: AbstractBaseUser | None = None
) -> Dataset:
    """Freeze every conversation of the project into plain texts to pre-train on. Raises: EmptyDataset."""
    completions = Completion.objects.filter(prompt__project=project)
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
) -> Dataset:
    """Freeze one row a completion, split by prompt group, held-out prompts left out. Raises: EmptyDataset."""
    kept = completions.filter(prompt__is_held_out=False).order_by("prompt__content_sha", "content_sha")
    columns = ("pk", "prompt", "prompt__group", "prompt__messages")
    found = [(pk, prompt, group, hash_opening(messages)) for pk, prompt, group, messages in kept.values_list(*columns)]
    if not found:
        raise EmptyDataset(
            f"{project} has no {kind} to freeze: import some with "
            f"manage.py import_preferences FILE --project {project.slug}"
        )
    prompts = {prompt: (group, opening) for _, prompt, group, opening in found}
    places = assign_splits(prompts, test_share=rule["test_share"], seed=rule["seed"])

    def read(split: str) -> Iterator[DemonstrationRow | TextRow]:
        order = [pk for pk, prompt, _, _ in found if places[prompt].split == split]
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            rows = Completion.objects.select_related("prompt").in_bulk(chunk)
            yield from (build(rows[pk]) for pk in chunk)

    groups = {split: len({place.group for place in places.values() if place.split == split}) for split in SPLITS}
    return freeze_rows(
        project,
        kind=kind,
        name=name,
        train=read(TRAIN),
        test=read(TEST),
        rule=rule,
        user=user,
        counts={"rows": len(found), "groups": groups},
    )


def build_demonstration(completion: Completion) -> DemonstrationRow:
    messages = read_messages(completion.prompt.messages)
    return DemonstrationRow(messages=[*messages, {"role": "assistant", "content": completion.text}])


def build_text(completion: Completion) -> TextRow:
    contents = [message["content"] for message in completion.prompt.messages]
    return TextRow(text="\n\n".join([*contents, completion.text]))
