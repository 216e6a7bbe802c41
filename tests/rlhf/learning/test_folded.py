from itertools import pairwise

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf.contract.kinds.sft import SFTConfig
from rlhf.learning.adapters import adapter_layers, add_adapter, put_adapter
from rlhf.learning.folded import FEWEST_TOKENS, FoldedLinear, folds_kept


class Stack(nn.Module):
    """Two layers, the first of which reads what nobody learns."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8, bias=bias), nn.Linear(8, 5, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh())


def build(*, bias: bool = True, dropout: float = 0.0) -> Stack:
    torch.manual_seed(0)
    stack = Stack(bias=bias).double()
    described = LoraConfig(r=3, lora_alpha=6, target_modules=["first", "second"], lora_dropout=dropout)
    put_adapter(stack, described, name="policy", seed=1)
    for layer in adapter_layers(stack):
        layer.to(torch.double)
        nn.init.normal_(layer.lora_B["policy"].weight)
    return stack


def unfold(stack: Stack) -> Stack:
    """Let the layers compute as PEFT's do."""
    for layer in adapter_layers(stack):
        layer.__class__ = Linear
    return stack


def learn(stack: Stack, x: Tensor) -> list[Tensor]:
    """Return the output and the gradients of everything that learns."""
    output = stack(x)
    output.square().sum().backward()
    return [output, *(value.grad for value in stack.parameters() if value.grad is not None)]


@pytest.mark.parametrize("n_rows", [1, FEWEST_TOKENS], ids=["few tokens", "many tokens"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_layer_gives_the_output_and_the_gradients_of_pefts(n_rows: int, bias: bool):
    x = torch.randn(n_rows, 2, 6, dtype=torch.double)

    found, expected = learn(build(bias=bias), x), learn(unfold(build(bias=bias)), x)

    assert len(found) == 5, "the output, and two small matrices of each layer"
    assert (type(found[0].grad_fn).__name__ == "FoldedProductBackward") is (n_rows == FEWEST_TOKENS)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n_rows", [1, FEWEST_TOKENS], ids=["few tokens", "many tokens"])
def test_nothing_but_rounding_changes_where_nobody_learns(n_rows: int):
    x = torch.randn(n_rows, 2, 6, dtype=torch.double)

    with torch.no_grad():
        torch.testing.assert_close(build()(x), unfold(build())(x))


def test_its_gradients_are_those_of_the_numbers():
    stack = build()
    x = torch.randn(FEWEST_TOKENS, 6, dtype=torch.double, requires_grad=True)
    small = [
        value
        for layer in adapter_layers(stack)
        for value in (layer.lora_A["policy"].weight, layer.lora_B["policy"].weight)
    ]

    assert torch.autograd.gradcheck(lambda *_: stack(x), (x, *small), fast_mode=True)


def test_the_frozen_weights_stay_what_they_are_and_have_no_gradient():
    stack = build()
    before = {name: value.clone() for name, value in stack.named_parameters() if ".lora_" not in name}

    learn(stack, torch.randn(FEWEST_TOKENS, 6, dtype=torch.double))

    for name, value in before.items():
        assert stack.get_parameter(name).grad is None
        assert torch.equal(stack.get_parameter(name), value)


def test_without_the_adapter_the_layer_is_the_bare_one():
    stack, x = build(), torch.randn(FEWEST_TOKENS, 6, dtype=torch.double)
    for layer in adapter_layers(stack):
        layer._disable_adapters = True

    bare = stack.second.base_layer(stack.first.base_layer(x).tanh())

    assert torch.equal(stack(x), bare)


def test_dropout_is_left_to_peft():
    stack, x = build(dropout=0.5), torch.randn(FEWEST_TOKENS, 6, dtype=torch.double)

    outputs = [stack.train()(x) for _ in range(2)] + [stack.eval()(x), unfold(stack)(x)]

    assert [torch.equal(*two) for two in pairwise(outputs)] == [False, False, True]


def test_matrices_that_lie_the_other_way_are_left_to_peft():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=120, n_positions=80, n_embd=32, n_layer=1, n_head=2)).eval()
    add_adapter(model, SFTConfig(lora_rank=4))
    for layer in adapter_layers(model):
        nn.init.normal_(layer.lora_B["policy"].weight)
    ids = (torch.arange(2 * FEWEST_TOKENS) % 120).view(4, -1)
    found = model(ids).logits

    kinds = {type(layer) for layer in adapter_layers(model)}
    for layer in adapter_layers(model):
        layer.__class__ = Linear

    assert kinds == {FoldedLinear}
    assert torch.equal(model(ids).logits, found)


def test_what_is_kept_for_several_passes_changes_no_number():
    many, few = torch.randn(FEWEST_TOKENS, 6, dtype=torch.double), torch.randn(3, 6, dtype=torch.double)
    stack, peft = build(), unfold(build())

    with folds_kept(stack):
        found = [learn(stack, x) for x in (few, many, many, few)]

    torch.testing.assert_close(found, [learn(peft, x) for x in (few, many, many, few)])


def test_it_is_made_once_for_all_passes_of_an_adapter_and_given_up_after_them():
    x = torch.randn(FEWEST_TOKENS, 6, dtype=torch.double)
    stack = build()
    first = adapter_layers(stack)[0]

    with folds_kept(stack):
        stack(x)
        kept = first.kept[1]
        stack(x)
        assert first.kept[1] is kept
    assert first.kept is None

    with torch.no_grad():
        first.lora_B["policy"].weight.mul_(2)
    torch.testing.assert_close(stack(x), unfold(stack)(x))


def test_another_adapter_is_never_computed_with_what_was_kept_of_the_first():
    x = torch.randn(FEWEST_TOKENS, 6, dtype=torch.double)
    stack = build()
    put_adapter(stack, LoraConfig(r=3, lora_alpha=6, target_modules=["first", "second"]), name="critic", seed=2)
    layers = adapter_layers(stack)
    for layer in layers:
        layer.to(torch.double)
        nn.init.normal_(layer.lora_B["critic"].weight)

    def ask_both(n_tokens: int) -> list[Tensor]:
        found = []
        for name in ("policy", "critic", "policy"):
            for layer in layers:
                layer.set_adapter(name)
            found.append(stack(x[:n_tokens]))
        return found

    with folds_kept(stack):
        found = [*ask_both(len(x)), *ask_both(3)]
        for layer in layers:
            layer.enable_adapters(False)
        bare = stack(x)
        for layer in layers:
            layer.enable_adapters(True)

    unfold(stack)
    torch.testing.assert_close(found, [*ask_both(len(x)), *ask_both(3)])
    torch.testing.assert_close(bare, layers[1].get_base_layer()(layers[0].get_base_layer()(x).tanh()))
