"""What a run asks of the machine that learns: bytes it holds, bytes of its largest step, and operations."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.ppo import TOKENS_AT_ONCE, PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.settings import RunConfig, TrainingConfig

WEIGHT = 4  # bytes of an fp32 number
ADAM = 4 * WEIGHT  # a weight, its gradient, and AdamW's two moments
# Numbers that a block keeps for its backward pass: so many hidden vectors and MLP vectors a token.
HIDDEN_KEPT, MLP_KEPT = 12.0, 3.0
# Copies of the logits that a loss and its backward pass hold at once.
LOGITS_KEPT = 3.0
# What the allocator holds beyond what is asked of it.
SLACK = 1.1


@dataclass(frozen=True)
class Machine:
    """What learns, in numbers.

    name: as torch calls its kind. idle_bytes: held by a process that has learned nothing yet. number_bytes: of a number
    that a block keeps. copy_bytes: of the copy of a weight in the precision of the products, 0 where that is the weight's
    own. squares_kept: squares of the row a head keeps. start_s, step_s, block_s: seconds of a process before and after its
    steps, of a step whatever its size, of a block in a step or a drawn token. flops_per_s: reached, not promised.
    """

    name: str
    idle_bytes: float
    number_bytes: float
    copy_bytes: float
    squares_kept: float
    start_s: float
    step_s: float
    block_s: float
    flops_per_s: float

    def computing_in(self, dtype: str) -> Machine:
        """Return the machine with products in fp32 where a run's setting asks for that."""
        return dataclasses.replace(self, number_bytes=WEIGHT, copy_bytes=0.0) if dtype == "float32" else self


# Two cores that others use too; fitted.
CPU = Machine(
    "cpu",
    idle_bytes=510e6,
    number_bytes=WEIGHT,
    copy_bytes=0.0,
    squares_kept=1.0,
    start_s=3.0,
    step_s=0.01,
    block_s=0.003,
    flops_per_s=25e9,
)
# Counted, not measured. Weights, gradients and moments stay fp32, products are bf16 by autocast, which copies each weight; a
# fused attention keeps no square. A CUDA context is held beside what torch counts. A fifth of a small card's bf16 rate.
GPU = Machine(
    "cuda",
    idle_bytes=600e6,
    number_bytes=2,
    copy_bytes=2.0,
    squares_kept=0.0,
    start_s=10.0,
    step_s=0.02,
    block_s=0.0005,
    flops_per_s=20e12,
)


@dataclass(frozen=True)
class ModelShape:
    """A transformer in numbers. n_parameters: all of them, embeddings and head included."""

    n_parameters: int
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int

    @property
    def n_block_parameters(self) -> int:
        """Weights that every token is multiplied by; embeddings are looked up, and the head is counted by itself."""
        return self.n_layers * (4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size)


@dataclass(frozen=True)
class RowShape:
    """The rows of a dataset in tokens: of the part before what is learned (a prompt), and of what is learned.

    prompt, answer: mean tokens; longest: of both together. A pair's answer is the sum of its two completions.
    """

    n_rows: int
    prompt: float
    answer: float
    longest: float
    n_test: int = 0


@dataclass(frozen=True)
class Load:
    """What a run asks of its host. held: bytes kept throughout; step: bytes of its largest step beside them;
    n_steps: optimizer steps; n_blocks: how often a block is entered; flops: multiplications and additions."""

    held: float
    step: float
    n_steps: float
    n_blocks: float
    flops: float


def load_bytes(load: Load, machine: Machine = CPU) -> float:
    """Return the most memory that a load takes of a machine."""
    return machine.idle_bytes + SLACK * (load.held + load.step)


def load_seconds(load: Load, machine: Machine = CPU) -> float:
    """Return the seconds of a load on a machine."""
    return (
        machine.start_s
        + machine.step_s * load.n_steps
        + machine.block_s * load.n_blocks
        + load.flops / machine.flops_per_s
    )


def weigh_run(config: RunConfig, shape: ModelShape, rows: RowShape, machine: Machine = CPU) -> Load | None:
    """Return the load of a run, None for a kind that is not weighed."""
    machine = machine.computing_in(getattr(config, "dtype", "auto"))
    if isinstance(config, PPOConfig):
        return weigh_ppo(config, shape, rows, machine)
    if isinstance(config, GRPOConfig):
        return weigh_groups(config, shape, rows, machine.computing_in("float32"))
    if isinstance(config, SampleConfig):
        return weigh_sampling(config, shape, rows)
    if isinstance(config, TrainingConfig):
        return weigh_training(config, shape, rows, machine)
    return None


