"""The arithmetic of estimates against closed forms and limits; benchmarks/estimates.py holds it against real runs."""

from __future__ import annotations

import dataclasses

import pytest

from rlhf.contract.config import CONFIGS
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.domain.estimating import Estimate, describe_bytes, describe_seconds, estimate_run
from rlhf.domain.loads import (
    CPU,
    GPU,
    ModelShape,
    RowShape,
    activation_bytes,
    adapter_bytes,
    forward_flops,
    load_seconds,
    pretrained_shape,
    trained_bytes,
)
from rlhf.domain.weighing import WORDS, weigh_run

SHAPE = ModelShape(
    n_parameters=1_000_000, vocab_size=1000, hidden_size=100, intermediate_size=200, n_layers=10, n_heads=5
)
ROWS = RowShape(n_rows=320, prompt=20.0, answer=40.0, longest=80.0)
KINDS = [kind for kind in CONFIGS if weigh_run(CONFIGS[kind](), SHAPE, ROWS) is not None]


def test_a_pretrained_model_has_the_weights_of_its_two_embeddings_and_its_blocks():
    shape = pretrained_shape(
        PretrainConfig(vocab_size=300, hidden_size=16, intermediate_size=32, n_layers=2, n_heads=2)
    )

    assert shape.n_parameters == 2 * 300 * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 32)
    assert (shape.vocab_size, shape.hidden_size, shape.n_layers) == (300, 16, 2)


def test_adamw_keeps_four_numbers_a_weight_and_adapters_only_of_their_own():
    per_block = 8 * 100 + 3 * (100 + 200)

    assert trained_bytes(SFTConfig(), SHAPE) == 16 * SHAPE.n_parameters
    assert trained_bytes(SFTConfig(lora_rank=4), SHAPE) == 4 * SHAPE.n_parameters + 16 * 4 * 10 * per_block


def test_a_forward_pass_is_two_operations_a_weight_and_token_and_the_rest_is_attention_and_head():
    blocks = 10 * (4 * 100**2 + 3 * 100 * 200)

    assert SHAPE.n_block_parameters == blocks
    assert forward_flops(SHAPE, 1.0) == 2 * blocks + 4 * 100 * 10
    assert forward_flops(SHAPE, 1.0, n_logits=3) - forward_flops(SHAPE, 1.0) == 2 * 3 * 100 * 1000


def test_the_epochs_decide_the_steps_unless_max_steps_does():
    assert weigh_run(SFTConfig(batch_size=32, epochs=2.5), SHAPE, ROWS).n_steps == 25
    assert weigh_run(SFTConfig(batch_size=32, epochs=2.5, max_steps=7), SHAPE, ROWS).n_steps == 7


def test_twice_the_steps_are_twice_the_operations_of_training_and_no_more_memory():
    one, two = (weigh_run(SFTConfig(max_steps=n), SHAPE, ROWS) for n in (10, 20))

    assert two.flops == 2 * one.flops
    assert (two.held, two.step) == (one.held, one.step)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_grows_makes_a_run_cheaper(kind: str):
    small = estimate_run(CONFIGS[kind](), SHAPE, ROWS, total_bytes=1)
    larger = dataclasses.replace(SHAPE, n_parameters=2_000_000, n_layers=20)

    for shape, rows in ((larger, ROWS), (SHAPE, RowShape(640, 40.0, 80.0, 160.0))):
        other = estimate_run(CONFIGS[kind](), shape, rows, total_bytes=1)

        assert other.memory_bytes >= small.memory_bytes > CPU.idle_bytes
        assert other.seconds >= small.seconds > 0
    assert estimate_run(CONFIGS[kind](), larger, ROWS, total_bytes=1).memory_bytes > small.memory_bytes


@pytest.mark.parametrize("kind", [DPOConfig, PPOConfig, GRPOConfig])
def test_recomputed_activations_take_less_memory(kind):
    kept, recomputed = (weigh_run(kind(gradient_checkpointing=choice), SHAPE, ROWS).step for choice in ("off", "on"))

    assert recomputed < kept


