"""The README's map names every room and every file of the rooms where the work is done."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Rooms named as a whole: their files are one kind of thing each.
FOLDERS = {
    "labeling/api/", "labeling/forms/", "labeling/management/commands/", "labeling/migrations/", "labeling/templatetags/",
    "labeling/views/", "labeling/domain/intake/", "rlhf/contract/kinds/", "rlhf/api/", "rlhf/forms/",
    "rlhf/management/commands/", "rlhf/migrations/", "rlhf/templatetags/", "rlhf/views/", "templates/", "static/",
    "locale/", "tests/", "benchmarks/", "docs/", ".ci/",
}  # fmt: skip


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def expected_lines() -> set[str]:
    lines = set()
    for path in tracked_files():
        folder = next((folder for folder in FOLDERS if path.startswith(folder)), None)
        if folder:
            lines.add(folder)
        elif not path.endswith("__init__.py") and path not in {".gitignore", "README.md"}:
            lines.add(path)
    return lines


def map_lines() -> list[str]:
    block = (ROOT / "README.md").read_text("utf-8").split("## The map")[1].split("```")[1]
    return [line for line in block.splitlines()[1:] if line.strip()]


def test_the_map_and_the_tree_are_the_same():
    named = [line.split()[0] for line in map_lines()]

    assert sorted(named) == sorted(expected_lines())


def test_every_line_of_the_map_says_what_is_there():
    mute = [line for line in map_lines() if not re.match(r"\S+\s{2,}\S+ \S+", line)]

    assert mute == []
