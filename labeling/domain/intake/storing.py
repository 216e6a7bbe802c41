"""Stores a checked file in short transactions; it counts once its Import is committed, and a killed one is resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.db.models import Exists, Max, OuterRef

from labeling.domain.audit import record_event
from labeling.domain.content import hash_messages, hash_text
from labeling.domain.identity import tells_writer
from labeling.domain.intake.items import Example, Pair
from labeling.domain.intake.pacing import Pace
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.intake.shutting import open_new, shut_new
from labeling.domain.intake.staging import PlacedItem, StagedFile, read_items
from labeling.domain.pairing import Pair as ProposedPair
from labeling.domain.pairing import insert_slices, propose_comparisons
from labeling.models import (
    Comparison,
    Completion,
    Demonstration,
    Import,
    ImportedJudgment,
    Project,
    Prompt,
    Verdict,
)

# An import of this content that counts, or is about to: others of the same file only wait for an answer.
ENTERED = (Import.State.STAGED, Import.State.COMMITTED)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How the rows of a file enter: people who shall judge each new pair (0 keeps them out of the queue), whether those
    that say which model wrote them are kept out of it, how early, and the slice of rows that name none."""

    overlap: int = 0
    blind: bool = True
    priority: int = 0
    slice_name: str = ""
    language: str = ""


def name_source(path: Path) -> str:
    """Return the name a file's votes go by when no other is given: its name up to the first of our endings."""
    name = name_file(path)
    for ending in (".gz", ".jsonl", ".json", ".parquet", ".csv", ".tsv"):
        name = name.removesuffix(ending)
    return name[:200]


def name_file(path: Path) -> str:
    """Return a file's name as text that every database keeps; names on disk need not be UTF-8."""
    return path.name.encode("utf-8", "replace").decode("utf-8")[:255]


def find_import(project: Project, staged: StagedFile) -> Import | None:
    """Return the project's import of this very content in this format, committed or begun."""
    return find_entered(project, staged.sha256, staged.format.name)


def find_entered(project: Project, sha256: str, format: str) -> Import | None:
    return Import.objects.filter(project=project, sha256=sha256, format=format, state__in=ENTERED).first()


def commit_file(project: Project, staged: StagedFile, *, source: str, overlap: int = 0, blind: bool = True) -> Import:
    """Store a file that has no bad row and mark its import committed last.

    Run again after a kill it goes on where it was; run again after the end it changes nothing.
    overlap: how many people shall judge each new pair, too; 0 keeps them out of the queue. blind: nobody is asked about
    pairs that say which model wrote them.
    Raises: FileRefused when a row is bad or the file changed since it was staged.
    """
    if staged.report.n_bad:
        raise FileRefused(f"{staged.report.n_bad} rows are bad, so nothing was imported: correct them and run it again")
    found, _ = Import.objects.get_or_create(
        project=project,
        sha256=staged.sha256,
        format=staged.format.name,
        state__in=ENTERED,
        defaults={
            "source": source,
            "filename": name_file(staged.source.path),
            "n_rows": staged.report.n_rows,
            "state": Import.State.STAGED,
        },
    )
    if found.state == Import.State.COMMITTED:
        return found
    if found.source != source:
        raise FileRefused(
            f"an import of this file was begun with --source {found.source}: finish it with the same source"
        )
    store_file(found, staged, Placement(overlap=overlap, blind=blind))
    return found


def store_file(
    imported: Import, staged: StagedFile, placement: Placement, hear_progress: Callable[[int], None] | None = None
) -> None:
    """Store a begun import's rows from where it was, and mark it committed last; it is safe to run twice.

    hear_progress hears of the line each transaction ended with. Raises: FileRefused when the file changed.
    """
    stored, pace = find_last_line(imported), Pace()
    for chunk in pace.cut(placed for placed in read_items(staged) if placed.line >= stored):
        with pace.turn():
            store_pairs(imported, chunk, placement)
            store_prompts(imported, chunk, placement)
        if hear_progress:
            hear_progress(chunk[-1].line)
    with transaction.atomic():
        staged_only = Import.objects.filter(pk=imported.pk, state=Import.State.STAGED)
        if staged_only.update(state=Import.State.COMMITTED):
            drop_repeated(imported)
            said = {"source": imported.source, "n_rows": imported.n_rows}
            subject = f"import {imported.pk}: {imported.filename}"
            record_event("import.store", subject, actor=imported.owner, project=imported.project, after=said)
    open_new(imported)
    imported.refresh_from_db()


def drop_repeated(imported: Import) -> None:
    """Delete the votes on pairs on which another file of the same source was counted while this one was stored."""
    others = ImportedJudgment.objects.filter(imported__source=imported.source, imported__state=Import.State.COMMITTED)
    counted = others.filter(comparison=OuterRef("comparison")).exclude(imported=imported)
    imported.judgments.filter(Exists(counted)).delete()


def find_last_line(imported: Import) -> int:
    """Return the last line an import got to before it was killed, or 0: transactions follow each other in its order."""
    lines = [rows.aggregate(last=Max("line"))["last"] for rows in (imported.judgments, imported.demonstrations)]
    return max(line or 0 for line in lines)


