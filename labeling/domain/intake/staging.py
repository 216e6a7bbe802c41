"""Reads a whole file before anything of it is stored: what is in it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from labeling.domain.content import hash_messages, hash_pair
from labeling.domain.errors import InvalidContent
from labeling.domain.intake.detection import Format, detect_format
from labeling.domain.intake.items import Example, Item, Pair, ParsedRow
from labeling.domain.intake.reading import LIMITS, Limits, SourceFile
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.intake.report import Report
from labeling.models import Comparison, Project, Prompt

N_ROWS_TO_DETECT = 20
CHUNK = 500  # rows a query or transaction: SQLite has one writer, and labelers wait behind it

T = TypeVar("T")


@dataclass(frozen=True)
class StagedFile:
    """A file read to its end once. The hashes find its content in a project."""

    source: SourceFile
    format: Format
    sha256: str
    report: Report
    prompt_shas: set[str]
    pair_shas: set[str]


def stage_file(path: Path, *, format: Format | None = None, limits: Limits = LIMITS) -> StagedFile:
    """Read and check every row; bad ones are in the report. format None detects it. Raises: FileRefused."""
    source = SourceFile(path, limits)
    readable = (row.value for row in source.read_rows() if not row.problem)
    format = format or detect_format(islice(readable, N_ROWS_TO_DETECT))
    report = Report(format.name)
    prompt_shas: set[str] = set()
    pair_shas: set[str] = set()
    for line, parsed in parse_rows(source, format):
        if isinstance(parsed, str):
            report.add_bad(line, parsed)
            continue
        report.n_rows += 1
        report.notes += parsed.notes
        for item in parsed.items:
            prompt_sha = hash_messages(item.prompt)
            prompt_shas.add(prompt_sha)
            if isinstance(item, Pair):
                sha = hash_pair(prompt_sha, item.better, item.worse)
                report.n_pairs += 1
                report.n_repeated_pairs += sha in pair_shas
                pair_shas.add(sha)
            report.n_demonstrations += isinstance(item, Example)
    if report.n_rows == 0:
        raise FileRefused(f"{path} has no rows")
    report.unit, report.n_prompts = source.unit, len(prompt_shas)
    return StagedFile(source, format, source.sha256, report, prompt_shas, pair_shas)


def parse_rows(source: SourceFile, format: Format) -> Iterator[tuple[int, ParsedRow | str]]:
    """Yield each row's line and what it holds, or the reason why it is refused."""
    for row in source.read_rows():
        if row.problem:
            yield row.line, row.problem
            continue
        try:
            yield row.line, format.read(row.value)
        except InvalidContent as error:
            yield row.line, str(error)


def read_items(staged: StagedFile) -> Iterator[tuple[int, int, Item]]:
    """Read the file once more and yield (line, part, item). Raises: FileRefused when it is not what was checked."""
    for line, parsed in parse_rows(staged.source, staged.format):
        if isinstance(parsed, str):
            raise FileRefused(f"{staged.source.path} changed while it was read: run the import again")
        for part, item in enumerate(parsed.items):
            yield line, part, item
    if staged.source.sha256 != staged.sha256:
        raise FileRefused(f"{staged.source.path} changed while it was read: run the import again")


def count_known(project: Project, staged: StagedFile) -> None:
    """Write into the report how much of the file the project has already."""
    staged.report.n_known_prompts = sum(
        Prompt.objects.filter(project=project, content_sha__in=shas).count() for shas in chunks(staged.prompt_shas)
    )
    staged.report.n_known_pairs = sum(
        Comparison.objects.filter(project=project, content_sha__in=shas).count() for shas in chunks(staged.pair_shas)
    )


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield the values in lists of at most CHUNK."""
    waiting = iter(values)
    while chunk := list(islice(waiting, CHUNK)):
        yield chunk
