"""Pre-training: a BPE tokenizer and a model of a chosen shape from texts alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.records import read_rows
from rlhf.contract.run_dir import DATA, newest_checkpoint, write_progress
from rlhf.learning.micro_batches import cut_batch
from rlhf.learning.models import autocast, choose_attention, choose_recomputing, load_policy, pick_device, pick_dtype
from rlhf.learning.muon import Muon
from rlhf.learning.packing import IGNORED, mask_padding, pack_rows, part_documents
from rlhf.learning.processes import is_first_process
from rlhf.learning.shapes import IN_BLOCK, build_model
from rlhf.learning.sharding import shard_model
from rlhf.learning.step_batches import StepBatches
from rlhf.learning.tokenization import train_tokenizer
from rlhf.learning.training_loop import TrainingLoop

# Half the steps at the peak rate, then a straight line to nothing: most of the loss falls on that line.
HOLD_RATIO = 0.45
EVAL_BATCH_SIZE = 32


def train(config: PretrainConfig, run_dir: Path) -> dict[str, float]:
    """Train tokenizer and model from data/train.jsonl and write checkpoints/final.

    Source: Muon for the hidden matrices (Jordan et al. 2024), AdamW for embeddings, norms and head; the matrices that
    write into the residual stream start at zero, so every block begins as the identity.

    Returns: loss, grad_norm, learning_rate of the last log; eval_loss (nats a token) and eval_bits_per_byte on
        data/test.jsonl; n_parameters, vocab_size, train_tokens.
    Raises: ContractError on empty data; NonFiniteError; HandedBack.
    """
    texts, test_texts = read_texts(run_dir / DATA / "train.jsonl"), read_texts(run_dir / DATA / "test.jsonl")
    if is_first_process():
        write_progress(run_dir, stage="training the tokenizer", step=0, total_steps=config.max_steps, eta_s=None)
    tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size)
    apart_by = tokenizer.bos_token_id if config.documents == "apart" else None
    rows = pack_rows(tokenizer, texts, length=config.max_length)
    model, loop = prepare_loop(config, run_dir, tokenizer)
    dtype = pick_dtype(config.dtype, model.device)
    n_targets = (rows[:, 1:] != tokenizer.pad_token_id).sum(1)
    batches = StepBatches([config.max_length] * len(rows), batch_size=config.batch_size, seed=config.seed)

    def compute_losses(step: int) -> Iterator[Tensor]:
        drawn = batches.rows_of(step)
        for part, share in cut_batch(drawn, [config.max_length] * len(drawn), config.micro_batch_tokens):
            weight = (n_targets[part].sum() / n_targets[drawn].sum()).item() if share else 0.0
            with autocast(model.device, dtype):
                loss = next_token_loss(model, rows[part].to(model.device), pad_id=tokenizer.pad_token_id)
            yield weight * loss

    metrics = loop.run(compute_losses, rows_of=batches.rows_of)
    metrics |= evaluate(model, tokenizer, test_texts, length=config.max_length, apart_by=apart_by)
    loop.save_final()
    return metrics | {
        "n_parameters": float(model.num_parameters()),
        "vocab_size": float(len(tokenizer)),
        "train_tokens": float(config.max_steps * config.batch_size * config.max_length),
    }


def read_texts(path: Path) -> list[str]:
    """Return the texts of a JSONL file of TextRow. Raises: RecordError; ContractError when there is none."""
    texts = [row["text"] for row in read_rows(path)]
    if not texts:
        raise ContractError(f"{path.name} holds no text")
    return texts


def prepare_loop(
    config: PretrainConfig, run_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> tuple[PreTrainedModel, TrainingLoop]:
    """Return the model and its loop, new or as the newest checkpoint left them."""
    torch.manual_seed(config.seed)
    checkpoint = newest_checkpoint(run_dir)
    model = load_policy(checkpoint) if checkpoint else build_model(config, tokenizer).to(pick_device())
    choose_attention(model, longest_row=config.max_length)
    choose_recomputing(model, config.gradient_checkpointing)
    shard_model(model)
    loop = TrainingLoop(
        config,
        run_dir,
        stage="pre-training",
        model=model,
        tokenizer=tokenizer,
        optimizers=build_optimizers(model, config),
        n_steps=config.max_steps,
        hold_ratio=HOLD_RATIO,
    )
    if checkpoint:
        loop.resume(checkpoint)
    return model, loop


def build_optimizers(model: PreTrainedModel, config: PretrainConfig) -> list[Optimizer]:
    """Return Muon over the blocks' matrices and AdamW over everything else."""
    named = list(model.named_parameters())
    hidden = {name for name, parameter in named if parameter.ndim == 2 and any(part in name for part in IN_BLOCK)}
    matrices = [parameter for name, parameter in named if name in hidden]
    others = [parameter for name, parameter in named if name not in hidden]
    return [
        Muon(matrices, dtype=pick_dtype("auto", model.device), lr=config.matrix_learning_rate, weight_decay=0.0),
        AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def next_token_loss(
    model: PreTrainedModel, rows: Tensor, *, pad_id: int, reduction: str = "mean", apart_by: int | None = None
) -> Tensor:
    """Return the cross-entropy of each next token, in nats.

    Args: rows: (B, length + 1) token ids. apart_by: the start token, when documents in one row shall not see each other.
    """
    inputs = rows[:, :-1]
    known = {} if apart_by is None else part_documents(inputs, apart_by)
    logits = model(input_ids=inputs, use_cache=False, **known).logits  # (B, T, V)
    targets = mask_padding(rows[:, 1:], pad_id)
    return cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction=reduction)


@torch.no_grad()
def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    *,
    length: int,
    apart_by: int | None = None,
) -> dict[str, float]:
    """Return the loss on held-out texts, a token and a byte of them; the end tokens' bits are counted too."""
    model.eval()
    rows = pack_rows(tokenizer, texts, length=length)
    n_nats = 0.0
    for block in rows.split(EVAL_BATCH_SIZE):
        n_nats += next_token_loss(
            model, block.to(model.device), pad_id=tokenizer.pad_token_id, reduction="sum", apart_by=apart_by
        ).item()
    n_tokens = int((rows[:, 1:] != tokenizer.pad_token_id).sum())
    n_bytes = sum(len(text.encode()) for text in texts)
    return {"eval_loss": n_nats / n_tokens, "eval_bits_per_byte": n_nats / math.log(2) / n_bytes}
