from rlhf.learning.step_batches import StepBatches

LENGTHS = [number % 17 + 3 for number in range(50)]


def test_every_row_is_seen_once_an_epoch():
    batches = StepBatches(LENGTHS, batch_size=8, seed=1)

    epochs = [[row for step in range(7) for row in batches.rows_of(7 * epoch + step)] for epoch in range(3)]

    assert batches.n_per_epoch == 7
    assert [sorted(epoch) for epoch in epochs] == [list(range(50))] * 3
    assert epochs[0] != epochs[1]


def test_a_step_has_the_same_rows_whatever_was_asked_before():
    in_order, resumed = StepBatches(LENGTHS, batch_size=8, seed=1), StepBatches(LENGTHS, batch_size=8, seed=1)
    expected = [in_order.rows_of(step) for step in range(20)]

    assert [resumed.rows_of(step) for step in (19, 3, 11)] == [expected[step] for step in (19, 3, 11)]
