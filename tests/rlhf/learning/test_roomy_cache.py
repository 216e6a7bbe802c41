import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlhf.learning.roomy_cache import RoomyLayer, give_room


@pytest.fixture
def caches() -> tuple[DynamicCache, DynamicCache]:
    """A cache as it grows, and one with room; both hold the same five tokens of four rows."""
    torch.manual_seed(0)
    keys, values = torch.randn(2, 4, 2, 5, 3)
    both = DynamicCache(), DynamicCache()
    for cache in both:
        cache.update(keys, values, 0)
    give_room(both[1], 6)
    return both


def test_a_cache_with_room_holds_what_one_that_grows_holds(caches):
    for n_new, kept in ((1, [0, 2, 3]), (2, [2, 0]), (3, [1])):
        keys, values = torch.randn(2, len(caches[0].layers[0].keys), 2, n_new, 3)

        found, expected = (cache.update(keys, values, 0) for cache in reversed(caches))

        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        for cache in caches:
            cache.batch_select_indices(torch.tensor(kept))
        assert caches[1].get_seq_length() == caches[0].get_seq_length()
        torch.testing.assert_close(caches[1].layers[0].values, caches[0].layers[0].values, rtol=0, atol=0)


def test_a_token_is_written_where_its_row_already_has_memory(caches):
    layer = caches[1].layers[0]
    before = layer.keys.data_ptr()

    caches[1].update(*torch.randn(2, 4, 2, 1, 3), 0)

    assert layer.keys.data_ptr() == before
    assert layer.keys.shape == (4, 2, 6, 3)


def test_layers_that_do_not_simply_grow_are_left_as_they_are():
    class OwnLayer(DynamicLayer):
        pass

    cache = DynamicCache()
    cache.layers = [OwnLayer(), DynamicLayer()]
    cache.layers[0].update(*torch.randn(2, 1, 1, 1, 1))
    give_room(cache, 3)

    assert [type(layer) for layer in cache.layers] == [OwnLayer, DynamicLayer]
    cache.layers[1].update(*torch.randn(2, 1, 1, 1, 1))
    give_room(cache, 3)
    assert type(cache.layers[1]) is RoomyLayer
