"""The model's frame and boxes within it."""

import io

import gin
import numpy as np
import pytest
from PIL import Image

from vlm.data.frames import Frame, image_frame, place_objects, stored_box_of, turn_objects
from vlm.data.image_files import encode_png
from vlm.data.images import load_image, viewed_size
from vlm.data.views import View, attach_view

PAD = Frame((64, 64), 'pad')
WIDE = encode_png(np.zeros((32, 64, 3), np.uint8))


def record(image: bytes, *boxes: list) -> dict:
    return {'images': [image], 'objects': [{'label': 'cat', 'box': box} for box in boxes]}


def boxes_of(placed: dict) -> list:
    return [entry['box'] for entry in placed['objects']]


def test_gin_binds_the_frame(clean_gin):
    assert image_frame() == Frame((224, 224), 'square', 'bilinear')
    gin.parse_config("""
        vlm.data.frames.image_frame.size = (64, 32)
        vlm.data.frames.image_frame.resize = 'pad'
    """)
    assert image_frame() == Frame((64, 32), 'pad', 'bilinear')


def test_square_moves_no_box():
    original = record(WIDE, [0.1, 0.2, 0.3, 0.4])
    assert place_objects(original, Frame((64, 64))) is original


def test_pad_places_boxes_in_the_frame():
    # 32 x 64 pixels fill the upper half of 64 x 64.
    placed = place_objects(record(WIDE, [0, 0, 1, 1], [0.5, 0.25, 1, 0.75]), PAD)
    assert boxes_of(placed) == [[0, 0, 0.5, 1], [0.25, 0.25, 0.5, 0.75]]
    assert placed['objects'][0]['label'] == 'cat'


def test_pad_places_boxes_of_what_a_view_shows():
    # The left half of 32 x 64 is square: it fills the frame, so nothing moves.
    left = attach_view(WIDE, View((0, 0, 1, 0.5)))
    assert boxes_of(place_objects(record(left, [0.5, 0, 1, 1]), PAD)) == [[0.5, 0, 1, 1]]
    # The upper quarter is 8 x 64: an eighth of the frame's height.
    top = attach_view(WIDE, View((0, 0, 0.25, 1), flip=True))
    assert boxes_of(place_objects(record(top, [0.5, 0, 1, 1]), PAD)) == [[0.0625, 0, 0.125, 1]]


def test_pad_leaves_the_record_it_was_given_alone():
    original = record(WIDE, [0, 0, 1, 1])
    place_objects(original, PAD)
    assert boxes_of(original) == [[0, 0, 1, 1]]


@pytest.mark.parametrize('fields', [{}, {'objects': []}, {'objects': None}])
def test_pad_without_objects(fields):
    original = {'images': [b'no image at all'], **fields}
    assert place_objects(original, PAD) is original


def test_pad_with_an_unreadable_image_keeps_the_record():
    # It must reach the converter, which counts it, and an evaluation, where it is wrong.
    for images in ([b''], [b'no image'], []):
        original = {**record(b'', [0.5, 0, 1, 1]), 'images': images}
        assert boxes_of(place_objects(original, PAD)) == [[0.5, 0, 1, 1]]


@pytest.mark.parametrize('frame', [PAD, Frame((64, 64)), Frame((48, 200), 'pad')])
@pytest.mark.parametrize('image', [WIDE, attach_view(WIDE, View((0.25, 0, 1, 0.125))), b'bad'])
def test_boxes_come_back_to_the_stored_image(frame, image):
    box = [0.125, 0.25, 0.75, 1]
    placed = boxes_of(place_objects(record(image, box), frame))[0]
    np.testing.assert_allclose(stored_box_of(placed, image, frame), box, rtol=1e-12)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('resize', ['square', 'pad'])
def test_boxes_are_turned_with_the_pixels(orientation, resize):
    # A dark rectangle near one corner of 32 x 64, so that no two turns look alike.
    pixels = np.full((32, 64, 3), 255, np.uint8)
    pixels[4:12, 8:40] = 0
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, 'PNG', exif=exif)
    image, box = buffer.getvalue(), [4 / 32, 8 / 64, 12 / 32, 40 / 64]
    frame = Frame((64, 64), resize, 'nearest', apply_exif=True)
    turned = turn_objects(record(image, box), frame)
    [placed] = boxes_of(place_objects(turned, frame))
    seen = load_image(image, frame.size, resize_mode=resize, filter='nearest', apply_exif=True)
    ys, xs = ((seen < 100).all(2).any(axis).nonzero()[0] for axis in (1, 0))
    # The gray of the padding is 127.
    assert np.multiply(placed, 64).tolist() == [ys[0], xs[0], ys[-1] + 1, xs[-1] + 1]
    assert viewed_size(image, apply_exif=True) == ((64, 32) if orientation > 4 else (32, 64))
    np.testing.assert_allclose(stored_box_of(placed, image, frame), box, atol=1e-12)


def test_as_stored_nothing_is_turned():
    original = record(WIDE, [0, 0, 1, 0.5])
    assert turn_objects(original, Frame((64, 64))) is original
    assert turn_objects(original, Frame((64, 64), apply_exif=True)) is original
