import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm, apply_rotary_pos_emb
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated

from rlhf.learning.lean import RMSNorm, Rotation, is_rms_norm, make_lean, rotates_plainly
from tests.rlhf.learning.test_last_layer import EXPERTS, SIZES

# Norms and attentions of two layers that compute leanly. Gemma's norm adds 1 to its weight, GPT-2 has neither.
LEAN = {"llama": 7, "qwen3": 11, "mistral": 7, "gemma2": 2, "gpt_neox": 2, "cohere": 0, "gpt2": 0, "bloom": 0}
IDS = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(1))


def build_model(kind: str) -> nn.Module:
    """Return a model whose every weight says something: norms begin as ones, which would hide what they multiply."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **EXPERTS)).float().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def learn(model: nn.Module) -> list[Tensor]:
    """Return the logits and every gradient."""
    model.zero_grad()
    logits = model(input_ids=IDS).logits
    logits.square().mean().backward()
    return [logits.detach(), *(value.grad for value in model.parameters() if value.grad is not None)]


@pytest.mark.parametrize("kind", LEAN)
def test_a_lean_model_gives_the_logits_and_the_gradients_of_transformers(kind: str):
    model = build_model(kind)
    lean = make_lean(copy.deepcopy(model))

    kinds = [(type(new), type(old)) for new, old in zip(lean.modules(), model.modules(), strict=True)]
    assert sum(new is not old for new, old in kinds) == LEAN[kind]
    assert all(issubclass(new, old) and new.__name__ == old.__name__ for new, old in kinds)
    torch.testing.assert_close(learn(lean), learn(model), atol=1e-5, rtol=1e-4)


def test_leanness_is_kept_by_copies_and_needs_no_second_call():
    lean = make_lean(build_model("llama"))

    again = make_lean(copy.deepcopy(lean))

    assert [type(module) for module in again.modules()] == [type(module) for module in lean.modules()]


def test_gradients_are_those_of_a_finite_difference():
    torch.manual_seed(0)
    x, weight = (torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in ((2, 3, 6), (6,)))
    cos, sin = (torch.randn(2, 3, 6, dtype=torch.double) for _ in range(2))

    assert torch.autograd.gradcheck(lambda x, weight: RMSNorm.apply(x, weight, 1e-5), (x, weight))
    assert torch.autograd.gradcheck(lambda x: Rotation.apply(x, cos, sin), (x,))


def test_other_precisions_and_parts_of_a_head_are_left_to_transformers():
    attention = make_lean(build_model("llama")).model.layers[0].self_attn
    rotate = type(attention).forward.__globals__["apply_rotary_pos_emb"]
    queries, angles = torch.randn(1, 2, 3, 8), torch.randn(1, 3, 8)

    halves = [each.bfloat16() for each in (queries, queries, angles, angles)]

    torch.testing.assert_close(rotate(*halves), apply_rotary_pos_emb(*halves), atol=0, rtol=0)
    with pytest.raises(RuntimeError):  # as theirs does of angles for a part of a head
        rotate(queries, queries, angles[..., :4], angles[..., :4])


def test_what_only_looks_alike_is_left_as_it_is():
    class Offset(LlamaRMSNorm):
        def forward(self, hidden_states: Tensor) -> Tensor:
            return super().forward(hidden_states) + 1e-3

    class Other(LlamaAttention):
        def forward(self, *args: Tensor) -> None:
            """Rotate nothing."""

    assert is_rms_norm(LlamaRMSNorm(8))
    assert not is_rms_norm(Offset(8))
    assert rotates_plainly(LlamaAttention)
    assert not rotates_plainly(Other)


@pytest.mark.parametrize("norm", [MambaRMSNormGated(8, 8), Qwen3NextRMSNormGated(8)], ids=["mamba2", "qwen3_next"])
def test_a_norm_with_a_gate_is_left_as_it_is(norm: nn.Module):
    states, gate = torch.randn(2, 8), torch.randn(2, 8)

    assert not is_rms_norm(norm)
    torch.testing.assert_close(make_lean(copy.deepcopy(norm))(states, gate), norm(states, gate), atol=0, rtol=0)
