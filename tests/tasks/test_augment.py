"""Augmentation: boxes move with the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm.boxes import BoxCodec
from vlm.data.image_files import encode_png
from vlm.data.images import load_image
from vlm.data.views import split_view
from vlm.tasks.augment import flip, zoom_and_flip

SIDE = 64
PIXEL = 1 / SIDE


def picture(*boxes: tuple[int, int, int, int]) -> dict:
    """A record of black rectangles, in pixels [y0, x0, y1, x1], on white."""
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for y0, x0, y1, x1 in boxes:
        pixels[y0:y1, x0:x1] = 0
    objects = [{'label': 'box', 'box': [edge / SIDE for edge in box]} for box in boxes]
    return {'id': 'a', 'images': [encode_png(pixels)], 'objects': objects, 'text': 'kept'}


def seen_box(record: dict) -> list[float]:
    """The tight box of what is dark in the picture as the model sees it."""
    pixels = load_image(record['images'][0], (SIDE, SIDE))
    ys, xs = ((pixels < 128).all(2).any(axis).nonzero()[0] for axis in (1, 0))
    return [ys[0] / SIDE, xs[0] / SIDE, (ys[-1] + 1) / SIDE, (xs[-1] + 1) / SIDE]


def moved_box(record: dict) -> list[float]:
    """The box around all of the record's boxes."""
    boxes = np.array([entry['box'] for entry in record['objects']])
    return [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]


def edges(draw, lowest: int = 3) -> tuple[int, int]:
    low = draw(st.sampled_from([0, 1, 20, 40]) | st.integers(0, SIDE - lowest))
    size = draw(st.integers(lowest, SIDE))
    return low, min(low + size, SIDE)


@st.composite
def rectangles(draw) -> tuple[int, int, int, int]:
    (y0, y1), (x0, x1) = edges(draw), edges(draw)
    return y0, x0, y1, x1


@settings(deadline=None, max_examples=150)
@given(rectangles(), st.integers(0, 2**32 - 1))
def test_boxes_move_with_the_pixels(box, seed):
    moved = zoom_and_flip(picture(box), np.random.default_rng(seed))
    np.testing.assert_allclose(moved_box(moved), seen_box(moved), atol=PIXEL + 1e-9)


@settings(deadline=None, max_examples=50)
@given(rectangles(), rectangles(), st.integers(0, 2**32 - 1))
def test_every_object_is_kept_whole(first, second, seed):
    record = picture(first, second)
    moved = zoom_and_flip(record, np.random.default_rng(seed))
    np.testing.assert_allclose(moved_box(moved), seen_box(moved), atol=PIXEL + 1e-9)
    # Nothing was clipped: all boxes grew or shrank by one factor an axis.
    sizes = [
        np.array([np.subtract(e['box'][2:], e['box'][:2]) for e in r['objects']])
        for r in (record, moved)
    ]
    np.testing.assert_allclose(sizes[1] / sizes[0], (sizes[1] / sizes[0])[[0, 0]], rtol=1e-9)
    for entry in moved['objects']:
        BoxCodec().encode_box(entry['box'])


def test_half_of_the_images_are_mirrored_and_nothing_else():
    record = picture((4, 8, 20, 24))
    rng = np.random.default_rng(0)
    shown = [flip(record, rng) for _ in range(40)]
    boxes = [tuple(edge * SIDE for edge in moved_box(each)) for each in shown]
    assert set(boxes) == {(4, 8, 20, 24), (4, 40, 20, 56)}
    assert 10 <= boxes.count((4, 8, 20, 24)) <= 30
    assert all(seen_box(each) == moved_box(each) for each in shown)
    assert 'objects' not in flip({'id': 'a', 'images': record['images']}, rng)


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('touches', ['low', 'high', 'both'])
def test_an_object_at_an_edge_is_not_continued_outside(axis, touches):
    low, high = {'low': (0, 20), 'high': (44, 64), 'both': (0, 64)}[touches]
    box = (low, 20, high, 44) if axis == 0 else (20, low, 44, high)
    for seed in range(30):
        moved = zoom_and_flip(picture(box), np.random.default_rng(seed))
        np.testing.assert_allclose(moved_box(moved), seen_box(moved), atol=PIXEL + 1e-9)
        _, view = split_view(moved['images'][0])
        if touches in ('low', 'both'):
            assert view.region[axis] >= 0
        if touches in ('high', 'both'):
            assert view.region[2 + axis] <= 1


def test_windows_are_as_large_as_asked_and_half_are_mirrored():
    views = []
    for seed in range(200):
        moved = zoom_and_flip(picture((24, 24, 40, 40)), np.random.default_rng(seed))
        views.append(split_view(moved['images'][0])[1])
    sides = np.array([np.subtract(v.region[2:], v.region[:2]) for v in views])
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], atol=1e-6)
    assert 0.8 - 1e-6 <= sides.min() < 0.83
    assert 1.22 < sides.max() <= 1.25 + 1e-6
    assert 60 < sum(view.flip for view in views) < 140
    assert min(v.region[0] for v in views) < -0.2  # it does reach outside


def test_options():
    record = picture((24, 8, 40, 30))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        moved = zoom_and_flip(record, rng, smallest=1.0, largest=1.0, flip=False)
        _, view = split_view(moved['images'][0])
        assert not view.flip
        sides = np.subtract(view.region[2:], view.region[:2])
        np.testing.assert_allclose(sides, 1, atol=1e-6)


def test_the_record_it_was_given_is_left_alone_and_all_else_kept():
    record = picture((24, 8, 40, 30))
    before = str(record)
    moved = zoom_and_flip(record, np.random.default_rng(0))
    assert str(record) == before
    assert (moved['id'], moved['text'], moved['objects'][0]['label']) == ('a', 'kept', 'box')


def test_all_images_of_a_record_get_one_view():
    record = picture((24, 8, 40, 30))
    record['images'] *= 3
    moved = zoom_and_flip(record, np.random.default_rng(0))
    assert len({split_view(data)[1] for data in moved['images']}) == 1


def test_the_same_generator_gives_the_same_picture():
    first, second = (
        zoom_and_flip(picture((24, 8, 40, 30)), np.random.default_rng(7)) for _ in range(2)
    )
    assert first == second


def test_without_objects_the_middle_stays_in_view():
    for seed in range(100):
        moved = zoom_and_flip(picture(), np.random.default_rng(seed))
        assert moved['objects'] == []
        y0, x0, y1, x1 = split_view(moved['images'][0])[1].region
        assert y0 <= 0.5 + 1e-6 and x0 <= 0.5 + 1e-6 and y1 >= 0.5 - 1e-6 and x1 >= 0.5 - 1e-6


def test_a_picture_without_objects_keeps_its_middle():
    record = {'id': 'a', 'images': picture()['images'], 'label': 'cat'}
    moved = zoom_and_flip(record, np.random.default_rng(0))
    assert 'objects' not in moved and moved['label'] == 'cat'
    view = split_view(moved['images'][0])[1]
    y0, x0, y1, x1 = view.region
    assert 0.8 <= y1 - y0 <= 1.25 and y0 <= 0.5 <= y1 and x0 <= 0.5 <= x1
