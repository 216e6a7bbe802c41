from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.merge import MergeConfig
from rlhf.contract.run_dir import prepare_run_dir, verify_sealed
from rlhf.learning.merging import train
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.reward_card import read_card, require_parity, write_card
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.tokenization import train_tokenizer

PAIR_IDS = [[7, 8, 9], [10, 11]]


def merge(base: Path, other: Path, run_dir: Path, **settings) -> tuple[Path, dict[str, float]]:
    config = MergeConfig(base_model=str(base), other_model=str(other), **settings)
    prepare_run_dir(run_dir, config)
    return run_dir / "checkpoints" / "final", train(config, run_dir)


@pytest.fixture
def moved(tiny_policy: Path, tmp_path: Path) -> Path:
    """The tiny policy after a step of a tenth of its own length in every tensor."""
    folder = copytree(tiny_policy, tmp_path / "moved")
    model = load_policy(tiny_policy, device=torch.device("cpu"))
    for value in model.parameters():
        value.data *= 1.1
    model.save_pretrained(folder)
    return folder


def test_every_tensor_lies_between_the_two(tiny_policy: Path, moved: Path, tmp_path: Path):
    final, metrics = merge(tiny_policy, moved, tmp_path / "run", weight=0.25)

    verify_sealed(final)
    ours, theirs, found = (load_file(folder / "model.safetensors") for folder in (tiny_policy, moved, final))
    assert found.keys() == ours.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, 0.75 * ours[name] + 0.25 * theirs[name], atol=1e-7, rtol=1e-6)
    assert metrics == {"distance": pytest.approx(0.1, rel=1e-4), "weight": 0.25}
    assert load_tokenizer(final).get_vocab() == load_tokenizer(tiny_policy).get_vocab()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_are_the_models_themselves(weight: float, tiny_policy: Path, moved: Path, tmp_path: Path):
    final, _ = merge(tiny_policy, moved, tmp_path / "run", weight=weight)

    expected = load_policy(moved if weight else tiny_policy).state_dict()
    assert [
        name for name, value in load_policy(final).state_dict().items() if not torch.equal(value, expected[name])
    ] == []


def test_a_mean_of_reward_models_is_one_that_scores_as_its_card_says(tiny_policy: Path, tmp_path: Path):
    tokenizer, folders = load_tokenizer(tiny_policy), [tmp_path / "one", tmp_path / "other"]
    for seed, folder in enumerate(folders):
        model = load_reward_model(tiny_policy, tokenizer, seed=seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        rows = [{"ids": ids, "score": 0.0} for ids in PAIR_IDS]
        write_card(folder, {"pad_token_id": 0, "temperature": 2.0, "parity": rows})

    final, _ = merge(*folders, tmp_path / "run")

    card = read_card(final)
    assert card.keys() == {"pad_token_id", "parity"}
    assert [row["ids"] for row in card["parity"]] == PAIR_IDS
    assert all(row["score"] != 0.0 for row in card["parity"])
    mean = load_reward_model(final, tokenizer, seed=0)
    require_parity(mean, final)
    heads = [load_reward_model(folder, tokenizer, seed=0).score.weight for folder in folders]
    torch.testing.assert_close(mean.score.weight, (heads[0] + heads[1]) / 2)


def test_models_of_different_shapes_are_refused(tiny_policy: Path, tmp_path: Path):
    small = LlamaConfig(
        vocab_size=len(load_tokenizer(tiny_policy)),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    LlamaForCausalLM(small).save_pretrained(tmp_path / "small")
    load_tokenizer(tiny_policy).save_pretrained(tmp_path / "small")

    with pytest.raises(
        ContractError, match=r"mlp\.down_proj\.weight is \(32, 64\) in base_model, \(32, 48\) in other_model"
    ):
        merge(tiny_policy, tmp_path / "small", tmp_path / "run")


@pytest.mark.parametrize("untied_first", [False, True])
def test_a_head_of_its_own_and_one_tied_to_the_embeddings_are_refused(
    untied_first: bool, tiny_policy: Path, tmp_path: Path
):
    tied = load_policy(tiny_policy)
    settings = tied.config.to_dict() | {"tie_word_embeddings": not tied.config.tie_word_embeddings}
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(tmp_path / "other")
    load_tokenizer(tiny_policy).save_pretrained(tmp_path / "other")
    folders = [tiny_policy, tmp_path / "other"]

    with pytest.raises(ContractError, match=r"lm_head\.weight is .*missing"):
        merge(*(reversed(folders) if untied_first else folders), tmp_path / "run")


def test_models_with_different_tokenizers_are_refused(tiny_policy: Path, tmp_path: Path):
    other = copytree(tiny_policy, tmp_path / "other")
    train_tokenizer(["Somebody else's words entirely."], vocab_size=300).save_pretrained(other)

    with pytest.raises(ContractError, match="different tokenizers or chat templates"):
        merge(tiny_policy, other, tmp_path / "run")


def test_a_policy_and_a_reward_model_are_refused(tiny_policy: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(tiny_policy, tokenizer, seed=0).save_pretrained(tmp_path / "scorer")
    tokenizer.save_pretrained(tmp_path / "scorer")

    with pytest.raises(ContractError, match="LlamaForCausalLM and LlamaForSequenceClassification cannot be averaged"):
        merge(tiny_policy, tmp_path / "scorer", tmp_path / "run")


def test_a_weight_outside_the_two_is_refused():
    with pytest.raises(ConfigError, match="weight must be <= 1"):
        MergeConfig(weight=1.5)
