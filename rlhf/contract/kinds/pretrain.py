"""The settings of pre-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import TrainingConfig, setting


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Next-token pre-training of a new model and its BPE tokenizer on data/train.jsonl ({"text": ...})."""

    kind: ClassVar[str] = "pretrain"
    needs: ClassVar[tuple[str, ...]] = ("train.jsonl", "test.jsonl")

    architecture: str = setting("llama", "Shape of the blocks.", choices=("llama", "qwen3", "gpt2"))
    vocab_size: int = setting(2048, "BPE tokens, special tokens included.", low=300, high=262144)
    hidden_size: int = setting(192, "Width of the model; a multiple of n_heads.", low=16, high=16384)
    intermediate_size: int = setting(512, "Width of the MLP.", low=16, high=65536)
    n_layers: int = setting(4, "Transformer blocks.", low=1, high=256)
    n_heads: int = setting(6, "Attention heads.", low=1, high=256)
    max_length: int = setting(128, "Tokens per packed training row.", low=8, high=131072)
    documents: str = setting(
        "joined",
        "Whether documents in one row see each other; for short texts a mask costs more than it spares.",
        choices=("joined", "apart"),
    )
    max_steps: int = setting(400, "Optimizer steps.", low=1)
    learning_rate: float = setting(3e-3, "AdamW rate of embeddings, norms and head.", above=0, high=1)
    matrix_learning_rate: float = setting(2e-2, "Muon rate of the hidden matrices.", above=0, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.n_heads or (self.hidden_size // self.n_heads) % 2:
            raise ConfigError(
                f"hidden_size must be n_heads times an even number, got {self.hidden_size} and {self.n_heads} heads"
            )
