"""What a run asks of the machine that learns: bytes it holds, bytes of its largest step, and operations."""

from __future__ import annotations

import math

from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.ppo import TOKENS_AT_ONCE, PPOConfig
from rlhf.contract.kinds.reward import N_PAIRS, RewardConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.settings import RunConfig, TrainingConfig
from rlhf.domain.loads import (
    CPU,
    LOGITS_KEPT,
    WEIGHT,
    Load,
    Machine,
    ModelShape,
    RowShape,
    activation_bytes,
    adapter_bytes,
    cache_bytes,
    forward_flops,
    frozen_bytes,
    restored_bytes,
    trained_bytes,
)

WORDS = 4101  # numbers that a reward model of words makes of a completion
READ_AT_ONCE = 8192  # tokens of completions that are scored together


def weigh_run(config: RunConfig, shape: ModelShape, rows: RowShape, machine: Machine = CPU) -> Load | None:
    """Return the load of a run, None for a kind that is not weighed."""
    machine = machine.computing_in(getattr(config, "dtype", "auto"))
    if isinstance(config, PPOConfig):
        return weigh_ppo(config, shape, rows, machine)
    if isinstance(config, GRPOConfig):
        return weigh_groups(config, shape, rows, machine)
    if isinstance(config, SampleConfig):
        return weigh_sampling(config, shape, rows)
    if isinstance(config, RewardConfig) and config.head == "tokens":
        return weigh_words(shape, rows)
    if isinstance(config, TrainingConfig):
        return weigh_training(config, shape, rows, machine)
    return None


def weigh_training(config: TrainingConfig, shape: ModelShape, rows: RowShape, machine: Machine) -> Load:
    """Return the load of a run that learns from rows: pretrain, sft, reward, dpo, kto."""
    n_steps = config.max_steps or math.ceil(config.epochs * math.ceil(rows.n_rows / config.batch_size))
    answer = rows.answer if config.kind != "pretrain" else config.max_length
    mean = min(rows.prompt + answer, config.max_length * (2 if config.kind in ("reward", "dpo") else 1))
    longest = config.max_length if config.kind == "pretrain" else min(rows.longest, 2 * config.max_length)
    n_together = count_together(config, longest)
    n_logits = 0.0 if config.kind == "reward" else n_together * min(answer * longest / max(mean, 1), longest)
    row_flops = 3 * forward_flops(shape, mean, n_logits=0.0 if config.kind == "reward" else min(answer, mean))
    # A reference is asked once, and the policy on the held-out rows at the end, with the reference again.
    n_asked = {"dpo": rows.n_rows + 2 * rows.n_test, "kto": 2 * rows.n_rows + 2 * rows.n_test, "reward": rows.n_test}
    n_models = 2 if config.kind in ("dpo", "kto") else 1
    n_passes = n_asked.get(config.kind, rows.n_test)
    kept = activation_bytes(shape, n_together, longest, keeps=config.gradient_checkpointing != "on", machine=machine)
    return Load(
        held=trained_bytes(config, shape, machine) + (n_models - 1) * WEIGHT * shape.n_parameters,
        step=max(kept + LOGITS_KEPT * WEIGHT * n_logits * shape.vocab_size, restored_bytes(config, shape, machine)),
        n_steps=n_steps,
        n_blocks=shape.n_layers * (3 * n_steps * config.batch_size / n_together + n_passes / 32),
        flops=n_steps * config.batch_size * row_flops + n_passes * row_flops / 3,
    )


