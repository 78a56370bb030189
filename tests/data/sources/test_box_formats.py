"""Boxes of data sets, worked out by hand."""

import math

import pytest

from vlm.boxes import BoxFormatError, checked_box
from vlm.data.sources.box_formats import to_relative

SIZE = (100, 200)  # height, width


@pytest.mark.parametrize(
    ('box', 'format', 'expected'),
    [
        ([0.1, 0.2, 0.3, 0.4], 'yxyx relative', [0.1, 0.2, 0.3, 0.4]),
        ([0.1, 0.2, 0.3, 0.4], 'xyxy relative', [0.2, 0.1, 0.4, 0.3]),
        ([20, 10, 40, 50], 'xyxy pixels', [0.1, 0.1, 0.5, 0.2]),
        ([10, 20, 50, 40], 'yxyx pixels', [0.1, 0.1, 0.5, 0.2]),
        ([20, 10, 20, 40], 'xywh pixels', [0.1, 0.1, 0.5, 0.2]),
        ([30, 30, 20, 40], 'cxcywh pixels', [0.1, 0.1, 0.5, 0.2]),
        (['100', 250, 500, 1000], 'yxyx 1000', [0.1, 0.25, 0.5, 1.0]),
    ],
)
def test_formats(box, format, expected):
    assert to_relative(box, format, SIZE) == pytest.approx(expected, abs=1e-12)


def test_a_pixel_outside_is_rounding_and_more_is_not():
    assert to_relative([-1, -0.5, 201, 100.5], 'xyxy pixels', SIZE) == [0, 0, 1, 1]
    assert to_relative([-1.5, 0, 202, 100], 'xyxy pixels', SIZE) == [0, -0.0075, 1, 1.01]


@pytest.mark.parametrize(
    'box',
    [
        [math.nan, 10, 60, 50],
        [10, 10, math.inf, 50],
        [60, 10, 20, 50],
        [60, 50, 10, 10],
        [10, 10, 10, 50],
        [10, 10, 400, 50],
        [-5, -5, 20, 20],
    ],
)
def test_what_is_wrong_stays_wrong(box):
    with pytest.raises(BoxFormatError):
        checked_box(to_relative(box, 'xyxy pixels', SIZE))


@pytest.mark.parametrize('box', [[1, 2, 3], 'abcd', None, [1, 2, 3, None], 5, [10**400, 0, 1, 1]])
def test_what_is_no_box(box):
    with pytest.raises(ValueError, match='not four numbers'):
        to_relative(box, 'xyxy pixels', SIZE)


def test_pixels_of_an_unknown_size():
    with pytest.raises(ValueError, match='size is not known'):
        to_relative([0, 0, 1, 1], 'xyxy pixels', None)
    assert to_relative([0, 0, 1, 1], 'xyxy 10', None) == [0, 0, 0.1, 0.1]
