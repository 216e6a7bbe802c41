"""A cache of keys and values with room for the tokens to come: a step writes its own, and copies none of those before."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class RoomyLayer(DynamicLayer):
    """transformers' growing layer, which grows into memory it already has; at 176 tokens copying was a third of a step.

    Args: layer: with the prompts' keys and values, (B, heads, T, D). n_more: tokens that will follow at most.
    """

    def __init__(self, layer: DynamicLayer, n_more: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self.stores = tuple(make_room(values, n_more) for values in (layer.keys, layer.values))
        self.show(layer.get_seq_length())

    def show(self, n_tokens: int) -> None:
        """Let keys and values be those of the first tokens."""
        self.keys, self.values = (store.narrow(2, 0, n_tokens) for store in self.stores)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add tokens, (B, heads, t, D) each, and return the keys and values of all."""
        before, n_new = self.get_seq_length(), key_states.shape[2]
        for store, states in zip(self.stores, (key_states, value_states), strict=True):
            store.narrow(2, before, n_new).copy_(states)
        self.show(before + n_new)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        n_tokens = self.get_seq_length()
        n_more = self.stores[0].shape[2] - n_tokens
        self.stores = tuple(make_room(values[indices], n_more) for values in (self.keys, self.values))
        self.show(n_tokens)


def make_room(values: Tensor, n_more: int) -> Tensor:
    """Return values (B, heads, T, D) with room for more tokens behind them: (B, heads, T + n_more, D)."""
    n_rows, n_heads, n_tokens, size = values.shape
    store = values.new_empty(n_rows, n_heads, n_tokens + n_more, size)
    store.narrow(2, 0, n_tokens).copy_(values)
    return store


def give_room(cache: Cache, n_more: int) -> None:
    """Let a cache's growing layers hold that many more tokens without a copy; layers of other kinds stay what they are."""
    for number, layer in enumerate(getattr(cache, "layers", [])):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[number] = RoomyLayer(layer, n_more)
