"""Gradient checkpointing: a block keeps what enters it alone, and computes the rest again in the backward pass.

transformers' own does so in training mode, and by whatever adapter is active by then. PPO's models stay in eval mode, so
that no dropout blurs a ratio, and one trunk is policy, critic and reward model by turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from rlhf.contract.errors import ContractError
from rlhf.learning.last_layer import find_layers


def recompute_blocks(model: PreTrainedModel) -> None:
    """Let the model's blocks compute their activations twice rather than keep them, whenever a gradient is asked for.

    All but the last: its activations are the first that a backward pass needs, so nothing would be spared.

    Raises: ContractError for an architecture whose blocks are not found.
    """
    blocks = find_layers(model.base_model)
    if blocks is None:
        raise ContractError(
            f"{type(model).__name__} has no list of blocks to compute twice: set gradient_checkpointing=off"
        )
    for block in blocks[:-1]:
        block.forward = MethodType(compute_again, block)  # bound, so that a copy of the model calls its own


def compute_again(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Compute as the block's class does; with gradients, once more in the backward pass, by the same adapters."""
    forward = partial(type(self).forward, self)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(note_adapters, self), **kwargs)


def note_adapters(block: nn.Module) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Return the contexts of a block's two passes: the second computes with the adapters that are active now."""
    layers = [module for module in block.modules() if isinstance(module, LoraLayer)]
    return nullcontext(), as_noted(layers, read_adapters(layers)) if layers else nullcontext()


@contextmanager
def as_noted(layers: list[LoraLayer], noted: list[tuple[Any, bool]]) -> Iterator[None]:
    """Within this context the layers compute with the adapters that were noted."""
    before = read_adapters(layers)
    set_adapters(layers, noted)
    try:
        yield
    finally:
        set_adapters(layers, before)


def read_adapters(layers: list[LoraLayer]) -> list[tuple[Any, bool]]:
    """Return each layer's active adapters, and whether it computes without any."""
    return [(layer._active_adapter, layer._disable_adapters) for layer in layers]


def set_adapters(layers: list[LoraLayer], noted: list[tuple[Any, bool]]) -> None:
    """Let each layer compute as was noted."""
    for layer, (names, is_disabled) in zip(layers, noted, strict=True):
        layer._active_adapter, layer._disable_adapters = names, is_disabled
