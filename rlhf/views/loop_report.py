"""The rounds of a simulated loop as a page of Markdown and a figure in SVG, both made from the figures alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from rlhf.domain.measuring import RoundFigures
from rlhf.models import Checkpoint, Round

COLUMNS = ("round", "judged", "win rate over SFT", "correct", "polite", "brief", "KL", "took", "decision")
PARTS = ("correctness", "politeness", "brevity")
WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 24, 44
EVEN = 0.5  # as good as the first policy
# Readable on white and on black: the figure is shown on both.
INK, GRID, ACCENT, BAND = "#6b7280", "#9ca3af", "#2563eb", "#2563eb"


def spell_row(row: RoundFigures) -> tuple[str, ...]:
    """Return a round's figures as the cells of COLUMNS; the parts are means over the prompts, with the change to SFT."""
    parts = [
        f"{row.win.parts[name]:+.2f} ({row.win.parts[name] - row.win.baseline_parts[name]:+.2f})" for name in PARTS
    ]
    return (
        str(row.round.number),
        str(row.n_judged),
        f"{row.win.rate:.0%} ({row.win.low:.0%} to {row.win.high:.0%})",
        *parts,
        "not measured" if row.kl is None else f"{row.kl:.2f}",
        f"{row.seconds:.0f} s",
        row.decision,
    )


def write_report(
    path: Path, rows: Sequence[RoundFigures], baseline: Checkpoint, *, command: str, n_rounds: int, seconds: float
) -> None:
    """Write the page, and beside it in images/ the figure it shows."""
    figure = path.parent / "images" / f"{path.stem}-rounds.svg"
    figure.parent.mkdir(parents=True, exist_ok=True)
    figure.write_text(draw_figure(rows), "utf-8")
    path.write_text(
        spell_page(rows, baseline, command=command, n_rounds=n_rounds, seconds=seconds, figure=figure.name), "utf-8"
    )


def spell_page(
    rows: Sequence[RoundFigures], baseline: Checkpoint, *, command: str, n_rounds: int, seconds: float, figure: str
) -> str:
    """Return the page."""
    table = "\n".join(
        "| " + " | ".join(cells) + " |" for cells in [COLUMNS, ["---"] * len(COLUMNS), *map(spell_row, rows)]
    )
    reasons = "\n".join(f"- Round {row.round.number}: {' '.join(row.round.reasons) or row.decision}" for row in rows)
    took = (
        f"The last {n_rounds} rounds took {seconds:.0f} s on {os.cpu_count()} CPU cores, from judging to queueing, process "
        "starts included."
    )
    promoted = sum(row.round.decision == Round.Decision.PROMOTED for row in rows)
    return f"""# Rounds of the demo's loop

Made by `{command}`; do not edit.
{took}
That is {spell_spent(rows[-n_rounds:], seconds)}.
{promoted} of {len(rows)} policies were promoted. Simulated labelers judged through the same door as people; the loop froze,
trained, asked its gate, sampled and queued by itself.

![Win rate over the first policy by round]({f"images/{figure}"})

Every round's policy answered the same {rows[0].win.n if rows else 0} held-out prompts as {baseline}, the policy that was only
fine-tuned. Which answer is better the demo's hidden rule says; labelers follow it with noise, models never see it. Intervals
are 95%, from a bootstrap over the prompts. Correctness, politeness and brevity are the parts of that rule, as means over the
prompts, with the change since fine-tuning in brackets.

{table}

What the gate said:

{reasons}
"""


def spell_spent(rows: Sequence[RoundFigures], seconds: float) -> str:
    """Say what the time went into, the most first."""
    spent: Counter[str] = Counter()
    for row in rows:
        spent.update(row.spent)
    said = [f"{kind} {took:.0f} s" for kind, took in spent.most_common()]
    return ", ".join([*said, f"all else {max(seconds - spent.total(), 0):.0f} s"])


def draw_figure(rows: Sequence[RoundFigures]) -> str:
    """Return an SVG of the win rate by round with its interval, and the changes of the rule's parts."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    step = (right - LEFT) / max(len(rows), 1)

    def place_x(number: int) -> float:
        return LEFT + step * (number + 0.5)

    def place_y(rate: float) -> float:
        return bottom - (bottom - TOP) * rate

    marks = [0.0, 0.25, EVEN, 0.75, 1.0]
    lines = []
    for mark in marks:
        look = 'stroke-width="1.5" stroke-dasharray="4 4"' if mark == EVEN else 'stroke-width="0.5"'
        lines += [
            f'<path d="M{LEFT} {place_y(mark):.1f}H{right}" stroke="{GRID}" {look}/>',
            f'<text x="{LEFT - 8}" y="{place_y(mark) + 4:.1f}" text-anchor="end">{mark:.0%}</text>',
        ]
    points = " ".join(f"{place_x(number):.1f},{place_y(row.win.rate):.1f}" for number, row in enumerate(rows))
    lines.append(f'<polyline points="{points}" fill="none" stroke="{ACCENT}" stroke-width="2"/>')
    for number, row in enumerate(rows):
        x, is_promoted = place_x(number), row.round.decision == Round.Decision.PROMOTED
        low, high, rate = place_y(row.win.low), place_y(row.win.high), place_y(row.win.rate)
        lines += [
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 5:.1f} {low:.1f}h10M{x - 5:.1f} {high:.1f}h10" stroke="{BAND}"/>',
            f'<circle cx="{x:.1f}" cy="{rate:.1f}" r="5" stroke="{ACCENT}" stroke-width="2" '
            f'fill="{ACCENT if is_promoted else "none"}"/>',
            f'<text x="{x + 10:.1f}" y="{rate - 8:.1f}">{row.win.rate:.0%}</text>',
            f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">round {row.round.number}</text>',
        ]
    legend = [("promoted", ACCENT), ("not promoted", "none")]
    for number, (words, fill) in enumerate(legend):
        y = TOP + 20 * number
        lines.append(
            f'<circle cx="{right + 20}" cy="{y}" r="5" stroke="{ACCENT}" stroke-width="2" fill="{fill}"/>'
            f'<text x="{right + 34}" y="{y + 4}">{words}</text>'
        )
    summary = "; ".join(f"round {row.round.number}: {row.win.rate:.0%}" for row in rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">\n'
        f"<title>Win rate over the first policy: {escape(summary)}</title>\n" + "\n".join(lines) + "\n</svg>\n"
    )
