"""benchmarks/nlvr_*.py: statements against scenes that were looked at, and rows made of them."""

import importlib
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / 'benchmarks'


@pytest.fixture(scope='module')
def module():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module


def block(color: str, level: int) -> dict:
    return {'type': 'square', 'color': color, 'size': 20, 'x_loc': 40, 'y_loc': 80 - 21 * level}


# From left to right: yellow on black; blue on yellow on yellow; blue alone.
TOWERS = [
    [block('Black', 0), block('Yellow', 1)],
    [block('Yellow', 0), block('Yellow', 1), block('#0099ff', 2)],
    [block('#0099ff', 0)],
]
# A small yellow circle in a corner and a black square; a blue triangle at the roof; a blue circle.
SCATTERED = [
    [
        {'type': 'circle', 'color': 'Yellow', 'size': 10, 'x_loc': 90, 'y_loc': 90},
        {'type': 'square', 'color': 'Black', 'size': 30, 'x_loc': 20, 'y_loc': 30},
    ],
    [{'type': 'triangle', 'color': '#0099ff', 'size': 30, 'x_loc': 50, 'y_loc': 0}],
    [{'type': 'circle', 'color': '#0099ff', 'size': 20, 'x_loc': 79, 'y_loc': 40}],
]
OF_TOWERS = {
    'there is a yellow block on a black block': True,
    'there is a black block on a yellow block': False,
    'there is a yellow block below a blue block': True,
    'there is no yellow block above a yellow block': False,
    'there is a blue tower': True,
    'there is a yellow tower': False,
    'there is a blue tower with exactly two blocks': False,
    'there is exactly one yellow block as the base of a tower': True,
    'there is a yellow block as the top of a tower with two blocks': True,
    'the tower with three blocks has a blue block at the base': False,
    'the second block from the base of a tower is yellow': True,
    'the third block from the base of a tower is yellow': False,
    'there are three yellow blocks': True,
    'there are two blue blocks': True,
    'there is a tower with only yellow and black blocks': True,
    'there is a tower with only black blocks': False,
}
OF_SCATTERED = {
    'there is a yellow circle touching the edge': True,
    'there is a blue circle touching the edge': False,
    'there is a circle closely touching a corner of a box': True,
    'there is a blue item closely touching the roof of a box': True,
    'there is no item closely touching the roof of a box': False,
    'there is a blue circle not touching any edge': True,
    'none of the blue circles are touching any edge': True,
    'there are exactly two circles': True,
    'there is a box with a yellow circle': True,
    'there is a box with only black and yellow items': True,
    'there is a box with only one blue item': True,
    'there is a box with two items': True,
    'there is a box with three items': False,
}


@pytest.mark.parametrize(
    ('name', 'draw', 'annotation', 'expected'),
    [
        ('nlvr_towers', 'tower_statement', TOWERS, OF_TOWERS),
        ('nlvr_statements', 'scattered_statement', SCATTERED, OF_SCATTERED),
    ],
)
def test_statements_are_true_of_what_they_say(module, name, draw, annotation, expected):
    scene = module('nlvr_scenes').scene_of(annotation)
    rng, said = Random(0), {}
    for _ in range(60_000):
        text, holds = getattr(module(name), draw)(rng)
        if text in expected:
            said[text] = holds(scene)
    assert said == expected


def test_kinds_of_pictures_are_told_apart(module):
    scenes = module('nlvr_scenes')
    assert scenes.is_tower(scenes.scene_of(TOWERS))
    assert not scenes.is_tower(scenes.scene_of(SCATTERED))


def test_each_statement_is_true_as_often_as_false(module):
    annotations = [
        {'identifier': f'{n}-{i}', 'structured_rep': boxes}
        for n in range(3)
        for i, boxes in enumerate([TOWERS, TOWERS[::-1], TOWERS[:2] + TOWERS[:1], SCATTERED])
    ]
    own = {'sentence': 'Three  triangles.', 'label': 'true'}
    annotations += [{'identifier': '9-0', 'structured_rep': [SCATTERED[1]] * 3, **own}]
    rows = module('nlvr_rows').questions_of(annotations, Random(0))
    told = [pair for row in rows for pair in zip(row['questions'], row['answers'], strict=True)]
    truths = Counter(pair for pair in told if pair[1] in ('true', 'false'))
    assert truths.pop(('three triangles', 'true')) > 0
    assert all(truths[text, 'true'] == truths[text, 'false'] for text, _ in truths)
    assert ('left box', 'yellow square black square') in told
    assert ('middle box', 'blue triangle') in told


def test_pictures_lose_the_strips_between_their_boxes(module, tmp_path):
    folder = tmp_path / 'dev'
    (folder / 'images' / '3').mkdir(parents=True)
    pixels = np.full((100, 400, 4), 128, np.uint8)
    for i in range(3):
        pixels[:, 150 * i : 150 * i + 100] = i
    Image.fromarray(pixels).save(folder / 'images' / '3' / 'dev-7-1-0.png')
    place = module('nlvr_rows')._picture({'identifier': '7-1', 'directory': '3'}, folder)
    joined = np.asarray(Image.open(folder / place))
    assert joined.shape == (100, 300, 3)
    assert [np.unique(joined[:, 100 * i : 100 * i + 100]).tolist() for i in range(3)] == [
        [0],
        [1],
        [2],
    ]


def test_sentences_are_plain(module):
    assert module('nlvr_rows').plain('There  is a Box. ') == 'there is a box'
