"""Supervised fine-tuning: the policy learns to answer as the demonstrations do."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.records import read_rows
from rlhf.contract.run_dir import DATA, newest_checkpoint
from rlhf.learning.adapters import add_adapter
from rlhf.learning.logps import CompletionBatch, completion_logps, require_compact_head
from rlhf.learning.models import autocast, choose_attention, choose_recomputing, load_policy, load_tokenizer, pick_dtype
from rlhf.learning.packing import pad_right
from rlhf.learning.step_batches import StepBatches
from rlhf.learning.tokenization import EncodedConversation, encode_conversation
from rlhf.learning.training_loop import TrainingLoop


def train(config: SFTConfig, run_dir: Path) -> dict[str, float]:
    """Fine-tune base_model on data/train.jsonl, loss on the assistant's turns only, and write checkpoints/final.

    Returns: loss, grad_norm, learning_rate of the last log; n_train (conversations), n_target_tokens.
    Raises: ContractError on a base model or rows that cannot be used; NonFiniteError; HandedBack.
    """
    torch.manual_seed(config.seed)
    checkpoint = newest_checkpoint(run_dir)
    tokenizer = load_tokenizer(config.base_model)
    model = load_policy(config.base_model if config.lora_rank or not checkpoint else checkpoint)
    add_adapter(model, config)
    choose_recomputing(model, config.gradient_checkpointing)
    conversations = load_conversations(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    lengths = [len(conversation.ids) for conversation in conversations]
    choose_attention(model, longest_row=max(lengths))
    require_compact_head(model, build_conversation_batch(conversations[:1], tokenizer.pad_token_id).to(model.device))
    batches = StepBatches(lengths, batch_size=config.batch_size, seed=config.seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loop = TrainingLoop(
        config,
        run_dir,
        stage="instruction tuning",
        model=model,
        tokenizer=tokenizer,
        optimizers=[AdamW(trained, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)],
        n_steps=config.max_steps or math.ceil(config.epochs * batches.n_per_epoch),
    )
    if checkpoint:
        loop.resume(checkpoint)
    dtype = pick_dtype(config.dtype, model.device)

    def compute_loss(step: int) -> Tensor:
        batch = build_conversation_batch([conversations[row] for row in batches.rows_of(step)], tokenizer.pad_token_id)
        with autocast(model.device, dtype):
            return answer_loss(model, batch.to(model.device))

    metrics = loop.run(compute_loss, rows_of=batches.rows_of)
    loop.save_final()
    n_target_tokens = sum(sum(conversation.loss_mask) for conversation in conversations)
    return metrics | {"n_train": float(len(conversations)), "n_target_tokens": float(n_target_tokens)}


def load_conversations(path: Path, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> list[EncodedConversation]:
    """Return the conversations of a JSONL file of DemonstrationRow.

    A conversation in which no word of the assistant is left after the cut teaches nothing and is left out.

    Raises: RecordError; ContractError when none is left.
    """
    encoded = [encode_conversation(tokenizer, row["messages"], max_length) for row in read_rows(path)]
    usable = [conversation for conversation in encoded if any(conversation.loss_mask[1:])]
    if not usable:
        raise ContractError(
            f"{path.name}: no conversation has an answer within max_length={max_length}; raise max_length"
        )
    return usable


def build_conversation_batch(conversations: list[EncodedConversation], pad_id: int) -> CompletionBatch:
    """Return the conversations padded on the right; the assistant's tokens are what is to be predicted."""
    input_ids = pad_right([conversation.ids for conversation in conversations], fill=pad_id)  # (B, T)
    mask = pad_right([[int(flag) for flag in conversation.loss_mask] for conversation in conversations], fill=0).bool()
    mask[:, 0] = False  # nothing stands before the first token to predict it
    return CompletionBatch(input_ids, mask)


def answer_loss(model: PreTrainedModel, batch: CompletionBatch) -> Tensor:
    """Return the mean cross-entropy of the assistant's tokens, in nats."""
    return -completion_logps(model, batch).mean()
