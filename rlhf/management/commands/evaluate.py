"""Measure a reward model, or a DPO policy against its reference, on a dataset's held-out pairs."""

from __future__ import annotations

from typing import Any

from rlhf.management.commands._run_command import RunCommand


class Command(RunCommand):
    help = "Measure a checkpoint on the test split of a dataset."

    def handle(self, *args: Any, **options: Any) -> None:
        self.launch("evaluate", options)
