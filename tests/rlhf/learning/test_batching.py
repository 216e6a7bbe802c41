import random

from rlhf.learning.batching import LengthGroupedOrder, batch_by_tokens

LENGTHS = [random.Random(0).randrange(5, 100) for _ in range(203)]


def order(epoch: int, *, seed: int = 1) -> list[int]:
    grouped = LengthGroupedOrder(LENGTHS, batch_size=8, seed=seed)
    grouped.set_epoch(epoch)
    return list(grouped)


def test_every_row_comes_once_an_epoch():
    assert sorted(order(0)) == list(range(203))


def test_the_order_depends_on_seed_and_epoch_alone():
    assert order(3) == order(3)
    assert order(0) != order(1)
    assert order(0) != order(0, seed=2)


def test_batches_hold_rows_of_like_length():
    rows = order(0)
    waste = sum(max(LENGTHS[row] for row in rows[at : at + 8]) * len(rows[at : at + 8]) for at in range(0, 203, 8))

    assert waste < 1.1 * sum(LENGTHS)


def test_the_short_batch_stays_last():
    batches = [order(0)[at : at + 8] for at in range(0, 203, 8)]

    assert [len(batch) for batch in batches] == [8] * 25 + [3]
    assert all(max(LENGTHS[row] for row in batch) - min(LENGTHS[row] for row in batch) < 20 for batch in batches)


def test_a_token_budget_holds_for_every_batch_but_a_single_long_row():
    batches = batch_by_tokens([50, 300, 10, 10, 40], budget=100)

    assert batches == [[1], [0, 4], [2, 3]]
