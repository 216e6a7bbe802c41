"""Rows of a Markdown table with more cells than its head: GitHub drops the rest, and who judges would not see it."""

from __future__ import annotations

import re

from markdown_it.common.utils import mdTrim
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

QUOTED = re.compile(r"^(?:\s*>)*\s*")


def keep_cells(state: StateCore) -> None:
    """Append to each row of a table the cells that its head has no column for."""
    lines = state.src.split("\n")
    kept: list[Token] = []
    n_columns, line = 0, ""
    for token in state.tokens:
        if token.type == "table_open":
            n_columns = 0
        elif token.type == "th_open":
            n_columns += 1
        elif token.type == "tr_open" and token.map:
            line = lines[token.map[0]]
        elif token.type == "tr_close":
            for text in split_cells(line)[n_columns:]:
                kept += make_cell(text)
        kept.append(token)
    state.tokens = kept


def split_cells(line: str) -> list[str]:
    """Return the cells of a row as it is written."""
    cells = [mdTrim(cell) for cell in escapedSplit(mdTrim(QUOTED.sub("", line)))]
    return cells[cells[:1] == [""] : len(cells) - (cells[-1:] == [""])]


def make_cell(text: str) -> list[Token]:
    """Return the tokens of a cell whose text is still to be read."""
    return [Token("td_open", "td", 1), Token("inline", "", 0, content=text, children=[]), Token("td_close", "td", -1)]
