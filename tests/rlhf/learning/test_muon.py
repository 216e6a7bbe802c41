"""Muon does torch's steps in a dtype that the device is quick in."""

from __future__ import annotations

import pytest
import torch

from rlhf.learning.muon import Muon, orthogonalize

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def take_steps(optimizer_of, n_steps=5):
    """Return three matrices, tall, wide and square, after some steps down the same slope."""
    torch.manual_seed(3)
    matrices = [torch.nn.Parameter(torch.randn(*shape)) for shape in ((48, 16), (16, 48), (24, 24))]
    goals = [torch.randn_like(matrix) for matrix in matrices]
    optimizer = optimizer_of(matrices)
    for _ in range(n_steps):
        optimizer.zero_grad()
        sum((matrix - goal).square().sum() for matrix, goal in zip(matrices, goals, strict=True)).backward()
        optimizer.step()
    return [matrix.detach() for matrix in matrices]


@pytest.mark.parametrize("settings", [{}, {"nesterov": False, "weight_decay": 0.1}])
def test_in_bfloat16_its_steps_are_torchs_to_the_last_digit(settings):
    ours = take_steps(lambda matrices: Muon(matrices, dtype=torch.bfloat16, lr=0.02, **settings))
    theirs = take_steps(lambda matrices: torch.optim.Muon(matrices, lr=0.02, **settings))

    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_in_float32_its_steps_are_torchs_but_for_bfloat16s_rounding():
    ours = take_steps(lambda matrices: Muon(matrices, dtype=torch.float32, lr=0.02))
    theirs = take_steps(lambda matrices: torch.optim.Muon(matrices, lr=0.02))

    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0.005)
        assert not torch.equal(mine, other)


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (24, 24)])
def test_what_is_orthogonalized_keeps_its_directions_and_loses_its_sizes(shape):
    torch.manual_seed(1)
    matrix = torch.randn(*shape)

    found = orthogonalize(matrix, dtype=torch.float32, coefficients=COEFFICIENTS, n_steps=5, eps=1e-7)

    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T
    off = turned - torch.diag(turned.diag())
    assert sizes.max() / sizes.min() > 2
    assert 0.6 < turned.diag().min() <= turned.diag().max() < 1.3
    assert off.abs().max() < 1e-4


def test_a_matrix_is_left_as_it_was_while_it_is_orthogonalized():
    matrix = torch.randn(8, 8)
    before = matrix.clone()

    orthogonalize(matrix, dtype=matrix.dtype, coefficients=COEFFICIENTS, n_steps=5, eps=1e-7)

    assert torch.equal(matrix, before)
