"""Counting: a record in, features and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.counting import add_counting_task


@pytest.fixture
def name(new_task, image):
    box = [0.25, 0.25, 0.5, 0.5]
    records = [
        {'id': str(n), 'images': [image], 'objects': [{'label': 'cat', 'box': box}] * n}
        for n in (0, 2, 12)
    ]
    return new_task(add_counting_task, records, things='cats')


def test_record_in_texts_out(name, asked):
    found = asked(name)
    assert [answer for _, answer, _ in found] == ['0', '2', '12']
    assert {prompt for prompt, _, _ in found} == {'answer en how many cats are in the image?'}
    assert [meta['references'] for _, _, meta in found] == [['0'], ['2'], ['12']]


def test_metric(name, asked, score):
    metas = [meta for _, _, meta in asked(name)]
    assert score(name, metas, ['0', ' 2 ', '12']) == {'exact_match': 1}
    assert score(name, metas, ['0', 'two', UNANSWERED]) == {'exact_match': pytest.approx(1 / 3)}


def test_a_record_without_objects_is_a_bad_one(new_task, asked, image, bad):
    record = {'id': 'a', 'images': [image]}
    assert asked(new_task(add_counting_task, [record], things='cats')) == []
    assert bad.named('unusable_records') == {'a': "KeyError: 'objects'"}
