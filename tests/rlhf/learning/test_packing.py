import pytest
import torch

from rlhf.learning.packing import IGNORED, mask_padding, pack_rows, pad_right
from rlhf.learning.tokenization import train_tokenizer

TEXTS = ["Mila lives in Arnley.", "The fox lives in a den.", "2 plus 2 is 4."]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300)


@pytest.mark.parametrize("length", [8, 13, 500])
def test_every_token_but_the_first_is_predicted_once(tokenizer, length):
    rows = pack_rows(tokenizer, TEXTS, length=length)

    targets = rows[:, 1:].flatten()
    predicted = targets[targets != tokenizer.pad_token_id].tolist()
    assert rows.shape[1] == length + 1
    assert tokenizer.decode(predicted) == "<|eos|><|bos|>".join(f" {text}" for text in TEXTS).strip() + "<|eos|>"


def test_a_row_begins_with_the_token_the_row_before_ended_with(tokenizer):
    rows = pack_rows(tokenizer, TEXTS, length=8)

    assert rows[1:, 0].tolist() == rows[:-1, -1].tolist()


def test_padding_is_masked_out_of_the_targets():
    assert mask_padding(torch.tensor([[5, 0, 6], [0, 0, 7]]), 0).tolist() == [[5, IGNORED, 6], [IGNORED, IGNORED, 7]]


def test_rows_are_filled_up_on_the_right():
    assert pad_right([[1, 2, 3], [4]], fill=9).tolist() == [[1, 2, 3], [4, 9, 9]]
