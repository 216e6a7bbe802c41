import json
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.run_dir import prepare_run_dir, verify_sealed
from rlhf.contract.settings import TuningConfig
from rlhf.learning import dpo, kto, reward_model, sft
from rlhf.learning.adapters import (
    adapter_layers,
    add_adapter,
    find_targets,
    load_adapter,
    merge_adapter,
    merged_weights,
    put_adapter,
    save_adapter,
    using,
)
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.scoring import load_reward_model, score_rows
from tests.rlhf.learning.conftest import write_pairs
from tests.rlhf.learning.test_kto import prepare as prepare_kto
from tests.rlhf.learning.test_sft import prepare as prepare_sft

IDS = torch.arange(10, 30)[None]
LORA = {"lora_rank": 4, "lora_alpha": 8.0, "dtype": "float32"}


def prepare_pairs(run_dir: Path, base_model: Path, *, kind: type[TuningConfig], **settings) -> TuningConfig:
    config = kind(base_model=str(base_model), **settings)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=32, n_test=4)
    return config


PREPARE = {
    sft: prepare_sft,
    reward_model: partial(prepare_pairs, kind=RewardConfig),
    dpo: partial(prepare_pairs, kind=DPOConfig),
    kto: prepare_kto,
}


@pytest.fixture
def model(tiny_policy: Path) -> PreTrainedModel:
    return load_policy(tiny_policy, device=torch.device("cpu")).eval()


