import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.run_dir import CHECKPOINTS, DATA, FINAL
from rlhf.learning import dpo, kto, reward_model, sft
from rlhf.learning.adapters import add_adapter, publish_adapter
from rlhf.learning.halving import HalvedLinear, find_halved, halve_frozen, list_tensors, restore_frozen, restore_layer
from rlhf.learning.models import autocast, load_policy, load_tokenizer
from rlhf.learning.preferences import load_pairs
from rlhf.learning.reward_card import read_card
from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer, score_rows
from tests.rlhf.learning.test_adapters import PREPARE, draw_adapter

CPU, HALF = torch.device("cpu"), torch.bfloat16
IDS = torch.arange(10, 40).view(2, 15)
HALVED_RUN = {"lora_rank": 4, "lora_alpha": 8.0, "dtype": "bfloat16", "learning_rate": 1e-2, "max_steps": 5}


def load_adapted(base: Path):
    model = load_policy(base, device=CPU)
    add_adapter(model, SFTConfig(lora_rank=4))
    draw_adapter(model)
    return model


@contextmanager
def halved_while_learning() -> Iterator[set[nn.Module]]:
    """Gather the halved layers that compute with a graph."""
    found: set[nn.Module] = set()

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, HalvedLinear) and torch.is_grad_enabled():
            found.add(module)

    handle = nn.modules.module.register_module_forward_pre_hook(note)
    yield found
    handle.remove()


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


@pytest.mark.parametrize("method", [sft, reward_model, dpo, kto])
def test_a_run_over_a_base_in_bfloat16_adds_its_adapter_to_all_digits_of_the_base(
    method, tiny_policy: Path, tmp_path: Path
):
    config = PREPARE[method](tmp_path, tiny_policy, **HALVED_RUN)

    with halved_while_learning() as halved:
        method.train(config, tmp_path)

    final = tmp_path / CHECKPOINTS / FINAL
    base, published = (load_file(folder / "model.safetensors") for folder in (tiny_policy, final))
    adapter = load_file(final / "adapter" / "adapter_model.safetensors")
    matrices = [key for key in published if f"base_model.model.{key.removesuffix('.weight')}.lora_A.weight" in adapter]
    assert len(halved) == len(matrices) == 2 * 7
    for key in published.keys() & base.keys():
        expected = base[key]
        if key in matrices:
            name = f"base_model.model.{key.removesuffix('.weight')}"
            added = 2.0 * adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
            assert added.abs().max() > 1e-4
            expected = expected + added
        torch.testing.assert_close(published[key], expected, atol=1e-7, rtol=1e-6)


def test_dpo_over_a_base_in_bfloat16_measures_what_it_publishes(tiny_policy: Path, tmp_path: Path):
    config = PREPARE[dpo](tmp_path, tiny_policy, **HALVED_RUN)

    metrics = dpo.train(config, tmp_path)

    tokenizer = load_tokenizer(tiny_policy)
    pairs = load_pairs(tmp_path / DATA / "test.jsonl", tokenizer, max_length=config.max_length).pairs
    rewards = dpo.implicit_rewards(config, tmp_path / CHECKPOINTS / FINAL, pairs, pad_id=tokenizer.pad_token_id)
    assert metrics["eval_rewards/chosen"] == pytest.approx(rewards[:, 0].mean().item(), abs=1e-5)
    assert metrics["eval_rewards/rejected"] == pytest.approx(rewards[:, 1].mean().item(), abs=1e-5)


def test_a_reward_model_over_a_base_in_bfloat16_scores_its_card_with_all_digits(tiny_policy: Path, tmp_path: Path):
    reward_model.train(PREPARE[reward_model](tmp_path, tiny_policy, **HALVED_RUN), tmp_path)

    final = tmp_path / CHECKPOINTS / FINAL
    rows = read_card(final)["parity"]
    scores = score_rows(load_reward_model(final, load_scoring_tokenizer(final), seed=0), [row["ids"] for row in rows])
    torch.testing.assert_close(torch.tensor([row["score"] for row in rows]), scores, atol=1e-5, rtol=0)


def test_a_base_that_calls_its_matrices_otherwise_is_read_as_a_whole(tiny_policy: Path, tmp_path: Path):
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    weights = {name.removeprefix("model."): value for name, value in load_file(base / "model.safetensors").items()}
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})  # as a bare trunk has them
    model = load_reward_model(base, load_scoring_tokenizer(base), seed=0)
    add_adapter(model, SFTConfig(lora_rank=4))
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    halve_frozen(model, HALF)

    restore_frozen(model)

    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_another_matrix_of_the_same_name_is_not_taken_for_the_one_that_was_rounded(tiny_policy: Path):
    model = load_adapted(tiny_policy)
    halve_frozen(model, HALF)
    [(name, layer), *_] = find_halved(model)
    files = list_tensors(tiny_policy)
    key = f"{name.replace('.base_layer', '')}.weight"

    layer.weight.data = layer.weight.data.flip(0)

    assert not restore_layer(layer, key, files)
    layer.weight.data = layer.weight.data.flip(0)
    assert restore_layer(layer, key, files)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is told by Linux")
def test_a_file_whose_matrices_are_rounded_is_no_longer_in_memory(tiny_policy: Path, tmp_path: Path):
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    model = load_adapted(base)
    was_mapped = str(base) in Path("/proc/self/maps").read_text()

    halve_frozen(model, HALF)
    halved = str(base) in Path("/proc/self/maps").read_text()
    restore_frozen(model)

    assert (was_mapped, halved) == (True, False)
    assert str(base) not in Path("/proc/self/maps").read_text()
