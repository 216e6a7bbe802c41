"""What a run will cost, before it starts: memory and time from its settings, the shape of its model and its rows.

Pure arithmetic for fp32 on a CPU. Its constants were fitted to measured runs by benchmarks/estimates.py, which prints how
far off they are; time is then corrected by how long earlier runs of the kind took on the host that learns.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.settings import RunConfig, TrainingConfig

WEIGHT = 4  # bytes of an fp32 number
ADAM = 4 * WEIGHT  # a weight, its gradient, and AdamW's two moments
# A learning process that has loaded its libraries and learned nothing yet.
LIBRARIES_BYTES = 510 * 10**6
# Numbers that a block keeps for its backward pass: so many hidden vectors and MLP vectors a token, and so many squares of
# the row a head.
HIDDEN_KEPT, MLP_KEPT, SQUARES_KEPT = 12.0, 3.0, 1.0
# Copies of the logits that a loss and its backward pass hold at once.
LOGITS_KEPT = 3.0
# What the allocator holds beyond what is asked of it.
SLACK = 1.1
# Seconds of a process before and after its steps, of a step whatever its size, of a block in a step or a drawn token.
START_S, STEP_S, BLOCK_S = 3.0, 0.01, 0.003
FLOPS_PER_S = 25e9  # of two cores that others use too
# Over this many times the host's memory a run is refused; up to there the page warns.
REFUSED_ABOVE = 2.0


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
class Estimate:
    """memory_bytes: the largest resident set. seconds: of the whole run; uncorrected_s: what the arithmetic alone says.
    total_bytes: what the host has."""

    memory_bytes: int
    seconds: float
    uncorrected_s: float
    total_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the host has the memory."""
        return self.memory_bytes <= self.total_bytes

    @property
    def is_refused(self) -> bool:
        """Whether it is so much too large that no error of the estimate explains it."""
        return self.memory_bytes > REFUSED_ABOVE * self.total_bytes

    def __str__(self) -> str:
        verdict = "fits" if self.fits else "does not fit"
        memory = f"about {describe_bytes(self.memory_bytes)} of {describe_bytes(self.total_bytes)}"
        return f"{verdict}: {memory}, about {describe_seconds(self.seconds)}"


@dataclass(frozen=True)
class Load:
    """What a run asks of its host. held: bytes kept throughout; step: bytes of its largest step beside them;
    n_steps: optimizer steps; n_blocks: how often a block is entered; flops: multiplications and additions."""

    held: float
    step: float
    n_steps: float
    n_blocks: float
    flops: float


def estimate_run(
    config: RunConfig, shape: ModelShape, rows: RowShape, *, total_bytes: int, took: Sequence[float] = ()
) -> Estimate | None:
    """Return what a run will cost, None for a kind whose cost is not known.

    Args:
        shape: of the model it starts from, or makes. rows: of its dataset.
        total_bytes: memory of the host that learns.
        took: seconds that earlier runs of the kind took over the seconds this arithmetic would have given.
    """
    load = weigh_run(config, shape, rows)
    if load is None:
        return None
    memory = LIBRARIES_BYTES + SLACK * (load.held + load.step)
    uncorrected_s = load_seconds(load)
    seconds = uncorrected_s * (statistics.median(took) if took else 1.0)
    return Estimate(round(memory), round(seconds, 1), round(uncorrected_s, 3), total_bytes)


def load_seconds(load: Load) -> float:
    """Return the seconds of a load on the host the constants were fitted on."""
    return START_S + STEP_S * load.n_steps + BLOCK_S * load.n_blocks + load.flops / FLOPS_PER_S


def weigh_run(config: RunConfig, shape: ModelShape, rows: RowShape) -> Load | None:
    """Return the load of a run, None for a kind that is not weighed."""
    if isinstance(config, PPOConfig):
        return weigh_ppo(config, shape, rows)
    if isinstance(config, SampleConfig):
        return weigh_sampling(config, shape, rows)
    if isinstance(config, TrainingConfig):
        return weigh_training(config, shape, rows)
    return None