def store_pairs(imported: Import, chunk: list[PlacedItem], placement: Placement) -> None:
    """Store the pairs of a chunk as comparisons and their votes beside them."""
    pairs = [(placed, placed.item) for placed in chunk if isinstance(placed.item, Pair)]
    proposals = [to_proposal(placed, pair, placement) for placed, pair in pairs]
    last = Comparison.objects.aggregate(last=Max("pk"))["last"] or 0
    comparisons = propose_comparisons(imported.project, proposals)
    new = {row.pk: row for row in comparisons if row.pk > last}
    shut_new(imported, sorted(new))
    if placement.overlap and (n := sum(row.overlap == 0 for row in new.values())):
        imported.options["n_kept_out"] = imported.options.get("n_kept_out", 0) + n
        imported.save(update_fields=["options"])
    counted = find_counted(imported, comparisons)
    ImportedJudgment.objects.bulk_create(
        [
            to_vote(imported, placed.line, placed.part, pair, pair.strength, comparison)
            for (placed, pair), comparison in zip(pairs, comparisons, strict=True)
            if pair.strength is not None and comparison.pk not in counted
        ],
        ignore_conflicts=True,
    )


def is_asked(pair: Pair, placement: Placement) -> bool:
    """Say whether people shall judge a pair: not where its texts give their writer away."""
    return not placement.blind or not any(tells_writer(text, pair.prompt) for text in (pair.better, pair.worse))


def find_counted(imported: Import, comparisons: list[Comparison]) -> set[int]:
    """Return the comparisons on which another file of the same source has voted: it does not vote twice."""
    votes = ImportedJudgment.objects.filter(comparison__in=comparisons, imported__source=imported.source)
    others = votes.filter(imported__state=Import.State.COMMITTED).exclude(imported=imported)
    return set(others.values_list("comparison", flat=True))


def to_proposal(placed: PlacedItem, pair: Pair, placement: Placement) -> ProposedPair:
    """Return the pair for the queue. A is the text of the lower hash, so that nothing tells which one had won."""
    text_a, text_b = sorted((pair.better, pair.worse), key=hash_text)
    name, language = name_slice(placed, placement)
    return ProposedPair(
        messages=pair.prompt,
        text_a=text_a,
        text_b=text_b,
        group=pair.group,
        overlap=placement.overlap if placement.overlap and is_asked(pair, placement) else 0,
        priority=placement.priority,
        slice_name=name,
        language=language,
    )


def name_slice(placed: PlacedItem, placement: Placement) -> tuple[str, str]:
    """Return the slice and language of an item: its row's, else those said for the whole file."""
    return placed.slice_name or placement.slice_name, placed.language or placement.language


def to_vote(
    imported: Import, line: int, part: int, pair: Pair, strength: int, comparison: Comparison
) -> ImportedJudgment:
    verdict = Verdict.TIE
    if strength:
        is_a = comparison.completion_a.text == pair.better
        verdict, strength = (Verdict.A, -strength) if is_a else (Verdict.B, strength)
    return ImportedJudgment(
        imported=imported,
        line=line,
        part=part,
        comparison=comparison,
        verdict=verdict,
        strength=strength,
        both_bad=pair.both_bad,
    )


def store_prompts(imported: Import, chunk: list[PlacedItem], placement: Placement) -> None:
    """Store the prompts of a chunk's demonstrations and questions, and the demonstrations."""
    placed = [(entry, hash_messages(entry.item.prompt)) for entry in chunk if not isinstance(entry.item, Pair)]
    slices = insert_slices(imported.project, {name_slice(entry, placement) for entry, _ in placed})
    prompts = {
        sha: Prompt(
            project=imported.project,
            messages=entry.item.prompt,
            content_sha=sha,
            group=sha[:32],
            slice=slices.get(name_slice(entry, placement)),
        )
        for entry, sha in placed
    }
    ids = insert_prompts(imported.project, prompts)
    examples = [(entry.line, ids[sha], entry.item.text) for entry, sha in placed if isinstance(entry.item, Example)]
    completions = insert_completions([(prompt_id, text) for _, prompt_id, text in examples])
    Demonstration.objects.bulk_create(
        [
            Demonstration(imported=imported, line=line, completion_id=completions[prompt_id, hash_text(text)])
            for line, prompt_id, text in examples
        ],
        ignore_conflicts=True,
    )


def insert_prompts(project: Project, prompts: dict[str, Prompt]) -> dict[str, int]:
    """Return the ids of prompts by their hash, the missing ones stored."""
    Prompt.objects.bulk_create(prompts.values(), ignore_conflicts=True)
    return dict(Prompt.objects.filter(project=project, content_sha__in=list(prompts)).values_list("content_sha", "pk"))


def insert_completions(texts: list[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return the ids of completions by prompt and hash, the missing ones stored."""
    rows = [Completion(prompt_id=prompt_id, text=text, content_sha=hash_text(text)) for prompt_id, text in texts]
    Completion.objects.bulk_create(rows, ignore_conflicts=True)
    found = Completion.objects.filter(
        prompt__in={row.prompt_id for row in rows}, content_sha__in={row.content_sha for row in rows}
    )
    return {(prompt_id, sha): pk for prompt_id, sha, pk in found.values_list("prompt_id", "content_sha", "pk")}
