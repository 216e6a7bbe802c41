"""What the fork server imports before it forks its first run."""

from __future__ import annotations

import gc
import importlib

from rlhf.learning.door import METHODS

# What transformers imports lazily at the first use, and every run uses.
LAZY_MODULES = (
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
    "transformers.generation.utils",
    "transformers.integrations.sdpa_attention",
    "accelerate",
    "torch.utils._pytree",
    "torch.optim",
)


def preload() -> None:
    """Import what the runs need. No tensor is computed: a thread pool or a CUDA context would not survive the fork."""
    for name in (*LAZY_MODULES, *METHODS.values()):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the children share these pages; a collection in one of them must not touch and copy them all
