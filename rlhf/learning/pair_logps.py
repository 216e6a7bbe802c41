"""Log-probabilities that a policy gives to the two completions of each pair, computed once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.logps import build_batch, completion_logps, sum_rows
from rlhf.learning.models import autocast, load_policy
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.reporting import HandedBack, Reporter
from rlhf.learning.scoring import SCORING_TOKENS, evaluating


def pair_logps(
    policy: Any,
    pairs: Sequence[EncodedPair],
    *,
    pad_id: int,
    dtype: torch.dtype = torch.float32,
    reporter: Reporter | None = None,
) -> Tensor:
    """Return log pi(y|x) of the completions: (n, 2) fp32 on the CPU, chosen then rejected, nats.

    Args: as of `sequence_logps`; the reporter is told the completions done, of 2n.
    Raises: HandedBack, when the reporter was asked to stop.
    """
    prompts, completions = list_sides(pairs)
    return sequence_logps(policy, prompts, completions, pad_id=pad_id, dtype=dtype, reporter=reporter).view(-1, 2)


def list_sides(pairs: Sequence[EncodedPair]) -> tuple[list[list[int]], list[list[int]]]:
    """Return prompts and completions of all pairs, each chosen before its rejected: 2n of both."""
    prompts = [pair.prompt_ids for pair in pairs for _ in range(2)]
    return prompts, [ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]


@torch.no_grad()
def sequence_logps(
    policy: Any,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    *,
    pad_id: int,
    dtype: torch.dtype = torch.float32,
    reporter: Reporter | None = None,
) -> Tensor:
    """Return log pi(y|x) of each completion after its prompt: (n,) fp32 on the CPU, nats.

    Args:
        dtype: precision of the trunk's matrix products; a reference is computed as the policy will be.
        reporter: is told the completions done, of n.
    Raises: HandedBack, when the reporter was asked to stop.
    """
    lengths = [len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True)]
    logps = torch.zeros(len(prompts))
    n_done = 0
    with evaluating(policy), autocast(policy.device, dtype):
        for rows in batch_by_tokens(lengths, SCORING_TOKENS):
            batch = build_batch([prompts[row] for row in rows], [completions[row] for row in rows], pad_id=pad_id)
            batch = batch.to(policy.device)
            logps[rows] = sum_rows(completion_logps(policy, batch), batch.lengths).cpu()
            n_done += len(rows)
            if reporter is not None:
                report_batch(reporter, n_done)
    return logps


def report_batch(reporter: Reporter, n_done: int) -> None:
    """Tell how many completions are done. Raises: HandedBack when asked to stop: there is nothing to save yet."""
    reporter.step(n_done)
    if reporter.stop_requested:
        raise HandedBack(f"stopped after {n_done} of {reporter.total_steps} reference log-probabilities")


def pair_logratios(policy: str | Path, reference: str | Path, pairs: Sequence[EncodedPair], *, pad_id: int) -> Tensor:
    """Return log pi(y|x) - log ref(y|x) of two model folders, computed in fp32: (n, 2), chosen then rejected, nats."""
    logps = pair_logps(load_policy(policy), pairs, pad_id=pad_id)  # (n, 2)
    return logps - pair_logps(load_policy(reference), pairs, pad_id=pad_id)
