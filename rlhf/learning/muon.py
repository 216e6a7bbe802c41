"""torch's Muon, whose Newton-Schulz products are computed in a dtype that the device is quick in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlhf.learning.sharding import cut_like, read_whole

Coefficients = tuple[float, float, float]


class Muon(torch.optim.Muon):
    """torch.optim.Muon with a dtype for the orthogonalization; with bfloat16 its steps are torch's to the last digit.

    torch always takes bfloat16, which a CPU without such instructions emulates: there 400 steps of the demo's pre-training
    spent six sevenths of their time on it.

    Args: dtype: of the products. The rest is torch's.
    """

    def __init__(self, params: Any, *, dtype: torch.dtype, **settings: Any) -> None:
        super().__init__(params, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient. Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, parameters, gradients, momenta)
            for parameter, gradient, momentum in zip(parameters, gradients, momenta, strict=True):
                self.move(group, parameter, gradient, momentum)
        return loss

    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor, momentum: Tensor) -> None:
        """Update one matrix (A, B) and its momentum, in place; the update of one in pieces is computed whole."""
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        update = orthogonalize(
            read_whole(update),
            dtype=self.dtype,
            coefficients=group["ns_coefficients"],
            n_steps=group["ns_steps"],
            eps=group["eps"],
        )
        n_rows, n_columns = parameter.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(cut_like(parameter, update), alpha=-group["lr"] * max(1.0, n_rows / n_columns) ** 0.5)


def orthogonalize(
    matrix: Tensor, *, dtype: torch.dtype, coefficients: Coefficients, n_steps: int, eps: float
) -> Tensor:
    """Return nearly the closest orthogonal matrix: the singular vectors stay, their values come to 0.7 to 1.2.

    matrix: (A, B). Source: the quintic Newton-Schulz iteration of Jordan et al. 2024.
    """
    a, b, c = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if is_tall else matrix).to(dtype, copy=True)
    wide.div_(wide.norm().clamp(min=eps))
    for _ in range(n_steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if is_tall else wide
