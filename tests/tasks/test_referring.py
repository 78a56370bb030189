"""Referring expressions: a record in, texts and metrics out."""

from vlm.errors import UNANSWERED
from vlm.tasks.referring import add_referring_task

BOX = '<loc0512><loc0256><loc0895><loc0767>'


def test_every_expression_asks_for_its_box(new_task, image, asked, score):
    objects = [
        {'label': 'cat', 'box': [0.5, 0.25, 0.875, 0.75], 'expressions': ['red cat', 'the 1st']},
        {'label': 'dog', 'box': [0, 0, 1, 1]},
    ]
    name = new_task(add_referring_task, [{'id': 'a', 'images': [image], 'objects': objects}])
    found = asked(name)
    assert [(p, a) for p, a, _ in found] == [('red cat', BOX), ('the 1st', BOX)]
    metas = [meta for _, _, meta in found]
    right = score(name, metas, [BOX, f'{BOX} cat'])
    assert right['acc_at_0.5'] == 1 and right['mean_iou'] > 0.99
    # All of the image holds the object, which is 3/16 of it.
    half = score(name, metas, [BOX, '<loc0000><loc0000><loc1023><loc1023>'])
    assert half['acc_at_0.5'] == 0.5 and 0.58 < half['mean_iou'] < 0.6
    assert score(name, metas, [UNANSWERED] * 2)['acc_at_0.5'] == 0
