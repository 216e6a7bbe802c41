from __future__ import annotations

import hashlib

import pytest

from rlhf.contract.errors import RecordError
from rlhf.contract.records import canonical_line, hash_lines, read_conversation, read_rows, read_unpaired, write_rows


def test_one_row_has_one_spelling():
    assert canonical_line({"b": 1, "a": "ü"}) == canonical_line({"a": "ü", "b": 1}) == '{"a":"ü","b":1}\n'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_carry_is_refused(value):
    with pytest.raises(RecordError):
        canonical_line({"value": value})


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [{"text": "line\nbreak\u2028"}, {"text": ""}]

    write_rows(tmp_path / "train.jsonl", rows)

    assert list(read_rows(tmp_path / "train.jsonl")) == rows


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"text": \n')

    with pytest.raises(RecordError, match=r"train\.jsonl line 2"):
        list(read_rows(tmp_path / "train.jsonl"))


def test_the_hash_is_over_the_bytes_joined():
    assert hash_lines([b"a\n", b"b\n"]) == hashlib.sha256(b"a\nb\n").hexdigest()


ASKED, SAID = {"role": "user", "content": "May I?"}, {"role": "assistant", "content": "Yes."}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, SAID]},
        {"prompt": "May I?", "completion": "Yes."},
        {"prompt": [ASKED], "completion": [SAID]},
        {"instruction": "May I?", "output": "Yes."},
        {"instruction": "May I?", "input": "", "output": "Yes.", "text": "of other programs"},
    ],
)
def test_a_demonstration_is_read_in_each_of_its_spellings(row):
    assert read_conversation(row) == [ASKED, SAID]


def test_alpacas_input_follows_its_instruction_and_a_system_text_comes_first():
    row = {"instruction": "Translate.", "input": "Ja.", "output": "Yes.", "system": "Be brief."}

    assert read_conversation(row) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Translate.\n\nJa."},
        SAID,
    ]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        (["Yes."], "a row must be an object"),
        (
            {"question": "May I?"},
            "a row must have messages, prompt and completion, or instruction and output, got question",
        ),
        ({"messages": []}, "expected a text or a list of messages"),
        ({"messages": [{"role": "teacher", "content": "Yes."}]}, "a message must have a role"),
        ({"messages": [{"role": "user", "content": None}]}, "a message must have a role"),
        ({"instruction": ["May I?"], "output": "Yes."}, "expected a text"),
    ],
)
def test_a_row_that_is_no_demonstration_is_refused_with_the_reason(row, cause):
    with pytest.raises(RecordError, match=cause):
        read_conversation(row)


def test_a_judged_completion_is_read_alone_or_out_of_a_pair():
    good = {"prompt": [ASKED], "completion": [SAID], "label": True, "weight": 1.0}
    bad = {"prompt": [ASKED], "completion": [{"role": "assistant", "content": "No."}], "label": False, "weight": 1.0}
    pair = {"prompt": "May I?", "chosen": "Yes.", "rejected": "No."}

    assert read_unpaired({"prompt": "May I?", "completion": "Yes.", "label": True}) == [good]
    assert read_unpaired(pair) == [good, bad]
    assert read_unpaired({**pair, "target": 0.2, "weight": 2.0}) == [
        {**good, "label": False, "weight": 2.0},
        {**bad, "label": True, "weight": 2.0},
    ]
    assert read_unpaired({**pair, "target": 0.5}) == []


@pytest.mark.parametrize(
    "row", [{"prompt": "May I?"}, {"prompt": "May I?", "completion": "Yes.", "label": 1}, {"label": True}]
)
def test_a_completion_without_a_label_is_refused(row):
    with pytest.raises(
        RecordError, match="a row must have prompt, completion and label, or prompt, chosen and rejected"
    ):
        read_unpaired(row)
