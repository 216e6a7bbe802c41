"""Low-rank adapters in a model: put in, switched, saved, and at last added to the weights (LoRA, arXiv 2106.09685).

The model stays what it was, a transformers model whose matrices have become LoRA layers, so everything that reads its
trunk, its head or its configuration goes on doing so. What is published is always a whole model; the adapter lies beside it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rlhf.contract.errors import ContractError
from rlhf.contract.records import hash_lines
from rlhf.contract.run_dir import hash_file
from rlhf.contract.settings import AdapterConfig
from rlhf.learning.folded import fold
from rlhf.learning.halving import is_in_block, restore_frozen
from rlhf.learning.sharding import overwrite

ADAPTER = "policy"  # what the adapter of a run is called that has only one
FOLDER = "adapter"  # in a published model's folder
WEIGHTS = "adapter_model.safetensors"
BASE = "base.json"  # which weights the adapter stands beside
# What PEFT puts before a parameter's name, so that its own loader reads our files.
PREFIX = "base_model.model."


def add_adapter(model: PreTrainedModel, config: AdapterConfig) -> None:
    """Put a fresh adapter into the model, which adds nothing yet, and freeze the rest but a scalar head.

    Nothing happens where the configuration's lora_rank is 0.

    Raises: ContractError when the model has no matrices of the kind asked for.
    """
    if config.lora_rank:
        put_adapter(model, describe_adapter(model, config), name=ADAPTER, seed=config.seed)
        for head in find_heads(model):
            getattr(model, head).requires_grad_(True)


def describe_adapter(model: PreTrainedModel, config: AdapterConfig) -> LoraConfig:
    """Return PEFT's description of a run's adapter. Raises: ContractError."""
    targets = find_targets(model, config.lora_targets)
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=targets,
        modules_to_save=find_heads(model) or None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="SEQ_CLS" if find_heads(model) else "CAUSAL_LM",
    )


def put_adapter(model: PreTrainedModel, description: LoraConfig, *, name: str, seed: int) -> None:
    """Put one more adapter into the model under a name; its first matrix is drawn from the seed, its second is 0."""
    # modules_to_save would copy the head into the model; here the head itself learns, and is saved by that name.
    layers_alone = LoraConfig.from_peft_type(**{**description.to_dict(), "modules_to_save": None})
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several are what is wanted
        torch.manual_seed(seed)
        inject_adapter_in_model(layers_alone, model, adapter_name=name)
    fold(adapter_layers(model))
    activate(adapter_layers(model), name)


def find_targets(model: PreTrainedModel, which: str) -> list[str]:
    """Return the names by which PEFT finds the matrices of the blocks: all of them, attention's, or the mlp's.

    Raises: ContractError.
    """
    matrices = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]
    wanted = {name for name in matrices if is_in_block(name) and which in ("all", kind_of(name))}
    if not wanted:
        raise ContractError(
            f"{type(model).__name__} has no {'' if which == 'all' else which + ' '}matrices in its blocks that an adapter "
            "could be added to; choose other lora_targets, or lora_rank=0 to train the weights"
        )
    last_names = {name.rpartition(".")[2] for name in wanted}
    # Short names are how adapters are described everywhere; where one of them means other matrices too, the whole names.
    is_exact = {name for name in matrices if name.rpartition(".")[2] in last_names} == wanted
    return sorted(last_names if is_exact else wanted)


def kind_of(name: str) -> str:
    """Return which half of a block a matrix belongs to."""
    return "attention" if "attn" in name or "attention" in name else "mlp"


def find_heads(model: PreTrainedModel) -> list[str]:
    """Return the modules of a reward model that score: all beside its trunk. None for a language model."""
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return []
    return [name for name, module in model.named_children() if name != model.base_model_prefix and any_weights(module)]


def any_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def adapter_layers(model: nn.Module) -> list[LoraLayer]:
    """Return the model's LoRA layers; none means that it has no adapter."""
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


