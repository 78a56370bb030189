"""Boxes drawn on pictures: where the lines are, how large the picture, what is survived."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from vlm.errors import UserError
from vlm.runner import drawing
from vlm.runner.drawing import COLOURS, clean_box, draw_boxes, open_picture


def encoded(image: Image.Image, kind: str = 'PNG', **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == 'PNG'
    return image


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def pixels_of(image: Image.Image, colour: tuple[int, ...]) -> set[tuple[int, int]]:
    """(x, y) of every pixel of a colour."""
    data = image.tobytes()
    return {
        (i % image.width, i // image.width)
        for i in range(image.width * image.height)
        if tuple(data[3 * i : 3 * i + 3]) == colour
    }


@pytest.mark.parametrize(
    ('size', 'drawn'),
    [
        ((64, 64), (384, 384)),
        ((192, 32), (1536, 256)),  # a long strip stops at its long side
        ((300, 200), (600, 400)),
        ((800, 600), (800, 600)),
        ((1, 1), (384, 384)),
        ((20000, 1), (20000, 1)),
    ],
)
def test_small_pictures_grow_by_whole_factors(size, drawn):
    assert decoded(draw_boxes(encoded(Image.new('RGB', size)), [])).size == drawn


def test_line_runs_around_the_box():
    grey = encoded(Image.new('RGB', (64, 64), (128, 128, 128)))
    image = decoded(draw_boxes(grey, [([0.25, 0.5, 0.75, 0.75], '')]))
    line = pixels_of(image, rgb(COLOURS[0]))
    # y 0.25..0.75 of 384 is 96..288, x 0.5..0.75 is 192..288; the line of 3 px lies outside.
    xs, ys = {x for x, _ in line}, {y for _, y in line}
    assert (min(xs), max(xs), min(ys), max(ys)) == (189, 290, 93, 290)
    assert not [1 for x, y in line if 192 <= x < 288 and 96 <= y < 288]
    assert image.getpixel((240, 192)) == (128, 128, 128)


def test_boxes_differ_in_colour_and_carry_labels():
    data = encoded(Image.new('RGB', (64, 64), 'white'))
    boxes = [([0.3, 0.1, 0.5, 0.5], 'red circle'), ([0.6, 0.1, 0.9, 0.5], 'blue')]
    image, bare = (
        decoded(draw_boxes(data, boxes)),
        decoded(draw_boxes(data, [(b, '') for b, _ in boxes])),
    )
    for colour in COLOURS[:2]:
        # The plate of the label is filled with the colour of its box.
        assert len(pixels_of(image, rgb(colour))) > len(pixels_of(bare, rgb(colour))) + 300


def test_any_label_at_any_edge_is_drawn():
    data = encoded(Image.new('RGB', (64, 64)))
    labels = ['x' * 500, 'two\nlines\x00', 'עיגול', 'วงกลม 🐘', '\ud800', ' ', '<loc0001>']
    corners = ([0, 0, 1, 1], [0, 0.9, 0.1, 1], [0.95, 0, 1, 0.1], [0, 0, 0, 0], [1, 1, 1, 1])
    for label in labels:
        assert decoded(draw_boxes(data, [(c, label) for c in corners])).size == (384, 384)
    wide = encoded(Image.new('RGB', (20000, 1)))
    assert decoded(draw_boxes(wide, [(c, 'label') for c in corners])).size == (20000, 1)


def test_long_labels_are_cut_to_the_width():
    font = ImageFont.load_default(17)
    for width in (60, 200, 376):
        cut = drawing._fitted('a label that never ends ' * 9, font, width)
        assert font.getlength(cut) <= width and cut.endswith('…') and cut.startswith('a lab')
    assert drawing._fitted('red', font, 376) == 'red'


def test_unreadable_boxes_are_left_out():
    data = encoded(Image.new('RGB', (64, 64), 'white'))
    bad = [[0.1, 0.2], [math.nan] * 4, [0, 0, math.inf, 1], ['a'] * 4, None, 'abcd']
    assert draw_boxes(data, [(b, 'x') for b in bad]) == draw_boxes(data, [])


def test_clean_box_orders_and_clips():
    assert clean_box([0.9, -0.5, 0.1, 1.5]) == (0.1, 0.0, 0.9, 1.0)
    assert clean_box((0, 0, 1, 1)) == (0.0, 0.0, 1.0, 1.0)
    assert clean_box(np.float32([0.5, 0.25, 0.75, 1])) == (0.5, 0.25, 0.75, 1.0)
    assert clean_box([0, 0, 10**400, 1]) is None
    assert clean_box([0, 0, math.nan, 1]) is None


def test_picture_is_what_the_model_gets():
    image = Image.new('RGBA', (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 255, 0))
    shown = open_picture(encoded(image))
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize(
    'data', [b'', b'not a picture', encoded(Image.effect_noise((99, 99), 50))[:900]]
)
def test_undecodable_bytes_are_a_user_error(data):
    with pytest.raises(UserError, match='cannot read the picture'):
        draw_boxes(data, [])


def test_hostile_pictures():
    hostile = Path(__file__).parents[3] / 'shared' / 'data' / 'hostile'
    if not hostile.is_dir():
        pytest.skip('../shared/data/hostile is not here')

    def read(name: str) -> Image.Image:
        return open_picture((hostile / name).read_bytes())

    # As stored, because boxes are fractions of the stored picture.
    assert read('exif_orientation_6.jpg').size == (80, 120)
    assert read('animated.gif').getpixel((9, 9)) == (200, 0, 0)
    for name in ('bomb_header_50000.png', 'truncated.jpg', 'crc_idat.png', 'zero_bytes.jpg'):
        with pytest.raises(UserError):
            read(name)
