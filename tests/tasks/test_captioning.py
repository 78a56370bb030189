"""Captioning: a record in, features and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.captioning import add_captioning_task

CAPTIONS = ['a red circle on a white wall', 'there is a red circle']


@pytest.fixture
def name(new_task, image):
    records = [
        {'id': 'many', 'images': [image], 'captions': CAPTIONS},
        {'id': 'one', 'images': [image], 'caption': 'two dogs run over the green field'},
    ]
    return new_task(add_captioning_task, records)


def test_record_in_texts_out(name, asked):
    many, one = asked(name)
    assert many[0] == one[0] == 'caption en'
    assert many[1] in CAPTIONS
    assert many[2] == {'id': 'many', 'prompt': 'caption en', 'references': CAPTIONS}
    assert one[1] == 'two dogs run over the green field'
    assert one[2]['references'] == [one[1]]


def test_every_caption_has_its_turn_as_target(name, asked):
    drawn = [answer for _, answer, meta in asked(name, num_epochs=12) if meta['id'] == 'many']
    assert set(drawn) == set(CAPTIONS)


def test_metrics(name, asked, score):
    metas = [meta for _, _, meta in asked(name)]
    right = [CAPTIONS[1], 'two dogs run over the green field']
    found = score(name, metas, right)
    # 10 for the only reference of an image; of two references one is matched in full.
    assert found['exact_match'] == 1
    assert 7.5 < found['cider'] < 10
    assert score(name, metas, [UNANSWERED] * 2) == {'cider': 0, 'exact_match': 0}
    half = score(name, metas, [UNANSWERED, right[1]])
    assert half == {'cider': pytest.approx(5), 'exact_match': 0.5}


def test_blank_captions_are_never_the_target(new_task, image, asked, bad):
    records = [
        {'id': 'some', 'images': [image], 'captions': ['', CAPTIONS[0], ' \u200b']},
        {'id': 'none', 'images': [image], 'captions': ['', ' ']},
        {'id': 'text', 'images': [image], 'captions': CAPTIONS[1]},
    ]
    found = asked(new_task(add_captioning_task, records), num_epochs=6)
    assert {(meta['id'], answer) for _, answer, meta in found} == {
        ('some', CAPTIONS[0]),
        ('text', CAPTIONS[1]),
    }
    assert all('' not in meta['references'] for _, _, meta in found)
    assert bad.counts() == {'empty_answers': 6}
