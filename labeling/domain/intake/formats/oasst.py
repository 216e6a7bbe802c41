"""OpenAssistant's message trees: a row a tree; sibling replies of the assistant that people ranked become pairs."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.content import Message
from labeling.domain.intake.items import BINARY_STRENGTH, Item, Pair, ParsedRow, get_text
from labeling.domain.intake.refusals import RowRefused

ROLE_OF = {"prompter": "user", "assistant": "assistant"}


def matches(row: dict[str, Any]) -> bool:
    return "message_tree_id" in row and "prompt" in row


def read(row: dict[str, Any]) -> ParsedRow:
    group, root, notes = get_text(row, "message_tree_id"), row.get("prompt"), Counter[str]()
    if row.get("tree_state") != "ready_for_export":
        return ParsedRow([], Counter({"trees that are not ready_for_export": 1}))
    items: list[Item] = []
    waiting: list[tuple[list[Message], list[Any]]] = [([], [root])]
    while waiting:
        path, siblings = waiting.pop()
        kept = [sibling for sibling in siblings if not read_node(sibling).get("deleted")]
        notes["deleted messages"] += len(siblings) - len(kept)
        items += pair_siblings(path, kept, group, notes)
        for node in kept:
            replies = node.get("replies") or []
            if not isinstance(replies, list):
                raise RowRefused(_("replies must be a list, got %(kind)s"), kind=type(replies).__name__)
            if replies:
                message: Message = {"role": ROLE_OF[node["role"]], "content": get_text(node, "text")}
                waiting.append(([*path, message], replies))
    return ParsedRow(items, +notes)


def read_node(node: object) -> dict[str, Any]:
    if not isinstance(node, dict) or node.get("role") not in tuple(ROLE_OF):
        raise RowRefused(_("a message of the tree must have the role prompter or assistant"))
    return node


def pair_siblings(path: list[Message], siblings: list[Any], group: str, notes: Counter[str]) -> list[Item]:
    """Return all pairs of ranked assistant replies to `path`; rank 0 is the best."""
    replies = [node for node in siblings if node["role"] == "assistant"]
    ranked = [node for node in replies if isinstance(node.get("rank"), int)]
    notes["replies without a rank"] += len(replies) - len(ranked)
    ranked.sort(key=lambda node: int(node["rank"]))
    pairs: list[Item] = []
    for better, worse in combinations(ranked, 2):
        texts = get_text(better, "text"), get_text(worse, "text")
        if texts[0] == texts[1]:
            notes["pairs of equal replies"] += 1
            continue
        strength = 0 if better["rank"] == worse["rank"] else BINARY_STRENGTH
        pairs.append(Pair(path, *texts, strength=strength, group=group))
    return pairs
