from __future__ import annotations

import math

import pytest

from rlhf.views.charts import MAX_POINTS, draw_chart, draw_charts, nice_marks, thin, whole_marks


def test_thinning_keeps_a_short_curve_as_it_is():
    points = [(float(x), x * x) for x in range(MAX_POINTS)]

    assert thin(points, MAX_POINTS) == points


def test_thinning_keeps_the_ends_the_order_and_the_spike():
    points = [(float(x), 100.0 if x == 3217 else math.sin(x / 300)) for x in range(5000)]

    thinned = thin(points, MAX_POINTS)

    assert len(thinned) == MAX_POINTS
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    assert thinned == sorted(set(thinned))
    assert (3217.0, 100.0) in thinned


@pytest.mark.parametrize("n_points", [301, 302, 599, 600, 601])
def test_thinning_takes_one_point_of_every_bucket(n_points):
    points = [(float(x), (-1.0) ** x) for x in range(n_points)]

    assert len(set(thin(points, MAX_POINTS))) == MAX_POINTS


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.12, 0.88, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 5.0, [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0]),
        (0.0, 0.0003, [0.0, 0.0001, 0.0002, 0.0003]),
    ],
)
def test_marks_are_round_numbers_around_the_values(low, high, marks):
    assert nice_marks(low, high) == pytest.approx(marks)


def test_steps_are_marked_at_both_ends_and_at_round_places_between():
    assert whole_marks(5, 400) == [5, 100.0, 200.0, 300.0, 400]
    assert whole_marks(7, 7) == [7]


def test_a_curve_runs_from_the_lower_left_to_the_upper_right_of_its_frame():
    chart = draw_chart({"loss": [(0, 0.0), (10, 1.0)]})

    (curve,) = chart.curves
    assert curve.path == f"M{chart.left:.1f} {chart.bottom:.1f}L{chart.right:.1f} 8.0"
    assert (curve.first, curve.last) == (0.0, 1.0)
    assert chart.summary == "loss: from 0 at step 0 to 1 at step 10"


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-12, 1e12])
def test_a_flat_curve_lies_within_its_frame(value):
    chart = draw_chart({"loss": [(1, value), (2, value)]})

    start, end = (float(part.split(" ")[1]) for part in chart.curves[0].path.removeprefix("M").split("L"))
    assert 8 <= start == end <= chart.bottom


def test_one_step_alone_is_a_dot():
    chart = draw_chart({"loss": [(3, 0.5)]})

    assert chart.curves[0].path.endswith("h4")
    assert [tick.label for tick in chart.x_ticks] == ["3"]


def test_curves_that_belong_together_share_a_chart_and_the_telling_ones_come_first():
    values = {
        "rewards/rejected": -1.0,
        "grad_norm": 2.0,
        "rewards/chosen": 1.0,
        "num_tokens": 9.0,
        "epoch": 1.0,
        "loss": 0.5,
    }

    charts = draw_charts([(1, values), (2, values)])

    assert [chart.title for chart in charts] == ["loss", "grad_norm", "rewards/chosen · rewards/rejected"]
    assert [curve.number for curve in charts[2].curves] == [1, 2]


def test_what_was_logged_once_is_no_curve():
    charts = draw_charts([(1, {"loss": 1.0}), (3, {"loss": 0.5, "eval_loss": 0.7})])

    assert [chart.title for chart in charts] == ["loss"]


def test_what_is_no_finite_number_is_left_out():
    charts = draw_charts([(1, {"loss": 1.0, "note": "x"}), (2, {"loss": math.nan}), (3, {"loss": 0.5})])

    assert [chart.summary for chart in charts] == ["loss: from 1 at step 1 to 0.5 at step 3"]
