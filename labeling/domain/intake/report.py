"""What a file holds and what is wrong with it, before anything of it is stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

N_BAD_SHOWN = 50


@dataclass
class Report:
    """The counts of one reading; n_known_* are those the project already has."""

    format: str
    unit: str = "line"
    n_rows: int = 0
    n_pairs: int = 0
    n_repeated_pairs: int = 0
    n_known_pairs: int = 0
    n_demonstrations: int = 0
    n_prompts: int = 0
    n_known_prompts: int = 0
    n_bad: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def add_bad(self, line: int, reason: str) -> None:
        """Count a bad row and keep the first ones to show."""
        self.n_rows += 1
        self.n_bad += 1
        if len(self.bad) < N_BAD_SHOWN:
            self.bad.append((line, reason))

    def to_lines(self) -> list[str]:
        """Return the report for people, one finding a line."""
        lines = [f"{self.n_rows:,} rows in the format {self.format}"]
        lines.append(f"  {self.n_prompts:,} prompts, {self.n_known_prompts:,} of them already in the project")
        if self.n_pairs:
            lines.append(f"  {self.n_pairs:,} recorded votes on pairs of completions")
            lines.append(f"  {self.n_repeated_pairs:,} votes on a pair that came earlier in the file (kept as votes)")
            lines.append(f"  {self.n_known_pairs:,} pairs already in the project")
        if self.n_demonstrations:
            lines.append(f"  {self.n_demonstrations:,} demonstrations")
        lines += [f"  left out: {n:,} {reason}" for reason, n in sorted(self.notes.items())]
        lines.append(f"  {self.n_bad:,} bad rows")
        lines += [f"    {self.unit} {line}: {reason}" for line, reason in self.bad]
        if self.n_bad > len(self.bad):
            lines.append(f"    and {self.n_bad - len(self.bad):,} more")
        return lines
