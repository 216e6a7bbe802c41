"""An exported dataset loads with `datasets` and trains with TRL's own trainers, neither told anything special."""

from __future__ import annotations

import math
import zipfile
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
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from labeling.models import Project
from rlhf.domain.datasets.export import export_dataset
from rlhf.domain.datasets.package import package_dataset
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.models import Dataset

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
UNPAIRED = [
    {
        "prompt": [{"role": "user", "content": "both bad?"}],
        "completion": [{"role": "assistant", "content": text}],
        "label": False,
        "group": "u",
        "split": "train",
    }
    for text in ("worse", "worst")
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


@pytest.fixture
def frozen(settings: Any, tmp_path: Path) -> Dataset:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    project = Project.objects.create(slug="p", name="P")
    parts = {"train": ROWS[:6], "test": ROWS[6:], "unpaired": UNPAIRED}
    return freeze_rows(project, kind="preference", name="pairs", rule={}, **parts)


def load(dataset: Dataset, format: str, tmp_path: Path) -> DatasetDict:
    """The export of a dataset, loaded as a stranger would."""
    train, test, _ = export_dataset(dataset, format=format, path=tmp_path / format)
    builder = "parquet" if format == "parquet" else "json"
    files = {"train": str(train), "test": str(test)}
    return load_dataset(builder, data_files=files, cache_dir=str(tmp_path / "cache"))


@pytest.fixture(params=["trl", "parquet"])
def loaded(request: pytest.FixtureRequest, frozen: Dataset, tmp_path: Path) -> DatasetDict:
    return load(frozen, request.param, tmp_path)


@pytest.fixture
def policy(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> str:
    """The folder of an untrained model."""
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(tokenizer)).save_pretrained(tmp_path / "policy")
    return str(tmp_path / "policy")


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


def test_dpo_trainer_takes_two_steps(
    loaded: DatasetDict, tokenizer: PreTrainedTokenizerBase, policy: str, tmp_path: Path
) -> None:
    trainer = DPOTrainer(
        model=policy,
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


def test_kto_trainer_takes_two_steps(
    frozen: Dataset, tokenizer: PreTrainedTokenizerBase, policy: str, tmp_path: Path
) -> None:
    rows = load(frozen, "kto", tmp_path)
    trainer = KTOTrainer(
        model=policy,
        args=KTOConfig(output_dir=str(tmp_path / "kto"), learning_rate=1e-3, **TRAINING),
        train_dataset=rows["train"],
        eval_dataset=rows["test"],
        processing_class=tokenizer,
    )

    trainer.train()

    # Six pairs, and two completions that were both bad.
    assert rows["train"]["label"] == [True, False] * 6 + [False, False]
    assert [row[0]["content"] for row in rows["train"]["completion"][-2:]] == ["worse", "worst"]
    assert rows["test"]["label"] == [True, False] * 4
    losses = logged(trainer, "loss")
    # Policy and reference are one model before the first step, so every row's value is a half.
    assert losses[0] == pytest.approx(0.5, abs=1e-3)
    assert len(losses) == 2


def test_sft_trainer_takes_two_steps(
    frozen: Dataset, tokenizer: PreTrainedTokenizerBase, policy: str, tmp_path: Path
) -> None:
    rows = load(frozen, "sft", tmp_path)
    trainer = SFTTrainer(
        model=policy,
        args=SFTConfig(output_dir=str(tmp_path / "sft"), learning_rate=1e-3, **TRAINING),
        train_dataset=rows["train"],
        eval_dataset=rows["test"],
        processing_class=tokenizer,
    )

    trainer.train()

    assert rows["train"][0]["messages"] == [*ROWS[0]["prompt"], *ROWS[0]["chosen"]]
    losses = logged(trainer, "loss")
    # An untrained model gives every one of its tokens about the same probability.
    assert losses[0] == pytest.approx(math.log(len(tokenizer)), rel=0.02)
    assert losses[1] < losses[0]


def test_the_browsers_zip_loads_with_nothing_but_its_card(frozen: Dataset, tmp_path: Path) -> None:
    with (tmp_path / "export.zip").open("w+b") as file:
        package_dataset(frozen, format="trl", split="both", target=file)
    zipfile.ZipFile(tmp_path / "export.zip").extractall(tmp_path / "unpacked")

    rows = load_dataset(str(tmp_path / "unpacked"), cache_dir=str(tmp_path / "cache"))

    assert (list(rows["train"]), list(rows["test"])) == (ROWS[:6], ROWS[6:])