def count_together(config: TrainingConfig, longest: float) -> int:
    """Return how many rows of a step are learned from at once."""
    if not config.micro_batch_tokens:
        return config.batch_size
    return min(config.batch_size, max(1, int(config.micro_batch_tokens // max(longest, 1))))


def weigh_words(shape: ModelShape, rows: RowShape) -> Load:
    """Return the load of a reward model of words: a frozen policy reads the first pairs twice, and each held-out pair."""
    per_pair, n_pairs = 2 * rows.prompt + rows.answer, min(rows.n_rows, N_PAIRS)
    n_reads = 2 * n_pairs + rows.n_test
    tokens = min(READ_AT_ONCE, n_reads * per_pair)
    return Load(
        held=WEIGHT * (shape.n_parameters + 3 * WORDS * n_pairs),
        step=LOGITS_KEPT * WEIGHT * tokens * shape.vocab_size * rows.answer / max(per_pair, 1),
        n_steps=0,
        n_blocks=shape.n_layers * math.ceil(n_reads * per_pair / READ_AT_ONCE),
        flops=2 * n_reads * forward_flops(shape, per_pair / 2, n_logits=rows.answer / 2),
    )


def weigh_ppo(config: PPOConfig, shape: ModelShape, rows: RowShape, machine: Machine) -> Load:
    """Return the load of PPO: completions are drawn, scored by four models and learned from by two, one after the other.

    With a critic that is a head on another's states there is one model less of either; the reward model's are kept.
    """
    n = config.rollout_batch_size * config.samples_per_prompt
    prompt, new = min(rows.prompt, config.max_prompt_tokens), config.max_new_tokens
    length = prompt + new
    at_once = config.micro_batch_tokens or TOKENS_AT_ONCE[machine.name]
    n_micro = math.ceil(n * length / at_once)
    n_together = min(math.ceil(n / config.num_minibatches), max(1, at_once // max(1, round(length))))
    trunk, head = forward_flops(shape, length), 2 * new * shape.hidden_size * shape.vocab_size
    n_steps = config.rollouts * config.ppo_epochs * config.num_minibatches
    per_minibatch = math.ceil(n_micro / config.num_minibatches)
    n_learning = 2 if config.critic == "trained" else 1
    n_states = n * (new + 1) if config.critic == "frozen" else 0
    states = 2 * WEIGHT * n_states * shape.hidden_size  # as they were read, and side by side
    return Load(
        held=ppo_model_bytes(config, shape, machine, n_learning) + states + cache_bytes(shape, n, length),
        step=activation_bytes(shape, n_together, length, keeps=config.gradient_checkpointing != "on", machine=machine)
        + LOGITS_KEPT * WEIGHT * n_together * new * shape.vocab_size,
        n_steps=n_steps,
        n_blocks=shape.n_layers
        * (config.rollouts * (new + (2 + n_learning) * n_micro) + 3 * n_learning * n_steps * per_minibatch),
        flops=config.rollouts
        * n
        * ((3 + n_learning) * trunk + 3 * head + config.ppo_epochs * 3 * (n_learning * trunk + head)),
    )


def ppo_model_bytes(config: PPOConfig, shape: ModelShape, machine: Machine, n_learning: int) -> float:
    """Return the bytes of all models of a PPO run, and of what the optimizer keeps of those that learn.

    Under adapters one base is policy and reference, and the reward model's too where that is asked for; else a second one
    counts, though share_base=auto may find that it needs none. On a CPU the blocks' weights with an adapter in them are kept
    beside. A reward model with weights of its own reads in fp32.
    """
    rewarding = WEIGHT * shape.n_parameters
    if not config.lora_rank:
        return n_learning * trained_bytes(config, shape, machine) + frozen_bytes(shape, machine) + rewarding
    folded = WEIGHT * shape.n_block_parameters if machine.name == "cpu" else 0
    second = 0 if config.share_base == "on" else rewarding + (n_learning - 1) * machine.copy_bytes * shape.n_parameters
    return n_learning * adapter_bytes(config, shape) + frozen_bytes(shape, machine) + second + folded


def weigh_groups(config: GRPOConfig, shape: ModelShape, rows: RowShape, machine: Machine) -> Load:
    """Return the load of GRPO and RLOO: completions are drawn, scored by two models and learned from by one."""
    n, n_together = config.n_completions, config.n_completions // config.micro_batches
    new = config.max_new_tokens
    length = min(rows.prompt, config.max_prompt_tokens) + new
    trunk, head = forward_flops(shape, length), 2 * new * shape.hidden_size * shape.vocab_size
    has_reference = config.asks_reference and not config.lora_rank
    n_passes = config.micro_batches * (3 * config.updates_per_rollout + 3)
    return Load(
        held=trained_bytes(config, shape, machine)
        + WEIGHT * shape.n_parameters  # the reward model's
        + has_reference * frozen_bytes(shape, machine)
        + cache_bytes(shape, n, length),
        step=activation_bytes(shape, n_together, length, keeps=config.gradient_checkpointing != "on", machine=machine)
        + LOGITS_KEPT * WEIGHT * n_together * new * shape.vocab_size,
        n_steps=config.n_steps,
        n_blocks=shape.n_layers * config.rollouts * (new + n_passes),
        flops=config.rollouts * n * (4 * trunk + 3 * head + config.updates_per_rollout * 3 * (trunk + head)),
    )


def weigh_sampling(config: SampleConfig, shape: ModelShape, rows: RowShape) -> Load:
    """Return the load of drawing completions."""
    n = rows.n_rows * config.n
    n_together = min(n, config.batch_size)
    length = min(rows.prompt, config.max_prompt_tokens) + config.max_new_tokens
    head = 2 * config.max_new_tokens * shape.hidden_size * shape.vocab_size
    return Load(
        held=WEIGHT * shape.n_parameters + cache_bytes(shape, n_together, length),
        step=LOGITS_KEPT * WEIGHT * n_together * shape.vocab_size,
        n_steps=0,
        n_blocks=shape.n_layers * config.max_new_tokens * math.ceil(n / n_together),
        flops=n * (forward_flops(shape, length) + head),
    )
