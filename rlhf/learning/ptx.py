"""PPO-ptx: a fine-tuning loss beside the reward, so that a policy that chases a reward does not forget what it knew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import PTX
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.conversations import EncodedConversations, encode_written
from rlhf.learning.logps import CompletionBatch
from rlhf.learning.packing import pad_right
from rlhf.learning.processes import share_of
from rlhf.learning.step_batches import StepBatches


class PtxRows:
    """Which rows a step of PPO learns to write besides, as a function of the step's number alone.

    Args: written: rows, each with at least one token to learn, and what their length cost. pad_id: fills them on the right.
    Source: InstructGPT, arXiv 2203.02155 eq. 2; here the mean over the batch's tokens, weighted by ptx_coef.
    """

    def __init__(self, written: EncodedConversations, config: PPOConfig, *, pad_id: int) -> None:
        self.rows = rows = written.conversations
        self.counts = {
            "n_ptx": len(rows),
            "n_ptx_dropped": written.n_dropped,
            "n_ptx_cut": written.n_cut,
            "n_ptx_cut_end": written.n_cut_end,
        }
        self.pad_id = pad_id
        self.micro_batch_tokens = config.micro_batch_tokens
        lengths = [len(row.ids) for row in rows]
        self.batches = StepBatches(lengths, batch_size=config.ptx_batch_size, seed=config.seed)

    def count_tokens(self, step: int) -> int:
        """Return how many tokens a step learns to write, all processes together."""
        return sum(sum(self.rows[row].loss_mask[1:]) for row in self.batches.rows_of(step))

    def batches_of(self, step: int) -> Iterator[CompletionBatch]:
        """Yield this process's part of a step's rows in micro-batches."""
        mine = [self.rows[row] for row in share_of(self.batches.rows_of(step))]
        for part in batch_by_tokens([len(row.ids) for row in mine], self.micro_batch_tokens):
            ids = pad_right([mine[number].ids for number in part], fill=self.pad_id)
            mask = pad_right([[int(flag) for flag in mine[number].loss_mask] for number in part], fill=0).bool()
            mask[:, 0] = False  # nothing stands before the first token to predict it
            yield CompletionBatch(ids, mask)


def load_ptx(run_dir_data: Path, tokenizer: PreTrainedTokenizerBase, config: PPOConfig) -> PtxRows | None:
    """Return the rows of data/ptx.jsonl that a run can come to, None without a ptx_coef.

    Raises: ContractError when the file is missing or holds nothing to learn from; RecordError.
    """
    if not config.ptx_coef:
        return None
    path = run_dir_data / PTX
    if not path.exists():
        raise ContractError(
            f"ptx_coef needs {PTX}, rows of conversations or text; add it to the run's data or set ptx_coef=0"
        )
    among = draw_lines(path, n_needed(config), seed=config.seed)
    written = encode_written(path, tokenizer, max_length=config.ptx_max_length, among=among)
    if not written.conversations:
        raise ContractError(
            f"{PTX}: no row has anything to learn within ptx_max_length={config.ptx_max_length}; raise it"
        )
    return PtxRows(written, config, pad_id=tokenizer.pad_token_id)


def n_needed(config: PPOConfig) -> int:
    """Return how many rows a run comes to when none comes twice."""
    return config.rollouts * config.ppo_epochs * config.num_minibatches * config.ptx_batch_size


def draw_lines(path: Path, n: int, *, seed: int) -> set[int] | None:
    """Return the numbers of n lines of a file, from 1 on, drawn by chance; None where it has no more.

    Of a pretraining corpus a run comes to few rows: to encode the demo's thirty thousand takes four seconds.
    """
    with path.open("rb") as file:
        n_lines = sum(1 for _ in file)
    return None if n_lines <= n else set(random.Random(seed).sample(range(1, n_lines + 1), n))
