"""easy_vqa: what questions say, what pixels say, that they agree, and the official counts."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from vlm.data import easy_vqa
from vlm.errors import UserError

PAPER, BLUE = np.array([248, 234, 230]), np.array([0, 0, 255])


@pytest.fixture(scope='module', params=easy_vqa.SPLITS)
def split(request):
    pytest.importorskip('easy_vqa')
    return request.param


def _pixels(record):
    return np.asarray(Image.open(io.BytesIO(record['images'][0])).convert('RGB'))


def _pairs(record):
    return list(zip(record['questions'], record['answers'], strict=True))


def _painted(cover):
    """A picture in which `cover`, float[H, W] in [0, 1], of each pixel is blue."""
    return (PAPER + cover[..., None] * (BLUE - PAPER)).round().astype(np.uint8)


@pytest.mark.parametrize(
    ('question', 'answer', 'colours', 'shapes'),
    [
        ('what color is the shape?', 'teal', {'teal'}, None),
        ('what shape is present?', 'circle', None, {'circle'}),
        ('what is the color of the triangle?', 'red', {'red'}, {'triangle'}),
        ('what is the blue shape?', 'rectangle', {'blue'}, {'rectangle'}),
        ('is there a blue shape?', 'yes', {'blue'}, None),
        ('is there a blue shape?', 'no', set(easy_vqa.COLOURS) - {'blue'}, None),
        ('is there not a blue shape in the image?', 'no', {'blue'}, None),
        ('does the image not contain a red shape?', 'no', {'red'}, None),
        ('does the image not contain a red shape?', 'yes', set(easy_vqa.COLOURS) - {'red'}, None),
        ('is no circle present?', 'yes', None, {'rectangle', 'triangle'}),
        ('is no circle present?', 'no', None, {'circle'}),
    ],
)
def test_facts_of_one_question(question, answer, colours, shapes):
    found = easy_vqa.read_facts([(question, answer)])
    assert found == (colours or set(easy_vqa.COLOURS), shapes or set(easy_vqa.SHAPES))


def test_facts_by_exclusion():
    pairs = [('is there a circle?', 'no'), ('is no triangle present?', 'yes')]
    assert easy_vqa.read_facts(pairs)[1] == {'rectangle'}
    assert easy_vqa.read_facts([]) == (set(easy_vqa.COLOURS), set(easy_vqa.SHAPES))


def test_measure_drops_the_fringe_and_keeps_half_covered_pixels():
    cover = np.zeros((64, 64))
    cover[10:20, 5:29] = 1
    cover[9, 5:29] = 1 / 8  # what the shrinking filter leaves outside an edge on a pixel border
    cover[10:20, 29] = 1 / 2  # an edge through the middle of a pixel
    found = easy_vqa.measure(_painted(cover))
    assert (found.colour, found.shape) == ('blue', 'rectangle')
    assert found.box == (10 / 64, 5 / 64, 20 / 64, 30 / 64)


def test_measure_tells_the_shapes_apart():
    y, x = np.mgrid[:64, :64]
    circle = np.hypot(y - 30, x - 20) <= 8
    triangle = (y < 40) & (np.abs(x - 30) <= (y - 20) / 2) & (y >= 20)
    assert easy_vqa.measure(_painted(circle * 1.0)).shape == 'circle'
    assert easy_vqa.measure(_painted(triangle * 1.0)).shape == 'triangle'


def test_measure_of_a_shape_in_the_corner_finds_the_background():
    cover = np.zeros((64, 64))
    cover[:32, :30] = 1
    assert easy_vqa.measure(_painted(cover)).box == (0, 0, 0.5, 30 / 64)


def test_official_counts(split):
    expected = {'train': (4000, 38575), 'test': (1000, 9673)}[split]
    records = list(easy_vqa.read_images(split))
    assert (len(records), easy_vqa.count_questions(split)) == expected
    assert [r['id'] for r in records] == [f'easy_vqa/{split}/{i}' for i in range(len(records))]
    assert sum(len(_pairs(r)) for r in records) == expected[1]


def test_records_are_whole(split):
    for record in easy_vqa.read_images(split):
        assert record['questions'], record['id']
        colour, shape = record['label'].split()
        assert colour in easy_vqa.COLOURS
        assert shape in easy_vqa.SHAPES
        assert record['caption'] == f'a {record["label"]}'
        (found,) = record['objects']
        assert found['label'] == record['label']
        y0, x0, y1, x1 = found['box']
        assert 0 <= y0 < y1 <= 1
        assert 0 <= x0 < x1 <= 1
    json.dumps({key: value for key, value in record.items() if key != 'images'})


def test_the_first_picture():
    pytest.importorskip('easy_vqa')
    record = next(easy_vqa.read_images('train'))
    assert _pairs(record)[0] == ('what is the blue shape?', 'rectangle')
    assert record['caption'] == 'a blue rectangle'


def test_pixels_agree_with_the_questions_everywhere(split):
    for record in easy_vqa.read_images(split):
        colours, shapes = easy_vqa.read_facts(_pairs(record))
        found = easy_vqa.measure(_pixels(record))
        assert found.colour in colours, record['id']
        assert found.shape in shapes, record['id']
        assert record['label'] == f'{found.colour} {found.shape}'


def test_boxes_are_tight(split):
    for record in list(easy_vqa.read_images(split))[::10]:
        pixels = _pixels(record).astype(int)
        paper = np.median(pixels.reshape(-1, 3), 0)  # no shape fills half of a picture
        ink = np.array(easy_vqa.COLOURS[record['label'].split()[0]])
        share = np.abs(pixels - paper).max(2) / np.abs(ink - paper).max()
        y0, x0, y1, x1 = (round(64 * edge) for edge in record['objects'][0]['box'])
        sides = (share[y0, x0:x1], share[y1 - 1, x0:x1], share[y0:y1, x0], share[y0:y1, x1 - 1])
        assert all(side.max() > 0.24 for side in sides), record['id']
        share[y0:y1, x0:x1] = 0
        assert share.max() < 0.26, record['id']
        share[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = 0
        assert share.max() == 0, record['id']  # the fringe is one pixel wide


def test_a_changed_record_does_not_change_the_next_reading():
    pytest.importorskip('easy_vqa')
    record = next(easy_vqa.read_images('test'))
    kept = json.dumps(record['questions'] + record['objects'])
    record['questions'].clear()
    record['objects'][0]['box'][0] = 9
    again = next(easy_vqa.read_images('test'))
    assert json.dumps(again['questions'] + again['objects']) == kept


def test_unknown_split_names_the_right_ones():
    with pytest.raises(UserError, match=r"'tests'.*Nearest: test"):
        easy_vqa.read_images('tests')


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'easy_vqa', None)
    with pytest.raises(UserError, match='pip install easy-vqa'):
        easy_vqa._stored.__wrapped__('train')


def test_pictures_come_in_random_order(split):
    shown = np.array([record['caption'].split()[1:] for record in easy_vqa.read_images(split)])
    for words in shown.T:
        shares = np.unique(words, return_counts=True)[1] / len(words)
        # How often two neighbours agree, where no picture has to do with the one before it.
        expected = (shares**2).sum()
        spread = (expected * (1 - expected) / len(words)) ** 0.5
        assert (words[1:] == words[:-1]).mean() == pytest.approx(expected, abs=4 * spread)