def test_a_batch_in_parts_takes_less_memory_and_as_many_operations_and_steps():
    whole, parted = (
        weigh_run(DPOConfig(batch_size=16, micro_batch_tokens=budget), SHAPE, ROWS)
        for budget in (0, 2 * int(ROWS.longest))
    )

    assert parted.step == pytest.approx(whole.step / 8)
    assert (parted.held, parted.flops, parted.n_steps) == (whole.held, whole.flops, whole.n_steps)
    assert parted.n_blocks > whole.n_blocks


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(PPOConfig, {"share_base": "on"}), *((kind, {}) for kind in (GRPOConfig, SFTConfig, RewardConfig, DPOConfig))],
)
def test_a_frozen_base_on_a_gpu_takes_two_bytes_a_weight_of_its_blocks(kind, settings: dict):
    half, full = (
        weigh_run(kind(lora_rank=4, dtype=dtype, **settings), SHAPE, ROWS, GPU).held for dtype in ("auto", "float32")
    )

    assert full - half == pytest.approx(2 * SHAPE.n_block_parameters)


def test_ppo_holds_two_models_that_learn_and_two_that_do_not_and_with_a_shared_base_one():
    apart, shared = (
        weigh_run(PPOConfig(rollout_batch_size=4, max_new_tokens=48, **settings), SHAPE, ROWS).held
        for settings in ({}, {"lora_rank": 1, "share_base": "on"})
    )

    assert apart >= (2 * 16 + 2 * 4) * SHAPE.n_parameters
    assert shared < 14 * SHAPE.n_parameters


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 1, "share_base": "on"}], ids=["whole", "shared"])
def test_a_critic_that_is_a_head_spares_what_a_second_model_learns_with_and_keeps_frozen_states(settings: dict):
    small = {"rollout_batch_size": 4, "num_minibatches": 1, "max_new_tokens": 48}
    trained, frozen, shared = (
        weigh_run(PPOConfig(**small, critic=critic, **settings), SHAPE, ROWS)
        for critic in ("trained", "frozen", "shared")
    )

    states = 2 * 4 * 4 * 49 * SHAPE.hidden_size  # each token read before, and the one after the last
    learning = trained_bytes(PPOConfig(**settings), SHAPE) - (4 * SHAPE.n_parameters if settings else 0)
    assert trained.held - frozen.held == pytest.approx(learning - states)
    assert trained.held - shared.held == pytest.approx(learning)
    assert (shared.step, shared.flops, shared.n_blocks) == (frozen.step, frozen.flops, frozen.n_blocks)
    assert frozen.step == trained.step
    assert frozen.flops < 0.75 * trained.flops
    assert frozen.n_blocks < trained.n_blocks


@pytest.mark.parametrize(
    ("settings", "n_bases", "n_adapters"),
    [
        ({"share_base": "on"}, 1, 2),
        ({"share_base": "off"}, 2, 2),
        ({"share_base": "auto"}, 2, 2),
        ({"share_base": "off", "critic": "shared"}, 2, 1),
        ({"share_base": "on", "critic": "shared"}, 1, 1),
    ],
)
def test_under_adapters_one_base_is_policy_and_reference_and_a_second_at_most_the_reward_model(
    settings: dict, n_bases: int, n_adapters: int
):
    small = {"rollout_batch_size": 4, "num_minibatches": 1, "max_new_tokens": 48, "lora_rank": 1}
    adapter = trained_bytes(PPOConfig(**small), SHAPE) - 4 * SHAPE.n_parameters
    drawn = 2 * 2 * 4 * 4 * 68 * SHAPE.hidden_size * SHAPE.n_layers  # keys and values, twice

    held = weigh_run(PPOConfig(**small, **settings), SHAPE, ROWS).held

    folded = 4 * SHAPE.n_block_parameters  # kept beside the base
    assert held == pytest.approx(n_bases * 4 * SHAPE.n_parameters + n_adapters * adapter + folded + drawn)


def test_a_reward_model_of_words_trains_no_trunk():
    words = weigh_run(RewardConfig(head="tokens"), SHAPE, ROWS)

    assert words.held == 4 * (SHAPE.n_parameters + 3 * WORDS * 320)
    many, more = (weigh_run(RewardConfig(head="tokens"), SHAPE, RowShape(n, 20.0, 40.0, 80.0)) for n in (5000, 90_000))
    assert (many.held, many.flops) == (more.held, more.flops)  # it learns from the first alone
    assert (words.n_steps, words.flops) == (0, 2 * 2 * 320 * forward_flops(SHAPE, 40.0, n_logits=20))


