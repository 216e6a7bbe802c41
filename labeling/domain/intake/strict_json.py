"""JSON as the standard means it: no NaN, no key twice, no nesting without end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.refusals import Reason, RowRefused
from labeling.domain.intake.window import SPACE, Window


class StrictDecoder:
    """Decodes values and says what is wrong with those that Python would let pass."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._problems: list[Reason] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._build_object, parse_constant=self._refuse_constant)

    def decode(self, text: str) -> tuple[Any, str]:
        """Return the one value of a text and what is wrong with it, if anything. Raises: RowRefused."""
        text = text.rstrip(" \t\r\n")
        value, end, problem = self._decode_at(text, skip_space(text, 0))
        if end != len(text):
            raise RowRefused(
                _("not JSON: something follows the value at character %(at)s"), at=skip_space(text, end) + 1
            )
        return value, problem

    def decode_array(self, window: Window, n_most: int) -> Iterator[tuple[Any, str]]:
        """Yield each element of an array with its problem; elements may have n_most characters, and only one is held.

        Raises: RowRefused where the text stops being JSON.
        """
        window.find_next()
        window.at += 1
        mark = "," if window.find_next() != "]" else ""
        while mark == ",":
            window.find_next()
            yield self._decode_in(window, n_most)
            mark = window.find_next()
            if mark not in (",", "]"):
                raise RowRefused(_("a comma or ] is missing on line %(line)s"), line=window.line)
            window.at += mark == ","
        window.at += 1
        line = window.line
        if window.find_next():
            raise RowRefused(_("something follows the array on line %(line)s"), line=line)

    def _decode_in(self, window: Window, n_most: int) -> tuple[Any, str]:
        """Decode the value in the window; one that stops at its end may go on beyond it."""
        while True:
            refusal, value, problem = None, None, ""
            try:
                value, end, problem = self._decode_at(window.text, window.at, window)
            except RowRefused as error:
                refusal, end = error, len(window.text)
            n_chars = end - window.at
            if refusal and n_chars > n_most:
                raise RowRefused(
                    _("%(refusal)s; a row may have %(n_most)s characters"), refusal=refusal, n_most=f"{n_most:,}"
                ) from refusal
            # Three characters more settle where a number ends: of 1e+3, Python reads the 1 until it sees the 3.
            if end + 3 <= len(window.text) or not window.read_on():
                break
        if refusal:
            raise refusal
        window.at += n_chars
        return value, problem or (
            "" if n_chars <= n_most else Reason(_("longer than %(n_most)s characters"), n_most=f"{n_most:,}")
        )

    def _decode_at(self, text: str, position: int, window: Window | None = None) -> tuple[Any, int, str]:
        self._problems.clear()
        try:
            value, end = self._decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            line = error.lineno + (window.n_lines if window else 0)
            column = error.colno + (window.n_columns if window and error.lineno == 1 else 0)
            where = f"line {line}, column {column}" if line > 1 else f"column {column}"
            raise RowRefused(_("not JSON: %(msg)s at %(where)s"), msg=error.msg, where=where) from error
        except RecursionError as error:
            raise RowRefused(_("nested deeper than %(depth)s levels"), depth=self.depth) from error
        except ValueError as error:  # Python refuses to read numbers of thousands of digits
            raise RowRefused(_("not readable: %(error)s"), error=error) from error
        if measure_depth(value) > self.depth:
            self._problems.append(Reason(_("nested deeper than %(depth)s levels"), depth=self.depth))
        return value, end, Reason.chain(self._problems) if self._problems else ""

    def _build_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            self._problems.append(Reason(_("the key %(key)s comes twice in one object"), key=repr(key)))
        return built

    def _refuse_constant(self, name: str) -> float:
        self._problems.append(Reason(_("%(name)s is not JSON; use null or leave it out"), name=name))
        return 0.0


def skip_space(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    return match.end() if match else position


def measure_depth(value: object) -> int:
    """Return how many lists and objects lie within each other at most."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
