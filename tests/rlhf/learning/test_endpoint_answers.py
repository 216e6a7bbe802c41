import math

import pytest

from rlhf.contract.errors import ContractError
from rlhf.learning.endpoint_answers import Answer, read_answer, read_retry_after


def answer(logprobs: object = None, *, content: object = "A", usage: object = None) -> dict:
    return {"choices": [{"message": {"content": content}, "logprobs": logprobs}], "usage": usage}


def listed(*items: object) -> dict:
    return {"content": [{"top_logprobs": list(items)}]}


def test_an_answer_is_read_whole():
    told = answer(listed({"token": "A", "logprob": -0.5}, {"token": "B", "logprob": -1}), usage={"total_tokens": 7})

    assert read_answer(told) == Answer("A", {"A": -0.5, "B": -1.0}, 7)


@pytest.mark.parametrize(
    "logprobs",
    [
        [1],
        "x",
        {"content": []},
        {"content": [1]},
        listed(1),
        listed({"token": "A", "logprob": None}),
        listed({"token": "A", "logprob": True}),
        listed({"token": "A", "logprob": 1e6}),
        listed({"token": "A", "logprob": 10**400}),
        listed({"token": "A", "logprob": math.nan}),
        listed({"token": "A", "logprob": -math.inf}),
        listed({"token": None, "logprob": -1.0}),
        listed({"token": "B", "logprob": -1.0}, {"token": "A", "logprob": math.nan}),
    ],
)
def test_probabilities_that_cannot_be_are_not_trusted(logprobs):
    assert read_answer(answer(logprobs)) == Answer("A", {}, 0)


@pytest.mark.parametrize(
    "usage", ["x", [1], {"total_tokens": "7"}, {"total_tokens": -1}, {"total_tokens": 1e300}, {"total_tokens": 10**12}]
)
def test_a_cost_that_cannot_be_is_not_counted(usage):
    assert read_answer(answer(usage=usage)).n_tokens == 0


@pytest.mark.parametrize(("content", "text"), [(["A"], ""), (None, ""), (1, ""), ("A \ud800", "A \ufffd")])
def test_a_text_is_one_that_can_be_written_down(content, text):
    assert read_answer(answer(content=content)).content == text


@pytest.mark.parametrize("told", [[1], "x", None, {}, {"choices": []}, {"choices": ["x"]}, {"choices": [{}]}])
def test_what_is_no_answer_of_the_kind_is_named(told):
    with pytest.raises(ContractError, match="is it OpenAI-compatible"):
        read_answer(told)


@pytest.mark.parametrize(("text", "wait_s"), [("2", 2.0), ("-1", 0.0), ("1e9", 30.0), ("nan", 0.0), ("soon", 0.0)])
def test_a_wait_is_within_bounds(text, wait_s):
    assert read_retry_after(text) == wait_s
