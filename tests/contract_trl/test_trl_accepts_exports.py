"""An exported dataset loads with `datasets` and trains with TRL's own trainers, neither told anything special."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import DatasetDict, load_dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from labeling.models import Project
from rlhf.domain.datasets.export import export_dataset
from rlhf.domain.datasets.shelf import freeze_rows

pytestmark = pytest.mark.django_db

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
ROWS = [
    {
        "prompt": [{"role": "user", "content": f"q{n}"}],
        "chosen": [{"role": "assistant", "content": f"yes {n} ü"}],
        "rejected": [{"role": "assistant", "content": "no"}],
        "margin": [1 / 3, 2 / 3, 1.0][n % 3],
        "group": f"g{n}",
        "source": "own",
    }
    for n in range(10)
]
TRAINING: dict[str, Any] = {
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "logging_steps": 1,
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": [],
    "save_strategy": "no",
    "eval_strategy": "steps",
    "eval_steps": 2,
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """One token a byte: nothing to train, nothing to download."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(SPECIAL + letters)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(params=["trl", "parquet"])
def loaded(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> DatasetDict:
    """The export of ten pairs, loaded as a stranger would."""
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    project = Project.objects.create(slug="p", name="P")
    dataset = freeze_rows(project, kind="preference", name="pairs", train=ROWS[:6], test=ROWS[6:], rule={})
    train, test, _ = export_dataset(dataset, format=request.param, path=tmp_path / "out")
    builder = "json" if request.param == "trl" else "parquet"
    files = {"train": str(train), "test": str(test)}
    return load_dataset(builder, data_files=files, cache_dir=str(tmp_path / "cache"))


def tiny_config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def logged(trainer: Any, key: str) -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def test_the_rows_come_back_as_they_were_frozen(loaded: DatasetDict) -> None:
    assert list(loaded["train"]) == ROWS[:6]
    assert list(loaded["test"]) == ROWS[6:]


def test_reward_trainer_takes_two_steps(
    loaded: DatasetDict, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**{**tiny_config(tokenizer).to_dict(), "num_labels": 1}))
    before = model.score.weight.detach().clone()
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(output_dir=str(tmp_path / "reward"), **TRAINING),
        train_dataset=loaded["train"],
        eval_dataset=loaded["test"],
        processing_class=tokenizer,
    )

    trainer.train()

    losses = logged(trainer, "loss")
    assert len(losses) == 2
    # -log s(r_chosen - r_rejected - margin) of an untrained scorer: at least log 2, more by about half the margin.
    assert all(math.log(2) < loss < 1.3 for loss in losses)
    assert len(logged(trainer, "eval_accuracy")) == 1
    assert not torch.equal(before, trainer.model.score.weight.detach())


def test_dpo_trainer_takes_two_steps(loaded: DatasetDict, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(tokenizer)).save_pretrained(tmp_path / "policy")
    trainer = DPOTrainer(
        model=str(tmp_path / "policy"),
        args=DPOConfig(output_dir=str(tmp_path / "dpo"), learning_rate=1e-3, **TRAINING),
        train_dataset=loaded["train"],
        eval_dataset=loaded["test"],
        processing_class=tokenizer,
    )

    trainer.train()

    losses = logged(trainer, "loss")
    assert len(losses) == 2
    # Policy and reference are one model before the first step.
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[1] < losses[0]
    assert len(logged(trainer, "eval_rewards/accuracies")) == 1
