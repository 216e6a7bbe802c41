"""What models, optimizers and passes cost, in bytes and operations, and what a machine makes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.settings import RunConfig

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


def trained_bytes(config: RunConfig, shape: ModelShape, machine: Machine = CPU) -> float:
    """Return the bytes of a model's weights and of what its optimizer keeps; with adapters the rest is frozen."""
    if getattr(config, "lora_rank", 0):
        return frozen_bytes(shape, machine) + adapter_bytes(config, shape)
    copies = machine.copy_bytes * shape.n_parameters
    # Muon keeps one moment of the matrices where AdamW keeps two.
    spared = WEIGHT * shape.n_block_parameters if isinstance(config, PretrainConfig) else 0
    return ADAM * shape.n_parameters - spared + copies


def frozen_bytes(shape: ModelShape, machine: Machine = CPU) -> float:
    """Return the bytes of a model whose blocks' matrices are frozen and kept in the precision of the products."""
    n_whole = shape.n_parameters - shape.n_block_parameters
    return WEIGHT * n_whole + (machine.copy_bytes or WEIGHT) * shape.n_block_parameters


def restored_bytes(config: RunConfig, shape: ModelShape, machine: Machine = CPU) -> float:
    """Return what a frozen base takes more in all its digits than while it lies under an adapter, 0 without one.

    So it is read, and so it is measured and published.
    """
    is_frozen = getattr(config, "lora_rank", 0) > 0
    return WEIGHT * shape.n_parameters - frozen_bytes(shape, machine) if is_frozen else 0.0


def adapter_bytes(config: RunConfig, shape: ModelShape) -> float:
    """Return the bytes of an adapter and of what its optimizer keeps, none without a lora_rank."""
    per_block = 8 * shape.hidden_size + 3 * (shape.hidden_size + shape.intermediate_size)
    return float(ADAM * getattr(config, "lora_rank", 0) * shape.n_layers * per_block)


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
