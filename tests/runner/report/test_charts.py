"""Axes, averages and curves of the report, by hand and at their edges."""

import math

import pytest

from vlm.runner.report import charts


def test_nice_ticks_by_hand():
    assert charts.nice_ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert charts.nice_ticks(0.0, 6000.0) == pytest.approx([0, 2000, 4000, 6000])
    assert charts.nice_ticks(0.13, 0.31, about=4) == pytest.approx(
        [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]
    )
    assert charts.log_ticks(0.3, 6.0) == pytest.approx([0.5, 1, 2, 5])
    assert charts.log_ticks(1e-6, 1.0) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1])


def test_axis_places_by_hand():
    linear = charts.Axis(2.0, 4.0, [])
    assert [linear.place(v) for v in (1.0, 2.0, 3.0, 4.0, 9.0)] == [0, 0, 0.5, 1, 1]
    assert charts.Axis(0.01, 100.0, [], log=True).place(1.0) == pytest.approx(0.5)


def test_moving_average_by_hand():
    points = [(float(i), v) for i, v in enumerate([0.0, 3.0, 6.0, 0.0, 6.0, 3.0])]
    # Windows of 1, 3, 5, 5, 4 and 3 values: at the start they shrink to stay centred.
    assert [v for _, v in charts.moving_average(points)] == [0, 3, 3, 3.6, 3.75, 3]


@pytest.mark.parametrize(
    'values', [[0.0], [0.5], [3.0, 3.0], [-1.0, -1.0], [0.0, 1e-300], [1e200, -1e200]]
)
def test_flat_and_short_curves_draw(values):
    points = [(float(i), v) for i, v in enumerate(values)]
    svg = charts.chart('Loss', points, smoothed=True)
    assert 'nan' not in svg and 'inf' not in svg


def test_long_curves_keep_their_extremes():
    points = [(float(i), math.sin(i)) for i in range(50_000)]
    points[31_337] = (31_337.0, 9.0)
    kept = charts.extremes(points)
    assert len(kept) <= 2 * charts.STRETCHES
    assert (31_337.0, 9.0) in kept and kept == sorted(kept)
