"""Models whose weights lie in pieces in several processes, made whole again to be saved."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from rlhf.learning.adapters import put_adapter
from rlhf.learning.processes import is_first_process
from rlhf.learning.sharding import WHOLE, is_sharded


def gather_model(model: PreTrainedModel) -> PreTrainedModel | None:
    """Return the model as it is without pieces, with its adapters, on the CPU of the first process; None in the others.

    Every process must take part. A model that is not cut up is returned as it is, in each of them.
    """
    if not is_sharded(model):
        return model
    weights = get_model_state_dict(model, options=WHOLE)  # empty but in the first process
    return rebuild_model(model, weights) if is_first_process() else None


def rebuild_model(model: PreTrainedModel, weights: dict[str, Tensor]) -> PreTrainedModel:
    """Return a model of the same class and adapters of whole weights, to save and not to compute with."""
    plain_class = next(each for each in type(model).__mro__ if not issubclass(each, FSDPModule))
    with torch.device("meta"):
        plain: PreTrainedModel = plain_class(model.config)  # type: ignore[assignment]
        for name, description in getattr(model, "peft_config", {}).items():
            put_adapter(plain, description, name=name, seed=0)
    plain.load_state_dict(weights, strict=True, assign=True)
    plain.tie_weights()
    if model.can_generate():
        plain.generation_config = model.generation_config
    plain.name_or_path = model.name_or_path
    return plain