def weigh_training(config: TrainingConfig, shape: ModelShape, rows: RowShape) -> Load:
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
        held=trained_bytes(config, shape) + (n_models - 1) * WEIGHT * shape.n_parameters,
        step=activation_bytes(shape, config.batch_size, longest, keeps=config.gradient_checkpointing != "on")
        + LOGITS_KEPT * WEIGHT * n_logits * shape.vocab_size,
        n_steps=n_steps,
        n_blocks=shape.n_layers * (3 * n_steps + n_passes / 32),
        flops=n_steps * config.batch_size * row_flops + n_passes * row_flops / 3,
    )


def weigh_ppo(config: PPOConfig, shape: ModelShape, rows: RowShape) -> Load:
    """Return the load of PPO: completions are drawn, scored by four models and learned from by two."""
    n = config.rollout_batch_size * config.samples_per_prompt
    prompt, new = min(rows.prompt, config.max_prompt_tokens), config.max_new_tokens
    length = prompt + new
    n_micro = math.ceil(n * length / config.micro_batch_tokens)
    n_together = min(math.ceil(n / config.num_minibatches), max(1, config.micro_batch_tokens // max(1, round(length))))
    trunk, head = forward_flops(shape, length), 2 * new * shape.hidden_size * shape.vocab_size
    n_steps = config.rollouts * config.ppo_epochs * config.num_minibatches
    per_minibatch = math.ceil(n_micro / config.num_minibatches)
    shares = config.lora_rank > 0 and config.share_base != "off"
    others = 0 if shares else 2 * WEIGHT * shape.n_parameters
    trained = 2 * trained_bytes(config, shape) - (WEIGHT * shape.n_parameters if shares else 0)
    return Load(
        held=trained + others + cache_bytes(shape, n, length),
        step=2 * activation_bytes(shape, n_together, length)
        + LOGITS_KEPT * WEIGHT * n_together * new * shape.vocab_size,
        n_steps=n_steps,
        n_blocks=shape.n_layers * (config.rollouts * (new + 4 * n_micro) + 6 * n_steps * per_minibatch),
        flops=config.rollouts * n * (5 * trunk + 3 * head + config.ppo_epochs * 3 * (2 * trunk + head)),
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


def trained_bytes(config: RunConfig, shape: ModelShape) -> float:
    """Return the bytes of a model's weights and of what its optimizer keeps; with adapters only they have any of that."""
    rank = getattr(config, "lora_rank", 0)
    if rank:
        per_block = 8 * shape.hidden_size + 3 * (shape.hidden_size + shape.intermediate_size)
        return WEIGHT * shape.n_parameters + ADAM * rank * shape.n_layers * per_block
    # Muon keeps one moment of the matrices where AdamW keeps two.
    spared = WEIGHT * shape.n_block_parameters if isinstance(config, PretrainConfig) else 0
    return ADAM * shape.n_parameters - spared


def activation_bytes(shape: ModelShape, n_rows: float, length: float, *, keeps: bool = True) -> float:
    """Return what the blocks keep of a batch for the backward pass, or of one block when activations are recomputed."""
    per_token = (
        HIDDEN_KEPT * shape.hidden_size + MLP_KEPT * shape.intermediate_size + SQUARES_KEPT * shape.n_heads * length
    )
    n_kept = shape.n_layers if keeps else 1
    recomputed = 0 if keeps else WEIGHT * n_rows * length * shape.hidden_size * shape.n_layers
    return WEIGHT * n_rows * length * per_token * n_kept + recomputed


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


def describe_bytes(n_bytes: float) -> str:
    """Return bytes as people read memory: 640 MB, 3.1 GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def describe_seconds(seconds: float) -> str:
    """Return seconds in the grain of an estimate: 20 s, 4 min, 3.5 h."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
