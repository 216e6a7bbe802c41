"""Stores a checked file in short transactions; it counts once its Import is committed, and a killed one is resumed."""

from __future__ import annotations

from pathlib import Path

from django.db import transaction
from django.db.models import Max

from labeling.domain.content import Message, hash_messages, hash_text
from labeling.domain.intake.items import Example, Item, Pair
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.intake.staging import StagedFile, chunks, read_items
from labeling.domain.pairing import Pair as ProposedPair
from labeling.domain.pairing import propose_comparisons
from labeling.models import Comparison, Completion, Demonstration, Import, ImportedJudgment, Project, Prompt, Verdict

Placed = tuple[int, int, Item]  # line, part, item


def name_source(path: Path) -> str:
    """Return the name a file's votes go by when no other is given: its name up to the first of our endings."""
    name = name_file(path)
    for ending in (".gz", ".jsonl", ".json", ".parquet"):
        name = name.removesuffix(ending)
    return name[:200]


def name_file(path: Path) -> str:
    """Return a file's name as text that every database keeps; names on disk need not be UTF-8."""
    return path.name.encode("utf-8", "replace").decode("utf-8")[:255]


def find_import(project: Project, staged: StagedFile) -> Import | None:
    """Return the project's import of this very content in this format, whatever its state."""
    return Import.objects.filter(project=project, sha256=staged.sha256, format=staged.format.name).first()


def commit_file(project: Project, staged: StagedFile, *, source: str, overlap: int = 0) -> Import:
    """Store a file that has no bad row and mark its import committed last.

    Run again after a kill it goes on where it was; run again after the end it changes nothing.
    overlap: how many people shall judge each new pair, too; 0 keeps them out of the queue.
    Raises: FileRefused when a row is bad or the file changed since it was staged.
    """
    if staged.report.n_bad:
        raise FileRefused(f"{staged.report.n_bad} rows are bad, so nothing was imported: correct them and run it again")
    found, _ = Import.objects.get_or_create(
        project=project,
        sha256=staged.sha256,
        format=staged.format.name,
        defaults={"source": source, "filename": name_file(staged.source.path), "n_rows": staged.report.n_rows},
    )
    if found.state == Import.State.COMMITTED:
        return found
    if found.source != source:
        raise FileRefused(
            f"an import of this file was begun with --source {found.source}: finish it with the same source"
        )
    stored = find_last_line(found)
    for chunk in chunks(placed for placed in read_items(staged) if placed[0] >= stored):
        with transaction.atomic():
            store_pairs(found, chunk, overlap)
            store_prompts(found, chunk)
    Import.objects.filter(pk=found.pk, state=Import.State.STAGED).update(state=Import.State.COMMITTED)
    found.refresh_from_db()
    return found


def find_last_line(imported: Import) -> int:
    """Return the last line an import got to before it was killed, or 0: transactions follow each other in its order."""
    lines = [rows.aggregate(last=Max("line"))["last"] for rows in (imported.judgments, imported.demonstrations)]
    return max(line or 0 for line in lines)


def store_pairs(imported: Import, chunk: list[Placed], overlap: int) -> None:
    """Store the pairs of a chunk as comparisons and their votes beside them."""
    pairs = [(line, part, item) for line, part, item in chunk if isinstance(item, Pair)]
    comparisons = propose_comparisons(imported.project, [to_proposal(item, overlap) for _, _, item in pairs])
    # Another file of the same source that holds the same pairs does not vote twice.
    counted = set(
        ImportedJudgment.objects.filter(comparison__in=comparisons, imported__source=imported.source)
        .exclude(imported=imported)
        .values_list("comparison", flat=True)
    )
    ImportedJudgment.objects.bulk_create(
        [
            to_vote(imported, line, part, item, comparison)
            for (line, part, item), comparison in zip(pairs, comparisons, strict=True)
            if comparison.pk not in counted
        ],
        ignore_conflicts=True,
    )


def to_proposal(pair: Pair, overlap: int) -> ProposedPair:
    """Return the pair for the queue. A is the text of the lower hash, so that nothing tells which one had won."""
    text_a, text_b = sorted((pair.better, pair.worse), key=hash_text)
    return ProposedPair(messages=pair.prompt, text_a=text_a, text_b=text_b, group=pair.group, overlap=overlap)


def to_vote(imported: Import, line: int, part: int, pair: Pair, comparison: Comparison) -> ImportedJudgment:
    verdict, strength = Verdict.TIE, 0
    if pair.strength:
        is_a = comparison.completion_a.text == pair.better
        verdict, strength = (Verdict.A, -pair.strength) if is_a else (Verdict.B, pair.strength)
    return ImportedJudgment(
        imported=imported, line=line, part=part, comparison=comparison, verdict=verdict, strength=strength
    )


def store_prompts(imported: Import, chunk: list[Placed]) -> None:
    """Store the prompts of a chunk's demonstrations and questions, and the demonstrations."""
    placed = [(line, hash_messages(item.prompt), item) for line, _, item in chunk if not isinstance(item, Pair)]
    ids = insert_prompts(imported.project, {sha: item.prompt for _, sha, item in placed})
    examples = [(line, ids[sha], item.text) for line, sha, item in placed if isinstance(item, Example)]
    completions = insert_completions([(prompt_id, text) for _, prompt_id, text in examples])
    Demonstration.objects.bulk_create(
        [
            Demonstration(imported=imported, line=line, completion_id=completions[prompt_id, hash_text(text)])
            for line, prompt_id, text in examples
        ],
        ignore_conflicts=True,
    )


def insert_prompts(project: Project, prompts: dict[str, list[Message]]) -> dict[str, int]:
    """Return the ids of prompts by their hash, the missing ones stored."""
    rows = [
        Prompt(project=project, messages=messages, content_sha=sha, group=sha[:32]) for sha, messages in prompts.items()
    ]
    Prompt.objects.bulk_create(rows, ignore_conflicts=True)
    return dict(Prompt.objects.filter(project=project, content_sha__in=list(prompts)).values_list("content_sha", "pk"))


def insert_completions(texts: list[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return the ids of completions by prompt and hash, the missing ones stored."""
    rows = [Completion(prompt_id=prompt_id, text=text, content_sha=hash_text(text)) for prompt_id, text in texts]
    Completion.objects.bulk_create(rows, ignore_conflicts=True)
    found = Completion.objects.filter(
        prompt__in={row.prompt_id for row in rows}, content_sha__in={row.content_sha for row in rows}
    )
    return {(prompt_id, sha): pk for prompt_id, sha, pk in found.values_list("prompt_id", "content_sha", "pk")}
