"""What comes with a reward model: its calibration, its limits, and rows whose scores must come out the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.scoring import score_rows

CARD = "reward.json"
N_PARITY_ROWS = 20
# Scores of one row differ by rounding between batches and devices, not by more.
TOLERANCE = 2e-3


def describe_reading(tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> dict[str, Any]:
    """Return what decides which ids a text becomes: the chat template's hash, the padding token, the longest row."""
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()
    return {"template_sha256": template, "pad_token_id": tokenizer.pad_token_id, "max_length": max_length}


def draw_parity(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> list[dict[str, Any]]:
    """Return the ids and raw scores of the first rows of the pairs, for `require_parity`."""
    rows = [pair.prompt_ids + ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)][:N_PARITY_ROWS]
    scores = score_rows(model, rows).tolist()
    return [{"ids": ids, "score": score} for ids, score in zip(rows, scores, strict=True)]


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the card into a model folder that is being made."""
    (folder / CARD).write_text(json.dumps(card), "utf-8")


def read_card(folder: str | Path) -> dict[str, Any]:
    """Return a reward model's card; empty for a model that came without one."""
    path = Path(folder) / CARD
    card: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return card


def require_parity(model: PreTrainedModel, folder: str | Path) -> None:
    """Raise ContractError unless the loaded model gives its card's rows the scores it gave them when it was trained.

    A changed padding token, library or dtype otherwise shifts every reward in silence.
    """
    parity = read_card(folder).get("parity", [])
    if not parity:
        return
    expected = torch.tensor([row["score"] for row in parity])
    found = score_rows(model, [row["ids"] for row in parity])
    error = ((found - expected).abs() / (1 + expected.abs())).max().item()
    if not error <= TOLERANCE:
        raise ContractError(
            f"{folder} scores its own test rows otherwise than when it was trained (by up to {error:.2g}): its files or "
            "the libraries that read them have changed; train it again, or restore what it was trained with"
        )
