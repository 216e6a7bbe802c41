"""JSON as the standard means it: no NaN, no key twice, no nesting without end."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from labeling.domain.intake.refusals import RowRefused

SPACE = re.compile(r"[ \t\n\r]*")


class StrictDecoder:
    """Decodes values and says what is wrong with those that Python would let pass."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._problems: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._build_object, parse_constant=self._refuse_constant)

    def decode(self, text: str) -> tuple[Any, str]:
        """Return the one value of a text and what is wrong with it, if anything. Raises: RowRefused."""
        text = text.rstrip(" \t\r\n")
        value, end, problem = self._decode_at(text, skip_space(text, 0))
        if end != len(text):
            raise RowRefused(f"not JSON: something follows the value at character {skip_space(text, end) + 1}")
        return value, problem

    def decode_array(self, text: str) -> Iterator[tuple[Any, str]]:
        """Yield each element of an array with its problem. Raises: RowRefused where the text stops being JSON."""
        end = skip_space(text, skip_space(text, 0) + 1)
        has_more = text[end : end + 1] != "]"
        while has_more:
            value, end, problem = self._decode_at(text, end)
            yield value, problem
            end = skip_space(text, end)
            has_more = text[end : end + 1] == ","
            if has_more:
                end = skip_space(text, end + 1)
            elif text[end : end + 1] != "]":
                raise RowRefused(f"a comma or ] is missing on line {count_lines(text, end)}")
        if skip_space(text, end + 1) != len(text):
            raise RowRefused(f"something follows the array on line {count_lines(text, end)}")

    def _decode_at(self, text: str, position: int) -> tuple[Any, int, str]:
        self._problems.clear()
        try:
            value, end = self._decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
            raise RowRefused(f"not JSON: {error.msg} at {where}") from error
        except RecursionError as error:
            raise RowRefused(f"nested deeper than {self.depth} levels") from error
        except ValueError as error:  # Python refuses to read numbers of thousands of digits
            raise RowRefused(f"not readable: {error}") from error
        if measure_depth(value) > self.depth:
            self._problems.append(f"nested deeper than {self.depth} levels")
        return value, end, "; ".join(self._problems)

    def _build_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            self._problems.append(f"the key {key!r} comes twice in one object")
        return built

    def _refuse_constant(self, name: str) -> float:
        self._problems.append(f"{name} is not JSON; use null or leave it out")
        return 0.0


def skip_space(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    return match.end() if match else position


def count_lines(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def measure_depth(value: object) -> int:
    """Return how many lists and objects lie within each other at most."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
