"""A model whose weights lie in pieces in several processes (FSDP2): how it is cut up, and how pieces are read.

Source: torch's fully_shard, arXiv 2304.11277. A tensor in pieces is a DTensor; to read it whole, all processes must ask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from rlhf.learning.processes import process_count, wants_shards

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard_model(model: PreTrainedModel) -> None:
    """Cut the model's weights up among the processes, block by block, where the launcher's configuration asks for it."""
    if not wants_shards():
        return
    blocks = set(model._no_split_modules or ())
    for module in list(model.modules()):
        if type(module).__name__ in blocks:
            fully_shard(module)
    fully_shard(model)
    print(f"the weights lie in pieces in {process_count()} processes", flush=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether any of the model's weights lie in pieces."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def gather_optimizer(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's state, whole where it lies in pieces: then every process must ask, and the first gets it."""
    return get_optimizer_state_dict(model, optimizer, options=WHOLE) if is_sharded(model) else optimizer.state_dict()


def restore_optimizer(model: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer a state of `gather_optimizer`, in the pieces its weights lie in."""
    if is_sharded(model):
        set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))
    else:
        optimizer.load_state_dict(state)


def read_whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may lie in pieces as one; then every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def overwrite(parameter: Tensor, value: Tensor) -> None:
    """Give a parameter, which may lie in pieces, the values of a whole tensor."""
    parameter.copy_(cut_like(parameter, value))


def cut_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a whole tensor in the pieces that a parameter lies in, or as it is."""
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value.to(parameter.device, parameter.dtype), parameter.device_mesh, parameter.placements)
