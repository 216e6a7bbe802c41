import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from rlhf.learning.last_layer import computed_at, last_layer_at, spread_rows
from rlhf.learning.logps import build_batch, completion_logits
from rlhf.learning.recomputing import recompute_blocks

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
# What the last layer's feed-forward part sees of 3 rows of 6 tokens, 4 of which are read.
SEEN = {"llama": 4, "qwen3": 4, "gpt2": 4, "gpt_neox": 4, "gemma2": 4, "gpt_oss": 4, "bloom": 18}
PLACES = (torch.tensor([0, 1, 1, 2]), torch.tensor([5, 2, 3, 0]))


def build_model(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **EXPERTS))
    return model.float().eval()


def read_states(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[PLACES]
    model.zero_grad()
    (states**2).sum().backward()
    return states


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


@pytest.mark.parametrize("kind", SEEN)
def test_the_states_that_are_read_and_all_gradients_stay_what_they_were(kind: str):
    model = build_model(kind)
    ids = torch.randint(3, 50, (3, 6))
    seen: list[int] = []
    expected = read_states(model, ids)
    before = gradients(model)

    with last_layer_at(model.base_model, PLACES):
        layers = next(part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == 2)
        layers[-1].mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0][..., 0].numel()))
        found = read_states(model, ids)

    assert seen == [SEEN[kind]]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    after = gradients(model)
    assert after.keys() == before.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, atol=1e-5, rtol=1e-4)


def test_behind_the_context_the_whole_row_is_computed_again():
    model = build_model("llama")
    ids = torch.randint(3, 50, (3, 6))
    expected = model(ids).logits

    with last_layer_at(model.base_model, PLACES):
        model(ids)

    assert torch.equal(model(ids).logits, expected)


def test_blocks_that_are_computed_again_behind_the_context_change_no_state_and_no_gradient():
    model = build_model("llama")
    ids = torch.randint(3, 50, (3, 6))
    expected = read_states(model, ids)
    before = gradients(model)

    recompute_blocks(model)
    with last_layer_at(model.base_model, PLACES):
        found = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[PLACES]
    model.zero_grad()
    (found**2).sum().backward()  # its first block runs here once more, behind the context

    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    after = gradients(model)
    assert after.keys() == before.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, atol=1e-5, rtol=1e-4)


def test_logits_of_completions_come_from_a_last_layer_that_saw_them_alone():
    model = build_model("llama")
    batch = build_batch([[5, 6, 7, 8], [9]], [[10, 11], [12]], pad_id=0)
    seen: list[int] = []
    expected = model(batch.input_ids).logits[batch.predicting]

    model.model.layers[-1].mlp.gate_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    found = completion_logits(model, batch)

    assert seen == [3]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_place_named_twice_is_there_once_and_has_its_gradient_once():
    found = torch.tensor([[1.0], [2.0], [2.0]], requires_grad=True)

    rows = spread_rows(found, torch.tensor([0, 2, 2]), n=4)
    (rows * torch.tensor([[5.0], [6.0], [7.0], [8.0]])).sum().backward()

    assert rows.tolist() == [[1.0], [0.0], [2.0], [0.0]]
    assert found.grad.tolist() == [[5.0], [3.5], [3.5]]


def test_a_module_alone_gives_zeros_elsewhere():
    module = nn.Linear(2, 3)
    states = torch.randn(3, 6, 2)
    expected = module(states)

    with computed_at(module, PLACES):
        found = module(states)

    is_read = torch.zeros(3, 6, dtype=torch.bool)
    is_read[PLACES] = True
    torch.testing.assert_close(found[PLACES], expected[PLACES])
    assert found[~is_read].abs().max() == 0
