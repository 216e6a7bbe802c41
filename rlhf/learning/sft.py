"""Supervised fine-tuning: the policy learns to answer as the demonstrations do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedModel

from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.run_dir import DATA, newest_checkpoint
from rlhf.learning.adapters import add_adapter
from rlhf.learning.conversations import (
    EncodedConversations,
    PackedBatch,
    build_conversation_batch,
    load_conversations,
    pack_conversations,
    packed_logits,
    require_packable,
)
from rlhf.learning.logps import CompletionBatch, completion_logps, require_compact_head, token_logps
from rlhf.learning.micro_batches import cut_batch
from rlhf.learning.models import autocast, choose_attention, load_policy, load_tokenizer, pick_dtype, spare_memory
from rlhf.learning.preview import preview_conversations, write_preview
from rlhf.learning.rates import peak_rate
from rlhf.learning.sharding import shard_model
from rlhf.learning.step_batches import StepBatches
from rlhf.learning.training_loop import TrainingLoop


def train(config: SFTConfig, run_dir: Path) -> dict[str, float]:
    """Fine-tune base_model on data/train.jsonl, loss on the assistant's turns only, and write checkpoints/final.

    Returns: loss, grad_norm, learning_rate of the last log; n_train (conversations), n_target_tokens, n_dropped, n_cut and
        n_cut_end, as `EncodedConversations` counts them.
    Raises: ContractError on a base model or rows that cannot be used; NonFiniteError; HandedBack.
    """
    torch.manual_seed(config.seed)
    checkpoint = newest_checkpoint(run_dir)
    tokenizer = load_tokenizer(config.base_model)
    model = load_policy(config.base_model if config.lora_rank or not checkpoint else checkpoint)
    add_adapter(model, config)
    spare_memory(model, config)
    train_set = load_conversations(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    conversations = train_set.conversations
    write_preview(run_dir, preview_conversations(train_set, tokenizer))
    lengths = [len(conversation.ids) for conversation in conversations]
    pad_id = tokenizer.pad_token_id
    choose_attention(model, longest_row=config.max_length if config.packs else max(lengths))
    require_compact_head(model, build_conversation_batch(conversations[:1], pad_id).to(model.device))
    if config.packs:
        require_packable(model, conversations, pad_id)
    shard_model(model)
    batches = StepBatches(lengths, batch_size=config.batch_size, seed=config.seed)
    n_targets = [sum(conversation.loss_mask[1:]) for conversation in conversations]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loop = TrainingLoop(
        config,
        run_dir,
        stage="instruction tuning",
        model=model,
        tokenizer=tokenizer,
        optimizers=[AdamW(trained, lr=peak_rate(config, model), betas=(0.9, 0.95), weight_decay=0.0)],
        n_steps=config.max_steps or math.ceil(config.epochs * batches.n_per_epoch),
    )
    if checkpoint:
        loop.resume(checkpoint)
    dtype = pick_dtype(config.dtype, model.device)

    def compute_losses(step: int) -> Iterator[Tensor]:
        rows = batches.rows_of(step)
        n_all = sum(n_targets[row] for row in rows)
        for part, share in cut_batch(rows, [lengths[row] for row in rows], config.micro_batch_tokens):
            weight = sum(n_targets[row] for row in part) / n_all if share else 0.0
            chosen = [conversations[row] for row in part]
            batch: CompletionBatch | PackedBatch = (
                pack_conversations(chosen, pad_id, length=config.max_length)
                if config.packs
                else build_conversation_batch(chosen, pad_id)
            )
            with autocast(model.device, dtype):
                loss = answer_loss(model, batch.to(model.device))
            yield weight * loss

    metrics = loop.run(compute_losses, rows_of=batches.rows_of)
    loop.save_final()
    return metrics | describe_data(train_set)


def describe_data(train_set: EncodedConversations) -> dict[str, float]:
    """Return how many conversations and tokens were learned from, and what was cut or left out."""
    n_target_tokens = sum(sum(conversation.loss_mask[1:]) for conversation in train_set.conversations)
    return {
        "n_train": float(len(train_set.conversations)),
        "n_target_tokens": float(n_target_tokens),
        "n_dropped": float(train_set.n_dropped),
        "n_cut": float(train_set.n_cut),
        "n_cut_end": float(train_set.n_cut_end),
    }


def answer_loss(model: PreTrainedModel, batch: CompletionBatch | PackedBatch) -> Tensor:
    """Return the mean cross-entropy of the assistant's tokens, in nats."""
    if isinstance(batch, PackedBatch):
        return -token_logps(packed_logits(model, batch), batch.targets).mean()
    return -completion_logps(model, batch).mean()
