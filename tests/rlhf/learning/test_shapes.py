from pathlib import Path

import pytest
import torch

from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir
from rlhf.learning.logps import build_batch, require_compact_head
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.pretrain import train
from rlhf.learning.shapes import build_model
from rlhf.learning.tokenization import train_tokenizer
from tests.rlhf.learning.test_pretrain import SMALL, TEXTS

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM", "gpt2": "GPT2LMHeadModel"}


def settings(architecture: str) -> PretrainConfig:
    return PretrainConfig(**SMALL, architecture=architecture, batch_size=8, max_steps=20, learning_rate=1e-2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_every_block_of_a_fresh_model_is_the_identity(architecture: str):
    torch.manual_seed(0)
    model = build_model(settings(architecture), train_tokenizer(TEXTS, vocab_size=330)).eval()
    states = model(torch.tensor([[7, 8, 9, 10]]), output_hidden_states=True).hidden_states

    assert type(model).__name__ == ARCHITECTURES[architecture]
    assert torch.equal(states[1], states[0])
    # The last of the states is normalised as well, so a model of one block more tells less than two do.
    assert len(states) == 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_shape_learns_and_is_loaded_again(architecture: str, tmp_path: Path):
    config = settings(architecture)
    prepare_run_dir(tmp_path, config)
    write_rows(tmp_path / "data" / "train.jsonl", [{"text": text} for text in TEXTS])
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": text} for text in TEXTS[::10]])

    metrics = train(config, tmp_path)

    final = tmp_path / "checkpoints" / "final"
    policy, tokenizer = load_policy(final), load_tokenizer(final)
    require_compact_head(policy, build_batch([[7, 8, 9]], [[10, 11]], pad_id=tokenizer.pad_token_id))
    assert metrics["eval_loss"] < 3.0
    assert type(policy).__name__ == ARCHITECTURES[architecture]
