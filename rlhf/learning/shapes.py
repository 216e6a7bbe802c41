"""Fresh causal language models by architecture and size, every block starting as the identity."""

from __future__ import annotations

from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.learning.lean import make_lean

# Room for conversations longer than the rows it was trained on.
MAX_POSITIONS = 2048
# The matrices of a block that write into the residual stream, and the part of a parameter's name that says "in a block".
RESIDUAL_WRITERS = ("self_attn.o_proj", "mlp.down_proj", "attn.c_proj", "mlp.c_proj")
IN_BLOCK = (".layers.", ".h.")


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return a fresh model on the CPU whose blocks add nothing yet.

    Source: zero-initialised residual branches, "Fixup", arXiv 1901.09321.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_config(describe_shape(config, tokenizer))
    for name, module in model.named_modules():
        if name.endswith(RESIDUAL_WRITERS):
            nn.init.zeros_(module.weight)
    return make_lean(model)


def describe_shape(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """Return the transformers configuration of the architecture and sizes asked for."""
    tokens = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }
    n_positions = max(MAX_POSITIONS, config.max_length)
    if config.architecture == "gpt2":
        return GPT2Config(
            **tokens,
            n_positions=n_positions,
            n_embd=config.hidden_size,
            n_inner=config.intermediate_size,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    sizes = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_heads,
        "max_position_embeddings": n_positions,
    }
    if config.architecture == "qwen3":
        return Qwen3Config(**tokens, **sizes, head_dim=config.hidden_size // config.n_heads)
    return LlamaConfig(**tokens, **sizes)
