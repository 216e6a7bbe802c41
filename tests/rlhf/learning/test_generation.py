import math
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from rlhf.contract.errors import ContractError
from rlhf.learning.generation import Decoding, Rollout, draw_tokens, generate, keep_nucleus
from rlhf.learning.models import load_policy

PROMPTS = [[1, 4, 50, 61, 5], [1, 4, 70, 5], [1, 4, 90, 91, 92, 93, 94, 95, 5], [1, 4, 50, 61, 5], [9]]


def build_gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=120, n_positions=64, n_embd=32, n_layer=2, n_head=2)).eval()


@pytest.fixture(params=["llama", "gpt2"])
def model(request, tiny_policy: Path) -> PreTrainedModel:
    return load_policy(tiny_policy, device=torch.device("cpu")) if request.param == "llama" else build_gpt2()


def complete(model: PreTrainedModel, prompts: list[list[int]] = PROMPTS, **changes) -> list[list[Rollout]]:
    settings = {
        "n": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "max_new_tokens": 20,
        "stop_ids": [2],
        "seed": 1,
        "batch_size": 8,
    }
    return generate(model, prompts, **{**settings, **changes})


def complete_one_by_one(model: PreTrainedModel, stop_ids: list[int]) -> list[list[Rollout]]:
    """Return greedy completions without cache, padding or batches."""
    rollouts = []
    for prompt in PROMPTS:
        ids = list(prompt)
        while len(ids) < len(prompt) + 20 and not (len(ids) > len(prompt) and ids[-1] in stop_ids):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        rollouts.append([Rollout(ids[len(prompt) :], ids[-1] in stop_ids)])
    return rollouts


def frequent_tokens(model: PreTrainedModel) -> list[int]:
    """Return tokens that end some greedy completions early and others not, so that rows leave the batch."""
    firsts = [rollout.ids[3] for [rollout] in complete_one_by_one(model, [])]
    return firsts[:2]


def test_batches_cache_and_padding_change_no_completion(model):
    stop_ids = frequent_tokens(model)
    expected = complete_one_by_one(model, stop_ids)

    assert {rollout.finished for [rollout] in expected} == {True, False} or len({len(r.ids) for [r] in expected}) > 1
    assert complete(model, stop_ids=stop_ids) == expected
    assert complete(model, stop_ids=stop_ids, batch_size=2) == expected


def test_n_completions_of_a_prompt_come_together_and_in_its_order(model):
    once, thrice = complete(model), complete(model, n=3)

    assert thrice == [[rollout] * 3 for [rollout] in once]


def test_more_completions_than_a_batch_holds_are_drawn_in_several(model):
    sizes: list[int] = []

    rollouts = complete(model, n=7, temperature=1.0, batch_size=3, on_batch=sizes.append)

    assert [len(each) for each in rollouts] == [7] * len(PROMPTS)
    assert (sum(sizes), max(sizes)) == (7 * len(PROMPTS), 3)


def test_the_seed_decides_the_draw(model):
    draws = [complete(model, n=2, temperature=1.0, seed=seed) for seed in (1, 1, 2)]

    assert draws[0] == draws[1] != draws[2]


def test_a_draw_depends_on_its_prompt_alone_whatever_is_drawn_beside_it(model):
    whole = complete(model, n=3, temperature=1.0)

    assert complete(model, n=3, temperature=1.0, batch_size=2) == whole
    assert complete(model, n=3, temperature=1.0, only=[3, 0]) == [whole[3], whole[0]]


def test_every_token_comes_with_its_log_probability(model):
    [[rollout]] = complete(model, [PROMPTS[0]], temperature=0.7)

    logits = model(torch.tensor([PROMPTS[0] + rollout.ids])).logits[0, len(PROMPTS[0]) - 1 : -1]
    expected = (logits / 0.7).log_softmax(-1)[range(len(rollout.ids)), rollout.ids]
    assert rollout.logps == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_ends_of_the_unit_interval_draw_no_token_without_probability():
    logits = torch.tensor([[-math.inf, 0.0, 1.0, -math.inf]]).expand(2, -1)
    ends = torch.tensor([0.0, 1 - 2**-24])  # the last is the largest below 1

    tokens, _ = draw_tokens(logits, Decoding(temperature=1.0, top_p=1.0, max_new_tokens=1, stop_ids=[]), ends)

    assert tokens.tolist() == [1, 2]


def test_draws_follow_the_model_probabilities(model):
    n = 4000
    rollouts = complete(model, [PROMPTS[0]], n=n, temperature=0.7, max_new_tokens=1, batch_size=n)[0]

    counts = torch.bincount(torch.tensor([rollout.ids[0] for rollout in rollouts]), minlength=model.config.vocab_size)
    expected = (model(torch.tensor([PROMPTS[0]])).logits[0, -1] / 0.7).softmax(-1)
    z_scores = (counts / n - expected) / (expected * (1 - expected) / n).sqrt()
    assert z_scores.abs().max().item() < 5
    assert z_scores.square().mean().item() == pytest.approx(1, abs=0.4)


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    probabilities = torch.tensor([[0.5, 0.1, 0.3, 0.1], [0.25, 0.25, 0.25, 0.25]])

    assert keep_nucleus(probabilities, 0.8)[0].tolist() == pytest.approx([0.5, 0, 0.3, 0])
    assert keep_nucleus(probabilities, 0.81)[0].count_nonzero() == 3
    assert keep_nucleus(probabilities, 0.01).count_nonzero(dim=-1).tolist() == [1, 1]


def test_a_tiny_nucleus_draws_the_likeliest_token_at_any_temperature():
    logits = torch.tensor([[0.0, math.log(3), 0.0]])
    decoding = Decoding(temperature=5.0, top_p=0.01, max_new_tokens=1, stop_ids=[])

    tokens, logps = draw_tokens(logits, decoding, torch.tensor([0.99]))

    assert (tokens.tolist(), logps.tolist()) == ([1], [0.0])


def test_a_completion_beyond_the_model_positions_is_refused():
    with pytest.raises(ContractError, match="a completion of 60 exceed the model's 64 positions"):
        complete(build_gpt2(), max_new_tokens=60)


def test_a_model_in_training_is_given_back_in_training(model):
    model.train()
    complete(model)

    assert model.training
