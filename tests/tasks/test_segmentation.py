"""Segmentation as tokens: a record in, texts and box metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.metrics.masks import parse_masks
from vlm.tasks.segmentation import add_segmentation_task

CODES = [12, *range(14), 127]
BOX = '<loc0512><loc0256><loc0895><loc0767>'
WHOLE = '<loc0000><loc0000><loc1023><loc1023>'


@pytest.fixture
def record(image):
    objects = [
        {'label': 'cat', 'box': [0.5, 0.25, 0.875, 0.75], 'mask_codes': CODES},
        {'label': 'dog', 'box': [0, 0, 1, 1], 'mask_codes': CODES[::-1]},
        {'label': 'cat', 'box': [0, 0, 1, 1], 'mask_codes': [0] * 16},
    ]
    return {'id': 'a', 'images': [image], 'objects': objects}


def test_box_codes_and_name_of_every_object_with_the_label(new_task, record, asked, score):
    name = new_task(add_segmentation_task, [record])
    cats, dogs = asked(name, lengths={'targets': 600})
    assert cats[0] == 'segment cat' and dogs[0] == 'segment dog'
    codes = ''.join(f'<seg{code:03d}>' for code in CODES)
    assert cats[1] == f'{BOX}{codes} cat ; {WHOLE}{"<seg000>" * 16} cat'
    assert [mask.codes for mask in parse_masks(dogs[1])] == [tuple(CODES[::-1])]
    metas, answers = [cats[2], dogs[2]], [cats[1], dogs[1]]
    assert score(name, metas, answers)['f1_at_0.5'] == 1
    assert score(name, metas, [answers[0], f'{WHOLE}{codes} cow'])['f1_at_0.5'] == 2 / 3
    assert score(name, metas, [UNANSWERED] * 2)['f1_at_0.5'] == 0


@pytest.mark.parametrize('codes', [[1] * 15, [128] * 16, None])
def test_codes_that_are_none_are_a_bad_record(new_task, record, asked, bad, codes):
    record['objects'][0]['mask_codes'] = codes
    assert asked(new_task(add_segmentation_task, [record])) == []
    assert list(bad.named('unusable_records')) == ['a']
