from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from rlhf.learning.roomy_cache import ROOM, RoomyLayer, make_room


def test_a_layer_with_room_holds_what_a_plain_one_holds_token_by_token_and_after_rows_leave() -> None:
    generator = torch.Generator().manual_seed(0)
    plain, roomy = DynamicLayer(), DynamicLayer()
    for layer in (plain, roomy):
        layer.update(*draw(torch.Generator().manual_seed(1), rows=4, tokens=5))
    roomy = RoomyLayer(roomy)

    for step in range(2 * ROOM):
        if step % 20 == 7:
            kept = torch.arange(plain.keys.shape[0] - 1)
            plain.batch_select_indices(kept)
            roomy.batch_select_indices(kept)
        said = draw(generator, rows=plain.keys.shape[0], tokens=1)
        for expected, held in zip(plain.update(*said), roomy.update(*said), strict=True):
            assert torch.equal(expected, held)
        assert roomy.get_seq_length() == plain.get_seq_length()
        assert roomy.get_mask_sizes(1) == plain.get_mask_sizes(1)


def test_tokens_are_written_in_place_while_there_is_room() -> None:
    plain = DynamicLayer()
    plain.update(*draw(torch.Generator().manual_seed(1), rows=2, tokens=3))
    roomy = RoomyLayer(plain)

    places = [roomy.update(*draw(torch.Generator(), rows=2, tokens=1))[0].data_ptr() for _ in range(2 * (ROOM + 1))]

    assert len(set(places)) == 2


def test_layers_that_keep_a_window_of_tokens_stay_as_they_are() -> None:
    window = DynamicSlidingWindowLayer(sliding_window=4)
    cache = DynamicCache()
    cache.layers = [window, DynamicLayer()]
    cache.layers[1].update(*draw(torch.Generator(), rows=2, tokens=3))

    make_room(cache)

    assert cache.layers[0] is window
    assert type(cache.layers[1]) is RoomyLayer


def draw(generator: torch.Generator, *, rows: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Return keys and values, (B, 2, tokens, 4) each."""
    return (
        torch.randn(rows, 2, tokens, 4, generator=generator),
        torch.randn(rows, 2, tokens, 4, generator=generator),
    )
