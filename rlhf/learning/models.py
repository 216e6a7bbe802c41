"""Model folders, offline and without their code; and where and in what precision to compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.model_folder import check_model_folder
from rlhf.contract.settings import TuningConfig
from rlhf.learning.halving import halve_frozen
from rlhf.learning.lean import make_lean
from rlhf.learning.recomputing import recompute_blocks

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # x86, then ARM
LONGEST_EAGER_ROW = 512
LARGE_MODEL = 1_000_000_000  # weights


def load_policy(folder: str | Path, *, device: torch.device | None = None) -> PreTrainedModel:
    """Return the causal language model of a folder in float32.

    Raises: ContractError when the folder is not a model folder with safetensors weights.
    """
    check_model_folder(Path(folder))
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    return make_lean(model).to(device or pick_device())


def choose_attention(model: PreTrainedModel, *, longest_row: int) -> None:
    """Give the model the attention that trains faster where it is.

    On a CPU with AVX-512 and no AMX the backward pass of the fused kernel was seen to take three times as long as matrix
    products, until the rows are so long that the products no longer fit. With AVX2, and with AMX beside AVX-512, the fused
    kernel is the faster by a third.
    """
    if model.device.type == "cpu" and longest_row <= LONGEST_EAGER_ROW and prefers_products():
        model.set_attn_implementation("eager")


def prefers_products() -> bool:
    """Whether this CPU, by its instructions, is of those on which plain matrix products outrun the fused kernel."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_f")) and not capabilities.get("amx_tile")


def choose_recomputing(model: PreTrainedModel, setting: str) -> None:
    """Let the model compute its activations twice rather than keep them (gradient checkpointing), or not.

    `auto` does so where memory is short and a third more time is worth it: on a GPU, from a billion weights on.
    """
    is_large = model.device.type == "cuda" and model.num_parameters() >= LARGE_MODEL
    if setting == "on" or (setting == "auto" and is_large):
        recompute_blocks(model)


def spare_memory(model: PreTrainedModel, config: TuningConfig) -> None:
    """Let a model that is about to learn compute activations twice, and keep in bfloat16 what is frozen under an adapter,
    where settings say so."""
    choose_recomputing(model, config.gradient_checkpointing)
    halve_frozen(model, pick_dtype(config.dtype, model.device))


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder.

    Raises: ContractError when it has no end token, or no padding token of its own: where padding is the end token,
    the end of an answer is masked out of the loss and the model never learns to stop.
    """
    check_model_folder(Path(folder))
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if tokenizer.eos_token_id is None:
        raise ContractError(f"the tokenizer in {folder} has no eos_token; set one in its tokenizer_config.json")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ContractError(
            f"the tokenizer in {folder} has no padding token of its own; add one and save model and tokenizer again: "
            "tokenizer.add_special_tokens({'pad_token': '<|pad|>'}); model.resize_token_embeddings(len(tokenizer))"
        )
    return tokenizer


def find_stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return every token id that ends a completion: the tokenizer's, all of the generation configuration's, the template's.

    A chat template often ends the assistant's turn by a token of its own, which a base model's configuration does not name.
    """
    configured = model.generation_config.eos_token_id if model.generation_config else None
    listed = configured if isinstance(configured, list) else [configured]
    found = (*find_ends(tokenizer), *listed)
    return sorted({stop_id for stop_id in found if stop_id is not None})


def find_ends(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what ends a completion in the rows that models learn from: the template's end of a turn, then the end token."""
    turn_end = find_turn_end(tokenizer)
    return [tokenizer.eos_token_id] if turn_end is None else [turn_end, tokenizer.eos_token_id]


def find_turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the special token that the chat template puts behind the assistant's words, None if there is none."""
    if not tokenizer.chat_template:
        return None
    asked = [{"role": "user", "content": "a"}]
    opening, whole = (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=is_open)
        for messages, is_open in ((asked, True), ([*asked, {"role": "assistant", "content": "b"}], False))
    )
    if not whole.startswith(opening):
        return None
    said = tokenizer.encode(whole[len(opening) :], add_special_tokens=False)
    return next((token for token in said if token in tokenizer.all_special_ids), None)


def pick_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(setting: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: as the setting says, or for `auto` bfloat16 where it is faster.

    CPUs without bfloat16 instructions emulate it slowly. What the CPU says decides, and no stopwatch: a probe beside a
    busy neighbour gave now one answer and now the other, and a resumed run must compute as it began.
    """
    if setting != "auto":
        return torch.bfloat16 if setting == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(capabilities.get(name) for name in BFLOAT16_INSTRUCTIONS) else torch.float32


def pick_trunk_dtype(setting: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the trunks' matrix products where probabilities are compared; heads, log-probabilities and
    advantages are fp32 in any case.

    Ratios of probabilities are what such a method steers by: on a CPU `auto` does not trade their digits for speed.
    """
    return torch.float32 if setting == "auto" and device.type == "cpu" else pick_dtype(setting, device)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which forward passes compute in `dtype`; float32 needs none."""
    return torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()
