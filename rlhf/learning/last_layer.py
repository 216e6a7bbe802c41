"""What nobody reads of a decoder's last layer is not computed: behind it stand a few states, not the whole row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Parts of a layer that look at one token at a time, by the names that decoders give them. Keys and values are wanted of
# every token; queries, what attention found and the feed-forward part only where a state is read.
TOKENWISE = ("self_attn.q_proj", "self_attn.o_proj", "attn.c_proj", "attention.dense", "mlp")


@contextmanager
def last_layer_at(trunk: nn.Module, places: tuple[Tensor, Tensor]) -> Iterator[None]:
    """Within this context the decoder's last states are right at the places, and elsewhere mean nothing.

    A fifth of a four-layer model's products is spared where a row is read at its end alone. A layer that is computed again
    in the backward pass would see whole rows there, for by then the context is over: `recompute_blocks` spares the last.

    Args: trunk: a decoder without its head. places: rows and columns, (N,) each, of the (B, T) states.
    """
    with ExitStack() as parts:
        for part in find_tokenwise(trunk):
            parts.enter_context(computed_at(part, places))
        yield


def find_tokenwise(trunk: nn.Module) -> list[nn.Module]:
    """Return the parts of the trunk's last layer that look at one token at a time, none where its layers are not found."""
    layers = find_layers(trunk)
    return [part for name, part in layers[-1].named_modules() if name in TOKENWISE] if layers else []


def find_layers(trunk: nn.Module) -> nn.ModuleList | None:
    """Return the trunk's layers, None where they are not found."""
    n_layers = trunk.config.get_text_config().num_hidden_layers  # type: ignore[operator, union-attr]
    return next((part for part in trunk.modules() if isinstance(part, nn.ModuleList) and len(part) == n_layers), None)


@contextmanager
def computed_at(module: nn.Module, places: tuple[Tensor, Tensor]) -> Iterator[None]:
    """Within this context the module sees the tokens at the places alone, (1, N, H), and gives zeros for all others.

    Asked about more than the tokens (Bloom adds the residual inside), it is left as it is. Of several outputs (a router's
    scores follow) the first is meant.
    """
    rows, columns = places
    shape: torch.Size | None = None

    def keep_places(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal shape
        shape = args[0].shape[:2] if len(args) == 1 and not kwargs else None
        return shape and ((args[0].flatten(0, 1).index_select(0, rows * shape[1] + columns)[None],), kwargs)

    def spread(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if shape is None:
            return output
        found, *others = [output] if isinstance(output, Tensor) else output
        whole = spread_rows(found[0], rows * shape[1] + columns, n=shape.numel()).unflatten(0, shape)
        return (whole, *others) if others else whole

    hooks = [module.register_forward_pre_hook(keep_places, with_kwargs=True), module.register_forward_hook(spread)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def spread_rows(found: Tensor, places: Tensor, *, n: int) -> Tensor:
    """Return n rows, zero but at the places. A row found twice is there once, and has its gradient once.

    Args: found: (N, O). places: (N,), below n; the end of a prompt is one to both completions of a pair.
    Returns: (n, O).
    """
    times = found.new_zeros(n).index_add(0, places, torch.ones_like(places, dtype=found.dtype))  # (n,)
    return found.new_zeros(n, found.shape[1]).index_add(0, places, found / times[places][:, None])