def draw_adapter(model: PreTrainedModel, *, seed: int = 1) -> None:
    """Make the adapter add something."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if ".lora_B." in name:
            value.data = torch.randn(value.shape, generator=generator) / 10


def trained_names(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


@torch.no_grad()
def test_a_fresh_adapter_adds_nothing_and_alone_is_trained(model):
    before = model(IDS).logits

    add_adapter(model, SFTConfig(**LORA))

    assert torch.equal(model(IDS).logits, before)
    assert len(adapter_layers(model)) == 2 * 7
    assert trained_names(model) == {name for name, _ in model.named_parameters() if ".lora_" in name}


@torch.no_grad()
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_merged_model_gives_the_logits_of_its_adapter(shape: str, model):
    torch.manual_seed(0)
    if shape == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
        ).eval()
    base = model(IDS).logits
    add_adapter(model, SFTConfig(**LORA))
    draw_adapter(model)
    adapted = model(IDS).logits

    expected = merged_weights(model)
    merge_adapter(model)

    assert expected.keys() == model.state_dict().keys()
    torch.testing.assert_close(model.state_dict(), expected, atol=1e-6, rtol=0)

    torch.testing.assert_close(model(IDS).logits, adapted, atol=1e-5, rtol=0)
    assert (adapted - base).abs().max() > 0.01
    assert adapter_layers(model) == []


@torch.no_grad()
def test_an_adapter_of_full_rank_is_any_change_of_the_weights():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=2))
    wanted = model.transformer.h[0].mlp.c_proj.weight + torch.randn(32, 8)
    add_adapter(model, SFTConfig(lora_rank=8, lora_alpha=16.0, lora_targets="mlp"))
    layer = model.transformer.h[0].mlp.c_proj

    # scale B A = D for a D of rank 8: its singular vectors, and GPT-2 keeps its matrices transposed.
    u, s, v = torch.linalg.svd((wanted - layer.base_layer.weight).T, full_matrices=False)
    layer.lora_B["policy"].weight.copy_(u * s / 2)
    layer.lora_A["policy"].weight.copy_(v)
    merge_adapter(model)

    torch.testing.assert_close(model.transformer.h[0].mlp.c_proj.weight, wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_switching_leaves_what_is_active_and_what_is_trained(model):
    add_adapter(model, SFTConfig(**LORA))
    draw_adapter(model)
    put_adapter(model, model.peft_config["policy"], name="value", seed=2)
    draw_adapter(model, seed=3)
    trained, value = trained_names(model), model(IDS).logits

    with using(model, "policy"):
        policy = model(IDS).logits
        with using(model, None):
            base = model(IDS).logits
        assert torch.equal(model(IDS).logits, policy)

    assert trained_names(model) == trained
    assert {name.rsplit(".", 2)[1] for name in trained} == {"policy", "value"}
    assert torch.equal(model(IDS).logits, value)
    assert not torch.allclose(policy, value)
    assert not torch.allclose(base, value)


def test_an_error_within_a_switch_switches_back(model):
    add_adapter(model, SFTConfig(**LORA))

    with pytest.raises(KeyError), using(model, None):
        raise KeyError

    assert all(not layer.disable_adapters for layer in adapter_layers(model))


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("attention", ["k_proj", "o_proj", "q_proj", "v_proj"]),
        ("mlp", ["down_proj", "gate_proj", "up_proj"]),
        ("all", ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
    ],
)
def test_targets_of_a_llama_have_short_names(which: str, names: list[str], model):
    assert find_targets(model, which) == names


def test_targets_whose_short_names_are_ambiguous_have_whole_names():
    shape = BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=1
    )

    # The head and the pooler of a BERT are called dense too.
    assert find_targets(BertForSequenceClassification(shape), "mlp") == [
        "bert.encoder.layer.0.intermediate.dense",
        "bert.encoder.layer.0.output.dense",
    ]


def test_a_model_without_such_matrices_is_refused(model):
    model.model.layers = nn.ModuleList()

    with pytest.raises(ContractError, match="has no attention matrices"):
        find_targets(model, "attention")


def test_an_adapter_of_another_rank_is_refused(model, tiny_policy: Path, tmp_path: Path):
    add_adapter(model, SFTConfig(**LORA, lora_targets="mlp"))
    save_adapter(model, tmp_path)
    other = load_policy(tiny_policy)
    add_adapter(other, SFTConfig(**LORA))

    with pytest.raises(ContractError, match="an adapter of another shape"):
        load_adapter(other, tmp_path)


def test_a_run_publishes_a_whole_model_and_its_adapter_beside_it(tiny_policy: Path, tmp_path: Path):
    base = tiny_policy.joinpath("model.safetensors").read_bytes()

    sft.train(prepare_sft(tmp_path, tiny_policy, max_steps=8, **LORA), tmp_path)

    final = tmp_path / "checkpoints" / "final"
    verify_sealed(final)
    assert tiny_policy.joinpath("model.safetensors").read_bytes() == base
    assert load_file(final / "model.safetensors").keys() == load_file(tiny_policy / "model.safetensors").keys()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_policy), final / "adapter")
    ours = load_policy(final).cpu()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, ours(IDS).logits, atol=1e-5, rtol=0)
        assert (ours(IDS).logits - load_policy(tiny_policy).cpu()(IDS).logits).abs().max() > 0.1


def test_a_reward_model_keeps_its_head_beside_its_adapter(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=1e-2, epochs=6, **LORA)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=64, n_test=20)

    metrics = reward_model.train(config, tmp_path)

    assert metrics["eval_accuracy"] > 0.9
    final = tmp_path / "checkpoints" / "final"
    adapter = json.loads((final / "adapter" / "adapter_config.json").read_text())
    assert adapter["modules_to_save"] == ["score"]
    base = AutoModelForSequenceClassification.from_pretrained(tiny_policy, num_labels=1)
    theirs = PeftModel.from_pretrained(base, final / "adapter")
    ours = load_reward_model(final, load_tokenizer(final), seed=0)
    with torch.no_grad():
        expected = theirs(IDS).logits[0]
    torch.testing.assert_close(score_rows(ours, [IDS[0].tolist()]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dpo_measures_its_adapter_against_its_own_base(dtype: str, tiny_policy: Path, tmp_path: Path):
    settings = {**LORA, "dtype": dtype}
    config = DPOConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=1e-2, epochs=3, **settings)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=64, n_test=20)

    metrics = dpo.train(config, tmp_path)

    tokenizer, final = load_tokenizer(tiny_policy), tmp_path / "checkpoints" / "final"
    pairs = dpo.load_pairs(tmp_path / "data" / "test.jsonl", tokenizer, max_length=256).pairs
    published = dpo.implicit_rewards(config, final, pairs, pad_id=tokenizer.pad_token_id)
    assert metrics["eval_rewards/accuracies"] > 0.9
    for number, side in enumerate(("chosen", "rejected")):
        assert metrics[f"eval_rewards/{side}"] == pytest.approx(published[:, number].mean().item(), abs=2e-5)
    assert metrics["eval_rewards/margins"] > 0.1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", [sft, reward_model, dpo, kto])
def test_a_run_taken_up_at_its_checkpoint_ends_with_the_same_bytes(
    method, dtype: str, tiny_policy: Path, tmp_path: Path
):
    settings = {"batch_size": 8, "max_steps": 5, "save_steps": 3, "learning_rate": 1e-2, **LORA, "dtype": dtype}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for run_dir in (whole, resumed):
        config = PREPARE[method](run_dir, tiny_policy, **settings)
    method.train(config, whole)
    checkpoint = whole / "checkpoints" / "checkpoint-3"
    copytree(checkpoint, resumed / "checkpoints" / "checkpoint-3")

    method.train(config, resumed)

    assert not (checkpoint / "model.safetensors").exists()
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
