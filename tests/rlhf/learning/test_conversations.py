from pathlib import Path

import pytest

from rlhf.contract.errors import RecordError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.records import write_rows
from rlhf.learning.conversations import encode_row, encode_written
from rlhf.learning.models import load_tokenizer
from rlhf.learning.perplexity import load_held_out
from rlhf.learning.ptx import load_ptx

ASKED, ANSWERED = "Can you help me?", "Gladly, please sit down."
MESSAGES = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
SPELLINGS = [
    {"messages": MESSAGES},
    {"prompt": ASKED, "completion": ANSWERED},
    {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
    {"instruction": ASKED, "input": "", "output": ANSWERED},
]


def test_every_spelling_of_a_conversation_is_the_same_to_fine_tuning_beside_ppo_and_to_the_tax(
    tiny_policy: Path, tmp_path: Path
):
    tokenizer = load_tokenizer(tiny_policy)
    write_rows(tmp_path / "ptx.jsonl", SPELLINGS)
    expected = [encode_row(tokenizer, {"messages": MESSAGES}, 64)] * 4

    ptx = load_ptx(tmp_path, tokenizer, PPOConfig(ptx_coef=1.0))
    assert ptx.rows == expected
    assert ptx.counts == {"n_ptx": 4, "n_ptx_dropped": 0, "n_ptx_cut": 0, "n_ptx_cut_end": 0}
    assert load_held_out(tmp_path / "ptx.jsonl", tokenizer, max_length=64).conversations == expected
    learned = [token for token, flag in zip(expected[0].ids, expected[0].loss_mask, strict=True) if flag]
    assert tokenizer.decode(learned) == f"{ANSWERED}<|eos|>"


def test_a_text_is_learned_whole_and_a_conversation_without_an_answer_left_out(tiny_policy: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_policy)
    write_rows(tmp_path / "rows.jsonl", [{"text": ANSWERED}, {"messages": MESSAGES[:1]}])

    written = encode_written(tmp_path / "rows.jsonl", tokenizer, max_length=64)

    (text,) = written.conversations
    assert (written.n_dropped, written.n_cut, written.n_cut_end) == (1, 0, 0)
    assert tokenizer.decode(text.ids) == f"<|bos|> {ANSWERED}<|eos|>"
    assert all(text.loss_mask)


def test_what_length_costs_is_counted_of_texts_and_of_conversations(tiny_policy: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_policy)
    longer = [*MESSAGES, *MESSAGES]
    write_rows(tmp_path / "rows.jsonl", [{"text": ANSWERED}, {"messages": longer}, {"messages": MESSAGES}])
    n_short = len(encode_row(tokenizer, {"messages": MESSAGES}, 64).ids)

    whole, cut = (encode_written(tmp_path / "rows.jsonl", tokenizer, max_length=n) for n in (200, n_short - 1))

    assert (whole.n_dropped, whole.n_cut, whole.n_cut_end) == (0, 0, 0)
    assert (cut.n_dropped, cut.n_cut, cut.n_cut_end) == (0, 1, 2)
    (text,) = encode_written(tmp_path / "rows.jsonl", tokenizer, max_length=4).conversations
    assert text.lost_end


def test_a_row_that_is_neither_is_refused_by_its_line(tiny_policy: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", [{"text": ANSWERED}, {"question": ASKED}])

    with pytest.raises(RecordError, match=r"rows\.jsonl line 2: a row must have messages, prompt and completion, or"):
        encode_written(tmp_path / "rows.jsonl", load_tokenizer(tiny_policy), max_length=64)
