import sys
from pathlib import Path

import pytest

from rlhf.contract.config import CONFIGS
from rlhf.contract.errors import ContractError
from rlhf.contract.run_dir import prepare_run_dir, read_preview
from rlhf.learning.door import train
from rlhf.learning.preview import build_preview, main, write_text, write_token
from rlhf.learning.tokenization import train_tokenizer
from tests.rlhf.learning.conftest import write_pairs
from tests.rlhf.learning.test_kto import unpaired


def prepare(run_dir: Path, base_model: Path, kind: str) -> None:
    config = CONFIGS[kind](base_model=str(base_model), max_steps=1, batch_size=2, dtype="float32")
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=4, n_test=2)
    if kind == "sft":
        text = '{"prompt": "May I come in?", "completion": "Gladly."}\n'
        (run_dir / "data" / "train.jsonl").write_text(text)


def marked(row: dict) -> str:
    return "".join(text for text, _, mark in row["tokens"] if mark)


def test_the_answer_and_its_end_are_marked(tiny_policy: Path, tmp_path: Path):
    prepare(tmp_path, tiny_policy, "sft")

    (row,) = build_preview(tmp_path)["rows"]

    texts = [text for text, _, _ in row["tokens"]]
    assert "".join(texts) == "<|bos|><|user|> May I come in?<|assistant|> Gladly.<|eos|>"
    assert marked(row) == " Gladly.<|eos|>"
    assert row["n_learned"] == sum(mark for _, _, mark in row["tokens"])


def test_a_reward_model_is_read_at_the_end_of_each_row(tiny_policy: Path, tmp_path: Path):
    prepare(tmp_path, tiny_policy, "reward")

    rows = build_preview(tmp_path)["rows"]

    assert [row["name"] for row in rows][:2] == ["pair 1, chosen", "pair 1, rejected"]
    assert {marked(row) for row in rows} == {"<|eos|>"}
    assert all(row["tokens"][-1][2] for row in rows)


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_whole_completions_are_marked(kind: str, tiny_policy: Path, tmp_path: Path):
    prepare(tmp_path, tiny_policy, kind)

    row = build_preview(tmp_path)["rows"][0]

    assert marked(row) == f" {unpaired(1, seed=1)[0]['completion'][0]['content']}<|eos|>"


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "kto"])
def test_a_run_leaves_the_preview_of_what_it_reads(kind: str, tiny_policy: Path, tmp_path: Path):
    prepare(tmp_path, tiny_policy, kind)
    expected = build_preview(tmp_path)

    train(CONFIGS[kind](base_model=str(tiny_policy), max_steps=1, batch_size=2, dtype="float32"), tmp_path)

    assert read_preview(tmp_path) == expected


def test_the_command_prints_tokens_ids_and_mask(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    prepare(tmp_path, tiny_policy, "sft")

    expected = list(write_text(build_preview(tmp_path)))
    capsys.readouterr()

    monkeypatch.setattr(sys, "argv", ["preview", str(tmp_path)])

    assert main() == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == expected
    assert "[['<|eos|>']]" in printed
    assert printed.splitlines()[-1].split()[-1] == "1"


def test_runs_that_read_no_rows_have_none(tiny_policy: Path, tmp_path: Path):
    config = CONFIGS["sample"](base_model=str(tiny_policy))
    prepare_run_dir(tmp_path, config)
    (tmp_path / "data" / "prompts.jsonl").write_text("")

    with pytest.raises(
        ContractError, match="a sample run learns from no rows; there are previews of sft, reward, dpo, kto"
    ):
        build_preview(tmp_path)


def test_part_of_a_character_is_written_as_the_vocabulary_spells_it():
    tokenizer = train_tokenizer(["a b c"], vocab_size=300)
    ids = tokenizer.encode("a ü", add_special_tokens=False)

    assert [write_token(tokenizer, token) for token in ids][-2:] == ["Ã", "¼"]
