import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from rlhf.contract.kinds.sft import SFTConfig
from rlhf.learning.adapters import add_adapter, publish_adapter
from rlhf.learning.halving import HalvedLinear, halve_frozen, restore_frozen
from rlhf.learning.models import autocast, load_policy
from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer
from tests.rlhf.learning.test_adapters import draw_adapter

CPU, HALF = torch.device("cpu"), torch.bfloat16
IDS = torch.arange(10, 40).view(2, 15)


def load_adapted(base: Path):
    model = load_policy(base, device=CPU)
    add_adapter(model, SFTConfig(lora_rank=4))
    draw_adapter(model)
    return model


def halved_names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, HalvedLinear)]


def learn(model: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    with autocast(CPU, HALF):
        logits = model(IDS, use_cache=False).logits
    logits.float().square().mean().backward()
    return logits, {name: part.grad for name, part in model.named_parameters() if part.grad is not None}


def test_under_autocast_a_halved_base_gives_every_digit_that_the_whole_one_gives(tiny_policy: Path):
    whole, halved = load_adapted(tiny_policy), load_adapted(tiny_policy)
    halve_frozen(halved, HALF)

    (expected, gradients), (found, others) = learn(whole), learn(halved)

    assert len(halved_names(halved)) == 2 * 7
    assert torch.equal(found, expected)
    assert others.keys() == gradients.keys()
    assert all(torch.equal(others[name], gradient) for name, gradient in gradients.items())


def test_what_learns_and_what_is_no_matrix_of_a_block_stays_in_float32(tiny_policy: Path):
    model = load_adapted(tiny_policy)
    whole = load_policy(tiny_policy, device=CPU)

    for each in (model, whole):
        halve_frozen(each, HALF)

    rounded = {name for name, value in model.named_parameters() if value.dtype == HALF}
    assert rounded == {f"{name}.weight" for name in halved_names(model)}
    assert all(name.endswith(".base_layer.weight") and ".layers." in name for name in rounded)
    assert {value.dtype for value in whole.parameters()} == {torch.float32}  # all of it learns


def test_outside_of_autocast_products_are_of_the_precision_that_is_asked_in(tiny_policy: Path):
    model = load_adapted(tiny_policy)
    expected = model(IDS).logits

    halve_frozen(model, HALF)

    found = model(IDS).logits
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


def test_nothing_is_halved_for_products_in_float32_nor_where_weights_are_cut_up(
    tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
):
    model = load_adapted(tiny_policy)

    halve_frozen(model, torch.float32)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    halve_frozen(model, HALF)

    assert halved_names(model) == []


def test_what_is_published_has_all_digits_of_the_base_under_the_adapter(tiny_policy: Path, tmp_path: Path):
    whole, halved = load_adapted(tiny_policy), load_adapted(tiny_policy)
    halve_frozen(halved, HALF)

    for name, model in (("whole", whole), ("halved", halved)):
        (tmp_path / name).mkdir()
        publish_adapter(model, tmp_path / name)

    expected = whole.state_dict()
    assert halved_names(halved) == []
    assert halved.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in halved.state_dict().items())


def test_a_reward_model_gets_its_digits_back_from_a_language_model_and_no_number_is_drawn(
    tiny_policy: Path, tmp_path: Path
):
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    model = load_reward_model(base, load_scoring_tokenizer(base), seed=0)
    add_adapter(model, SFTConfig(lora_rank=4))
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    halve_frozen(model, HALF)
    state = torch.get_rng_state()

    restore_frozen(model)

    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
