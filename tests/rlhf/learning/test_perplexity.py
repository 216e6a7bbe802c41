"""Perplexity against brute force, and tasks whose right answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from rlhf.contract.records import write_rows
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.perplexity import answer_tasks, compare_tasks, load_held_out, measure_tax, perplexity
from rlhf.learning.tokenization import encode_prompt
from rlhf.world.tasks import build_tasks

TEXTS = ["the ferry leaves at noon", "the tide is low", "a gull"]


@pytest.fixture
def tokenizer(tiny_policy):
    return load_tokenizer(tiny_policy)


@pytest.fixture
def policy(tiny_policy):
    return load_policy(tiny_policy)


def surprise(model, ids, start):
    """The log-probabilities of ids[start:], token by token."""
    logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return [logits[place - 1, ids[place]].item() for place in range(start, len(ids))]


def test_perplexity_of_texts_is_a_mean_over_tokens_not_over_rows(tokenizer, policy, tmp_path):
    write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])

    rows = load_held_out(tmp_path / "texts.jsonl", tokenizer, max_length=64).conversations
    found = perplexity(policy, rows, pad_id=tokenizer.pad_token_id)

    logps = [logp for row in rows for logp in surprise(policy, row.ids, 1)]
    assert found == pytest.approx(math.exp(-sum(logps) / len(logps)), rel=1e-4)


def test_of_a_demonstration_the_answer_alone_counts(tokenizer, policy, tmp_path):
    messages = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": TEXTS[1]}]
    write_rows(tmp_path / "demonstrations.jsonl", [{"messages": messages}])

    rows = load_held_out(tmp_path / "demonstrations.jsonl", tokenizer, max_length=64).conversations
    found = perplexity(policy, rows, pad_id=tokenizer.pad_token_id)

    n_prompt = len(encode_prompt(tokenizer, messages[:1], 64))
    logps = surprise(policy, rows[0].ids, n_prompt)
    assert found == pytest.approx(math.exp(-sum(logps) / len(logps)), rel=1e-4)


def test_the_tax_of_a_policy_that_did_not_change_is_nothing(tokenizer, policy, tmp_path):
    write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    write_rows(tmp_path / "tasks.jsonl", build_tasks()[:8])

    tax = measure_tax(tmp_path, tokenizer, policy=policy, reference=policy, max_length=64)

    assert tax["tax/text_rise"] == 0.0
    assert tax["tax/tasks"] == tax["tax/tasks_before"]
    assert not any("demonstrations" in name for name in tax)


def test_forgetting_shows_as_a_rise(tiny_policy, tokenizer, policy, tmp_path):
    write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    changed = load_policy(tiny_policy)
    with torch.no_grad():
        changed.model.embed_tokens.weight.mul_(8)  # surer of itself than it was, and of the wrong things

    tax = measure_tax(tmp_path, tokenizer, policy=changed, reference=policy, max_length=64)

    assert tax["tax/text_rise"] == pytest.approx(tax["tax/text_perplexity"] / tax["tax/text_before"] - 1)
    assert tax["tax/text_rise"] > 0.5


def test_a_task_is_solved_where_its_first_answer_is_the_likeliest_token_by_token(tokenizer, policy):
    prompt = [{"role": "user", "content": TEXTS[0]}]
    answers = ["a gull", "the tide is low and the ferry leaves", "noon", "low"]

    def rate(answer):
        before = encode_prompt(tokenizer, prompt, 64)
        ids = [*before, *tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        return sum(surprise(policy, ids, len(before))) / (len(ids) - len(before))

    best = max(answers, key=rate)
    tasks = [
        {"task": "x", "prompt": prompt, "answers": [best, *(each for each in answers if each != best)]},
        {"task": "x", "prompt": prompt, "answers": [*(each for each in answers if each != best), best]},
    ]

    assert answer_tasks(policy, tokenizer, tasks, 64) == [True, False]


def test_tasks_are_told_by_kind_and_together():
    found = compare_tasks(["sums", "sums", "facts"], [True, True, False], [True, False, False])

    assert found == {
        "tasks": [
            {"task": "sums", "n": 2, "before": 1.0, "after": 0.5},
            {"task": "facts", "n": 1, "before": 0.0, "after": 0.0},
        ],
        "tax/tasks_before": pytest.approx(2 / 3),
        "tax/tasks": pytest.approx(1 / 3),
    }
