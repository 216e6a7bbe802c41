"""A score of words and likelihood is its formula, however rows are put together, and comes back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlhf.contract.errors import ContractError
from rlhf.contract.model_folder import SCORER_FILE
from rlhf.domain import weighing
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.scoring import SCORING_TOKENS, is_reward_model, load_reward_model, score_heads
from rlhf.learning.token_scorer import (
    N_BUCKETS,
    N_FIGURES,
    SURETY_UNIT,
    UNIT,
    WEIGHTS,
    TokenScorer,
    find_starts,
    read_opening,
)
from rlhf.learning.tokenization import encode_prompt

PROMPT = [{"role": "user", "content": "where is the tea"}]
N_HEADS = 2


@pytest.fixture
def tokenizer(tiny_policy: Path):
    return load_tokenizer(tiny_policy)


@pytest.fixture
def scorer(tiny_policy: Path, tokenizer) -> TokenScorer:
    """A scorer that has something to say of every token."""
    found = TokenScorer(load_policy(tiny_policy), opening=read_opening(tokenizer), n_heads=N_HEADS)
    found.config.pad_token_id = tokenizer.pad_token_id
    generator = torch.Generator().manual_seed(5)
    for weights in (found.words, found.likelihood, found.bias):
        weights.data.copy_(torch.randn(weights.shape, generator=generator))
    return found.eval()


def say_by_hand(scorer: TokenScorer, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Return the score of one row, token by token."""
    with torch.no_grad():
        logps = scorer.policy(input_ids=torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    predicting = logps[len(prompt) - 1 : -1]  # (C, V)
    each = [row[token].item() for row, token in zip(predicting, completion, strict=True)]
    expected = [(row.exp() * row).sum().item() for row in predicting]
    surety = sum(max(0.0, said - usual) for said, usual in zip(each, expected, strict=True))
    figures = torch.tensor([sum(each) / len(each), sum(each) / UNIT, min(each), len(each) / UNIT, surety / SURETY_UNIT])
    words = sum(scorer.words.detach()[:, token] for token in set(completion))
    return words + scorer.likelihood.detach() @ figures + scorer.bias.detach()


def test_a_score_is_the_sum_of_its_different_words_and_the_figures_of_its_likelihood(scorer, tokenizer):
    prompt = encode_prompt(tokenizer, PROMPT, 64)
    completions = [[30, 31, 32, 30], [40, tokenizer.eos_token_id], [50]]

    scores = score_heads(scorer, [prompt + ids for ids in completions])

    expected = torch.stack([say_by_hand(scorer, prompt, ids) for ids in completions])
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_an_estimate_counts_what_is_read():
    assert (weighing.WORDS, weighing.READ_AT_ONCE) == (N_BUCKETS + N_FIGURES, SCORING_TOKENS)


def test_weights_of_words_that_counted_each_time_are_refused(scorer, tokenizer, tmp_path):
    scorer.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / SCORER_FILE).write_text(json.dumps({"opening": scorer.opening}))

    with pytest.raises(ContractError, match="counted as often as it came: train it again"):
        load_reward_model(tmp_path, tokenizer, seed=1)


def test_weights_of_other_figures_are_refused(scorer, tokenizer, tmp_path):
    scorer.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    described = json.loads((tmp_path / SCORER_FILE).read_text()) | {
        "figures": ["mean", "sum", "least", "surety", "length"]
    }
    (tmp_path / SCORER_FILE).write_text(json.dumps(described))

    with pytest.raises(ContractError, match="length, surety: train it again"):
        load_reward_model(tmp_path, tokenizer, seed=1)


def test_weights_from_before_surety_score_as_they_did(scorer, tokenizer, tmp_path):
    rows = [encode_prompt(tokenizer, PROMPT, 64) + ids for ids in ([30, 31], [32])]
    scorer.likelihood.data[:, -1] = 0
    expected = score_heads(scorer, rows)
    scorer.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    own = load_file(tmp_path / WEIGHTS)
    save_file(own | {"likelihood": own["likelihood"][:, :-1].contiguous()}, tmp_path / WEIGHTS)
    described = json.loads((tmp_path / SCORER_FILE).read_text())
    (tmp_path / SCORER_FILE).write_text(json.dumps({name: described[name] for name in ("opening", "counts")}))

    found = load_reward_model(tmp_path, tokenizer, seed=1)

    torch.testing.assert_close(score_heads(found, rows), expected, atol=0, rtol=0)


def test_a_row_scores_alone_what_it_scores_among_longer_ones(scorer, tokenizer):
    prompt = encode_prompt(tokenizer, PROMPT, 64)
    rows = [prompt + ids for ids in ([30], [31, 32, 33, 34, 35, 36], [37, 38])]

    torch.testing.assert_close(
        score_heads(scorer, rows), torch.cat([score_heads(scorer, [row]) for row in rows]), atol=1e-5, rtol=1e-5
    )


def test_what_was_asked_counts_for_nothing_but_how_likely_it_makes_the_answer(scorer, tokenizer):
    scorer.likelihood.data.zero_()
    asked = [
        encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in ("where is the tea", "hello")
    ]

    one, other = score_heads(scorer, [[*prompt, 30, 31] for prompt in asked])

    torch.testing.assert_close(one, other)


def test_an_answer_begins_behind_the_last_opening_of_its_row():
    rows = torch.tensor([[1, 9, 8, 5, 9, 8, 6, 7], [1, 2, 9, 8, 3, 4, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]])

    assert find_starts(rows, [9, 8]).tolist() == [6, 4, 1]
    assert find_starts(rows[:, :1], [9, 8]).tolist() == [1, 1, 1]


def test_a_policy_that_writes_an_opening_hides_nothing_where_its_beginning_is_known(scorer, tokenizer):
    prompt = encode_prompt(tokenizer, PROMPT, 64)
    trick = [30, *read_opening(tokenizer), 31]

    fooled = score_heads(scorer, [prompt + trick])
    known = score_heads(scorer, [prompt + trick], starts=[len(prompt)])

    torch.testing.assert_close(known[0], say_by_hand(scorer, prompt, trick), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(fooled, known, atol=1e-2)


def test_a_template_that_marks_no_answer_is_refused(tokenizer):
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"

    with pytest.raises(ContractError, match="marks no place where an answer begins: use head=last"):
        read_opening(tokenizer)


def test_a_folder_gives_back_the_scorer_it_was_given(scorer, tokenizer, tmp_path: Path):
    rows = [encode_prompt(tokenizer, PROMPT, 64) + ids for ids in ([30, 31], [32])]
    scorer.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    found = load_reward_model(tmp_path, tokenizer, seed=0)

    assert is_reward_model(tmp_path)
    assert found.config.num_labels == N_HEADS
    torch.testing.assert_close(score_heads(found, rows), score_heads(scorer, rows), atol=0, rtol=0)


def test_half_a_folder_is_refused(scorer, tokenizer, tmp_path: Path):
    scorer.save_pretrained(tmp_path)
    (tmp_path / "token_scorer.safetensors").unlink()

    with pytest.raises(ContractError, match="is no whole token scorer"):
        load_reward_model(tmp_path, tokenizer, seed=0)