def weigh_training(config: TrainingConfig, shape: ModelShape, rows: RowShape, machine: Machine) -> Load:
    """Return the load of a run that learns from rows: pretrain, sft, reward, dpo, kto."""
    n_steps = config.max_steps or math.ceil(config.epochs * math.ceil(rows.n_rows / config.batch_size))
    answer = rows.answer if config.kind != "pretrain" else config.max_length
    mean = min(rows.prompt + answer, config.max_length * (2 if config.kind in ("reward", "dpo") else 1))
    longest = config.max_length if config.kind == "pretrain" else min(rows.longest, 2 * config.max_length)
    n_logits = 0.0 if config.kind == "reward" else config.batch_size * min(answer * longest / max(mean, 1), longest)
    row_flops = 3 * forward_flops(shape, mean, n_logits=0.0 if config.kind == "reward" else min(answer, mean))
    # A reference is asked once, and the policy on the held-out rows at the end, with the reference again.
    n_asked = {"dpo": rows.n_rows + 2 * rows.n_test, "kto": 2 * rows.n_rows + 2 * rows.n_test, "reward": rows.n_test}
    n_models = 2 if config.kind in ("dpo", "kto") else 1
    n_passes = n_asked.get(config.kind, rows.n_test)
    return Load(
        held=trained_bytes(config, shape, machine) + (n_models - 1) * WEIGHT * shape.n_parameters,
        step=activation_bytes(
            shape, config.batch_size, longest, keeps=config.gradient_checkpointing != "on", machine=machine
        )
        + LOGITS_KEPT * WEIGHT * n_logits * shape.vocab_size,
        n_steps=n_steps,
        n_blocks=shape.n_layers * (3 * n_steps + n_passes / 32),
        flops=n_steps * config.batch_size * row_flops + n_passes * row_flops / 3,
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
    shares = config.lora_rank > 0 and config.share_base != "off"
    others = 0 if shares else 2 * WEIGHT * shape.n_parameters
    n_learning = 2 if config.critic == "trained" else 1
    twin = WEIGHT * shape.n_parameters if shares and n_learning == 2 else 0
    trained = n_learning * trained_bytes(config, shape, machine) - twin
    n_states = n * (new + 1) if config.critic == "frozen" else 0
    states = 2 * WEIGHT * n_states * shape.hidden_size  # as they were read, and side by side
    return Load(
        held=trained + others + states + cache_bytes(shape, n, length),
        step=activation_bytes(shape, n_together, length, machine=machine)
        + LOGITS_KEPT * WEIGHT * n_together * new * shape.vocab_size,
        n_steps=n_steps,
        n_blocks=shape.n_layers
        * (config.rollouts * (new + (2 + n_learning) * n_micro) + 3 * n_learning * n_steps * per_minibatch),
        flops=config.rollouts
        * n
        * ((3 + n_learning) * trunk + 3 * head + config.ppo_epochs * 3 * (n_learning * trunk + head)),
    )


def weigh_groups(config: GRPOConfig, shape: ModelShape, rows: RowShape, machine: Machine) -> Load:
    """Return the load of GRPO and RLOO: completions are drawn, scored by two models and learned from by one."""
    n, n_together = config.n_completions, config.n_completions // config.micro_batches
    new = config.max_new_tokens
    length = min(rows.prompt, config.max_prompt_tokens) + new
    trunk, head = forward_flops(shape, length), 2 * new * shape.hidden_size * shape.vocab_size
    n_frozen = 2 if config.asks_reference and not config.lora_rank else 1
    n_passes = config.micro_batches * (3 * config.updates_per_rollout + 3)
    return Load(
        held=trained_bytes(config, shape, machine)
        + n_frozen * WEIGHT * shape.n_parameters
        + cache_bytes(shape, n, length),
        step=activation_bytes(shape, n_together, length, machine=machine)
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


def trained_bytes(config: RunConfig, shape: ModelShape, machine: Machine = CPU) -> float:
    """Return the bytes of a model's weights and of what its optimizer keeps; with adapters only they have any of that."""
    rank = getattr(config, "lora_rank", 0)
    copies = machine.copy_bytes * shape.n_parameters
    if rank:
        per_block = 8 * shape.hidden_size + 3 * (shape.hidden_size + shape.intermediate_size)
        return WEIGHT * shape.n_parameters + ADAM * rank * shape.n_layers * per_block + copies
    # Muon keeps one moment of the matrices where AdamW keeps two.
    spared = WEIGHT * shape.n_block_parameters if isinstance(config, PretrainConfig) else 0
    return ADAM * shape.n_parameters - spared + copies


def activation_bytes(
    shape: ModelShape, n_rows: float, length: float, *, keeps: bool = True, machine: Machine = CPU
) -> float:
    """Return what the blocks keep of a batch for the backward pass, or of one block when activations are recomputed."""
    per_token = (
        HIDDEN_KEPT * shape.hidden_size
        + MLP_KEPT * shape.intermediate_size
        + machine.squares_kept * shape.n_heads * length
    )
    n_kept = shape.n_layers if keeps else 1
    recomputed = 0 if keeps else machine.number_bytes * n_rows * length * shape.hidden_size * shape.n_layers
    return machine.number_bytes * n_rows * length * per_token * n_kept + recomputed


def cache_bytes(shape: ModelShape, n_rows: float, length: float) -> float:
    """Return the keys and values of drawn rows, twice, for the moment in which a longer cache replaces a shorter one."""
    return 2 * 2 * WEIGHT * n_rows * length * shape.hidden_size * shape.n_layers


def forward_flops(shape: ModelShape, length: float, *, n_logits: float = 0.0) -> float:
    """Return the operations of one row's forward pass: blocks, attention, and the head where there are logits."""
    attention = 4 * length * shape.hidden_size * shape.n_layers
    return length * (2 * shape.n_block_parameters + attention) + 2 * n_logits * shape.hidden_size * shape.vocab_size


def pretrained_shape(config: PretrainConfig) -> ModelShape:
    """Return the shape of the model that pre-training makes; input and output embeddings are two matrices."""
    shape = ModelShape(
        0, config.vocab_size, config.hidden_size, config.intermediate_size, config.n_layers, config.n_heads
    )
    n_embedded = 2 * config.vocab_size * config.hidden_size
    return ModelShape(n_embedded + shape.n_block_parameters, *list(vars(shape).values())[1:])
