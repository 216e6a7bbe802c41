"""Freezes what people preferred, and annotators where a rule names them, into pairs that never change."""

from __future__ import annotations

from itertools import chain

from django.contrib.auth.models import AbstractBaseUser

from labeling.domain.revising import seal_judgments
from labeling.models import Import, Judgment, Project
from rlhf.domain.datasets.ai_votes import read_ai
from rlhf.domain.datasets.pairs import Pairs, make_pairs
from rlhf.domain.datasets.rows import read_pairs, read_unpaired
from rlhf.domain.datasets.rule import CONSENSUS, IMPORTED, FreezeRule
from rlhf.domain.datasets.shelf import SPLITS, EmptyDataset, freeze_rows
from rlhf.domain.datasets.split import TEST, TRAIN
from rlhf.domain.datasets.votes import CHUNK, collect_votes
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
    """Freeze the project's votes into pairs; the same content again is the dataset there is.

    Nobody revises the judgments that are counted any more. Raises: EmptyDataset, InvalidRule.
    """
    while True:
        ballot = collect_votes(project, rule)
        pairs = make_pairs(project, ballot, rule)
        if not pairs.lines and not pairs.ai:
            raise EmptyDataset(explain_no_pairs(project, rule, n_judged=len(ballot.votes)))
        counted = {vote.judgment_id for found in ballot.votes.values() for vote in found if vote.judgment_id}
        if seal_counted(project, counted, upto=rule.upto):
            break
    return freeze_rows(
        project,
        kind=Dataset.Kind.PREFERENCE,
        name=name,
        train=chain(read_pairs(pairs, TRAIN, rule), read_ai(pairs.ai)),
        test=read_pairs(pairs, TEST, rule),
        unpaired=read_unpaired(pairs),
        rule=rule.to_json(),
        user=user,
        counts=pairs.counts,
        sources=list_sources(pairs),
    )


def has_pairs(project: Project, rule: FreezeRule) -> bool:
    """Say whether a freeze by this rule would have pairs to train on."""
    pairs = make_pairs(project, collect_votes(project, rule), rule)
    return bool(pairs.ai) or any(line.place.split == TRAIN for line in pairs.lines)


def seal_counted(project: Project, judgments: set[int], *, upto: int = 0) -> bool:
    """Let nobody revise the judgments that were read any more; False when one was revised after it was read.

    Then they have to be read anew. A change of mind is counted or refused: sealed after the dataset is stored, one that
    came between would be neither. It is not asked for again and again: only who changes what was said since the last
    reading puts it off once more.
    """
    seal_judgments(project, max(judgments, default=0))
    revisions = Judgment.objects.of_project(project).filter(revises__isnull=False)
    if upto:
        revisions = revisions.filter(pk__lte=upto)
    return judgments.isdisjoint(revisions.values_list("revises", flat=True).iterator(CHUNK))


def explain_no_pairs(project: Project, rule: FreezeRule, *, n_judged: int) -> str:
    """Say what to do about a project without pairs."""
    if n_judged:
        return (
            f"none of the {n_judged} judged comparisons of {project} makes a pair ({' + '.join(rule.include)}, "
            f"at least {rule.min_judgments} judgments, {CONSENSUS[rule.consensus]}): judge more of them"
        )
    return (
        f"{project} has no judgments ({' + '.join(rule.include)}): judge some at {project.get_absolute_url()}, "
        f"or import some with manage.py import_preferences FILE --project {project.slug}"
    )


def list_sources(pairs: Pairs) -> list[DatasetSource]:
    """Return which votes stand behind which line, the outvoted ones too: they were counted. Behind a fix stands its own."""
    return [
        DatasetSource(
            split=split,
            line=number,
            comparison_id=line.comparison,
            judgment_id=vote.judgment_id,
            imported_judgment_id=vote.imported_judgment_id,
        )
        for split in SPLITS
        for number, line in enumerate((line for line in pairs.lines if line.place.split == split), 1)
        for vote in ([line.fix] if line.fix else pairs.votes.get(line.comparison, []))
    ] + list_ai_sources(pairs)


def list_ai_sources(pairs: Pairs) -> list[DatasetSource]:
    """Return which annotator's judgment stands behind which line; they come after people's."""
    n_before = sum(line.place.split == TRAIN for line in pairs.lines)
    return [
        DatasetSource(split=TRAIN, line=n_before + number, comparison_id=line.comparison, ai_judgment_id=line.judgment)
        for number, line in enumerate(pairs.ai, 1)
    ]
