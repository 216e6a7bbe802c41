"""What draws completions besides our own loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf.contract.errors import ContractError
from rlhf.learning.backends import LoopBackend, cut_after_stop, draw_continuously, pick_backend
from rlhf.learning.generation import Decoding, Rollout
from rlhf.learning.models import load_policy

PROMPTS = [[1, 4, 50, 61, 5], [1, 4, 70, 5], [1, 4, 90, 91, 92, 93, 94, 95, 5]]


def test_continuous_batching_says_what_the_loop_says(tiny_policy: Path):
    model = load_policy(tiny_policy, device=torch.device("cpu"))
    attention = model.config._attn_implementation
    greedy = Decoding(temperature=0.0, top_p=1.0, max_new_tokens=6, stop_ids=[2])

    found, expected = (
        backend(model, PROMPTS, greedy, n=2, seed=0, only=[2, 0]) for backend in (draw_continuously, LoopBackend(8))
    )

    assert found == expected
    assert [len(rollout.logps) for [rollout, _] in found] == [len(rollout.ids) for [rollout, _] in expected]
    for ours, theirs in zip(expected, found, strict=True):
        assert theirs[0].logps == pytest.approx(ours[0].logps, abs=1e-4)
    assert model.config._attn_implementation == attention


def test_what_comes_after_the_first_stop_token_is_cut():
    assert cut_after_stop([5, 7, 2, 9], [-1.0, -2.0, -3.0, -4.0], [2, 3]) == Rollout([5, 7, 2], finished=True)
    assert cut_after_stop([5, 7], [-1.0, -2.0], [2, 3]) == Rollout([5, 7], finished=False)


@pytest.mark.parametrize(("device", "expected"), [("cpu", LoopBackend), ("cuda", type(draw_continuously))])
def test_auto_takes_continuous_batching_on_a_gpu(device: str, expected: type):
    backend = pick_backend("auto", device=torch.device(device), base_model="", batch_size=4)

    assert isinstance(backend, expected)


def test_vllm_where_it_is_not_installed_is_refused_with_what_to_do():
    with pytest.raises(ContractError, match="pip install vllm, or set auto"):
        pick_backend("vllm", device=torch.device("cuda"), base_model="", batch_size=4)
