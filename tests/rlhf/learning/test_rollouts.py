"""How a rollout is dealt into minibatches."""

from __future__ import annotations

import random

import pytest
import torch

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.backends import LoopBackend
from rlhf.learning.rollouts import RolloutSource


@pytest.fixture
def source():
    """Return a function that makes a source for `split`, which asks neither models nor prompts."""

    def make_source(n_rows: int, n_minibatches: int, *, seed: int = 0) -> RolloutSource:
        config = PPOConfig(rollout_batch_size=n_rows, num_minibatches=n_minibatches, ppo_epochs=3, seed=seed)
        nothing = torch.nn.Identity()
        return RolloutSource(
            config, prompts=[], reference=nothing, rewards={}, backend=LoopBackend(1), stop_ids=[], pad_id=0
        )

    return make_source


def uneven_lengths(n_rows: int, *, seed: int) -> list[int]:
    """Most completions end early and some run to the limit, as they do."""
    draw = random.Random(seed)
    return [min(128, 1 + int(draw.expovariate(1 / 30))) for _ in range(n_rows)]


@pytest.mark.parametrize(("n_rows", "n_minibatches"), [(8, 2), (64, 4), (13, 4), (4, 4), (9, 1)])
def test_every_pass_holds_every_row_once_in_as_many_minibatches_as_asked(source, n_rows, n_minibatches):
    minibatches = source(n_rows, n_minibatches).split(0, uneven_lengths(n_rows, seed=1))

    assert len(minibatches) == 3 * n_minibatches
    assert all(minibatches)
    for start in range(0, len(minibatches), n_minibatches):
        rows = [row for minibatch in minibatches[start : start + n_minibatches] for row in minibatch]
        assert sorted(rows) == list(range(n_rows))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_rows", "n_minibatches"), [(64, 4), (128, 8), (30, 4)])
def test_minibatches_differ_by_less_than_one_long_completion(source, n_rows, n_minibatches, seed):
    lengths = uneven_lengths(n_rows, seed=seed)

    minibatches = source(n_rows, n_minibatches, seed=seed).split(seed, lengths)

    counts = [sum(lengths[row] for row in minibatch) for minibatch in minibatches]
    assert max(counts) - min(counts) <= max(lengths)


def test_a_token_weighs_nearly_the_same_in_every_minibatch(source):
    spreads = []
    for number in range(20):
        lengths = uneven_lengths(256, seed=number)
        minibatches = source(256, 4).split(number, lengths)
        counts = torch.tensor([float(sum(lengths[row] for row in minibatch)) for minibatch in minibatches])
        spreads.append((counts.std() / counts.mean()).item())

    # The same rows cut without a look at their lengths spread by 0.10.
    assert sum(spreads) / len(spreads) < 0.02


def test_passes_and_rollouts_are_dealt_anew_and_the_same_again_for_the_same_number(source):
    lengths = uneven_lengths(64, seed=0)

    first, again, second = (source(64, 4).split(number, lengths) for number in (0, 0, 1))

    assert first == again
    dealt = {tuple(sorted(minibatch)) for minibatch in [*first, *second]}
    assert len(dealt) == 2 * 3 * 4


def test_rows_of_one_length_are_mixed_too(source):
    first, second = (source(8, 2).split(number, [5] * 8)[0] for number in (0, 1))

    assert sorted(first) != sorted(second)
