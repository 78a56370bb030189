"""Reading text: a record in, features and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.ocr import add_ocr_task, add_spotting_task


@pytest.fixture
def name(new_task, image):
    records = [{'id': t, 'images': [image], 'text': t} for t in ('1907', '42', 'Bar  <loc0001>')]
    return new_task(add_ocr_task, records)


def test_record_in_texts_out(name, asked, vocabulary):
    found = asked(name)
    assert found[0] == ('ocr', '1907', {'id': '1907', 'prompt': 'ocr', 'references': ['1907']})
    assert found[2][1] == 'Bar  <\\loc0001>'
    assert found[2][2]['references'] == ['Bar  <loc0001>']
    assert vocabulary.pieces(vocabulary.encode('1907')) == ['1', '9', '0', '7']


def test_metrics(name, asked, score):
    metas = [meta for _, _, meta in asked(name)]
    right = ['1907', '42', 'Bar  <\\loc0001>']
    assert score(name, metas, right) == {'exact_match': 1, 'character_error_rate': 0}
    # One digit wrong and one missing, of 4 + 2 + 14 characters.
    found = score(name, metas, ['1901', '4', right[2]])
    assert found == {'exact_match': pytest.approx(1 / 3), 'character_error_rate': 0.1}
    lost = score(name, metas, [UNANSWERED] * 3)
    assert lost == {'exact_match': 0, 'character_error_rate': 1}


def test_spotting_gives_boxes_with_texts_in_their_order(new_task, asked, score, image):
    objects = [
        {'label': 'Bar', 'box': [0.5, 0.25, 0.875, 0.75]},
        {'label': '7', 'box': [0, 0, 1, 1]},
    ]
    name = new_task(add_spotting_task, [{'id': 'a', 'images': [image], 'objects': objects}])
    ((prompt, answer, meta),) = asked(name)
    assert prompt == 'spot text'
    boxes = '<loc0512><loc0256><loc0895><loc0767>', '<loc0000><loc0000><loc1023><loc1023>'
    assert answer == f'{boxes[0]} Bar ; {boxes[1]} 7'
    # The second box is named wrongly: one of two is right.
    found = score(name, [meta], [answer.replace(' 7', ' 1')])
    assert (found['f1_at_0.5'], found['unreadable_boxes']) == (0.5, 0)
