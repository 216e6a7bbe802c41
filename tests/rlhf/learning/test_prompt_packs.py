import os
import random
from pathlib import Path

import pytest
import torch

from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import newest_checkpoint, prepare_run_dir
from rlhf.learning import reward_model
from rlhf.learning.models import load_tokenizer
from rlhf.learning.preferences import EncodedPair, encode_pairs
from rlhf.learning.prompt_packs import pack_prompts
from rlhf.learning.scoring import load_reward_model, score_rows
from tests.rlhf.learning.conftest import write_pairs
from tests.rlhf.learning.tiny_runs import BAD, GOOD

# How many pairs each prompt has: of 2, 3 and 4 ranked completions, and of one prompt more than a step has room for.
N_PAIRS = [1, 3, 6] * 5 + [10]


def ranked_rows() -> list[dict]:
    """Return pairs of several to each prompt, in no order."""
    draw = random.Random(0)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"May I come in at {number}?"}],
            "chosen": [{"role": "assistant", "content": f"{draw.choice(GOOD)} {draw.choice(GOOD)}"}],
            "rejected": [{"role": "assistant", "content": draw.choice(BAD)}],
        }
        for number, n in enumerate(N_PAIRS)
        for _ in range(n)
    ]
    draw.shuffle(rows)
    return rows


@pytest.fixture(scope="module")
def pairs(tiny_policy: Path) -> list[EncodedPair]:
    return encode_pairs(ranked_rows(), load_tokenizer(tiny_policy), max_length=128).pairs


def prepare(run_dir: Path, base_model: Path, **settings) -> RewardConfig:
    values = {"batch_size": 8, "balance": "prompts", "dtype": "float32", "learning_rate": 1e-3, **settings}
    config = RewardConfig(base_model=str(base_model), **values)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=1, n_test=4)
    write_rows(run_dir / "data" / "train.jsonl", ranked_rows())
    return config


def build(config: RewardConfig, run_dir: Path, pairs: list[EncodedPair]):
    tokenizer = load_tokenizer(config.base_model)
    model = load_reward_model(config.base_model, tokenizer, seed=0)
    return reward_model.build_trainer(config, run_dir, model=model, tokenizer=tokenizer, pairs=pairs)


def test_all_pairs_of_a_prompt_are_in_one_pack_and_every_pair_in_one(pairs):
    packs = pack_prompts(pairs, size=8, seed=1)

    prompts = [{tuple(pairs[number].prompt_ids) for number in pack} for pack in packs]
    assert sorted(number for pack in packs for number in pack) == list(range(sum(N_PAIRS)))
    assert sum(len(each) for each in prompts) == len(set().union(*prompts)) == len(N_PAIRS)
    assert sorted(len(pack) for pack in packs if len(pack) > 8) == [10]
    assert [len(each) for pack, each in zip(packs, prompts, strict=True) if len(pack) > 8] == [1]


def test_packs_depend_on_the_pairs_and_the_seed_alone(pairs):
    assert pack_prompts(pairs, size=8, seed=1) == pack_prompts(pairs, size=8, seed=1)
    assert pack_prompts(pairs, size=8, seed=1) != pack_prompts(pairs, size=8, seed=2)


def test_pairs_of_prompts_of_their_own_fill_every_pack_but_the_last(pairs):
    alone = list({tuple(pair.prompt_ids): pair for pair in pairs}.values())

    assert [len(pack) for pack in pack_prompts(alone, size=5, seed=0)] == [5, 5, 5, 1]


def test_a_step_learns_from_whole_prompts_and_an_epoch_from_every_pair_once(pairs, tiny_policy: Path, tmp_path: Path):
    trainer = build(prepare(tmp_path, tiny_policy, epochs=2), tmp_path, pairs)
    steps = []
    learn = trainer.compute_loss

    def watch(model, inputs, **kwargs):
        steps.append(inputs["row"].tolist())
        return learn(model, inputs, **kwargs)

    trainer.compute_loss = watch
    trainer.train()

    assert len(steps) % 2 == 0
    epochs = steps[: len(steps) // 2], steps[len(steps) // 2 :]
    for epoch in epochs:
        seen = [{tuple(pairs[number].prompt_ids) for number in step} for step in epoch]
        assert sorted(number for step in epoch for number in step) == list(range(sum(N_PAIRS)))
        assert sum(map(len, seen)) == len(N_PAIRS)
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


@torch.no_grad()
def test_every_prompt_weighs_the_same_whichever_pack_it_is_in(pairs, tiny_policy: Path, tmp_path: Path):
    """InstructGPT eq. 1: the mean over prompts of the mean over a prompt's pairs, a batch's share of it at a time."""
    trainer = build(prepare(tmp_path, tiny_policy, center_rewards_coefficient=0.0), tmp_path, pairs)
    chosen, rejected = (
        score_rows(trainer.model, [pair.prompt_ids + getattr(pair, side) for pair in pairs])
        for side in ("chosen_ids", "rejected_ids")
    )
    by_prompt: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for pair, loss in zip(pairs, -torch.nn.functional.logsigmoid(chosen - rejected), strict=True):
        by_prompt.setdefault(tuple(pair.prompt_ids), []).append(loss)
    mean = sum(sum(losses) / len(losses) for losses in by_prompt.values()) / len(by_prompt)

    found = sum(trainer.compute_loss(trainer.model, inputs) for inputs in trainer.get_train_dataloader())

    assert found.item() == pytest.approx(mean.item() * len(pairs) / 8, rel=1e-5)


def test_a_run_taken_up_in_its_second_epoch_ends_with_the_same_bytes(tiny_policy: Path, tmp_path: Path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    settings = {"max_steps": 15, "save_steps": 11}  # an epoch has 9 packs
    metrics = reward_model.train(prepare(whole, tiny_policy, **settings), whole)
    config = prepare(resumed, tiny_policy, **settings)
    os.rename(newest_checkpoint(whole), resumed / "checkpoints" / "checkpoint-11")

    assert reward_model.train(config, resumed) == metrics
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
