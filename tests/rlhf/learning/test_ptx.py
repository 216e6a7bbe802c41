"""Of what a run of PPO learns to write besides, it reads no more than it comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.records import write_rows
from rlhf.learning.conversations import encode_row
from rlhf.learning.models import load_tokenizer
from rlhf.learning.ptx import load_ptx

TEXTS = [{"text": f"The number is {number}."} for number in range(50)]


@pytest.fixture
def read(tiny_policy: Path, tmp_path: Path):
    """Return which texts, by number, a run of so many rollouts learns to write, step by step; a rollout has 8 of them."""
    write_rows(tmp_path / "ptx.jsonl", TEXTS)
    tokenizer = load_tokenizer(tiny_policy)
    encoded = [tuple(encode_row(tokenizer, row, 64).ids) for row in TEXTS]

    def read_texts(*, rollouts: int, seed: int = 1) -> list[int]:
        sizes = {"ppo_epochs": 1, "num_minibatches": 2, "ptx_batch_size": 4}
        ptx = load_ptx(tmp_path, tokenizer, PPOConfig(ptx_coef=1.0, rollouts=rollouts, seed=seed, **sizes))
        assert ptx is not None
        assert ptx.counts["n_ptx"] == len(ptx.rows)
        steps = [ptx.batches.rows_of(step) for step in range(2 * rollouts)]
        assert {len(rows) for rows in steps} <= {4, 2}
        return [encoded.index(tuple(ptx.rows[row].ids)) for rows in steps for row in rows]

    return read_texts


def test_a_run_reads_as_many_rows_as_its_steps_learn_from_and_none_twice(read):
    found = read(rollouts=2)

    assert len(found) == len(set(found)) == 16


def test_which_rows_are_read_is_drawn_by_the_seed_from_the_whole_file(read):
    one, again, other = read(rollouts=2), read(rollouts=2), read(rollouts=2, seed=2)

    assert one == again
    assert set(one) != set(other)
    assert max(one) >= 16


def test_a_file_of_fewer_rows_is_read_whole(read):
    assert set(read(rollouts=7)) == set(range(50))
