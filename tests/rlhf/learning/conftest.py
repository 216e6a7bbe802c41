"""A model small enough to train in a test, and preferences with a rule it can learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.contract.records import write_rows
from rlhf.learning.tokenization import train_tokenizer
from tests.rlhf.learning.tiny_runs import BAD, GOOD, QUESTIONS, TinyModels, polite_pairs, write_models

# On models of this size a second thread costs more than it computes, above all beside other processes.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a house of its own: what the reference said to one is not there for the next."""
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama and a tokenizer with distinct pad and end tokens."""
    folder = tmp_path_factory.mktemp("tiny-policy")
    tokenizer = train_tokenizer([*GOOD, *BAD, *QUESTIONS], vocab_size=400)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_pairs(run_dir: Path, *, n_train: int, n_test: int) -> None:
    """Write data/train.jsonl and data/test.jsonl of polite pairs."""
    (run_dir / "data").mkdir(parents=True, exist_ok=True)
    write_rows(run_dir / "data" / "train.jsonl", polite_pairs(n_train, seed=1))
    write_rows(run_dir / "data" / "test.jsonl", polite_pairs(n_test, seed=2))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """A random policy and a random reward model over its tokens."""
    return write_models(tmp_path_factory.mktemp("models"))
