import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.learning.adapters import add_adapter, using
from rlhf.learning.models import load_policy
from rlhf.learning.recomputing import recompute_blocks
from rlhf.learning.shared_base import copy_adapter
from tests.rlhf.learning.test_adapters import draw_adapter

IDS = torch.arange(10, 30)[None]


def load_with_two_adapters(base: Path):
    model = load_policy(base, device=torch.device("cpu")).eval()
    add_adapter(model, SFTConfig(lora_rank=4))
    copy_adapter(model, source="policy", target="value")
    draw_adapter(model)
    return model


def count_entries(block: nn.Module) -> list[int]:
    entries: list[int] = []
    block.mlp.register_forward_pre_hook(lambda *_: entries.append(1))
    return entries


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def learn_by(model, *names: str) -> dict[str, torch.Tensor]:
    """Return the gradients of a loss that asks each adapter in turn, and of which the backward pass comes after all."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.zero_grad()
    losses = []
    for name in names:
        with using(model, name):
            losses.append(model(IDS, use_cache=False).logits.square().mean())
    torch.stack(losses).sum().backward()
    return gradients(model)


def test_a_block_is_computed_twice_in_eval_mode_where_a_gradient_is_asked_for_and_else_once(tiny_policy: Path):
    model = load_policy(tiny_policy, device=torch.device("cpu")).eval()
    recompute_blocks(model)
    first, last = (count_entries(block) for block in model.model.layers)

    with torch.no_grad():
        model(IDS, use_cache=False)
    without = len(first), len(last)
    model(IDS, use_cache=False).logits.mean().backward()

    assert without == (1, 1)
    assert (len(first), len(last)) == (3, 2)  # the last block's activations are kept


def test_adapters_that_were_switched_meanwhile_are_those_of_the_first_pass(tiny_policy: Path):
    expected = learn_by(load_with_two_adapters(tiny_policy), "value", "policy")
    model = load_with_two_adapters(tiny_policy)
    recompute_blocks(model)

    found = learn_by(model, "value", "policy")

    assert found.keys() == expected.keys()
    assert any(".lora_A.value." in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-7, rtol=1e-5, msg=lambda words, name=name: name)
    assert model.model.layers[0].mlp.up_proj.active_adapters == ["value"]  # the last that was put in


def test_a_copy_of_a_model_computes_with_its_own_weights(tiny_policy: Path):
    model = load_policy(tiny_policy, device=torch.device("cpu")).eval()
    recompute_blocks(model)
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin.model.layers[0].mlp.down_proj.weight)

    twin(IDS, use_cache=False).logits.mean().backward()

    assert not gradients(model)
    assert gradients(twin)
    assert not torch.equal(twin(IDS).logits, model(IDS).logits)


def test_a_model_without_a_list_of_blocks_is_refused(tiny_policy: Path):
    model = load_policy(tiny_policy, device=torch.device("cpu"))
    model.model.layers = nn.Sequential(*model.model.layers)

    with pytest.raises(ContractError, match="LlamaForCausalLM has no list of blocks"):
        recompute_blocks(model)
