"""Captions by language: one task each, references of that language alone."""

import pytest
import seqio

from vlm.data import tasks
from vlm.data.sources import RecordSource
from vlm.errors import UNANSWERED
from vlm.tasks.language_captioning import COCO_35L, XM3600, add_language_captioning_tasks

RECORDS = [
    {'id': 'both', 'captions': {'de': ['ein roter Kreis', 'ein Kreis'], 'en': ['a red circle']}},
    {'id': 'german', 'captions': {'de': ['zwei Hunde'], 'en': []}},
]


@pytest.fixture
def specs(vocabulary, image):
    records = [{**record, 'images': [image]} for record in RECORDS]
    source = RecordSource(lambda split: iter(records), {'train': 2})
    made = add_language_captioning_tasks('a_test_world', source, ('de', 'en'))
    yield made
    for spec in made:
        seqio.TaskRegistry.remove(spec.name)
        tasks._SPECS.pop(spec.name)


def test_each_language_is_a_task(specs, asked, score):
    assert [(spec.name, spec.family) for spec in specs] == [
        ('a_test_world_de', 'a_test_world'),
        ('a_test_world_en', 'a_test_world'),
    ]
    german = asked('a_test_world_de')
    assert [prompt for prompt, _, _ in german] == ['caption de'] * 2
    assert german[0][1] in RECORDS[0]['captions']['de']
    metas = [meta for _, _, meta in german]
    assert [meta['references'] for meta in metas] == [r['captions']['de'] for r in RECORDS]
    assert score('a_test_world_de', metas, ['ein roter Kreis', 'zwei Hunde'])['cider'] > 2
    assert score('a_test_world_de', metas, [UNANSWERED] * 2) == {'cider': 0}
    ((prompt, answer, _),) = asked('a_test_world_en')
    assert (prompt, answer) == ('caption en', 'a red circle')


def test_the_published_lists():
    assert len(set(COCO_35L)) == 35 and len(set(XM3600)) == 36
