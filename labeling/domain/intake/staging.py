"""Reads a whole file before anything of it is stored: what is in it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.utils.translation import gettext_noop as _

from labeling.domain.content import hash_messages, hash_pair
from labeling.domain.errors import InvalidContent
from labeling.domain.identity import tells_writer
from labeling.domain.intake.detection import Format, detect_format
from labeling.domain.intake.digests import Digests
from labeling.domain.intake.items import Example, Item, Pair, ParsedRow
from labeling.domain.intake.reading import LIMITS, Limits, SourceFile
from labeling.domain.intake.refusals import FileRefused, RowRefused
from labeling.domain.intake.report import N_LOOKED, N_SAMPLED, Report
from labeling.domain.intake.tags import N_SLICES, read_tags
from labeling.models import Comparison, Project, Prompt

N_ROWS_TO_DETECT = 20
ROWS_BETWEEN_NEWS = 200
CHUNK = 500  # rows a query or transaction: SQLite has one writer, and labelers wait behind it

T = TypeVar("T")
Hear = Callable[[SourceFile], None]


@dataclass(frozen=True)
class StagedFile:
    """A file read to its end once. The hashes find its content in a project; uses_tags: its rows name their slices."""

    source: SourceFile
    format: Format
    sha256: str
    report: Report
    prompt_shas: Digests
    pair_shas: Digests
    uses_tags: bool = False


def stage_file(
    path: Path,
    *,
    format: Format | None = None,
    limits: Limits = LIMITS,
    hear_bad: Callable[[int, str], None] | None = None,
    hear_progress: Hear | None = None,
) -> StagedFile:
    """Read and check every row; bad ones are in the report. format None detects it.

    hear_bad hears of every bad row, hear_progress after every 200 rows. Raises: FileRefused.
    """
    source = SourceFile(path, limits)
    readable = (row.value for row in source.read_rows() if not row.problem)
    format = format or detect_format(islice(readable, N_ROWS_TO_DETECT))
    report = Report(format.name, hear_bad=hear_bad)
    prompt_shas, pair_shas = Digests(), Digests()
    for number, (line, parsed) in enumerate(parse_rows(source, format)):
        if hear_progress and number % ROWS_BETWEEN_NEWS == 0:
            hear_progress(source)
        if isinstance(parsed, str):
            report.add_bad(line, parsed)
        else:
            count_row(report, parsed, prompt_shas, pair_shas)
    if report.n_rows == 0:
        raise FileRefused(_("%(path)s has no rows"), path=path)
    if len(report.slices) > N_SLICES:
        report.notes[f"slices: more than {N_SLICES} names are no slices"] = report.n_tagged
        report.slices.clear()
    report.unit, report.n_prompts = source.unit, len(prompt_shas)
    return StagedFile(source, format, source.sha256, report, prompt_shas, pair_shas, uses_tags=bool(report.slices))


def count_row(report: Report, parsed: ParsedRow, prompt_shas: Digests, pair_shas: Digests) -> None:
    """Add a good row to the report, and its content to what the file has brought so far."""
    report.n_rows += 1
    report.notes += parsed.notes
    if parsed.slice_name or parsed.language:
        report.add_slice(parsed.slice_name, parsed.language)
    if len(report.sample) < N_SAMPLED:
        report.add_sample(parsed.items)
    for item in parsed.items:
        prompt_sha = hash_messages(item.prompt)
        prompt_shas.add(bytes.fromhex(prompt_sha))
        if isinstance(item, Pair):
            sha = bytes.fromhex(hash_pair(prompt_sha, item.better, item.worse))
            report.n_pairs += item.strength is not None
            report.n_unjudged += item.strength is None
            report.n_repeated_pairs += not pair_shas.add(sha)
            if report.n_pairs + report.n_unjudged <= N_LOOKED:
                report.n_telling += any(tells_writer(text, item.prompt) for text in (item.better, item.worse))
        report.n_demonstrations += isinstance(item, Example)


def parse_rows(source: SourceFile, format: Format) -> Iterator[tuple[int, ParsedRow | str]]:
    """Yield each row's line and what it holds, or the reason why it is refused."""
    for row in source.read_rows():
        if row.problem:
            yield row.line, row.problem
            continue
        try:
            parsed = format.read(row.value)
        except InvalidContent as error:
            yield row.line, error.reason if isinstance(error, RowRefused) else str(error)
            continue
        if not (parsed.slice_name or parsed.language):
            name, language = read_tags(row.value)
            parsed = replace(parsed, slice_name=name, language=language)
        yield row.line, parsed


@dataclass(frozen=True)
class PlacedItem:
    """An item, where it stands in its file, and the slice its row names."""

    line: int
    part: int
    item: Item
    slice_name: str = ""
    language: str = ""


def read_items(staged: StagedFile) -> Iterator[PlacedItem]:
    """Read the file once more and yield its items. Raises: FileRefused when it is not what was checked."""
    for line, parsed in parse_rows(staged.source, staged.format):
        if isinstance(parsed, str):
            raise FileRefused(_("%(path)s changed while it was read: run the import again"), path=staged.source.path)
        tags = (parsed.slice_name, parsed.language) if staged.uses_tags else ("", "")
        for part, item in enumerate(parsed.items):
            yield PlacedItem(line, part, item, *tags)
    if staged.source.sha256 != staged.sha256:
        raise FileRefused(_("%(path)s changed while it was read: run the import again"), path=staged.source.path)


def count_known(project: Project, staged: StagedFile) -> None:
    """Write into the report how much of the file the project has already."""
    prompts, comparisons = Prompt.objects.filter(project=project), Comparison.objects.filter(project=project)
    staged.report.n_known_prompts = count_stored(prompts, staged.prompt_shas)
    staged.report.n_known_pairs = count_stored(comparisons, staged.pair_shas)


def count_stored(rows: QuerySet[Any], shas: Digests) -> int:
    return sum(rows.filter(content_sha__in=[sha.hex() for sha in some]).count() for some in chunks(shas))


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield the values in lists of at most CHUNK."""
    waiting = iter(values)
    while chunk := list(islice(waiting, CHUNK)):
        yield chunk
