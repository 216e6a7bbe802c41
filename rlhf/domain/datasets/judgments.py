"""A project's judgments as they were made, one a row, their labelers under pseudonyms."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils.crypto import salted_hmac

from labeling.models import Comparison, Judgment, Project

CHUNK = 500  # comparisons read at a time
PSEUDONYM_CHARS = 16
BLOCK_CHARS = 2**16
# By our names, the columns of the tables they come from.
OF_COMPARISON = {
    "comparison": "pk",
    "prompt": "prompt__messages",
    "completion_a": "completion_a__text",
    "completion_b": "completion_b__text",
    "group": "prompt__group",
    "slice": "prompt__slice__name",
    "language": "prompt__slice__language",
    # Why the pair was put into the queue, where `reason` says why it was handed out: the control arm of a loop's choice.
    "proposed": "reason",
    "proposed_propensity": "propensity",
}
OF_JUDGMENT = {
    "judgment": "pk",
    "comparison": "comparison_id",
    "labeler": "labeler_id",
    "verdict": "verdict",
    "strength": "strength",
    "scale": "scale",
    "both_bad": "both_bad",
    "unsafe_a": "unsafe_a",
    "unsafe_b": "unsafe_b",
    "axes": "axes",
    "reasons": "reasons",
    "fix": "fix__completion__text",
    "a_shown_left": "a_shown_left",
    "lease": "lease_token",
    "guideline": "guideline__version",
    "reason": "reason",
    "propensity": "propensity",
    "is_conditional": "is_conditional",
    "is_extra": "is_extra",
    "is_hasty": "is_hasty",
    "revises": "revises_id",
    "is_current": "revision__pk",
    "shown_at": "shown_at",
    "submitted_at": "submitted_at",
    "active_s": "active_ms",
}
# A spreadsheet takes a cell that begins so for a formula. It may cut the text into cells at other places than we do:
# at semicolons, where the comma is the decimal point, at tabs, and at the ends of lines.
OPENING, PARTING = re.compile(r'[ "]*[=+\-@\t\r\n＝＋－＠]'), ";\t\r\n"
FORMULA = re.compile(r'(^(?=[ "]*[=+\-@\t\r\n＝＋－＠])|[;\t\r\n](?=[ "]*[=+\-@＝＋－＠]))')


def name_labeler(project: Project, user_id: int) -> str:
    """Return the pseudonym of a labeler: the same in every export of the project, and another in every other project."""
    digest = salted_hmac(f"prefloop.export.labeler.{project.pk}", str(user_id), algorithm="sha256").hexdigest()
    return f"labeler-{digest[:PSEUDONYM_CHARS]}"


def read_judgments(project: Project, *, with_notes: bool = False) -> Iterator[dict[str, Any]]:
    """Yield every judgment, comparison after comparison: revised ones, probes and late ones too, each saying what it is.

    with_notes adds what labelers wrote in their own words, which may name people.
    """
    columns = OF_JUDGMENT | ({"note": "note"} if with_notes else {})
    find_name = lru_cache(maxsize=None)(lambda user_id: name_labeler(project, user_id))
    for comparisons in read_comparisons(project):
        judgments = Judgment.objects.filter(comparison__in=list(comparisons)).order_by("comparison", "pk")
        for values in judgments.values_list(*columns.values()):
            row = dict(zip(columns, values, strict=True))
            row |= comparisons[row["comparison"]]
            row["labeler"] = find_name(row["labeler"])
            row["is_current"] = row["is_current"] is None
            row["active_s"] /= 1000
            row["lease"] = str(row["lease"]) if row["lease"] else None
            row["shown_at"], row["submitted_at"] = row["shown_at"].isoformat(), row["submitted_at"].isoformat()
            yield row


def read_comparisons(project: Project) -> Iterator[dict[int, dict[str, Any]]]:
    """Yield what the judged comparisons of a project are about, by id, a chunk at a time: memory does not grow."""
    judged = Exists(Judgment.objects.filter(comparison=OuterRef("pk")))
    rows, last = Comparison.objects.filter(judged, project=project).order_by("pk"), 0
    while chunk := list(rows.filter(pk__gt=last).values_list(*OF_COMPARISON.values())[:CHUNK]):
        found = {values[0]: dict(zip(OF_COMPARISON, values, strict=True)) for values in chunk}
        for about in found.values():
            about["slice"], about["language"] = about["slice"] or "", about["language"] or ""
        yield found
        last = chunk[-1][0]


def write_csv(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Yield the rows as blocks of CSV, a header first. It is lossy: text a spreadsheet would run gets a ' before it."""
    block = io.StringIO()
    writer = csv.writer(block, quoting=csv.QUOTE_ALL)
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([neutralize(value) for value in row.values()])
        if block.tell() > BLOCK_CHARS:
            yield block.getvalue().encode()
            block.seek(0)
            block.truncate()
    yield block.getvalue().encode()


def neutralize(value: Any) -> Any:
    """Return a value as a cell: numbers as they are, text that can do nothing."""
    if isinstance(value, (list, dict)):
        value = json.dumps(value, ensure_ascii=False)
    # Most texts hold nothing that could part them into cells: to look for that takes a tenth of the time of the pattern.
    may_run = isinstance(value, str) and (OPENING.match(value) or any(mark in value for mark in PARTING))
    return FORMULA.sub(r"\1'", value) if may_run else value
