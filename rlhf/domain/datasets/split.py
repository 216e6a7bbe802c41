"""Which side of the split a prompt falls on. Plain values: no database here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

TRAIN, TEST = "train", "test"


class Place(NamedTuple):
    """Where a prompt went: its split and the group that went there together."""

    split: str
    group: str


def assign_splits(prompts: Mapping[int, tuple[str, str]], *, test_share: float, seed: int) -> dict[int, Place]:
    """Return the place of every prompt, given its group and the hash of its opening turns.

    Prompts that share either are kept together, and so are those linked through others. A group's side depends on the
    seed and the group alone, so it stays where it is as data grows; only where one side would be left empty does the
    group nearest to the boundary change over.
    """
    groups = join_groups(prompts)
    draws = {group: draw_uniform(seed, group) for group in groups.values()}
    in_test = {group for group, draw in draws.items() if draw < test_share}
    if draws and len(in_test) == len(draws):
        in_test.discard(max(draws, key=lambda group: draws[group]))
    elif len(draws) > 1 and not in_test and test_share > 0:
        in_test.add(min(draws, key=lambda group: draws[group]))
    return {prompt: Place(TEST if group in in_test else TRAIN, group) for prompt, group in groups.items()}


def join_groups(prompts: Mapping[int, tuple[str, str]]) -> dict[int, str]:
    """Return each prompt's group; groups that share an opening have become one, named by the first in the alphabet."""
    parents: dict[str, str] = {}
    for group, opening in prompts.values():
        roots = find_root(parents, f"group {group}"), find_root(parents, f"opening {opening}")
        parents[max(roots)] = min(roots)
    return {
        prompt: find_root(parents, f"group {group}").removeprefix("group ") for prompt, (group, _) in prompts.items()
    }


def find_root(parents: dict[str, str], name: str) -> str:
    """Return the first name of the set a name belongs to; "group ..." precedes "opening ...", so it is a group's."""
    path = []
    while parents.get(name, name) != name:
        path.append(name)
        name = parents[name]
    for passed in path:
        parents[passed] = name
    return name


def draw_uniform(seed: int, group: str) -> float:
    """Return a number in [0, 1) that only the seed and the group decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:7], "big") / 2**56
