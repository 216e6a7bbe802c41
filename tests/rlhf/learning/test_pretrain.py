import json
import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir, read_progress, tail_metrics, verify_sealed
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.packing import pack_rows, part_documents
from rlhf.learning.pretrain import build_optimizers, evaluate, next_token_loss, train
from rlhf.learning.shapes import build_model
from rlhf.learning.tokenization import train_tokenizer

TEXTS = [f"Number {a} and number {b} make {a + b}." for a in range(12) for b in range(12)]
SMALL = {"vocab_size": 330, "hidden_size": 32, "intermediate_size": 64, "n_layers": 2, "n_heads": 2, "max_length": 32}


def prepare(run_dir: Path, **settings) -> PretrainConfig:
    config = PretrainConfig(**{**SMALL, "batch_size": 8, "max_steps": 40, "learning_rate": 1e-2, **settings})
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "train.jsonl", [{"text": text} for text in TEXTS])
    write_rows(run_dir / "data" / "test.jsonl", [{"text": text} for text in TEXTS[::10]])
    return config


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    run_dir = tmp_path_factory.mktemp("pretrain")
    return run_dir, train(prepare(run_dir, dtype="float32", save_steps=25), run_dir)


def test_it_learns_what_the_texts_have_in_common(finished_run):
    _, metrics = finished_run

    assert metrics["eval_loss"] < 1.0 < math.log(metrics["vocab_size"])
    assert metrics["train_tokens"] == 40 * 8 * 32


def test_what_it_publishes_is_sealed_and_gives_the_loss_it_reported(finished_run):
    run_dir, metrics = finished_run
    final = run_dir / "checkpoints" / "final"
    verify_sealed(final)

    again = evaluate(load_policy(final), load_tokenizer(final), TEXTS[::10], length=32)

    assert again == {name: pytest.approx(metrics[name], abs=1e-4) for name in ("eval_loss", "eval_bits_per_byte")}
    assert sorted(path.suffix for path in final.iterdir()) == [".jinja"] + [".json"] * 5 + [".safetensors"]


def test_progress_and_metrics_reach_the_last_step(finished_run):
    run_dir, metrics = finished_run
    lines, _ = tail_metrics(run_dir, 0)

    assert read_progress(run_dir) == {"stage": "pre-training", "step": 40, "total_steps": 40, "eta_s": 0.0}
    assert lines[-1]["step"] == 40
    assert lines[-1]["values"] == {name: metrics[name] for name in ("loss", "grad_norm", "learning_rate")}


def test_a_run_taken_up_at_its_checkpoint_ends_with_the_same_bytes(finished_run, tmp_path: Path):
    run_dir, metrics = finished_run
    config = prepare(tmp_path, dtype="float32", save_steps=25)
    (run_dir / "checkpoints" / "checkpoint-25").rename(tmp_path / "checkpoints" / "checkpoint-25")

    assert train(config, tmp_path) == metrics
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (run_dir, tmp_path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_bfloat16_stays_close_to_float32(finished_run, tmp_path: Path):
    metrics = train(prepare(tmp_path, dtype="bfloat16"), tmp_path)

    assert metrics["eval_loss"] == pytest.approx(finished_run[1]["eval_loss"], abs=0.1)


def draw_ids(tokenizer: PreTrainedTokenizerBase, *shape: int) -> torch.Tensor:
    return torch.randint(6, len(tokenizer), shape, generator=torch.Generator().manual_seed(0))


def test_the_first_loss_is_that_of_knowing_nothing(tmp_path: Path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=330)
    model = build_model(prepare(tmp_path), tokenizer)

    loss = next_token_loss(model, draw_ids(tokenizer, 4, 33), pad_id=tokenizer.pad_token_id)

    assert loss.item() == pytest.approx(math.log(len(tokenizer)), abs=0.05)


def test_padding_is_not_predicted(tmp_path: Path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=330)
    model = build_model(prepare(tmp_path), tokenizer)
    row = draw_ids(tokenizer, 1, 10)
    padded = torch.cat([row, torch.full((1, 7), tokenizer.pad_token_id)], 1)

    losses = [next_token_loss(model, rows, pad_id=tokenizer.pad_token_id).item() for rows in (row, padded)]

    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_bits_per_byte_is_the_loss_in_bits_over_the_bytes(tmp_path: Path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=330)
    model = build_model(prepare(tmp_path), tokenizer)
    text = "Number 3 and number 4 make 7."
    n_tokens = len(tokenizer.encode(text, add_special_tokens=False)) + 1  # the end token is predicted too

    metrics = evaluate(model, tokenizer, [text], length=64)

    expected = metrics["eval_loss"] * n_tokens / math.log(2) / len(text)
    assert metrics["eval_bits_per_byte"] == pytest.approx(expected)


def test_muon_moves_the_hidden_matrices_and_adamw_everything_else(tmp_path: Path):
    config = prepare(tmp_path)
    model = build_model(config, train_tokenizer(TEXTS, vocab_size=330))

    muon, adamw = [
        {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for optimizer in build_optimizers(model, config)
    ]

    matrices = {id(parameter) for parameter in model.model.layers.parameters() if parameter.ndim == 2}
    assert muon == matrices
    assert adamw == {id(parameter) for parameter in model.parameters()} - matrices


def test_an_empty_corpus_is_refused(tmp_path: Path):
    config = prepare(tmp_path)
    (tmp_path / "data" / "train.jsonl").write_text("")

    with pytest.raises(ContractError, match=r"train\.jsonl holds no text"):
        train(config, tmp_path)


def test_a_row_without_text_is_named(tmp_path: Path):
    config = prepare(tmp_path)
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps({"text": "One."}) + "\n{broken\n")

    with pytest.raises(ContractError, match=r"train\.jsonl line 2"):
        train(config, tmp_path)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
@torch.no_grad()
def test_documents_apart_are_read_as_if_each_had_its_own_row(architecture: str, tmp_path: Path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=330)
    torch.manual_seed(0)
    model = build_model(prepare(tmp_path, architecture=architecture), tokenizer).eval()
    for parameter in model.parameters():
        parameter.normal_(std=0.2)
    ask = {"pad_id": tokenizer.pad_token_id, "reduction": "sum"}

    def read(texts: list[str], **how) -> float:
        return next_token_loss(model, pack_rows(tokenizer, texts, length=200), **ask, **how).item()

    # Packed, the start token of each document but the first is predicted as well, from the end token before it.
    row = pack_rows(tokenizer, TEXTS[:4], length=200)[:, :-1]
    logps = model(input_ids=row, use_cache=False, **part_documents(row, tokenizer.bos_token_id)).logits.log_softmax(-1)
    ends = (row[0, 1:] == tokenizer.bos_token_id).nonzero().squeeze(1)
    starts = -logps[0, ends, tokenizer.bos_token_id].sum().item()
    alone = sum(read([text]) for text in TEXTS[:4])
    assert len(ends) == 3
    assert read(TEXTS[:4], apart_by=tokenizer.bos_token_id) == pytest.approx(alone + starts, rel=1e-5)
    assert read(TEXTS[:4]) != pytest.approx(alone + starts, rel=1e-3)


def test_a_run_whose_documents_are_apart_learns_and_reports_bits_per_byte(tmp_path: Path):
    metrics = train(prepare(tmp_path, documents="apart", dtype="float32"), tmp_path)

    assert metrics["eval_bits_per_byte"] < 2.0
