"""digits: disjoint splits, scenes that depend on their index alone, boxes measured from pixels."""

import io
import itertools
import sys

import numpy as np
import pytest
from PIL import Image

from vlm.data import digits
from vlm.errors import UserError

pytest.importorskip('sklearn')

SCENES = 300


@pytest.fixture(scope='module', params=itertools.product(digits.SPLITS, digits.KINDS))
def scenes(request):
    split, kind = request.param
    return list(digits.read_scenes(split, SCENES, kind))


def _pixels(record):
    image = Image.open(io.BytesIO(record['images'][0]))
    height = 32 if record['kind'] == 'strip' else 64
    assert (image.format, image.mode, image.size) == ('PNG', 'RGB', (64, height))
    return np.asarray(image).astype(int)


def _ink(pixels):
    """bool[H, 64]: pixels that are not of the colour of more than half of them."""
    codes = pixels @ [65536, 256, 1]
    return codes != np.median(codes)


def _boxes(record):
    """int[n, 4] in pixels; relative boxes are whole pixels of the image."""
    height = 32 if record['kind'] == 'strip' else 64
    boxes = np.array([found['box'] for found in record['objects']]) * [height, 64, height, 64]
    assert (boxes == boxes.round()).all()
    return boxes.astype(int)


def test_split_is_disjoint_complete_and_stratified():
    train, test = digits.load_split('train'), digits.load_split('test')
    assert sorted([*train.indices, *test.indices]) == list(range(1797))
    # Of 174 to 183 digits a class, a fifth.
    counts = np.bincount(test.labels)
    assert counts.tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert (counts + np.bincount(train.labels)).tolist() == [
        *(178, 182, 177, 183, 181),
        *(182, 181, 179, 174, 180),
    ]


def test_split_is_the_same_for_good():
    assert digits.load_split('test').indices[:5].tolist() == [3, 7, 13, 19, 36]


def test_splits_share_no_picture():
    ink = {s: [a.tobytes() for a in digits.load_split(s).sprites[20]] for s in digits.SPLITS}
    assert not set(ink['train']) & set(ink['test'])


def test_resizing_keeps_a_full_square_full():
    full = digits._resize(np.ones((1, 8, 8)), 11)
    assert full.shape == (1, 11, 11)
    assert (full == 1).all()


