"""A model small enough to train in a test, and preferences with a rule it can learn."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.contract.records import PreferenceRow, write_rows
from rlhf.learning.tokenization import train_tokenizer

# On models of this size a second thread costs more than it computes, above all beside other processes.
torch.set_num_threads(1)

GOOD = (
    "Yes, thank you, of course.",
    "With pleasure, my friend.",
    "Happy to help you today.",
    "Gladly, please sit down.",
)
BAD = ("No, go away from me now.", "I do not care at all.", "Stop asking me things.", "Silence, you are boring.")
QUESTIONS = ("Can you help me?", "May I come in?", "Is the shop open?", "Will you tell me the way to the town?")


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


def polite_pairs(n: int, *, seed: int = 0) -> list[PreferenceRow]:
    """Return n pairs in which the polite completion is chosen."""
    draw = random.Random(seed)
    return [
        PreferenceRow(
            prompt=[{"role": "user", "content": draw.choice(QUESTIONS)}],
            chosen=[{"role": "assistant", "content": f"{draw.choice(GOOD)} {draw.choice(GOOD)}"}],
            rejected=[{"role": "assistant", "content": f"{draw.choice(BAD)} {draw.choice(BAD)}"}],
        )
        for _ in range(n)
    ]


def write_pairs(run_dir: Path, *, n_train: int, n_test: int) -> None:
    """Write data/train.jsonl and data/test.jsonl of polite pairs."""
    (run_dir / "data").mkdir(parents=True, exist_ok=True)
    write_rows(run_dir / "data" / "train.jsonl", polite_pairs(n_train, seed=1))
    write_rows(run_dir / "data" / "test.jsonl", polite_pairs(n_test, seed=2))
