import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm import boxes
from vlm.data import images, views
from vlm.data.image_files import ImageError, encode_png
from vlm.data.images import load_image, placed_box, viewed_size
from vlm.data.views import View, attach_view, split_view

from pictures import RED, encoded, four_colours, noise

# ---- views ----

low, high = st.floats(-3, 0.875, width=32), st.floats(0.125, 4, width=32)


@st.composite
def any_view(draw) -> View:
    y, x = (sorted([draw(low), draw(high)]) for _ in 'yx')
    y, x = ((a, b) if a < b else (a, a + 0.125) for a, b in (y, x))
    return View((y[0], x[0], y[1], x[1]), draw(st.booleans()))


@settings(deadline=None)
@given(any_view(), st.binary().filter(lambda data: not data.startswith(views._VIEW_MAGIC)))
def test_a_view_comes_back_from_its_bytes(view, data):
    carried = attach_view(data, view)
    assert split_view(carried) == (data, view)
    assert len(carried) == len(data) + 26
    assert split_view(data) == (data, None)


@pytest.mark.parametrize('name', ['PNG', 'GIF', 'BMP', 'WEBP', 'JPEG'])
def test_the_size_that_is_viewed_comes_from_the_header(name):
    data = encoded(Image.fromarray(four_colours(32, 48)), name)
    assert viewed_size(data) == (32, 48)
    assert viewed_size(attach_view(data, View((0.25, 0, 0.5, 1.5), True))) == (8, 72)


def test_sizes_that_are_refused():
    data = encoded(Image.fromarray(four_colours(32, 48)), 'PNG')
    for broken in (b'', b'no image', data[:20], attach_view(b'', View()), views._VIEW_MAGIC):
        with pytest.raises(ImageError):
            viewed_size(broken)
    with pytest.raises(ImageError, match='at most 1,000'):
        viewed_size(data, max_pixels=1000)


def test_a_view_keeps_what_its_bytes_can_hold():
    view = View((0.1, 0, 0.7, 1), False)
    assert view.region == tuple(np.float32([0.1, 0, 0.7, 1]).tolist())
    assert view == split_view(attach_view(b'', view))[1]


@pytest.mark.parametrize(
    ('region', 'problem'),
    [
        ((0, 0, 0, 1), 'is empty'),
        ((0, 0.5, 1, 0.4), 'is empty'),
        ((0, 0, float('nan'), 1), 'reaches outside'),
        ((0, 0, float('inf'), 1), 'reaches outside'),
        ((-3.5, 0, 1, 1), 'reaches outside'),
        ((1, 0, 2, 1), 'misses the image'),
        ((0, -1, 1, 0), 'misses the image'),
    ],
)
def test_views_that_make_no_sense_are_refused(region, problem):
    with pytest.raises(ValueError, match=problem):
        View(region)
    packed = struct.pack('<8sB4f?', b'\x93VLMVIEW', 1, *region, False)
    with pytest.raises(ImageError, match=problem):
        load_image(packed + encode_png(noise(4, 4)), (4, 4))


def test_a_damaged_view_header_is_an_image_error():
    carried = attach_view(encode_png(noise(4, 4)), View())
    with pytest.raises(ImageError, match='view header ends after 20 bytes'):
        split_view(carried[:20])
    with pytest.raises(ImageError, match='version 9; this program reads 1'):
        split_view(carried[:8] + b'\x09' + carried[9:])
    with pytest.raises(ValueError, match='already carry a view'):
        attach_view(carried, View())


def test_a_view_of_whole_pixels_is_a_slice():
    pixels = noise(20, 40)
    data = encode_png(pixels)
    cut = load_image(attach_view(data, View((0.25, 0.5, 0.75, 1))), (10, 20))
    assert np.array_equal(cut, pixels[5:15, 20:])
    flipped = load_image(attach_view(data, View((0.25, 0.5, 0.75, 1), True)), (10, 20))
    assert np.array_equal(flipped, pixels[5:15, :19:-1])
    assert np.array_equal(load_image(attach_view(data, View()), (7, 9)), load_image(data, (7, 9)))


def test_outside_the_image_its_edge_is_repeated():
    pixels = noise(8, 16)
    # two rows above, four columns to the right
    got = load_image(attach_view(encode_png(pixels), View((-0.25, 0, 1, 1.25))), (10, 20))
    assert np.array_equal(got, np.pad(pixels, ((2, 0), (0, 4), (0, 0)), mode='edge'))


@pytest.mark.parametrize('filter', images.FILTERS)
@pytest.mark.parametrize(
    'region', [(-0.25, -0.125, 0.875, 1.75), (0.125, -0.5, 0.75, 0.625), (-3, -3, 4, 4)]
)
def test_resizing_an_outside_region_equals_resizing_the_extended_image(filter, region):
    pixels = noise(20, 30)
    got = load_image(attach_view(encode_png(pixels), View(region)), (13, 17), filter=filter)
    # The image is extended just as far as the region reaches, to whole pixels.
    y0, x0, y1, x1 = np.multiply(region, [20, 30, 20, 30])
    top, left = max(0, math.ceil(-y0)), max(0, math.ceil(-x0))
    bottom, right = max(0, math.ceil(y1 - 20)), max(0, math.ceil(x1 - 30))
    extended = Image.fromarray(np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode='edge'))
    box = (x0 + left, y0 + top, x1 + left, y1 + top)
    want = np.asarray(extended.resize((17, 13), images.FILTERS[filter], box)).astype(int)
    assert np.abs(got - want).max() <= (filter == 'bilinear')  # see vlm.data.resizing


REGIONS = [(0, 0, 1, 1), (0.1, 0.2, 0.8, 0.9), (-0.3, -0.2, 1.1, 1.4), (0.25, -0.5, 1, 0.75)]


@pytest.mark.parametrize('mode', images.RESIZE_MODES)
@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('region', REGIONS)
def test_boxes_land_where_their_pixels_land(region, flip, mode):
    """The box of a red rectangle, moved as boxes are, bounds the red pixels of the result."""
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[42:72, 70:110] = RED
    box = np.array([42 / 120, 70 / 200, 72 / 120, 110 / 200])
    view, size = View(region, flip), (160, 192)
    picture = load_image(attach_view(encode_png(pixels), view), size, resize_mode=mode)

    box = boxes.to_region(box, view.region)
    box = boxes.flip_horizontal(box) if flip else box
    box = placed_box(box, view.cut_size((120, 200)), size, mode)

    # Where padding is grey, red is above green. Half red is where the edge lies, within a pixel.
    red = picture[..., 0].astype(int) - picture[..., 1] > 127
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    found = [rows[0] / 160, columns[0] / 192, (rows[-1] + 1) / 160, (columns[-1] + 1) / 192]
    assert np.abs((found - box) * np.array([160, 192, 160, 192])).max() <= 1
