"""The fast bilinear filter beside Pillow's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm.data import resizing
from vlm.data.resizing import FILTERS, resize_region

from pictures import noise


def by_pillow(image, size, filter, region) -> np.ndarray:
    y0, x0, y1, x1 = region
    resized = Image.fromarray(image).resize(size[::-1], FILTERS[filter], (x0, y0, x1, y1))
    return np.asarray(resized)


side, share = st.integers(1, 90), st.floats(0, 1)


@st.composite
def regions(draw) -> tuple[tuple[int, int], tuple[float, ...]]:
    """A size, and the sides of a region of it with any fractions that the floats allow."""
    size = draw(side), draw(side)
    pairs = []
    for length in size:
        low, high = sorted((draw(share) * length, draw(share) * length))
        pairs.append((low, high) if high - low > 0.01 else (0, length))
    return size, (pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])


@pytest.mark.skipif(resizing.simd is None, reason='cykooz-resizer has no wheel for this machine')
@settings(deadline=None, max_examples=300)
@given(regions(), side, side)
def test_the_fast_filter_is_within_one_grey_level_of_pillows(case, height, width):
    size, region = case
    image = noise(*size)
    got = resize_region(image, (height, width), 'bilinear', region).astype(int)
    want = by_pillow(image, (height, width), 'bilinear', region)
    assert got.shape == want.shape and np.abs(got - want).max() <= 1


@pytest.mark.parametrize('filter', FILTERS)
def test_without_the_fast_filter_all_are_pillows(filter, monkeypatch):
    monkeypatch.setattr(resizing, 'simd', None)
    image, region = noise(40, 50), (3.5, 0, 40, 41.25)
    got = resize_region(image, (13, 60), filter, region)
    assert np.array_equal(got, by_pillow(image, (13, 60), filter, region))


def test_no_region_is_the_whole_image():
    image = noise(30, 20)
    for filter in FILTERS:
        whole = resize_region(image, (11, 12), filter, (0, 0, 30, 20))
        assert np.array_equal(resize_region(image, (11, 12), filter), whole)


def test_views_and_reversed_images_resize_as_their_copies_do():
    image = noise(30, 40)[5:, ::-1]
    want = resize_region(image.copy(), (9, 9), 'bilinear')
    assert np.array_equal(resize_region(image, (9, 9), 'bilinear'), want)
