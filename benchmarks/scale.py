"""What benchmarks of training learn with: models of random weights by size, and rows of random ids."""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from transformers.utils import logging

from benchmarks.machine import choose_device
from rlhf.domain.loads import ModelShape, forward_flops
from rlhf.learning.tokenization import train_tokenizer

VOCAB = 32_000
# Llamas by their weights, two embeddings included. Heads are 64 wide, as is usual.
SHAPES = {
    "20m": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4},
    "33m": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5, "num_attention_heads": 6},
    "100m": {"hidden_size": 640, "intermediate_size": 1728, "num_hidden_layers": 12, "num_attention_heads": 10},
    "500m": {"hidden_size": 1280, "intermediate_size": 3456, "num_hidden_layers": 21, "num_attention_heads": 20},
    "1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 17, "num_attention_heads": 32},
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Pair = dict[str, list[int]]


@dataclass(frozen=True)
class Scale:
    """How large, where, and in what precision. batch: rows, or pairs, of a step. prompt, completion: tokens at most."""

    shape: str = "20m"
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 4
    prompt: int = 128
    completion: int = 48

    @property
    def is_half(self) -> bool:
        """Whether products are in bfloat16."""
        return self.dtype == "bfloat16"

    def describe(self) -> dict[str, Any]:
        """Return the settings for a results file."""
        return {**asdict(self), "vocab_size": VOCAB}


def add_options(parser: argparse.ArgumentParser, *, shape: str, batch: int) -> None:
    """Add the options of a scale. shape, batch: the usual ones."""
    parser.add_argument("--shape", choices=SHAPES, default=shape, help="weights of the model")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes a GPU if there is one"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="precision of matrix products")
    parser.add_argument("--batch", type=int, default=batch, help="rows, pairs or completions learned from at once")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--completion", type=int, default=48, help="tokens of a completion")


def read_scale(options: argparse.Namespace) -> Scale:
    """Return the scale that was asked for."""
    device = choose_device(options.device).type
    return Scale(options.shape, device, options.dtype, options.batch, options.prompt, options.completion)


def quieten() -> None:
    """Keep the libraries' reports out of ours."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def build_tokenizer() -> Any:
    """Return a tokenizer with a padding token of its own; the rows hold ids it has never written."""
    draw = random.Random(0)
    return train_tokenizer((" ".join(draw.choices("abcdefgh", k=20)) for _ in range(50)), vocab_size=300)


TOKENIZER = build_tokenizer()


def build_model(scale: Scale, *, score: bool = False) -> Any:
    """Return a model of the benchmark where it learns, the same at every call."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCAB,
        **SHAPES[scale.shape],
        max_position_embeddings=max(2048, scale.prompt + 2 * scale.completion),
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=TOKENIZER.bos_token_id,
        num_labels=1,
    )
    return (LlamaForSequenceClassification if score else LlamaForCausalLM)(shape).to(scale.device)


def draw_pairs(n: int, scale: Scale, *, varied: bool) -> list[Pair]:
    """Return pairs of random ids, all of one length or of lengths between a quarter and the whole of it."""
    draw = random.Random(1)

    def ids(length: int) -> list[int]:
        return draw.choices(range(400, VOCAB), k=draw.randrange(length // 4, length + 1) if varied else length)

    return [
        {
            "prompt_ids": ids(scale.prompt),
            "chosen_ids": ids(scale.completion),
            "rejected_ids": ids(scale.completion),
        }
        for _ in range(n)
    ]


def count_tokens(method: str, pairs: list[Pair]) -> int:
    """Return the tokens of the rows as TRL reads them: a pair's prompt twice."""
    sides = ("chosen_ids",) if method == "sft" else ("chosen_ids", "rejected_ids")
    return sum(len(pair["prompt_ids"]) + len(pair[side]) for pair in pairs for side in sides)


def needed_flops(method: str, pairs: list[Pair], scale: Scale) -> float:
    """Return the operations of learning from rows that cannot be spared: a pair's prompt is read once, and logits are
    of completions alone. Forward once, backward twice of that; nothing that is computed again."""
    sizes = SHAPES[scale.shape]
    shape = ModelShape(
        0,
        VOCAB,
        sizes["hidden_size"],
        sizes["intermediate_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
    )
    total = 0.0
    for pair in pairs:
        n_prompt, n_chosen, n_rejected = (len(pair[side]) for side in ("prompt_ids", "chosen_ids", "rejected_ids"))
        total += forward_flops(shape, n_prompt + n_chosen, n_logits=0 if method == "reward" else n_chosen)
        if method != "sft":
            total += forward_flops(shape, n_prompt + n_rejected, n_logits=0 if method == "reward" else n_rejected)
            total -= forward_flops(shape, n_prompt)
    return 3 * total
