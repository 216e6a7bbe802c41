from dataclasses import replace

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
)

from rlhf.learning.logps import build_batch, completion_logits
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.scoring import score_heads
from rlhf.learning.shared_prefix import (
    build_shared_batch,
    reads_shared_rows,
    shared_logits,
    shared_rewards,
    spares_enough,
)

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}
PROMPTS = [[5, 6, 7, 8], [9], [10, 11]]
CHOSEN = [[12, 13], [14, 15, 16], [17]]
REJECTED = [[18], [19, 20], [21, 22, 23, 24]]


def build_model(kind: str, *, score: bool = False):
    torch.manual_seed(0)
    if kind == "llama":
        config = LlamaConfig(**SIZES, intermediate_size=32, num_labels=1)
        return (LlamaForSequenceClassification if score else LlamaForCausalLM)(config).eval()
    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, pad_token_id=0, num_labels=1)
    return (GPT2ForSequenceClassification if score else GPT2LMHeadModel)(config).eval()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_joined_row_gives_the_logits_and_gradients_of_two(kind: str, attention: str):
    model = build_model(kind)
    model.set_attn_implementation(attention)
    apart = build_batch(PROMPTS * 2, CHOSEN + REJECTED, pad_id=0)
    joined = build_shared_batch(PROMPTS, CHOSEN, REJECTED, pad_id=0)

    expected, found = completion_logits(model, apart), shared_logits(model, joined)
    gradients = []
    for logits in (expected, found):
        model.zero_grad()
        (logits**2).sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})

    assert joined.targets.tolist() == apart.targets.tolist()
    assert joined.lengths.tolist() == apart.lengths.tolist()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@torch.no_grad()
def test_a_joined_row_gives_the_rewards_of_two(kind: str):
    model = build_model(kind, score=True)

    found = shared_rewards(model, build_shared_batch(PROMPTS, CHOSEN, REJECTED, pad_id=0))

    rows = [prompt + ids for ids_of in (CHOSEN, REJECTED) for prompt, ids in zip(PROMPTS, ids_of, strict=True)]
    torch.testing.assert_close(found, score_heads(model, rows), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_rejected_does_not_see_chosen():
    model = build_model("llama")
    batch = build_shared_batch(PROMPTS, CHOSEN, REJECTED, pad_id=0)
    others = build_shared_batch(PROMPTS, [[30, 31], [32, 33, 34], [35]], REJECTED, pad_id=0)
    n_chosen = int(batch.lengths[:3].sum())

    before, after = (shared_logits(model, each) for each in (batch, others))

    assert torch.equal(before[n_chosen:], after[n_chosen:])
    assert not torch.equal(before[:n_chosen], after[:n_chosen])


def test_a_model_that_looks_back_a_little_only_takes_two_rows():
    windowed = MistralForCausalLM(MistralConfig(**SIZES, intermediate_size=32, num_key_value_heads=2, sliding_window=3))
    row = {"prompt": [5] * 8, "chosen": [6] * 8, "rejected": [7] * 8, "pad_id": 0}

    assert reads_shared_rows(build_model("llama"), **row)
    assert not reads_shared_rows(windowed.eval(), **row)


def test_short_prompts_and_huge_rows_are_not_joined():
    pair = EncodedPair([5] * 40, [6] * 20, [7] * 20, 1.0, 1.0, 0.0, 20, 20)

    assert spares_enough([pair])
    assert not spares_enough([replace(pair, prompt_ids=[5] * 4)])
    assert not spares_enough([pair, replace(pair, prompt_ids=[5] * 5000)])
