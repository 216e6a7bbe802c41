"""Sampling: completions of the prompts in data/prompts.jsonl into samples.jsonl."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.records import PromptRow, SampleRow, read_rows, write_rows
from rlhf.contract.run_dir import DATA, SAMPLES, fsync_folder
from rlhf.learning.generation import Rollout, generate
from rlhf.learning.models import find_stop_ids, load_policy, load_tokenizer
from rlhf.learning.reporting import HandedBack, Reporter
from rlhf.learning.tokenization import encode_prompts


def train(config: SampleConfig, run_dir: Path) -> dict[str, float]:
    """Draw `n` completions of every prompt and write samples.jsonl, whole or not at all.

    Returns: n_completions, completions_per_s, finished (share that ended by itself), n_tokens (mean of a completion),
        n_cut (prompts that were too long and lost turns).
    Raises: ContractError on an empty prompts file or a folder that is no model; HandedBack.
    """
    prompts: list[PromptRow] = list(read_rows(run_dir / DATA / "prompts.jsonl"))
    if not prompts:
        raise ContractError("prompts.jsonl holds no prompt")
    tokenizer, model = load_tokenizer(config.base_model), load_policy(config.base_model)
    prompt_ids, n_cut = encode_prompts(tokenizer, (row["prompt"] for row in prompts), config.max_prompt_tokens)
    reporter = Reporter(run_dir, stage="sampling", total_steps=len(prompts) * config.n)
    n_drawn = 0

    def report_batch(n_rollouts: int) -> None:
        nonlocal n_drawn
        n_drawn += n_rollouts
        reporter.step(n_drawn)
        if reporter.stop_requested and n_drawn < reporter.total_steps:
            raise HandedBack(f"stopped after {n_drawn} of {reporter.total_steps} completions; none were kept")

    started = time.monotonic()
    rollouts = generate(
        model,
        prompt_ids,
        n=config.n,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        stop_ids=find_stop_ids(model, tokenizer),
        seed=config.seed,
        batch_size=config.batch_size,
        on_batch=report_batch,
    )
    seconds = time.monotonic() - started
    write_samples(run_dir / SAMPLES, build_samples(prompts, rollouts, tokenizer, seed=config.seed))
    drawn = [rollout for each in rollouts for rollout in each]
    return {
        "n_completions": float(len(drawn)),
        "completions_per_s": len(drawn) / seconds,
        "finished": sum(rollout.finished for rollout in drawn) / len(drawn),
        "n_tokens": sum(len(rollout.ids) for rollout in drawn) / len(drawn),
        "n_cut": float(n_cut),
    }


def build_samples(
    prompts: list[PromptRow], rollouts: list[list[Rollout]], tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> Iterator[SampleRow]:
    """Yield the rows of samples.jsonl, by prompt, then by index."""
    for row, each in zip(prompts, rollouts, strict=True):
        for index, rollout in enumerate(each):
            yield SampleRow(
                prompt_id=row["prompt_id"],
                index=index,
                text=tokenizer.decode(rollout.ids, skip_special_tokens=True).strip(),
                n_tokens=len(rollout.ids),
                finished=rollout.finished,
                seed=seed,
            )


def write_samples(path: Path, samples: Iterator[SampleRow]) -> None:
    """Write the samples aside and rename them, so that a reader sees all of them or none."""
    part = path.with_name(f".{path.name}.part")
    write_rows(part, samples)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    fsync_folder(path.parent)
