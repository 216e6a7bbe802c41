"""Frozen matrices in bfloat16, where products are computed in it anyway: half the memory, and the very same products.

Autocast rounds a matrix of float32 before each product; a frozen one may as well be kept rounded. Norms, embeddings and head
stay as they are, and so do adapters and all else that learns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.learning.processes import cuts_weights


class HalvedLinear(nn.Linear):
    """A frozen linear layer that keeps bfloat16; outside of autocast it computes in the precision it is asked in."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output. x: (..., I). Returns: (..., O)."""
        if torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self.weight, self.bias)
        return F.linear(x, self.weight.to(x.dtype), self.bias)


def halve_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the frozen linear layers of a model's blocks in bfloat16 if that is the dtype of its products.

    Where several processes keep weights in pieces, these are to be of one precision: nothing is done.
    """
    if dtype != torch.bfloat16 or cuts_weights():
        return
    for name, module in model.named_modules():
        if type(module) is nn.Linear and is_in_block(name) and not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(dtype)
            module.__class__ = HalvedLinear


def is_in_block(name: str) -> bool:
    """Say whether a matrix is part of a numbered block, and of no adapter."""
    return any(part.isdigit() for part in name.split(".")) and ".lora_" not in name


def restore_frozen(model: PreTrainedModel) -> None:
    """Give halved layers all digits of the folder that the model was read from, before adapters are merged into them."""
    halved = {name: module for name, module in model.named_modules() if isinstance(module, HalvedLinear)}
    if not halved:
        return
    with torch.random.fork_rng():  # a head that the folder does not have is drawn, and given up
        plain = type(model).from_pretrained(
            model.name_or_path, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    for name, module in halved.items():
        found = plain.get_submodule(name.replace(".base_layer", ""))
        module.weight.data = found.weight.data.to(module.weight.device)
        module.__class__ = nn.Linear
