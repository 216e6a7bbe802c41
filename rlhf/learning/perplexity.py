"""What a policy has forgotten: how surprising held-out text has become, and which of a few small tasks it still does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.records import read_rows
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.conversations import EncodedConversations, build_conversation_batch, encode_written, keep_usable
from rlhf.learning.logps import completion_logps
from rlhf.learning.pair_logps import sequence_logps
from rlhf.learning.scoring import SCORING_TOKENS, evaluating
from rlhf.learning.tokenization import EncodedConversation, encode_prompt

FILES = {"text": "texts.jsonl", "demonstrations": "demonstrations.jsonl"}
TASKS = "tasks.jsonl"


def measure_tax(
    data: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    max_length: int,
) -> dict[str, Any]:
    """Return what training cost on text that it did not teach: the alignment tax.

    Returns: for text and demonstrations, where there are any, tax/NAME_perplexity of the policy, tax/NAME_before of the
        reference, tax/NAME_rise, by which share the first is higher, n_NAME_dropped and n_NAME_cut, rows that were too long
        for anything to be left of them, or for all; for tasks, rows of {task, n, before, after} and
        tax/tasks_before and tax/tasks, the shares of right answers.
    """
    found: dict[str, Any] = {}
    for name, file in FILES.items():
        written = load_held_out(data / file, tokenizer, max_length=max_length)
        if rows := written.conversations:
            before, after = (perplexity(model, rows, pad_id=tokenizer.pad_token_id) for model in (reference, policy))
            found |= {
                f"tax/{name}_perplexity": after,
                f"tax/{name}_before": before,
                f"tax/{name}_rise": after / before - 1,
                f"n_{name}_dropped": written.n_dropped,
                f"n_{name}_cut": written.n_cut + written.n_cut_end,
            }
    if (data / TASKS).exists():
        tasks = list(read_rows(data / TASKS))
        before_hits, after_hits = (answer_tasks(model, tokenizer, tasks, max_length) for model in (reference, policy))
        found |= compare_tasks([task["task"] for task in tasks], before_hits, after_hits)
    return found


def load_held_out(path: Path, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> EncodedConversations:
    """Return the rows of a file, cut to max_length tokens, with what is to be predicted of each; none without a file.

    Of a text every token is, of a conversation what the assistant wrote.
    """
    return encode_written(path, tokenizer, max_length=max_length) if path.exists() else keep_usable([])


def perplexity(model: PreTrainedModel, rows: Sequence[EncodedConversation], *, pad_id: int) -> float:
    """Return exp of the mean surprise of a token, over all tokens to be predicted of all rows."""
    total, n_tokens = 0.0, 0
    with evaluating(model):
        for part in batch_by_tokens([len(row.ids) for row in rows], SCORING_TOKENS):
            logps = read_logps(model, [rows[number] for number in part], pad_id)
            total += logps.double().sum().item()
            n_tokens += len(logps)
    return math.exp(-total / n_tokens)


def read_logps(model: PreTrainedModel, rows: list[EncodedConversation], pad_id: int) -> Tensor:
    """Return the log-probabilities of all tokens to be predicted: (N,), nats."""
    batch = build_conversation_batch(rows, pad_id).to(model.device)
    batch.completion_mask[:, 0] = False
    return completion_logps(model, batch)


def answer_tasks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[dict[str, Any]], max_length: int
) -> list[bool]:
    """Return of each task whether the model finds its first answer likelier, token by token, than any other."""
    prompts, completions = [], []
    for task in tasks:
        prompt = encode_prompt(tokenizer, task["prompt"], max_length)
        for answer in task["answers"]:
            prompts.append(prompt)
            completions.append([*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id])
    logps = sequence_logps(model, prompts, completions, pad_id=tokenizer.pad_token_id).tolist()
    means = iter([logp / len(ids) for logp, ids in zip(logps, completions, strict=True)])
    hits = []
    for task in tasks:
        right, *others = [next(means) for _ in task["answers"]]
        hits.append(right > max(others))
    return hits


def compare_tasks(names: Sequence[str], before: Sequence[bool], after: Sequence[bool]) -> dict[str, Any]:
    """Return the shares of right answers by task, and of all."""
    rows = []
    for name in dict.fromkeys(names):
        places = [place for place, task in enumerate(names) if task == name]
        shares = (sum(hits[place] for place in places) / len(places) for hits in (before, after))
        rows.append({"task": name, "n": len(places), **dict(zip(("before", "after"), shares, strict=True))})
    n = len(names)
    return {"tasks": rows, "tax/tasks_before": sum(before) / n, "tax/tasks": sum(after) / n}