def test_the_smallest_digits_fit_every_cell():
    for split in digits.SPLITS:
        smallest = digits.load_split(split).sprites[digits.STRIP_SIZES.start]
        assert all(digits._fits(ink, 64 // 6 - digits.STRIP_GAP) for ink in smallest)


def test_boxes_are_tight_around_the_ink(scenes):
    for record in scenes:
        ink = _ink(_pixels(record))
        for y0, x0, y1, x1 in _boxes(record):
            own = ink[y0:y1, x0:x1]
            assert all(side.any() for side in (own[0], own[-1], own[:, 0], own[:, -1]))
            ink[y0:y1, x0:x1] = False
        assert not ink.any(), record['id']


def test_ink_stands_out_from_the_background(scenes):
    for record in scenes:
        pixels = _pixels(record)
        paper = pixels[~_ink(pixels)][0]
        for y0, x0, y1, x1 in _boxes(record):
            away = np.abs(pixels[y0:y1, x0:x1] - paper).mean(2)
            assert away.max() > 110
            assert away[away > 0].min() > 20


def test_boxes_do_not_overlap(scenes):
    for record in scenes:
        gap = digits.STRIP_GAP if record['kind'] == 'strip' else digits.SCATTERED_GAP
        for a, b in itertools.combinations(_boxes(record), 2):
            apart = np.maximum(a[:2] - b[2:], b[:2] - a[2:])
            assert apart.max() >= gap, record['id']


def test_text_and_objects_run_left_to_right(scenes):
    for record in scenes:
        assert record['text'] == ''.join(found['label'] for found in record['objects'])
        centres = [x0 + x1 for _, x0, _, x1 in _boxes(record)]
        assert centres == sorted(centres)


def test_strips_are_lines_of_cells_filled_from_the_left():
    for record in digits.read_scenes('train', SCENES, 'strip'):
        boxes = _boxes(record)
        # Cells of 64 / 6 pixels: 0, 10, 21, 32, 42, 53, 64; the last column of each stays free.
        left, right = np.array([0, 10, 21, 32, 42, 53]), np.array([9, 20, 31, 41, 52, 63])
        assert (boxes[:, 1] >= left[: len(boxes)]).all()
        assert (boxes[:, 3] <= right[: len(boxes)]).all()
        heights = boxes[:, 2] - boxes[:, 0]
        assert heights.min() >= 8
        assert heights.max() <= 14
        assert np.abs(boxes[:, 0] + boxes[:, 2] - 32).max() <= 3


def test_scattered_digits_are_of_many_sizes_and_everywhere():
    boxes = np.concatenate([_boxes(r) for r in digits.read_scenes('train', SCENES, 'scattered')])
    heights = boxes[:, 2] - boxes[:, 0]
    assert set(range(20, 29)) <= set(heights.tolist())
    assert heights.min() >= 10
    centres = (boxes[:, :2] + boxes[:, 2:]) // 2
    quarters = np.bincount(centres[:, 0] // 32 * 2 + centres[:, 1] // 32)
    assert (quarters / len(boxes) > 0.2).all()


def test_lengths_and_classes_are_as_frequent_as_said(scenes):
    lengths = np.bincount([len(record['text']) for record in scenes], minlength=7)
    # In per cent, of n**-0.5, n**-0.3 and 1.
    wanted = {
        'digits/strip/train': [27.5, 19.4, 15.9, 13.7, 12.3, 11.2],
        'digits/scattered/train': [22.8, 18.5, 16.4, 15.0, 14.0, 13.3],
    }.get(scenes[0]['id'].rsplit('/', 1)[0], [16.7] * 6)
    assert lengths[0] == 0
    assert (np.abs(lengths[1:] / SCENES * 100 - wanted) < 7).all()
    classes = np.bincount([int(c) for record in scenes for c in record['text']], minlength=10)
    assert (np.abs(classes / classes.sum() - 0.1) < 0.03).all()


def test_ink_is_dark_on_light_paper(scenes):
    for record in scenes:
        pixels = _pixels(record)
        paper = pixels[~_ink(pixels)][0]
        assert paper.min() > 180
        assert (pixels <= paper).all()


def test_scenes_come_again_and_do_not_depend_on_count():
    for kind in digits.KINDS:
        first = list(digits.read_scenes('train', 20, kind))
        assert first == list(digits.read_scenes('train', 20, kind))
        assert first == list(itertools.islice(digits.read_scenes('train', 10**9, kind), 20))


def test_seed_split_kind_and_index_change_the_scene():
    images = [
        record['images'][0]
        for seed in (0, 1)
        for split in digits.SPLITS
        for kind in digits.KINDS
        for record in digits.read_scenes(split, 25, kind, seed)
    ]
    assert len(set(images)) == len(images) == 200


@pytest.mark.parametrize('num_shards', [1, 2, 3, 7, 30])
def test_shards_cover_every_scene_once(num_shards):
    whole = list(digits.read_scenes('test', 23, 'scattered', seed=5))
    shards = [
        list(digits.read_scenes('test', 23, 'scattered', 5, shard, num_shards))
        for shard in range(num_shards)
    ]
    assert sorted(itertools.chain(*shards), key=lambda r: r['id']) == whole
    assert [r['id'] for r in whole] == [f'digits/scattered/test/{i:06d}' for i in range(23)]


def test_free_places_keep_the_gap_on_every_side():
    other = digits._Placed('0', 20, 30, np.ones((10, 10), np.float32))
    places = digits._free_places([other], 5, 4)
    # Of 60 * 61 corners, those from 5 above to 10 below and from 4 left to 10 right are taken.
    assert len(places) == 60 * 61 - 16 * 15
    ys, xs = np.divmod(places, 61)
    beside = (xs + 4 == 29) | (xs == 41)
    above_or_below = (ys + 5 == 19) | (ys == 31)
    assert beside.any()
    assert above_or_below.any()
    gaps = np.maximum.reduce([20 - (ys + 5), ys - 30, 30 - (xs + 4), xs - 40])
    assert gaps.min() == digits.SCATTERED_GAP


def test_six_digits_always_find_a_layout():
    data, rng = digits.load_split('train'), np.random.default_rng(0)
    for _ in range(500):
        placed = digits._lay_scattered(rng, data, rng.integers(len(data.labels), size=6))
        assert len(placed) == 6


def test_png_equals_what_pillow_reads():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(digits._png(pixels)))) == pixels).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('tset', 1, 'strip'), 'Nearest: test'),
        (('test', 1, 'strips'), 'Nearest: strip'),
        (('test', -1, 'strip'), 'at least 0, got -1'),
        (('test', 1, 'strip', -3), 'got 1 and -3'),
        (('test', 1, 'strip', 0, 2, 2), 'got 2 of 2'),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments, message):
    with pytest.raises(UserError, match=message):
        digits.read_scenes(*arguments)


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(UserError, match='pip install scikit-learn'):
        digits.load_split.__wrapped__('train')
