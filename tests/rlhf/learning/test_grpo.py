import json
import os
import signal
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir, tail_metrics, verify_sealed
from rlhf.learning import grpo, sft
from rlhf.learning.group_trainers import AdapterOff, PromptOrder, push_left
from rlhf.learning.logps import build_batch, completion_logps
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.stops import StopError
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import QUESTIONS
from tests.rlhf.learning.test_adapters import draw_adapter
from tests.rlhf.learning.test_sft import prepare as prepare_sft

ROWS = [
    {"prompt_id": str(number), "prompt": [{"role": "user", "content": question}]}
    for number, question in enumerate(QUESTIONS)
]


@pytest.fixture(scope="module")
def reward_model(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward-model")
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(tiny_policy, tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prepare(run_dir: Path, base_model: Path, reward_model: Path, **changes) -> GRPOConfig:
    values = {"rollouts": 4, "rollout_batch_size": 2, "max_new_tokens": 8, "learning_rate": 1e-3, **changes}
    config = GRPOConfig(base_model=str(base_model), reward_model=str(reward_model), **values)
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "prompts.jsonl", ROWS)
    return config


def build(run_dir: Path, config: GRPOConfig):
    return grpo.build_trainer(config, run_dir, rows=ROWS, tokenizer=load_tokenizer(config.base_model))


def count_letters(prompts: list[str], completions: list[str]) -> list[float]:
    """A reward of a host: how often the letter e stands in a completion."""
    return [float(text.count("e")) for text in completions]


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_a_reward_of_ones_own_that_counts_letters_rises(
    method: str, tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    settings = {
        "rewards": "letters=1",
        "rollouts": 20,
        "rollout_batch_size": 4,
        "samples_per_prompt": 8,
        "learning_rate": 5e-2,
    }
    config = prepare(
        tmp_path,
        tiny_policy,
        reward_model,
        method=method,
        kl_coef=0.0,
        kl_limit=0.0,
        missing_eos_penalty=0.0,
        **settings,
    )
    (tmp_path / "data" / "rewards.json").write_text(json.dumps({"letters": f"{__name__}:count_letters"}))

    metrics = grpo.train(config, tmp_path)

    found = [line["values"]["rewards/letters/mean"] for line in tail_metrics(tmp_path, 0)[0][:20]]
    verify_sealed(tmp_path / "checkpoints" / "final")
    assert metrics["rewards/letters/mean"] == pytest.approx(found[-1])
    assert sum(found[-3:]) > 8 * sum(found[:3])


@pytest.mark.parametrize(("method", "lora_rank"), [("grpo", 0), ("rloo", 0), ("grpo", 4)])
def test_a_run_taken_up_at_its_checkpoint_ends_with_the_same_bytes(
    method: str, lora_rank: int, tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    settings = {"method": method, "rollouts": 3, "updates_per_rollout": 2, "save_rollouts": 2, "micro_batches": 2}
    settings |= {"lora_rank": lora_rank, "finished_drop": 0.0}
    metrics = grpo.train(prepare(whole, tiny_policy, reward_model, **settings), whole)
    config = prepare(resumed, tiny_policy, reward_model, **settings)
    (whole / "checkpoints" / "checkpoint-4").rename(resumed / "checkpoints" / "checkpoint-4")

    assert grpo.train(config, resumed) == metrics
    assert (resumed / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors").exists() is bool(lora_rank)
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_stop_waits_until_the_rollout_is_used_up(tiny_policy: Path, reward_model: Path, tmp_path: Path):
    config = prepare(tmp_path, tiny_policy, reward_model, updates_per_rollout=3)
    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(HandedBack, match="stopped at step 3 of 12, checkpoint saved"):
        grpo.train(config, tmp_path)

    install_stop_signal()
    signal.signal(signal.SIGTERM, before)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-3"]


@pytest.mark.parametrize("method", ["grpo", "rloo"])
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_the_policy_is_as_likely_to_itself_as_at_the_rollout(
    shape: str, method: str, tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    """Absolute positions included: prompts of unlike length stand in one batch, padded on the left."""
    folder = tiny_policy if shape == "llama" else save_gpt2(tmp_path / "gpt2", tiny_policy)
    trainer = build(tmp_path, prepare(tmp_path, folder, reward_model, method=method, rollout_batch_size=4))
    rows = [{"prompt": str(number)} for number in range(4) for _ in range(4)]

    batch = trainer._generate_and_score_completions(rows)

    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    assert not batch["prompt_mask"].all()
    logps, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, batch["completion_ids"].shape[1])
    tokenizer = load_tokenizer(folder)
    for row in range(16):
        prompt = encode_prompt(tokenizer, ROWS[row // 4]["prompt"], 256)
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()
        alone = completion_logps(load_policy(folder), build_batch([prompt], [completion], pad_id=0))
        torch.testing.assert_close(logps[row, : len(completion)], alone, atol=1e-4, rtol=1e-5)
        assert not logps[row, len(completion) :].any()


def save_gpt2(folder: Path, like: Path) -> Path:
    tokenizer = load_tokenizer(like)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_dropout_is_off(tiny_policy: Path, reward_model: Path, tmp_path: Path):
    trainer = build(tmp_path, prepare(tmp_path, save_gpt2(tmp_path / "gpt2", tiny_policy), reward_model))

    rates = [
        module.p for model in (trainer.model, trainer.ref_model) for module in model.modules() if hasattr(module, "p")
    ]

    assert len(rates) > 0
    assert set(rates) == {0.0}


@pytest.mark.parametrize(
    ("method", "expected"),
    [("grpo", [-1.1619, -0.3873, 0.3873, 1.1619]), ("rloo", [-2.0, -0.6667, 0.6667, 2.0])],
)
def test_a_completion_is_worth_what_it_is_better_than_the_others(
    method: str, expected: list[float], tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    """Rewards 0, 1, 2, 3: by their mean 1.5 and spread 1.291, or each by the mean of the three others."""
    trainer = build(tmp_path, prepare(tmp_path, tiny_policy, reward_model, method=method, kl_coef=0.0))
    trainer.reward_funcs = [lambda prompts, **kwargs: [float(number % 4) for number in range(len(prompts))]]
    trainer.reward_func_names = ["count"]
    trainer.reward_weights = torch.ones(1)
    trainer.reward_processing_classes = [None]

    batch = trainer._generate_and_score_completions([{"prompt": str(number // 4)} for number in range(8)])

    assert batch["advantages"].tolist() == pytest.approx(expected * 2, abs=1e-3)


def test_every_prompt_comes_once_an_epoch_and_as_often_as_trl_asks():
    config = GRPOConfig(rollouts=3, rollout_batch_size=2, samples_per_prompt=2, updates_per_rollout=2, micro_batches=2)
    order = list(PromptOrder(3, config))

    rollouts = [order[start : start + 16] for start in range(0, 48, 16)]
    assert len(PromptOrder(3, config)) == len(order) == 48
    firsts = []
    for rows in rollouts:
        assert rows == rows[:4] * 4
        assert (rows[0], rows[2]) == (rows[1], rows[3])
        firsts += [rows[0], rows[2]]
    assert sorted(firsts[:3]) == sorted(firsts[3:]) == [0, 1, 2]


def test_rows_padded_on_both_sides_are_padded_on_the_right():
    ids = torch.tensor([[0, 0, 5, 6, 7, 0], [1, 2, 3, 4, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]]).bool()

    batch = push_left(ids, mask, 3)

    assert batch.input_ids.tolist() == [[5, 6, 7, 0], [1, 2, 3, 4]]
    assert batch.completion_mask.tolist() == [[False, True, True, False], [False, False, False, True]]


def test_an_unfinished_completion_pays(tiny_policy: Path):
    charge = grpo.charge_unfinished(1.5, [2, 9])

    assert charge([[1]] * 4, [[7, 2], [7, 9], [2, 7], []]).tolist() == [0.0, 0.0, -1.5, -1.5]


def test_a_heavy_penalty_keeps_the_policy_near_its_start(tiny_policy: Path, reward_model: Path, tmp_path: Path):
    settings = {"rewards": "letters=1", "rollouts": 14, "samples_per_prompt": 8, "learning_rate": 3e-2, "kl_limit": 0.0}
    kls = []
    for name, kl_coef in (("free", 1e-6), ("held", 100.0)):
        run_dir = tmp_path / name
        config = prepare(run_dir, tiny_policy, reward_model, kl_coef=kl_coef, **settings)
        (run_dir / "data" / "rewards.json").write_text(json.dumps({"letters": f"{__name__}:count_letters"}))
        kls.append(grpo.train(config, run_dir)["kl"])

    assert kls[1] < kls[0] / 4


def test_a_policy_that_ran_away_stops_the_run(tiny_policy: Path, reward_model: Path, tmp_path: Path):
    config = prepare(tmp_path, tiny_policy, reward_model, kl_coef=1e-6, kl_limit=0.001, learning_rate=0.1)

    with pytest.raises(StopError, match=r"stopped at step \d: kl is .*, beyond the limit of 0.001; raise kl_coef"):
        grpo.train(config, tmp_path)

    assert not (tmp_path / "checkpoints" / "final").exists()


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_policy_that_ran_away_stops_the_run_without_a_penalty_too(
    lora_rank: int, tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    settings = {"kl_coef": 0.0, "kl_limit": 0.01, "learning_rate": 0.1, "lora_rank": lora_rank}
    config = prepare(tmp_path, tiny_policy, reward_model, **settings)

    with pytest.raises(StopError, match=r"stopped at step \d: kl is .*, beyond the limit of 0.01; raise kl_coef"):
        grpo.train(config, tmp_path)


def test_a_policy_that_ends_its_completions_no_more_stops_the_run(
    tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    sft.train(prepare_sft(tmp_path / "sft", tiny_policy, max_steps=30), tmp_path / "sft")
    settings = {"rewards": "length=1", "missing_eos_penalty": 0.0, "learning_rate": 2e-2, "kl_limit": 0.0}
    settings |= {"max_new_tokens": 14, "rollouts": 40, "samples_per_prompt": 8, "kl_coef": 0.0}
    config = prepare(tmp_path / "run", tmp_path / "sft" / "checkpoints" / "final", reward_model, **settings)

    with pytest.raises(StopError, match=r"rollout/finished_frac fell from .*; raise missing_eos_penalty"):
        grpo.train(config, tmp_path / "run")


@torch.no_grad()
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_the_reference_of_an_adapter_is_the_model_under_it(
    method: str, tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    config = prepare(tmp_path, tiny_policy, reward_model, method=method, lora_rank=4, kl_coef=0.0)
    trainer = build(tmp_path, config)
    trained = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    draw_adapter(trainer.model)

    batch = trainer._generate_and_score_completions([{"prompt": str(number // 4)} for number in range(8)])

    assert isinstance(trainer.ref_model, AdapterOff)
    assert {name for name, value in trainer.model.named_parameters() if value.requires_grad} == trained
    assert all(".lora_" in name for name in trained)
    assert "ref_per_token_logps" not in batch  # nothing that the loss could be of
    adapted, base = trainer.model, load_policy(tiny_policy)
    ratios = []
    for row in range(8):
        prompt = encode_prompt(load_tokenizer(tiny_policy), ROWS[row // 4]["prompt"], 256)
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()
        alone = build_batch([prompt], [completion], pad_id=0)
        ratios.append(completion_logps(adapted, alone) - completion_logps(base, alone))
    expected = torch.cat(ratios).mean().item()
    assert trainer._metrics["train"]["kl"] == [pytest.approx(expected, abs=1e-5)]
    assert abs(expected) > 1e-3  # a reference with the adapter on would give 0


def test_a_run_of_adapters_publishes_a_whole_model_and_its_adapter_beside_it(
    tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    grpo.train(prepare(tmp_path, tiny_policy, reward_model, lora_rank=4, learning_rate=1e-2), tmp_path)

    final = tmp_path / "checkpoints" / "final"
    ids = torch.arange(10, 30)[None]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_policy), final / "adapter")
    with torch.no_grad():
        published, base = load_policy(final).cpu()(ids).logits, load_policy(tiny_policy).cpu()(ids).logits
        torch.testing.assert_close(theirs(ids).logits, published, atol=1e-5, rtol=0)
    assert (published - base).abs().max() > 0.01


def test_where_nobody_asks_for_the_distance_there_is_no_reference(
    tiny_policy: Path, reward_model: Path, tmp_path: Path
):
    trainer = build(tmp_path, prepare(tmp_path, tiny_policy, reward_model, kl_coef=0.0, kl_limit=0.0))

    trainer._generate_and_score_completions([{"prompt": "0"} for _ in range(4)])

    assert trainer.ref_model is None
    assert "kl" not in trainer._metrics["train"]


def test_parts_that_do_not_divide_a_rollout_are_refused():
    with pytest.raises(
        ConfigError, match="micro_batches must divide rollout_batch_size times samples_per_prompt, got 3"
    ):
        GRPOConfig(rollout_batch_size=2, samples_per_prompt=4, micro_batches=3)
    with pytest.raises(ConfigError, match="loss_type acts on method=grpo only"):
        GRPOConfig(method="rloo", loss_type="dr_grpo")


def test_no_prompts_are_refused(tiny_policy: Path, reward_model: Path, tmp_path: Path):
    config = prepare(tmp_path, tiny_policy, reward_model)
    write_rows(tmp_path / "data" / "prompts.jsonl", [])

    with pytest.raises(ContractError, match=r"prompts\.jsonl holds no prompt"):
        grpo.train(config, tmp_path)
