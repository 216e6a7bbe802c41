"""Policy gradients without a critic: TRL's GRPOTrainer and RLOOTrainer with our rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf.contract.kinds.grpo import GRPOConfig


def train(config: GRPOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on data/prompts.jsonl against a reward model and publish it."""
    raise NotImplementedError
