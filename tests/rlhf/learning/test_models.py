import json
from pathlib import Path
from shutil import copytree

import pytest
import torch

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.learning.adapters import add_adapter
from rlhf.learning.models import (
    choose_attention,
    choose_recomputing,
    find_stop_ids,
    load_policy,
    load_tokenizer,
    pick_dtype,
)


def test_a_policy_is_loaded_in_float32(tiny_policy: Path):
    model = load_policy(tiny_policy, device=torch.device("cpu"))

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("load", [load_policy, load_tokenizer])
def test_a_hub_name_is_not_looked_up(load):
    with pytest.raises(ContractError, match="'gpt2' is not a model folder"):
        load("gpt2")


@pytest.mark.parametrize("pad_token", ["<|eos|>", None])
def test_a_tokenizer_whose_padding_is_its_end_token_is_refused(tiny_policy: Path, tmp_path: Path, pad_token):
    folder = copytree(tiny_policy, tmp_path / "policy")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": pad_token}))

    with pytest.raises(ContractError, match="no padding token of its own; add one"):
        load_tokenizer(folder)


def test_pickled_weights_are_refused(tiny_policy: Path, tmp_path: Path):
    folder = copytree(tiny_policy, tmp_path / "policy")
    (folder / "model.safetensors").unlink()
    torch.save(load_policy(tiny_policy).state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(ContractError, match="pickled weights are refused"):
        load_policy(folder)


def test_every_end_token_of_the_generation_configuration_stops(tiny_policy: Path):
    model, tokenizer = load_policy(tiny_policy), load_tokenizer(tiny_policy)
    model.generation_config.eos_token_id = [7, 3]

    assert find_stop_ids(model, tokenizer) == [2, 3, 7]


def test_the_token_that_ends_a_turn_of_the_template_stops_a_completion_too(tiny_policy: Path):
    model, tokenizer = load_policy(tiny_policy), load_tokenizer(tiny_policy)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}<|turn|>{{ message.role }} {{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant {% endif %}"
    )

    assert find_stop_ids(model, tokenizer) == [2, tokenizer.convert_tokens_to_ids("<|end|>")]


@pytest.mark.parametrize(
    ("has", "short"),
    [({"avx512_f": True}, "eager"), ({}, "sdpa"), ({"avx512_f": True, "amx_tile": True}, "sdpa")],
    ids=["AVX-512", "AVX2", "AMX"],
)
def test_attention_changes_with_length_and_cpu_but_the_logits_do_not(
    has: dict[str, bool], short: str, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    model = load_policy(tiny_policy, device=torch.device("cpu")).eval()
    ids = torch.arange(10, 30)[None]
    fused = model(ids).logits

    choose_attention(model, longest_row=4096)
    assert model.config._attn_implementation == "sdpa"
    choose_attention(model, longest_row=20)
    assert model.config._attn_implementation == short
    torch.testing.assert_close(model(ids).logits, fused, atol=1e-5, rtol=1e-5)


def test_a_named_precision_is_taken_at_its_word():
    cpu = torch.device("cpu")

    assert [pick_dtype(name, cpu) for name in ("float32", "bfloat16")] == [torch.float32, torch.bfloat16]
    assert pick_dtype("auto", cpu) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(("setting", "n_forward"), [("on", 2), ("off", 1), ("auto", 1)])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_recomputed_activations_change_no_gradient(tiny_policy: Path, setting: str, n_forward: int, lora_rank: int):
    gradients, counts = [], []
    for each in ("off", setting):
        model = load_policy(tiny_policy, device=torch.device("cpu")).train()
        add_adapter(model, SFTConfig(lora_rank=lora_rank))
        choose_recomputing(model, each)
        passes = []
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
        model(torch.arange(10, 30)[None], use_cache=False).logits.square().mean().backward()
        gradients.append([value.grad for value in model.parameters() if value.grad is not None])
        counts.append(len(passes))

    assert counts == [1, n_forward]
    assert len(gradients[0]) == (28 if lora_rank else 20)
    torch.testing.assert_close(gradients[1], gradients[0])
