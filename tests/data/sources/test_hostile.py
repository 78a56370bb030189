"""Hostile rows: good ones survive, bad ones are skipped, counted and named."""

import json
from pathlib import Path

import pytest

from vlm.data.sources import Jsonl
from vlm.tasks.detection import add_detection_task
from vlm.tasks.vqa import add_vqa_task

HOSTILE = Path(__file__).parents[4] / 'shared' / 'data' / 'hostile'
FIELDS = {'questions': ['prompt'], 'answers': ['target'], 'objects': 'boxes'}


def manifest() -> list[dict]:
    if not HOSTILE.is_dir():
        return []
    files = json.loads((HOSTILE / 'manifest.json').read_text())['files']
    return [entry for entry in files if 'good_records' in entry]


# In the others a box is what is wrong, which only a task about boxes looks at.
BOXES = ('box_inverted.jsonl', 'box_out_of_range.jsonl', 'nan_coords.jsonl')
# Python reads it, and texts go through UTF-8 with a replacement: it is a record like others.
ENORMOUS = 'caption_100k.jsonl'
REPLACED = 'lone_surrogate.jsonl'


@pytest.fixture
def register(vocabulary):
    """`register(add, file, **options)`: a task over a hostile file for this test; its name."""
    import seqio

    from vlm.data import tasks

    def make(add, file: str, **options) -> str:
        source = Jsonl({'train': str(HOSTILE / file)}, fields=FIELDS, box_format='xyxy pixels')
        return add('a_hostile_task', source, **options).name

    yield make
    if 'a_hostile_task' in tasks._SPECS:
        seqio.TaskRegistry.remove('a_hostile_task')
        tasks._SPECS.pop('a_hostile_task')


@pytest.mark.skipif(not HOSTILE.is_dir(), reason='../shared/data/hostile is not here')
@pytest.mark.parametrize('entry', manifest(), ids=lambda entry: entry['file'])
def test_good_records_survive_and_bad_ones_are_counted(entry, register, dataset, convert, bad):
    file = entry['file']
    add = add_detection_task if file in BOXES else add_vqa_task
    name = register(add, file)
    examples = list(dataset(name).as_numpy_iterator())
    ids = {json.loads(example['meta'])['id'] for example in examples}
    rows = convert(dataset(name))
    trained_on = sum(bool(row['decoder_loss_weights'].any()) for row in rows)
    replaced = 1 if file == REPLACED else 0
    assert trained_on == entry['good_records'] + replaced
    # Each reading of the data set above met every bad record once.
    counts = bad.counts()
    undecodable = counts.pop('undecodable_images', 0)
    # An enormous text is cut, and said to be, in a good record.
    assert bool(counts.pop('cut_texts', 0)) == (file == ENORMOUS)
    assert sum(counts.values()) / 2 + undecodable == entry['bad_records'] - replaced
    assert {'ok0', 'ok1'} <= ids
