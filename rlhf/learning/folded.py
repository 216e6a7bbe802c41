"""LoRA layers that compute with one matrix: the adapter's product is added to the frozen weights, not to every token.

PEFT's layer multiplies every token by both small matrices, scales what comes out and adds it: beside the frozen matrix's
own product that is as much time again on a CPU, nearly all of it memory. Here W + s B A is made for a pass and given up after
it, which costs what a hundred tokens cost; or it is kept for several passes between which nothing is learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# For fewer tokens adding to the tokens is cheaper than to the weights.
FEWEST_TOKENS = 100


class FoldedLinear(Linear):
    """PEFT's linear layer, the same parameters and numbers; what is unusual is left to PEFT.

    kept: the last adapter's name and its W + s B A, within `folds_kept`; None outside of it.
    """

    kept: tuple[str, Tensor | None] | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output. x: (..., I). Returns: (..., O)."""
        base = self.get_base_layer()
        if self.disable_adapters and not self.merged:
            found: Tensor = base(x, *args, **kwargs)
            return found
        if args or kwargs or not self.is_plain(x):
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        down, up, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
        weight = self.find_kept(name, n_tokens=x.numel() // x.shape[-1])
        if weight is not None and not torch.is_grad_enabled():
            return F.linear(x, weight, base.bias)
        if weight is not None or x.numel() >= FEWEST_TOKENS * x.shape[-1]:
            folded: Tensor = FoldedProduct.apply(x, base.weight, base.bias, down, up, scale, weight)  # type: ignore[no-untyped-call]
            return folded
        if torch.is_grad_enabled():
            return super().forward(x)
        tokens = x.flatten(0, -2)  # (T, I)
        return (
            F.linear(tokens, base.weight, base.bias)
            .addmm_(tokens @ down.T, up.T, alpha=scale)
            .unflatten(0, x.shape[:-1])
        )

    def find_kept(self, name: str, *, n_tokens: int) -> Tensor | None:
        """Return W + s B A where it is kept, made now for the first of the passes if that has tokens enough."""
        if self.kept is None:
            return None
        if self.kept[0] != name and n_tokens >= FEWEST_TOKENS:
            with torch.no_grad():
                self.kept = name, self.fold(name)
        return self.kept[1] if self.kept[0] == name else None

    def fold(self, name: str) -> Tensor:
        """Return W + s B A of an adapter: (O, I)."""
        weight, down, up = self.get_base_layer().weight, self.lora_A[name].weight, self.lora_B[name].weight
        return torch.addmm(weight, up, down, alpha=self.scaling[name])

    def is_plain(self, x: Tensor) -> bool:
        """Whether one plain adapter over a frozen plain matrix is to be added, all in one precision."""
        base = self.get_base_layer()
        names = self.active_adapters
        return (
            type(base) is nn.Linear
            and not self.merged
            and not base.weight.requires_grad
            and (base.bias is None or not base.bias.requires_grad)
            and x.device.type == "cpu"
            and len(names) == 1
            and names[0] in self.lora_A
            and names[0] not in self.lora_variant
            and isinstance(self.lora_dropout[names[0]], nn.Identity)
            and self.lora_B[names[0]].bias is None
            and x.dtype == base.weight.dtype == self.lora_A[names[0]].weight.dtype
            and not torch.is_autocast_enabled(x.device.type)
        )


class FoldedProduct(torch.autograd.Function):
    """x (W + s B A)^T + b, of which x, A and B learn."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        folded: Tensor | None,
    ) -> Tensor:
        """Return the product: (..., O). x: (..., I). weight, and folded where W + s B A is known: (O, I). down: (R, I).
        up: (O, R)."""
        ctx.save_for_backward(x, weight, down, up, folded)
        ctx.scale = scale
        return F.linear(x, torch.addmm(weight, up, down, alpha=scale) if folded is None else folded, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B. slopes: (..., O)."""
        x, weight, down, up, folded = ctx.saved_tensors
        of_x = of_down = of_up = None
        outer, inner = slopes.flatten(0, -2), x.flatten(0, -2)  # (T, O), (T, I)
        if ctx.needs_input_grad[3]:
            of_down = ((outer @ up).T @ inner).mul_(ctx.scale)
        if ctx.needs_input_grad[4]:
            of_up = ((inner @ down.T).T @ outer).mul_(ctx.scale).T
        if ctx.needs_input_grad[0]:
            folded = torch.addmm(weight, up, down, alpha=ctx.scale) if folded is None else folded
            of_x = (outer @ folded).view_as(x)
        return of_x, None, None, of_down, of_up, None, None


@contextmanager
def folds_kept(model: nn.Module) -> Iterator[None]:
    """Within this context each layer keeps the W + s B A of the adapter it computed with last.

    Nothing may be learned meanwhile, and passes with one adapter should follow each other. It costs the memory of the
    frozen matrices once more.
    """
    layers = [module for module in model.modules() if isinstance(module, FoldedLinear)]
    for layer in layers:
        layer.kept = "", None
    try:
        yield
    finally:
        for layer in layers:
            layer.kept = None


def fold(layers: list[LoraLayer]) -> None:
    """Let PEFT's linear layers compute as these here do; others stay what they are."""
    for layer in layers:
        if type(layer) is Linear:
            layer.__class__ = FoldedLinear