@contextmanager
def using(model: nn.Module, name: str | None) -> Iterator[None]:
    """Within this context the model computes with the named adapter, or with None as if it had none.

    PEFT's own switch makes the active adapter trainable and the others not, so that the policy would stop learning once
    the critic has been asked; and for a large model it takes as long as a forward pass. Its two fields are set here, and
    what is trained stays what was trained.
    """
    layers = adapter_layers(model)
    before = [(layer._active_adapter, layer._disable_adapters) for layer in layers]
    activate(layers, name)
    try:
        yield
    finally:
        for layer, (names, disabled) in zip(layers, before, strict=True):
            layer._active_adapter, layer._disable_adapters = names, disabled


def activate(layers: list[LoraLayer], name: str | None) -> None:
    """Let the layers compute with the named adapter, or with None as if they had none."""
    for layer in layers:
        layer._disable_adapters = name is None
        if name is not None:
            layer._active_adapter = [name]


def adapter_weights(model: nn.Module, name: str = ADAPTER, *, heads: list[str] | None = None) -> dict[str, Tensor]:
    """Return the weights of an adapter, and of heads trained with it, by the names PEFT saves them under."""
    infix = f".{name}."
    weights = {
        PREFIX + key.replace(infix, "."): value
        for key, value in model.named_parameters()
        if ".lora_" in key and infix in key
    }
    for head in heads or []:
        for key, value in getattr(model, head).named_parameters():
            weights[f"{PREFIX}{head}.{key}"] = value
    return weights


def save_adapter(model: PreTrainedModel, folder: Path, name: str = ADAPTER) -> None:
    """Write an adapter, and the heads that learned with it, into a folder that PEFT can load over the base."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = find_heads(model)
    weights = adapter_weights(model, name, heads=heads)
    save_file({key: value.detach().cpu().contiguous() for key, value in weights.items()}, folder / WEIGHTS)
    description = model.peft_config[name].to_dict() | {"modules_to_save": heads or None, "inference_mode": True}
    LoraConfig.from_peft_type(**description).save_pretrained(folder)


def load_adapter(model: PreTrainedModel, folder: Path, name: str = ADAPTER) -> None:
    """Give an adapter that is in the model, and its heads, the weights of a folder. Raises: ContractError."""
    found = load_file(folder / WEIGHTS)
    weights = adapter_weights(model, name, heads=find_heads(model))
    if found.keys() != weights.keys():
        raise ContractError(f"{folder} holds an adapter of another shape: start over in a new run directory")
    for key, parameter in weights.items():
        overwrite(parameter, found[key])


def merged_weights(model: PreTrainedModel, name: str = ADAPTER) -> dict[str, Tensor]:
    """Return the weights the model would have with an adapter merged, by the names of a plain model; it stays as it is."""
    weights = {
        key.replace(".base_layer.", "."): value for key, value in model.state_dict().items() if ".lora_" not in key
    }
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer) and name in module.lora_A:
            weights[f"{path}.weight"] = module.get_base_layer().weight.detach() + module.get_delta_weight(name).detach()
    return weights


def describe_base(folder: Path) -> dict[str, str]:
    """Return which weights a model folder holds: the hash of its safetensors, and nothing of where it lies."""
    digests = [f"{path.name} {hash_file(path)}\n".encode() for path in sorted(folder.glob("*.safetensors"))]
    return {"weights_sha256": hash_lines(digests)}


def publish_adapter(model: PreTrainedModel, folder: Path, name: str = ADAPTER) -> None:
    """Write the adapter into a folder that is being sealed, with the base it belongs to, and merge it into the model.

    Nothing happens to a model without one.
    """
    if adapter_layers(model):
        save_adapter(model, folder / FOLDER, name)
        (folder / FOLDER / BASE).write_text(json.dumps(describe_base(Path(model.name_or_path))), "utf-8")
        restore_frozen(model)
        merge_adapter(model, name)


def merge_adapter(model: PreTrainedModel, name: str = ADAPTER) -> None:
    """Add an adapter to the weights it stands beside and take all adapters out: the model is a plain one again."""
    for path, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            if name in module.lora_A:
                module.merge(adapter_names=[name])
            parent, _, last = path.rpartition(".")
            setattr(model.get_submodule(parent), last, module.get_base_layer())
    del model.peft_config
    model.requires_grad_(True)
