"""Scoring: what each head of a reward model says of sampled completions, from data/samples.jsonl into scores.jsonl."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.score import ScoreConfig
from rlhf.contract.records import Message, ScorableRow, ScoreRow, read_rows, write_rows
from rlhf.contract.run_dir import DATA, SAMPLES, SCORES, fsync_folder
from rlhf.learning.models import find_ends, load_tokenizer
from rlhf.learning.preferences import cut_completion, fit_prompt, render_many
from rlhf.learning.reporting import HandedBack, Reporter
from rlhf.learning.reward_card import require_parity
from rlhf.learning.scorer import find_limit
from rlhf.learning.scoring import is_reward_model, load_reward_model, score_heads

ROWS_SCORED_AT_ONCE = 512


class EncodedSample(NamedTuple):
    """A prompt and its completion as ids, none where they do not fit. is_cut: whether the prompt was too long."""

    ids: list[int]
    is_cut: bool


def train(config: ScoreConfig, run_dir: Path) -> dict[str, float]:
    """Score every completion and write scores.jsonl, whole or not at all; one that leaves no room for its prompt has none.

    Returns: n_scored; n_dropped, which left no room for their prompt; n_cut, whose prompt lost something; n_heads,
    scores_per_s, score (mean over completions and heads), spread (standard deviation of the heads of a completion, mean
    over completions).
    Raises: ContractError when base_model is no reward model, no longer scores as it did when it was trained, or the file
    holds no completion; HandedBack.
    """
    rows: list[ScorableRow] = list(read_rows(run_dir / DATA / SAMPLES))
    if not rows:
        raise ContractError(f"{SAMPLES} holds no completion")
    if not is_reward_model(config.base_model):
        raise ContractError("base_model is not a reward model: name one that a reward run made")
    tokenizer = load_tokenizer(config.base_model)
    model = load_reward_model(config.base_model, tokenizer, seed=config.seed)
    require_parity(model, config.base_model)
    reporter = Reporter(run_dir, stage="scoring completions", total_steps=len(rows))
    started_s, scored, spreads, n_done, n_cut = time.monotonic(), [], [], 0, 0
    max_length = config.max_length or find_limit(config.base_model)
    remaining = iter(rows)
    while chunk := list(islice(remaining, ROWS_SCORED_AT_ONCE)):
        encoded = list(encode_samples(tokenizer, chunk, max_length=max_length))
        kept = [(row, found.ids) for row, found in zip(chunk, encoded, strict=True) if found.ids]
        n_cut += sum(bool(found.ids) and found.is_cut for found in encoded)
        scores = score_heads(model, [ids for _, ids in kept])  # (n, K)
        spreads += scores.std(1, unbiased=False).tolist()
        for (row, _), heads in zip(kept, scores.tolist(), strict=True):
            scored.append(ScoreRow(prompt_id=row["prompt_id"], index=row["index"], scores=heads))
        n_done += len(chunk)
        reporter.step(n_done)
        if reporter.stop_requested and n_done < len(rows):
            raise HandedBack(f"stopped after {n_done} of {len(rows)} completions; none were kept")
    if not scored:
        raise ContractError(f"no completion fits in max_length={max_length}; raise max_length")
    write_scores(run_dir / SCORES, scored)
    said = [score for row in scored for score in row["scores"]]
    return {
        "n_scored": float(len(scored)),
        "n_dropped": float(len(rows) - len(scored)),
        "n_cut": float(n_cut),
        "n_heads": float(model.config.num_labels),
        "scores_per_s": len(scored) / (time.monotonic() - started_s),
        "score": sum(said) / len(said),
        "spread": sum(spreads) / len(spreads),
    }


def encode_samples(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[ScorableRow], *, max_length: int
) -> Iterator[EncodedSample]:
    """Yield the ids of each prompt and completion as the reward model was trained on them.

    An unfinished completion comes without the end token, as the policy left it.
    """
    prompts = render_many(tokenizer, [row["prompt"] for row in rows], add_generation_prompt=True)
    ends = find_ends(tokenizer)
    answers = [[*row["prompt"], Message(role="assistant", content=row["text"])] for row in rows]
    for row, prompt_ids, whole in zip(rows, prompts, render_many(tokenizer, answers), strict=True):
        ids = cut_completion(whole, prompt_ids, ends=ends)
        fitted = fit_prompt(tokenizer, row["prompt"], prompt_ids, whole, room=max_length - len(ids))
        said = ids if row["finished"] else ids[:-1]
        yield EncodedSample([] if fitted is None else [*fitted, *said], is_cut=len(prompt_ids) > max_length - len(ids))


def write_scores(path: Path, scores: list[ScoreRow]) -> None:
    """Write the scores aside and rename them, so that a reader sees all of them or none."""
    part = path.with_name(f".{path.name}.part")
    write_rows(part, scores)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    fsync_folder(path.parent)
