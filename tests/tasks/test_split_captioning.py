"""Split captioning: a record in, texts and metric out."""

import re

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.split_captioning import add_split_captioning_task

WORDS = ['a', 'red', 'circle']
FORM = re.compile(r'Generate the alt_text in (\w+) at (\d): (.*)<extra_id_0>')


@pytest.fixture
def name(new_task, image):
    records = [
        {'id': 'en', 'images': [image], 'caption': ' a  red circle'},
        {'id': 'de', 'images': [image], 'caption': 'ein roter Kreis', 'language': 'de'},
    ]
    return new_task(add_split_captioning_task, records)


def test_the_rest_of_the_caption_is_wanted(name, asked):
    positions = set()
    for prompt, answer, meta in asked(name, num_epochs=20):
        language, position, beginning = FORM.fullmatch(prompt).groups()
        assert language == meta['id']
        assert meta['references'] == [answer]
        if language == 'en':
            position = int(position)
            assert (beginning.split(), answer.split()) == (WORDS[:position], WORDS[position:])
            assert '  ' not in prompt
            positions.add(position)
    assert positions == {0, 1, 2}


def test_metric(name, asked, score):
    metas = [meta for _, _, meta in asked(name)]
    right = [meta['references'][0] for meta in metas]
    assert score(name, metas, right)['cider'] > 2
    assert score(name, metas, [UNANSWERED] * 2) == {'cider': 0}


def test_an_empty_caption_is_a_bad_record(new_task, image, asked, bad):
    record = {'id': 'a', 'images': [image], 'caption': ' '}
    assert asked(new_task(add_split_captioning_task, [record])) == []
    assert list(bad.named('unusable_records')) == ['a']
