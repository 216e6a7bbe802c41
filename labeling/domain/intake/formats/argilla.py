"""Argilla's records as JSON: fields, and responses that rank them or name the better one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.content import Message
from labeling.domain.intake.items import BINARY_STRENGTH, Item, Pair, ParsedRow, get_list, get_text
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.turns import read_messages

PROMPT_KEYS = ("prompt", "instruction", "question", "input", "context", "chat")
TIES = {"tie", "same", "equal", "draw", "both"}

Ranking = list[tuple[int, str]]  # rank, name of a completion; equal ranks are a tie


def matches(row: dict[str, Any]) -> bool:
    return isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row)


def read(row: dict[str, Any]) -> ParsedRow:
    fields, notes = row.get("fields"), Counter[str]()
    if not isinstance(fields, dict):
        raise RowRefused(_("a record must have fields"))
    key = next((key for key in PROMPT_KEYS if key in fields), None)
    if key is None:
        raise RowRefused(_("the fields have no prompt; it is looked for under %(names)s"), names=", ".join(PROMPT_KEYS))
    prompt = read_prompt(fields, key)
    texts = {normalize(name): text for name, text in fields.items() if name != key and isinstance(text, str)}
    items: list[Item] = []
    for value in read_answers(row.get("responses")):
        ranking = read_ranking(value, texts)
        if ranking is None:
            notes["answers that compare no completions"] += 1
        else:
            items += pair_ranked(prompt, ranking, texts, notes)
    if not items and {"chosen", "rejected"} <= texts.keys():
        items.append(Pair(prompt, texts["chosen"], texts["rejected"]))
    if not items:
        notes["records without a preference"] += 1
    return ParsedRow(items, notes)


def read_prompt(fields: dict[str, Any], key: str) -> list[Message]:
    if isinstance(fields[key], list):
        return read_messages(get_list(fields, key))
    return [{"role": "user", "content": get_text(fields, key)}]


def read_answers(responses: object) -> Iterator[object]:
    """Yield the value of every answer, as the second version nests them by question and the first one by person."""
    if isinstance(responses, dict):
        for answers in responses.values():
            yield from (answer["value"] for answer in answers or [] if isinstance(answer, dict) and "value" in answer)
    elif isinstance(responses, list):
        for response in responses:
            if not isinstance(response, dict) or response.get("status", "submitted") != "submitted":
                continue
            values = response.get("values")
            for answer in values.values() if isinstance(values, dict) else []:
                if isinstance(answer, dict) and "value" in answer:
                    yield answer["value"]
    elif responses is not None:
        raise RowRefused(_("responses must be an object or a list, got %(kind)s"), kind=type(responses).__name__)


def read_ranking(value: object, texts: dict[str, str]) -> Ranking | None:
    """Return who comes where, or None when the answer is about something else."""
    if isinstance(value, str):
        if normalize(value) in TIES and len(texts) == 2:
            return [(1, name) for name in texts]
        if normalize(value) in texts and len(texts) == 2:
            return [(1 if name == normalize(value) else 2, name) for name in texts]
        return None
    if not isinstance(value, list) or len(value) < 2:
        return None
    ranking: Ranking = []
    for place, entry in enumerate(value, 1):
        name, rank = (entry.get("value"), entry.get("rank")) if isinstance(entry, dict) else (entry, place)
        if not isinstance(name, str) or normalize(name) not in texts or not isinstance(rank, int):
            return None
        ranking.append((rank, normalize(name)))
    return ranking


def pair_ranked(prompt: list[Message], ranking: Ranking, texts: dict[str, str], notes: Counter[str]) -> list[Item]:
    """Return all pairs of ranked completions; rank 1 is the best."""
    pairs: list[Item] = []
    for (rank, better), (other, worse) in combinations(sorted(ranking), 2):
        if texts[better] == texts[worse]:
            notes["pairs of equal completions"] += 1
        else:
            strength = 0 if rank == other else BINARY_STRENGTH
            pairs.append(Pair(prompt, texts[better], texts[worse], strength=strength))
    return pairs


def normalize(name: str) -> str:
    """Return a name as question values and field names share it: reply-1, Reply 1 and reply_1 are one."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")
