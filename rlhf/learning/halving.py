"""Frozen matrices in bfloat16, where products are computed in it anyway: half the memory, and the very same products.

Autocast rounds a matrix of float32 before each product; a frozen one may as well be kept rounded. Norms, embeddings and head
stay as they are, and so do adapters and all else that learns. What is measured and published in float32 has all digits back.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
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
    if find_halved(model):
        leave_file(model)


def leave_file(model: nn.Module) -> None:
    """Let go of the file that a model on a CPU is mapped from: what is left in it, a norm, would keep all of it in memory."""
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.dtype != torch.bfloat16:
            parameter.data = parameter.data.clone()


def is_in_block(name: str) -> bool:
    """Say whether a matrix is part of a numbered block, and of no adapter."""
    return any(part.isdigit() for part in name.split(".")) and ".lora_" not in name


def restore_frozen(model: PreTrainedModel) -> None:
    """Give halved layers all digits of the folder that the model was read from, before adapters are merged into them or
    the model is asked outside of autocast.

    Matrix by matrix, so that no second model is held; a folder that calls them otherwise is read as a whole.
    """
    halved = {name.replace(".base_layer", ""): module for name, module in find_halved(model)}
    files = list_tensors(Path(model.name_or_path)) if halved else {}
    missing = {name: module for name, module in halved.items() if not restore_layer(module, f"{name}.weight", files)}
    if not missing:
        return
    with torch.random.fork_rng():  # a head that the folder does not have is drawn, and given up
        plain = type(model).from_pretrained(
            model.name_or_path, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    for name, module in missing.items():
        give_digits(module, plain.get_submodule(name).weight.data)


def find_halved(model: nn.Module) -> list[tuple[str, HalvedLinear]]:
    """Return the halved layers of a model with their names."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, HalvedLinear)]


def list_tensors(folder: Path) -> dict[str, Path]:
    """Return which of a folder's files holds each of its tensors."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def restore_layer(layer: HalvedLinear, key: str, files: dict[str, Path]) -> bool:
    """Give a layer the tensor of a key, if there is one that rounds to what the layer holds, and say so."""
    if key not in files:
        return False
    with safe_open(files[key], "pt") as file:  # opened anew each time: what was read of a mapped file counts as memory
        whole = file.get_tensor(key).to(layer.weight.device, torch.float32, copy=True)
    if whole.shape != layer.weight.shape or not torch.equal(whole.to(layer.weight.dtype), layer.weight):
        return False
    give_digits(layer, whole)
    return True


def give_digits(layer: HalvedLinear, weight: Tensor) -> None:
    """Make a halved layer a plain one again."""
    layer.weight.data = weight.to(layer.weight.device)
    layer.__class__ = nn.Linear
