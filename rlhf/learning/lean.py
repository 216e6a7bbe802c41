"""Normalisation and rotary positions of Llama's kind, the same numbers in half the passes over memory, on a CPU.

transformers writes them as chains of whole-tensor operations, each of which autograd keeps and walks back: in a step of PPO
on a model of 33 million weights they took a sixth of the time. Measured for 8 rows of 176 tokens, forward and back: RMSNorm
1.2 ms instead of 2.3, rotary positions 2.8 instead of 5.1.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from types import FunctionType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Model = TypeVar("Model", bound=nn.Module)

ROTATES = "apply_rotary_pos_emb"  # by this name every attention of the kind calls it


def make_lean(model: Model) -> Model:
    """Let the model's layers compute as these here do, where that gives what their own code gives. Returns the model.

    A layer keeps its name, its weights and its kind: its class becomes one derived from its own.
    """
    for module in model.modules():
        kind: Any = type(module)
        if getattr(kind, "is_lean", False):
            continue
        if is_rms_norm(module):
            module.__class__ = lean_norm(kind)
        elif rotates_plainly(kind):
            module.__class__ = lean_attention(kind)
    return model


def is_rms_norm(module: nn.Module) -> bool:
    """Say whether the module computes weight x / sqrt(mean(x^2) + epsilon), whatever it is called, of one tensor alone."""
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not isinstance(weight, nn.Parameter) or weight.dim() != 1 or not isinstance(epsilon, float) or weight.is_meta:
        return False
    if len(inspect.signature(module.forward).parameters) != 1:  # a gate, as Mamba's norm takes beside
        return False
    x = draw(3, len(weight)).to(weight)
    with torch.no_grad():
        return torch.allclose(module(x), RMSNorm.apply(x, weight, epsilon), atol=1e-5)  # type: ignore[no-untyped-call]


@cache
def lean_norm(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the kind of norm with this module's way of computing it."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if not is_plain(hidden_states, self.weight):
            return cast(Tensor, kind.forward(self, hidden_states))
        return cast(Tensor, RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon))  # type: ignore[no-untyped-call]

    return derive(kind, forward)


class RMSNorm(torch.autograd.Function):
    """weight x / sqrt(mean(x^2) + epsilon). Source: Root Mean Square Layer Normalization, arXiv 1910.07467, equation 4."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return x normalised: (..., H). x: (..., H). weight: (H,)."""
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        scale = mean_square.add_(epsilon).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, scale)
        return torch.mul(x, scale).mul_(weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of x and of the weight. slopes: (..., H)."""
        x, weight, scale = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (slopes * x).mul_(scale).flatten(0, -2).sum(0)
        if ctx.needs_input_grad[0]:
            of_x = slopes * weight
            along = (of_x * x).sum(-1, keepdim=True).mul_(scale.pow(3)).div_(x.shape[-1])  # (..., 1)
            of_x.mul_(scale).addcmul_(x, along, value=-1)
        return of_x, of_weight, None


@cache
def rotates_plainly(kind: type[nn.Module]) -> bool:
    """Say whether a kind of attention calls a function that rotates the halves of a head against each other."""
    theirs = getattr(sys.modules.get(kind.__module__), ROTATES, None)
    if not isinstance(theirs, FunctionType) or not isinstance(kind.forward, FunctionType):
        return False
    if ROTATES not in kind.forward.__code__.co_names:
        return False
    queries, keys, cos, sin = draw(1, 2, 3, 8), draw(1, 1, 3, 8), draw(1, 3, 8), draw(1, 3, 8)
    try:
        expected = theirs(queries, keys, cos, sin)
    except (TypeError, ValueError, RuntimeError):  # of another shape or another use: left as it is
        return False
    found = [rotate(states, cos[:, None], sin[:, None]) for states in (queries, keys)]
    return len(expected) == len(found) and all(map(agree, found, expected))


@cache
def lean_attention(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the kind of attention, whose code calls our rotation by the name of its module's."""
    theirs = getattr(sys.modules[kind.__module__], ROTATES)

    def apply_rotary_pos_emb(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
        if not is_plain(q, k, cos, sin) or not q.shape[-1] == k.shape[-1] == cos.shape[-1]:
            return theirs(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return Rotation.apply(q, cos, sin), Rotation.apply(k, cos, sin)  # type: ignore[no-untyped-call]

    own = cast(FunctionType, kind.forward)
    names = {**own.__globals__, ROTATES: apply_rotary_pos_emb}
    forward = FunctionType(own.__code__, names, own.__name__, own.__defaults__, own.__closure__)
    forward.__kwdefaults__ = own.__kwdefaults__
    return derive(kind, forward)


class Rotation(torch.autograd.Function):
    """Rotary positions. Source: RoFormer, arXiv 2104.09864, equation 34, each first half against the second."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the states turned: (..., D). states: (..., D). cos, sin: (..., D), broadcast to them."""
        ctx.save_for_backward(cos, sin)
        return rotate(states, cos, sin)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the states: turned back. slopes: (..., D)."""
        cos, sin = ctx.saved_tensors
        return rotate(slopes, cos, -sin.roll(sin.shape[-1] // 2, -1)), None, None


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return (x1 cos1 - x2 sin1, x2 cos2 + x1 sin2) of the halves of the last dimension, of the states' shape."""
    turned = torch.empty_like(states)
    (x1, x2), (cos1, cos2), (sin1, sin2), (first, second) = (each.chunk(2, -1) for each in (states, cos, sin, turned))
    torch.mul(x1, cos1, out=first).addcmul_(x2, sin1, value=-1)
    torch.mul(x2, cos2, out=second).addcmul_(x1, sin2)
    return turned


def derive(kind: type[nn.Module], forward: Any) -> type[nn.Module]:
    """Return a class that is of the kind, and called like it, but for its forward."""
    return type(kind.__name__, (kind,), {"forward": forward, "is_lean": True, "__module__": kind.__module__})


def is_plain(*tensors: Tensor) -> bool:
    """Whether all lie on the CPU in float32."""
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)


def agree(found: Tensor, expected: Any) -> bool:
    """Whether two results are the same but for rounding."""
    return isinstance(expected, Tensor) and found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)


def draw(*shape: int) -> Tensor:
    """Return numbers to compare by, always the same ones and without touching anybody's random state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