def test_on_a_gpu_a_weight_costs_its_copy_in_half_precision_besides_and_activations_half():
    assert trained_bytes(SFTConfig(), SHAPE, GPU) == (16 + 2) * SHAPE.n_parameters
    per_token = 12 * 100 + 3 * 200  # and no square of the row
    assert activation_bytes(SHAPE, 3, 7.0, machine=GPU) == 2 * 3 * 7 * per_token * 10


def test_a_base_that_is_read_and_published_in_all_its_digits_takes_their_room():
    config, rows = SFTConfig(lora_rank=4, batch_size=1), RowShape(320, 4.0, 4.0, 8.0)
    short, long = (weigh_run(config, SHAPE, each, GPU) for each in (rows, ROWS))

    assert short.held + short.step == 4 * SHAPE.n_parameters + adapter_bytes(config, SHAPE)
    assert short.step > weigh_run(config, SHAPE, rows).step  # on a CPU the base stays as it was read
    assert long.step == weigh_run(SFTConfig(batch_size=1), SHAPE, ROWS, GPU).step > short.step


def test_a_run_that_asks_for_full_precision_has_it_on_a_gpu_too():
    half, full = (weigh_run(SFTConfig(dtype=dtype), SHAPE, ROWS, GPU) for dtype in ("auto", "float32"))

    assert half.held - full.held == 2 * SHAPE.n_parameters
    assert full.step > half.step


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimate_for_a_gpu_is_of_its_memory_and_its_speed(kind: str):
    config = CONFIGS[kind]()
    load = weigh_run(config, SHAPE, ROWS, GPU)

    estimate = estimate_run(config, SHAPE, ROWS, total_bytes=8 * 10**9, machine=GPU)

    assert estimate.memory_bytes == pytest.approx(GPU.idle_bytes + 1.1 * (load.held + load.step), abs=1)
    assert estimate.uncorrected_s == pytest.approx(load_seconds(load, GPU), abs=1e-3)
    assert load.flops / GPU.flops_per_s < load.flops / CPU.flops_per_s
    assert estimate.total_bytes == 8 * 10**9


def test_groups_hold_a_reference_of_their_own_only_where_no_adapter_is_one():
    apart, none, adapters = (
        weigh_run(GRPOConfig(**settings), SHAPE, ROWS).held
        for settings in ({}, {"kl_coef": 0.0, "kl_limit": 0.0}, {"lora_rank": 1})
    )

    assert apart - none == 4 * SHAPE.n_parameters
    assert adapters < none


def test_time_is_corrected_by_how_long_earlier_runs_took():
    alone = estimate_run(SFTConfig(), SHAPE, ROWS, total_bytes=1)
    corrected = estimate_run(SFTConfig(), SHAPE, ROWS, total_bytes=1, took=[9.0, 2.0, 2.0])

    assert corrected.seconds == pytest.approx(2 * alone.uncorrected_s, abs=0.05)
    assert corrected.uncorrected_s == alone.uncorrected_s


def test_a_kind_whose_cost_is_not_known_has_no_estimate():
    assert estimate_run(EvaluateConfig(), SHAPE, ROWS, total_bytes=1) is None


@pytest.mark.parametrize(
    ("memory", "verdict", "refused"), [(16, "fits", False), (17, "does not fit", False), (33, "does not fit", True)]
)
def test_a_run_too_large_is_warned_of_and_one_far_too_large_refused(memory: int, verdict: str, refused: bool):
    estimate = Estimate(memory * 10**9, 240.0, 240.0, 16 * 10**9)

    assert str(estimate) == f"{verdict}: about {memory}.0 GB of 16.0 GB, about 4 min"
    assert estimate.is_refused is refused


def test_figures_come_in_the_grain_of_an_estimate():
    assert [describe_bytes(n) for n in (640e6, 3.14e9)] == ["640 MB", "3.1 GB"]
    assert [describe_seconds(s) for s in (1, 23, 250, 9000)] == ["5 s", "25 s", "4 min", "2.5 h"]
