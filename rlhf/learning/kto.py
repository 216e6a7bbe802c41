"""Kahneman-Tversky optimization: TRL's KTOTrainer on completions that are good or bad by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf.contract.kinds.kto import KTOConfig


def train(config: KTOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on data/train.jsonl against its start and publish it."""
    raise NotImplementedError
