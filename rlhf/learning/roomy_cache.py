"""A cache of keys and values with room for the tokens to come.

transformers' own copies the whole of it for every token that is drawn, which was a quarter of what sampling took on a CPU.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 32  # tokens


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, (B, H, T, D) each, at the front of tensors with room for more tokens."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values
        self.wide_keys, self.wide_values = self.keys, self.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the next tokens behind the others, and return all. key_states, value_states: (B, H, new tokens, D)."""
        start, end = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if end > self.wide_keys.shape[-2]:
            self.wide_keys, self.wide_values = (make_wide(part, end + ROOM) for part in (self.keys, self.values))
        self.wide_keys[:, :, start:end] = key_states
        self.wide_values[:, :, start:end] = value_states
        self.keys, self.values = self.wide_keys[:, :, :end], self.wide_values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows alone."""
        super().batch_select_indices(indices)
        self.wide_keys, self.wide_values = self.keys, self.values


def make_wide(part: Tensor, width: int) -> Tensor:
    """Return a tensor of that many tokens, with what there is at its front."""
    wide = part.new_empty(*part.shape[:2], width, part.shape[-1])
    wide[:, :, : part.shape[-2]] = part
    return wide


def make_room(cache: Cache) -> None:
    """Give the layers of a cache room for more tokens, but for those that keep something else than all tokens there were."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[number] = RoomyLayer(layer)
