from __future__ import annotations

import pytest

from labeling.domain.charts import Axis, Reading, Tick, choose_labels, draw_bar, draw_curve, mark_axis


def test_a_share_goes_from_the_left_to_the_right_edge_and_from_0_to_100_percent():
    curve = draw_curve("agreement", [Reading("3 Nov", 0.0), Reading("10 Nov", 1.0)])

    assert curve is not None
    assert curve.path == f"M{curve.left:.1f} {curve.bottom:.1f}L{curve.right:.1f} 12.0"
    assert [tick.label for tick in curve.y_ticks] == ["0%", "25%", "50%", "75%", "100%"]
    assert curve.x_ticks == [Tick(curve.left, "3 Nov"), Tick(curve.right, "10 Nov")]
    assert curve.summary == "agreement: 3 Nov 0%; 10 Nov 100%"
    assert curve.last == "100%"


def test_the_band_runs_along_the_highs_and_back_along_the_lows():
    curve = draw_curve("agreement", [Reading("a", 0.5, 0.0, 1.0), Reading("b", 0.5, 0.5, 0.5)])

    assert curve is not None
    middle = (curve.bottom + 12) / 2
    assert curve.band == (
        f"M{curve.left:.1f} 12.0L{curve.right:.1f} {middle:.1f}"
        f"L{curve.right:.1f} {middle:.1f}L{curve.left:.1f} {curve.bottom:.1f}Z"
    )


def test_a_week_without_a_value_breaks_the_curve():
    readings = [Reading("a", 0.5), Reading("b", 0.5), Reading("c", None), Reading("d", 0.5, 0.4, 0.6)]

    curve = draw_curve("agreement", readings)

    assert curve is not None
    assert (curve.path.count("M"), curve.path.count("h6")) == (2, 1)
    assert curve.band.count("Z") == 1
    assert [tick.label for tick in curve.x_ticks] == ["a", "b", "c", "d"]
    assert curve.summary == "agreement: a 50%; b 50%; d 50%"


def test_a_reading_of_too_few_is_a_hollow_dot_beside_the_curve():
    readings = [Reading("a", 0.5, 0.4, 0.6), Reading("b", 1.0, is_unsure=True)]

    curve = draw_curve("agreement", readings)

    assert curve is not None
    assert curve.dots == [(curve.right, 12.0)]
    assert (curve.path.count("M"), curve.path.count("L"), curve.last) == (1, 0, "50%")
    assert curve.summary == "agreement: a 50%; b 100% (of too few to be sure)"


def test_a_curve_of_nothing_is_none():
    assert draw_curve("agreement", []) is None
    assert draw_curve("agreement", [Reading("a", None)]) is None


@pytest.mark.parametrize(
    ("readings", "marks"),
    [
        ([Reading("a", 0.4, 0.1, 0.7)], [0.0, 0.2, 0.4, 0.6, 0.8]),
        ([Reading("a", -0.1, -0.4, 0.3)], [-0.4, -0.2, 0.0, 0.2, 0.4]),
        ([Reading("a", 0.0)], [0.0, 0.25]),
    ],
)
def test_an_axis_holds_every_end_and_zero(readings, marks):
    assert mark_axis(readings) == pytest.approx(marks)


def test_what_lies_beyond_a_share_is_cut_off():
    curve = draw_curve("agreement", [Reading("a", 0.9, 0.5, 1.2)])
    bar = draw_bar(0.9, 0.5, 1.2, mark=0.5)

    assert curve is not None
    assert "-" not in curve.band
    assert (bar.value, bar.low, bar.width, bar.mark) == (90.0, 50.0, 50.0, 50.0)
    assert bar.summary == "90%, between 50% and 100%"


def test_the_line_of_reference_lies_where_the_axis_says():
    curve = draw_curve("agreement", [Reading("a", 0.1)], mark=0.75)

    assert curve is not None
    assert curve.mark == Axis(0.0, 1.0, curve.bottom, 12.0).place(0.75)


def test_labels_stand_at_even_steps_and_under_the_last_reading():
    assert choose_labels(2) == [0, 1]
    assert choose_labels(9) == [0, 2, 4, 6, 8]
    assert choose_labels(52) == [6, 15, 24, 33, 42, 51]
